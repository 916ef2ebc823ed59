"""The format of a folder of recordings, and its data module."""

from collections.abc import Callable
from pathlib import Path

from egowm import data as formats
from egowm.data.module import ClipData, Window
from egowm.data.one_x import TRAIN, VAL
from egowm.data.packed import INDEX

# What tells a folder's format, in the order asked.
SIGNS: tuple[tuple[Callable[..., ClipData], tuple[str, ...]], ...] = (
    (formats.Packed, (INDEX,)),
    (formats.LeRobot, ("meta/info.json",)),
    (formats.DonkeyTub, ("manifest.json",)),
    (formats.OneX, (TRAIN, VAL)),
    (formats.Droid, ("annotation/*/*.json",)),
    (formats.TumRgbd, ("groundtruth.txt", "*/groundtruth.txt")),
    (formats.NWM, ("*/traj_data.pkl",)),
    (formats.Recon, ("*.hdf5",)),
)
SPLITS = ("train", "val", "test")


def open_folder(path: Path) -> ClipData:
    """The data module for a folder of recordings, with its format's defaults.

    Raises FileNotFoundError for a missing path, ValueError for a folder of no known format.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder of recordings or a recipe (.yaml).")
    for data, signs in SIGNS:
        if any(next(path.glob(sign), None) for sign in signs):
            return data(str(path), Window())
    if (path / "robot_log.csv").is_file():
        raise ValueError(
            f"{path}: a rover's log. Turn it into a folder that is read: "
            f"egowm data convert {path} OUTPUT."
        )
    if next(path.glob("*.[cC][sS][vV]"), None):
        return formats.VideoCSV(str(path), Window())
    known = ", ".join(data.__name__ for data, _ in SIGNS)  # type: ignore[attr-defined]
    raise ValueError(
        f"{path}: no format was recognised ({known}, VideoCSV). Give the folder that holds the "
        f"recordings, or a recipe that names its data class."
    )
