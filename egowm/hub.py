"""Repositories of the Hugging Face hub: in the local cache, downloaded only where that is asked.

`hub_folder` is the one place at which egowm reads from the network, `egowm.publish` the one at
which it writes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egowm.paths import expanded

ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")  # OWNER/NAME, OWNER/NAME@REVISION
# Of an export or of a pipeline: no pickles, no code.
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def hub_folder(
    name: str, wanted: Sequence[str], revision: str | None = None, download: bool = False
) -> Path | None:
    """Where the local hub cache has the wanted files of a repository, None where it has not.

    Nobody is asked for them but with `download`. Raises an OSError, which says why, where that
    failed; files that came whole stay in the cache, and the next call goes on from them.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    options: Any = {"allow_patterns": list(wanted), "local_files_only": not download}
    try:
        return Path(snapshot_download(name, revision=revision, **options))
    except Exception as error:  # of the library by which the hub is asked, too
        if download:
            what = f"{name} was not downloaded"
            mend = "Try again, or copy its folder here and give the path."
            raise refusal(error, what, revision, mend) from error
        if isinstance(error, HFValidationError | OSError):
            return None
        raise


def located(name: Path | str, revision: str | None = None, download: bool = False) -> Path:
    """The folder that is meant by a path, by a shipped model's name, or by an id of the hub.

    Args:
        name: A path, whose leading `~` is the home folder, or OWNER/NAME or OWNER/NAME@REVISION
            of a repository, looked up in the local hub cache; a folder of that name goes first.
        revision: Branch, tag or commit of a repository; None takes main, as cached.
        download: Download a repository that is not cached; needs a pinned revision.

    Raises:
        FileNotFoundError: Neither a folder nor in the cache; no such repository or revision.
        ValueError: A revision of a path, a download without one, or `~` where no home is known.
    """
    known = ID.fullmatch(name) if isinstance(name, str) else None
    path = expanded(name)
    if known is None or str(name).startswith(".") or path.is_dir():
        if revision is not None:
            raise ValueError(
                f"{name} is a path, which has no revisions: leave revision out, or give an id of "
                f"the hub, OWNER/NAME, that is no folder here."
            )
        return path
    repo, pinned = known[1], revision or known[2]
    if download and not pinned:
        raise ValueError(f"Downloading {repo} needs a pinned revision: a commit's hash, or a tag.")
    found = hub_folder(repo, FILES, pinned, download)
    if found is None and pinned is None and path.parent.is_dir():
        return path  # a folder that is missing from another
    if found is None:
        at = f" at revision {pinned}" if pinned else ""
        raise FileNotFoundError(
            f"{repo} is no folder here, and the local hub cache does not hold all of it{at}: give "
            f"an export's folder, or fetch it, hf download {repo}"
            f"{f' --revision {pinned}' if pinned else ''}, or "
            f"from_pretrained({repo!r}, revision={pinned or 'COMMIT'!r}, download=True)."
        )
    return found


def refusal(
    error: Exception, what: str, revision: str | None = None, mend: str = "Try again."
) -> OSError:
    """One sentence or two for what the hub, or the way to it, did not do.

    Args:
        error: Of huggingface_hub, or of what it stands on.
        what: What did not happen: "OWNER/NAME was not downloaded".
        revision: The one that was asked for.
        mend: What to do where the way was at fault.
    """
    from huggingface_hub import errors

    for cause in (error, error.__cause__):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, errors.RevisionNotFoundError):
            return FileNotFoundError(
                f"{what}: it has no revision {revision}. Give a branch, a tag or a commit's hash."
            )
        if isinstance(cause, errors.GatedRepoError):
            return PermissionError(
                f"{what}: its owners want to be asked first. Do so on its page, then {LOG_IN}."
            )
        if isinstance(cause, errors.RepositoryNotFoundError):
            return FileNotFoundError(
                f"{what}: the hub has no such repository, or does not show it to you. Check the "
                f"name; for a private one, {LOG_IN}."
            )
        if status in (401, 403):
            told = "does not know this token" if status == 401 else "does not let this token do so"
            return PermissionError(
                f"{what}: the hub {told}. For one of an account that may, {LOG_IN}."
            )
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return ConnectionError(
                f"{what}: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set. Unset it."
            )
    reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    return ConnectionError(f"{what} ({reason}). {mend}")
