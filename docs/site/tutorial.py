"""Does what a page tells its reader: its blocks of bash and Python, in order, in one empty folder.

`python docs/site/tutorial.py docs/plan-a-drive.md` does one page by hand; hook.py does those under
"Tutorials" in mkdocs.yml, and takes what they printed and drew from .cache/tutorials/. A page whose
text is the same as in its last run is not run again. On a page:

- a block of bash or Python is run; one that fails ends the build with the page, the line and why;
- after "Write this to `FILE`:" a block is written there;
- each row of a table headed "on this page | when it was built" replaces text in the blocks;
- `<!-- shows FILE: caption -->` puts a picture, a film or a page that a block wrote on the site.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".cache/tutorials"
FORK = multiprocessing.get_context("fork")
PIECES = re.compile(
    r"^Write this to `(?P<file>[\w./-]+)`:\n\n```\w*\n(?P<text>.*?)^```$"
    r"|^```(?P<language>bash|python)\n(?P<code>.*?)^```$"
    r"|^<!-- shows (?P<shown>\S+): (?P<caption>.*?) -->$",
    re.DOTALL | re.MULTILINE,
)
SHORTER = re.compile(r"^\| on this page \| when it was built \|\n.*\n((?:\|.*\|\n)+)", re.MULTILINE)
# What a shell would make nothing else of: such a command is run by a copy of this process, which
# has imported what it needs, in a second in place of ten.
PLAIN = re.compile(r"egowm(-scs)? [^|&;<>$()`*?~#\n]*")
SCORING = ["egowm.commands.scs.main", "egowm.evaluation.report.scs_page", "egowm.scs.evaluate"]
SCORING += ["egowm.scs.trackers.flow"]


class Failed(Exception):
    """A page whose reader would be stuck; says where and why."""


def shorter(text: str) -> dict[str, str]:
    """What a page's table replaces in its blocks, by what; "left out" stands for nothing."""
    rows = "".join(SHORTER.findall(text)).splitlines()
    found = [re.fullmatch(r"\| `(.+)` \| (?:`(.+)`|left out) \|", row) for row in rows]
    if not all(found):
        raise Failed(f"expected rows of `text` | `other text`, or | left out, got {rows}")
    return {match[1]: match[2] or "" for match in found if match}


def run(page: Path, folder: Path) -> list[dict[str, str | int]]:
    """Do what a page says in a new folder.

    Returns, for each piece of it that printed or shows something, where in the page it ends and
    what it printed, or the file (kept in `folder`) and its caption.
    """
    text, made = page.read_text(encoding="utf-8"), []
    swaps, pieces = shorter(text), list(PIECES.finditer(text))
    for left in swaps:
        if not any(left in (piece["code"] or piece["text"] or "") for piece in pieces):
            raise Failed(f"{page}: no block holds {left!r}, which its table replaces")
    with tempfile.TemporaryDirectory(prefix="egowm-", ignore_cleanup_errors=True) as place:
        os.chdir(place)
        with contextlib.closing(Python(page)) as python:
            for piece in pieces:
                code = piece["code"] or piece["text"] or ""
                for left, right in swaps.items():
                    code = code.replace(left, right)
                line = text[: piece.start()].count("\n") + 1
                try:
                    result = done(piece, code, line, python, folder)
                except (Failed, OSError, EOFError) as error:
                    raise Failed(f"{page}:{line}: {error}") from error
                if result:
                    made.append({"end": piece.end()} | result)
    return made


def done(
    piece: re.Match[str], code: str, line: int, python: "Python", folder: Path
) -> dict[str, str]:
    """What came of one piece, if anything is to be seen of it."""
    if piece["file"]:
        Path(piece["file"]).write_text(code, encoding="utf-8")
        return {}
    if piece["shown"]:
        name = piece["shown"].replace("/", "-")
        shutil.copyfile(piece["shown"], folder / name)
        return {"shown": name, "caption": piece["caption"]}
    printed = python.run(code, line) if piece["language"] == "python" else bash(code)
    # As a terminal shows it at last, without the folder's name.
    lines = [row.rsplit("\r", 1)[-1].rstrip() for row in printed.splitlines()]
    shown = "\n".join(lines).replace(f"{os.getcwd()}/", "").strip("\n")
    return {"printed": shown} if shown else {}


def bash(code: str) -> str:
    """What a block of commands prints that must succeed."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    work = _by_copies if all(PLAIN.fullmatch(line) for line in lines) else _by_bash
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complained:
        status = work(lines, printed.fileno(), complained.fileno())
        said = []
        for file in (printed, complained):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    if status:
        raise Failed(f"status {status}\n{said[1][-3000:]}")
    return said[0]


def _by_bash(lines: list[str], printed: int, complained: int) -> int:
    """The status of a block, with the commands of this environment before all others."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    environment = os.environ | {"PATH": path}
    return subprocess.run(words, stdout=printed, stderr=complained, env=environment).returncode


def _by_copies(lines: list[str], printed: int, complained: int) -> int:
    """The status of the first command that fails, or 0."""
    for line in lines:
        given = (shlex.split(line), printed, complained)
        process = FORK.Process(target=_command, args=given)
        process.start()
        process.join()
        if process.exitcode:
            return process.exitcode
        os.write(printed, b"\n")
    return 0


def _command(words: list[str], printed: int, complained: int) -> None:
    """In a copy of this process: one command, as its console script would run it."""
    os.dup2(printed, 1)
    os.dup2(complained, 2)
    sys.argv = words
    warnings.simplefilter("ignore")
    room = {"egowm": "egowm.commands.main", "egowm-scs": "egowm.commands.scs.main"}[words[0]]
    sys.exit(import_module(room).main(words[1:]))


class Python:
    """The namespace that a page's blocks share, in a process of its own: it may start threads."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.here, there = FORK.Pipe()
        self.process = FORK.Process(target=self._serve, args=(there,), daemon=True)
        self.process.start()
        there.close()

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join()

    def run(self, code: str, line: int) -> str:
        """What a block prints."""
        self.here.send(("\n" * line + code,))
        printed, wrong = self.here.recv()
        if wrong:
            raise Failed(f"{printed}{wrong}")
        return str(printed)

    def _serve(self, there: Connection) -> None:
        scope: dict[str, object] = {"__name__": "__main__"}
        while True:
            (code,), printed, wrong = there.recv(), io.StringIO(), ""
            try:
                with contextlib.redirect_stdout(printed):
                    exec(compile(code, self.page, "exec"), scope)
            except BaseException:
                wrong = traceback.format_exc()
            there.send((printed.getvalue(), wrong))


def keep(page: Path) -> None:
    """In a process of its own: run a page, and keep what came of it; 1 where it failed."""
    os.setpgid(0, 0)
    folder, text, started = KEPT / page.stem, page.read_bytes(), perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        made = run(page, folder)
    except Failed as error:
        sys.exit(str(error).replace(f"{ROOT}/", ""))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)  # servers that a block left in the background
    (folder / "made.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    (folder / page.name).write_bytes(text)
    print(f"{page.relative_to(ROOT)}: done in {perf_counter() - started:.0f} s", flush=True)


def needed(text: str) -> list[str]:
    """The modules that do the work of the commands on pages."""
    verbs = {verb.replace("-", "_") for verb in re.findall(r"^egowm ([a-z-]+)", text, re.MULTILINE)}
    rooms = [ROOT / "egowm/commands/work" / f"{verb}.py" for verb in sorted(verbs)]
    found = [f"egowm.commands.work.{room.stem}" for room in rooms if room.is_file()]
    found += ["egowm.backbones.svd"] if found else []
    return found + (SCORING if "egowm-scs " in text else [])


def is_kept(page: Path) -> bool:
    """Whether the page's text is that of its last run."""
    kept = KEPT / page.stem / page.name
    return kept.is_file() and kept.read_bytes() == page.read_bytes()


def main(argv: Sequence[str] | None = None) -> int:
    """Run pages side by side, as many as there are processors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    waiting = [
        page for page in map(Path.resolve, parser.parse_args(argv).pages) if not is_kept(page)
    ]
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    for name in needed("".join(page.read_text(encoding="utf-8") for page in waiting)):
        import_module(name)
    running, status = {}, 0
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            process = FORK.Process(target=keep, args=(waiting.pop(0),))
            process.start()
            running[process.sentinel] = process
        for ended in wait(list(running)):
            process = running.pop(ended)  # type: ignore[call-overload]
            process.join()
            status = status or process.exitcode or 0
    return status


if __name__ == "__main__":
    sys.exit(main())
