"""The format of a folder of recordings, and its data module."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from egowm import data as formats
from egowm.checks import counted
from egowm.data.lerobot_index import read_info
from egowm.data.module import ClipData, Window
from egowm.data.one_x import TRAIN, VAL
from egowm.data.packed import INDEX
from egowm.data.public_recordings import how_to_get
from egowm.data.videos import is_video

# What tells a folder's format, in the order asked.
SIGNS: tuple[tuple[Callable[..., ClipData], tuple[str, ...]], ...] = (
    (formats.Packed, (INDEX,)),
    (formats.LitData, ("frames/index.json",)),
    (formats.LeRobot, ("meta/info.json",)),
    (formats.DonkeyTub, ("manifest.json",)),
    (formats.OneX, (TRAIN, VAL)),
    (formats.Droid, ("annotation/*/*.json",)),
    (formats.TumRgbd, ("groundtruth.txt", "*/groundtruth.txt")),
    (formats.NWM, ("*/traj_data.pkl",)),
    (formats.Recon, ("*.hdf5",)),
)
SPLITS = ("train", "val", "test")
MOST = 4  # kinds of files, and folders, that a message lists


def open_folder(path: Path, kind: str | None = None) -> ClipData:
    """The data module for a folder of recordings, with its format's defaults.

    kind: what the columns of tables beside videos hold, see `VideoCSV`.

    Raises FileNotFoundError for a missing path, ValueError for a folder of no known format.
    """
    if not path.is_dir():
        expected = f"{path}: expected a folder of recordings or a recipe (.yaml)."
        raise FileNotFoundError(f"{expected} {how_to_get(path)}".strip())
    found = _without_tables(path)
    if found is not None and kind is not None:
        raise ValueError(
            f"{path}: --kind {kind} is for columns of tables beside videos (VideoCSV); this is "
            f"{type(found).__name__}, which knows what its actions are. Leave --kind out."
        )
    if found is not None:
        return found
    if (path / "robot_log.csv").is_file():
        raise ValueError(
            f"{path}: a rover's log. Turn it into a folder that is read: "
            f"egowm data convert {path} OUTPUT."
        )
    if next(path.glob("*.[cC][sS][vV]"), None):
        return formats.VideoCSV(str(path), Window(), kind=kind)  # type: ignore[arg-type]
    raise ValueError(
        f"{path}: no format was recognised. Looked for {_looked_for()}; found {_found(path)}. "
        f"Give the folder that holds the recordings, or a recipe that names its data class; "
        f"docs/data.md shows the layout of each format."
    )


def _without_tables(path: Path) -> ClipData | None:
    """Of a folder whose format needs no word about columns; None where it is of no such format."""
    for data, signs in SIGNS:
        if any(next(path.glob(sign), None) for sign in signs):
            return _lerobot(path) if data is formats.LeRobot else data(str(path), Window())
    tables = next(path.glob("*.[cC][sS][vV]"), None)
    if not tables and any(map(is_video, path.rglob("*"))):
        return formats.Videos(str(path), Window())
    return None


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
    signs = [f"{' or '.join(files)} ({data.__name__})" for data, files in SIGNS]  # type: ignore[attr-defined]
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
