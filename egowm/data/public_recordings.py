"""Recordings that recipes read and that do not come with egowm: page, licence, size, command.

The facts are in `constants/recordings.json`. Nothing is downloaded. `make real` imports this file
before anything is installed, so it needs nothing but Python.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from shlex import quote


@dataclass(frozen=True)
class PublicRecording:
    """A public data set, or a part of one.

    Args:
        name: What people call it.
        page: Its own page.
        licence: Of the recordings.
        size: On disk.
        folders: Names of the folders in which recipes expect it, and the class that reads each.
        alone: A class that reads no other recordings; "" without one.
        command: What fetches it into `{root}`; "" where the page must be visited.
        then: What is left to do, a sentence; "" for nothing.
    """

    name: str
    page: str
    licence: str
    size: str
    folders: Mapping[str, str] = field(default_factory=dict)
    alone: str = ""
    command: str = ""
    then: str = ""

    def command_into(self, root: Path) -> str:
        """The command that fetches it into a folder, for a shell."""
        return self.command.replace("{root}", quote(str(root)))

    def offer(self, root: Path) -> str:
        """Its page, licence, size and command, in one line."""
        facts = f"{self.name}: {self.page} (licence: {self.licence}; size: {self.size})."
        if not self.command:
            return f"{facts} Download it there. {self.then}".strip()
        return " ".join(filter(None, [facts, self.then, f"Get it with: {self.command_into(root)}"]))


@lru_cache
def public_recordings() -> tuple[PublicRecording, ...]:
    """All that are known."""
    text = files("egowm.data").joinpath("constants/recordings.json").read_text(encoding="utf-8")
    return tuple(PublicRecording(**fields) for fields in json.loads(text)["recordings"])


def how_to_get(root: Path, reader: str = "") -> str:
    """How to get the recordings that belong into a folder; "" where that is not known.

    They are known by the folder's name, or by a class that reads nothing else. A folder of another
    name may be meant for a user's own recordings. One that holds something gets "", too: the
    command would mix public recordings with what is there.

    Args:
        root: The folder, missing or empty.
        reader: Name of the class that would read it; "" for any.
    """
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        return ""
    for known in public_recordings():
        if known.folders.get(root.name) in ((reader,) if reader else known.folders.values()):
            return known.offer(root)
    return next((x.offer(root) for x in public_recordings() if reader and x.alone == reader), "")


def missing(reader: str, root: Path, found: str) -> FileNotFoundError:
    """The error for recordings that are not there; it ends in how to get them, where known.

    Args:
        reader: Name of the class that looked for them.
        root: Folder of the data set.
        found: What was looked for, and what to do, as a sentence.
    """
    return FileNotFoundError(
        " ".join(filter(None, [f"{reader}: {found}", how_to_get(root, reader)]))
    )
