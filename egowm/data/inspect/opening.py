"""The format of a folder of recordings, and its data module."""

from collections import Counter
from pathlib import Path

from egowm import data as formats
from egowm.checks import counted
from egowm.data.inspect.signs import ROVER, SIGNS, check_is_folder, format_of, tables_of
from egowm.data.lerobot_index import read_info
from egowm.data.module import ClipData, Window
from egowm.data.table_columns import Columns
from egowm.data.videos import is_video

SPLITS = ("train", "val", "test")
MOST = 4  # kinds of files, and folders, that a message lists


def open_folder(path: Path, columns: Columns = Columns()) -> ClipData:
    """The data module for a folder of recordings, with its format's defaults.

    columns: of tables beside videos, see `VideoCSV`.

    Raises FileNotFoundError for a missing path, ValueError for a folder of no known format.
    """
    check_is_folder(path)
    found = _without_tables(path)
    if found is not None and columns != Columns():
        raise ValueError(
            f"{path}: --kind, --actions and --time are for columns of tables beside videos "
            f"(VideoCSV); this is {type(found).__name__}, which knows what its actions are. Leave "
            f"them out."
        )
    if found is not None:
        return found
    if (path / ROVER).is_file():
        raise ValueError(
            f"{path}: a rover's log. Turn it into a folder that is read: "
            f"egowm data convert {path} OUTPUT."
        )
    if tables_of(path):
        return formats.VideoCSV(
            str(path), actions=columns.actions, kind=columns.kind, time=columns.time
        )
    raise ValueError(
        f"{path}: no format was recognised. Looked for {_looked_for()}; found {_found(path)}. "
        f"Give the folder that holds the recordings, or a recipe that names its data class; "
        f"docs/data.md shows the layout of each format."
    )


def _without_tables(path: Path) -> ClipData | None:
    """Of a folder whose format needs no word about columns; None where it is of no such format."""
    if name := format_of(path):
        return _lerobot(path) if name == "LeRobot" else _plain(name, path)
    if not tables_of(path) and any(map(is_video, path.rglob("*"))):
        return formats.Videos(str(path), Window())
    return None


def _plain(name: str, path: Path) -> ClipData:
    """Of a class of egowm.data, by its defaults."""
    data: ClipData = getattr(formats, name)(str(path), Window())
    return data


def _lerobot(path: Path) -> ClipData:
    """Of a LeRobot folder, whose action and state may be split into parts: those are joined."""
    features = read_info(path)["features"]

    def whole(name: str) -> str:
        split = name not in features and any(key.startswith(f"{name}.") for key in features)
        return f"{name}.*" if split else name

    how = {"action": whole("action"), "state": whole("observation.state")}
    if how["state"] not in (*features, "observation.state.*"):
        how["state"] = ""  # it holds none
    return formats.LeRobot(str(path), Window(), **how)  # type: ignore[arg-type]


def _looked_for() -> str:
    """The files that tell each format."""
    signs = [f"{' or '.join(files)} ({name})" for name, files in SIGNS.items()]
    return ", ".join([*signs, "*.csv beside videos (VideoCSV)", "videos at any depth (Videos)"])


def _found(path: Path) -> str:
    """What lies in a folder, a few words."""
    inside = [entry for entry in path.iterdir() if entry.name[0] != "."]
    folders = sorted(entry.name for entry in inside if entry.is_dir())
    kinds = Counter(entry.suffix.lower() or entry.name for entry in inside if entry.is_file())
    parts = [f"{count} of *{kind}" for kind, count in kinds.most_common(MOST)]
    if folders:
        listed = ", ".join(folders[:MOST]) + (", ..." if folders[MOST:] else "")
        parts.append(f"{counted(len(folders), 'folder')} ({listed})")
    return ", ".join(parts) or "nothing"
