"""Names that files give, of other files, of clips, of folders: they stay inside a folder."""

import os
import re
from pathlib import Path, PurePosixPath


def inside(root: Path, name: object, owner: str) -> Path:
    """`root / name` for a relative name without "..", which `owner` (a file) gave.

    A name may lie in folders of its own, `a/b`. Links inside the folder are followed: download
    caches are made of them. Raises ValueError.
    """
    text = str(name)
    parts = PurePosixPath(text).parts
    if (
        not isinstance(name, str)
        or not text.strip()
        or not parts
        or "\0" in text
        or "\\" in text
        or re.match("[A-Za-z]:", text)
        or PurePosixPath(text).is_absolute()
        or ".." in parts
        or len(text) > 1000
    ):
        raise ValueError(
            f"{owner}: expected the name of a file inside {root}, got {text[:100]!r}. Names that "
            f"are absolute or climb out with '..' are not followed; repair the file."
        )
    return root.joinpath(*parts)


def expanded(text: str | Path) -> Path:
    """A path with the home folder in place of a leading `~`. Raises ValueError without a home."""
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError(
            f"{text}: expected a home folder for ~, and none is known here; set HOME, or give a "
            f"path that starts with /."
        )
    return Path(path)
