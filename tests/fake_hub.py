"""A hub on this machine: the endpoints of the Hugging Face hub that its library asks, over HTTP.

It keeps repositories in memory: commits, branches, files. `wrong` makes it refuse or break off.
"""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import yaml

TOKEN, OWNER = "hf_right", "lab"  # who may write where


class FakeHub:
    """Files by repository and commit.

    wrong: what goes wrong, some of "cut" (weights break off half-way, once, and then at once),
    "full" (commits are refused).
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.heads: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []  # methods and paths
        self.wrong: set[str] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes] | None:
        commit = self.heads[repo].get(revision, revision)
        return self.commits[repo].get(commit)

    def commit(self, repo: str, changes: dict[str, bytes]) -> str:
        head = self.heads[repo].get("main")
        files = (self.commits[repo].get(head, {}) if head else {}) | changes
        names = "".join(f"{k}{hashlib.sha256(v).hexdigest()}" for k, v in sorted(files.items()))
        commit = hashlib.sha1(f"{head}{names}".encode()).hexdigest()
        self.commits[repo][commit], self.heads[repo]["main"] = files, commit
        return commit

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        return Handler


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{method} {path}")
        body = self._body()
        for asked, pattern, answer in _ROUTES:
            if method in asked and (found := re.fullmatch(pattern, path)):
                return answer(self, *found.groups(), body) if body is not None else None
        return self._say(404, {"error": f"no such page: {path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, status: int, content: object = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, why: str) -> None:
        self._say(status, {"error": why}, X_Error_Code=code, X_Error_Message=why)

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def whoami(self, body: bytes) -> None:
        if not self._known:
            return self._refuse(401, "", "Invalid username or password.")
        token = {"displayName": "right", "role": "write"}
        auth = {"type": "access_token", "accessToken": token}
        return self._say(200, {"type": "user", "name": OWNER, "auth": auth})

    # Writing ------------------------------------------------------------------------------------

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not self._known:
            return self._refuse(401, "", "Invalid username or password.")
        if asked["organization"] != OWNER:
            return self._refuse(403, "", "You do not have the rights to create a model there")
        if repo in self.hub.commits:
            told = {"error": "You already created this repo", "url": f"{self.hub.url}/{repo}"}
            return self._say(409, told)
        self.hub.commits[repo], self.hub.heads[repo] = {}, {}
        self.hub.commit(repo, {".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._say(200, {"url": f"{self.hub.url}/{repo}", "name": repo})

    def validate(self, body: bytes) -> None:
        top = json.loads(body)["content"].split("---\n")[1]
        errors = [] if isinstance(yaml.safe_load(top), dict) else [{"message": "no mapping"}]
        self._say(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, repo: str, revision: str, body: bytes) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._say(200, {"files": files})

    def batch(self, repo: str, body: bytes) -> None:
        objects = [
            asked | {"actions": {"upload": {"href": f"{self.hub.url}/blobs/{asked['oid']}"}}}
            for asked in json.loads(body)["objects"]
        ]
        self._say(200, {"transfer": "basic", "objects": objects})

    def store(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "", "another sha256")
        self.hub.blobs[oid] = body
        return self._say(200)

    def take(self, repo: str, revision: str, body: bytes) -> None:
        if "full" in self.hub.wrong or not self._known:
            return self._refuse(403, "", "Private repository storage limit reached")
        changes = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changes[value["path"]] = self.hub.blobs[value["oid"]]
        oid = self.hub.commit(repo, changes)
        return self._say(
            200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid}
        )

    # Reading ------------------------------------------------------------------------------------

    def _found(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision; None where that was refused."""
        if repo not in self.hub.commits or (repo.endswith("private") and not self._known):
            self._refuse(401, "RepoNotFound", "Repository not found")
            return None
        files = self.hub.files(repo, revision)
        if files is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return files

    def info(self, repo: str, revision: str | None, body: bytes) -> None:
        files = self._found(repo, revision or "main")
        if files is not None:
            commit = self.hub.heads[repo].get(revision or "main", revision)
            siblings = [{"rfilename": name} for name in files]
            self._say(200, {"id": repo, "sha": commit, "siblings": siblings, "tags": []})

    def tree(self, repo: str, revision: str, body: bytes) -> None:
        files = self._found(repo, revision)
        if files is not None:
            rows = [{"type": "file", "path": k, "size": len(v), "oid": _etag(v)} for k, v in
                    files.items()]  # fmt: skip
            self._say(200, rows)

    def resolve(self, repo: str, revision: str, name: str, body: bytes) -> None:
        files = self._found(repo, revision)
        if files is None:
            return None
        if name not in files:
            return self._refuse(404, "EntryNotFound", f"{name} is not there")
        data, commit = files[name], self.hub.heads[repo].get(revision, revision)
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        cut = "cut" in self.hub.wrong and name.endswith(".safetensors") and self.command == "GET"
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, "0"])[1])
        if cut:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(b"" if start else data[: len(data) // 2])
            self.close_connection = True
            return None
        if start:
            span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return self._say(206, data[start:], **headers, **span)
        return self._say(200, data, **headers)


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    (("GET",), r"/api/whoami-v2", _Handler.whoami),
    (("POST",), r"/api/repos/create", _Handler.create),
    (("POST",), r"/api/validate-yaml", _Handler.validate),
    (("POST",), rf"/api/models/{_REPO}/preupload/([^/]+)", _Handler.preupload),
    (("POST",), rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    (("PUT",), r"/blobs/(\w+)", _Handler.store),
    (("POST",), rf"/api/models/{_REPO}/commit/([^/]+)", _Handler.take),
    (("GET",), rf"/api/models/{_REPO}(?:/revision/([^/]+))?", _Handler.info),
    (("GET",), rf"/api/models/{_REPO}/tree/([^/]+)/?", _Handler.tree),
    (("GET", "HEAD"), rf"/{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
