"""Exports on the Hugging Face hub: a folder becomes one commit, with a card, or nothing changes."""

import json
import logging
import re
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import NamedTuple

from egowm.hub import FILES, ID, LOG_IN, refusal
from egowm.hub_card import KINDS, at_hub, card, kind_of, readme
from egowm.limits import load_json

log = logging.getLogger(__name__)
MESSAGE = "Add an export of egowm"
_RECORDS = ("world_model.json", "policy.json")
_TOP = re.compile(  # what an export has at its top: another's notes and keys stay here
    r"(world_model|policy|model_index|config|preprocessor_config|decoder)\.json|README\.md|"
    r"(weights|empty_text|decoder|model(-\d+-of-\d+)?)\.safetensors|model\.safetensors\.index\.json"
)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # as the hub writes them
_PLACES = (  # where a record names what the model stands on
    ("backbone_arguments", "pretrained"),
    ("backbone_arguments", "vae_folder"),
    ("base", "pretrained"),
    ("arguments", "encoder"),
)


class _Name(NamedTuple):
    """What a model stands on, and by which name others find it."""

    section: str
    here: str
    there: str


def publish(
    folder: Path,
    repo_id: str,
    base: str | None = None,
    licence: str | None = None,
    evaluation: Path | str | None = None,
    private: bool | None = None,
    message: str = MESSAGE,
) -> str:
    """Push an export's folder, in one commit; returns its hash. See `OnHub.push_to_hub`.

    Args:
        folder: An export, of which only files of known kinds are sent; it stays as it is.
        repo_id, base, licence, evaluation, private, message: As there.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    kind_of(folder)
    check_names(base, licence)
    contents: dict[str, Path | bytes] = dict(_files(folder))
    names = _rename(folder, base, contents)
    text = at_hub(readme(folder), repo_id)
    for name in names:
        text = text.replace(f"`{name.here}`", f"`{name.there}`")
        if name.there != name.here and base is None:
            log.warning(
                "The base is published as %s, a folder that others do not have: give its id on the "
                "hub (base, --base), or they give a folder when they load it.", name.there
            )  # fmt: skip
    run = None if evaluation is None else Path(evaluation)
    told = card(folder, repo_id, text, base or _base_on_hub(names), licence, run)
    contents["README.md"] = told.encode()
    check_account(repo_id)
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    api = HfApi(library_name="egowm")
    what = f"{repo_id} was not pushed, and no file of it has changed"
    try:
        made = not api.repo_exists(repo_id)
        api.create_repo(repo_id, private=private, exist_ok=True)
        if made:
            again = "push again, or delete it on its page"
            what = f"{repo_id} was made and is empty ({again}), for no file was taken"
        commit = api.create_commit(repo_id, operations, commit_message=message)
    except Exception as error:  # of the library by which the hub is asked, too
        raise refusal(error, what) from error
    except KeyboardInterrupt:
        log.warning("%s: interrupted.", what)
        raise
    return str(commit.oid)


def check_account(repo_id: str) -> None:
    """Refuse what is no OWNER/NAME, and to go on without a token, before any work.

    Raises ValueError, PermissionError.
    """
    from huggingface_hub import get_token

    found = ID.fullmatch(repo_id)
    if found is None or found[2] or re.search(r"--|\.\.", repo_id):
        raise ValueError(f"Expected a repository of the hub, OWNER/NAME, got {repo_id!r}.")
    if get_token() is None:
        raise PermissionError(
            f"{repo_id} was not pushed: the hub takes it from an account, and no token is kept "
            f"here. Make one that may write, on the page of your account, and {LOG_IN}."
        )


def check_names(base: str | None, licence: str | None) -> None:
    """Refuse what the hub does not take for a base or a licence. Raises ValueError."""
    known = None if base is None else ID.fullmatch(base)
    if base is not None and (known is None or known[2] or base.startswith(".")):
        raise ValueError(f"Expected the base by its id on the hub, OWNER/NAME, got {base!r}.")
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise ValueError(
            f"Expected a licence by the hub's name for it, such as apache-2.0, got {licence!r}."
        )


def _files(folder: Path) -> dict[str, Path]:
    """The files of an export by their names in it, those of a pipeline's parts among them; not
    what else may lie there."""
    index = folder / KINDS[0].file
    told = load_json(index) if index.is_file() else {}
    parts = [name for name in told if str(name).isidentifier() and name[0] != "_"]
    found = [path for path in sorted(folder.iterdir()) if _TOP.fullmatch(path.name)]
    for part in parts:
        if (folder / part).is_dir():
            inside = [p for p in sorted((folder / part).iterdir()) if p.name[0] != "."]
            found += [p for p in inside if any(fnmatch(p.name, pattern) for pattern in FILES)]
    return {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}


def _rename(folder: Path, base: str | None, contents: dict[str, Path | bytes]) -> list[_Name]:
    """What the export stands on; its records get the names by which others find that."""
    names = []
    for file in _RECORDS:
        record = load_json(folder / file) if (folder / file).is_file() else {}
        for section, key in _PLACES:
            part = record.get(section)
            if not isinstance(part, dict):
                continue
            here = part.get(key)
            if not isinstance(here, str) or here in ("", "."):
                continue
            there = _elsewhere(here) if base is None or key == "vae_folder" else base
            names.append(_Name(section, here, there))
            if there != here:
                part[key] = there
                contents[file] = f"{json.dumps(record, indent=2)}\n".encode()
    return names


def _elsewhere(place: str) -> str:
    """The last name of a path of this machine; ids, and paths within a working folder, stay."""
    path = PurePath(place)
    is_own = place.startswith(("/", "~")) or ".." in path.parts or "\\" in place
    return f"./{path.name}" if is_own and path.name else place


def _base_on_hub(names: list[_Name]) -> str | None:
    """The id of the base, where the export names it by one."""
    for name in names:
        is_id = ID.fullmatch(name.here) and not name.here.startswith((".", "priors/"))
        if is_id and name.section != "arguments" and not Path(name.here).exists():
            return name.here
    return None
