"""What tells the format of a folder, without opening anything; needs no torch."""

from pathlib import Path

from egowm.data.public_recordings import how_to_get

# The files of each format, in the order asked.
SIGNS: dict[str, tuple[str, ...]] = {
    "Packed": ("pack.json",),
    "LitData": ("frames/index.json",),
    "LeRobot": ("meta/info.json",),
    "DonkeyTub": ("manifest.json",),
    "OneX": ("train_v2.0_raw", "val_v2.0_raw"),
    "Droid": ("annotation/*/*.json",),
    "TumRgbd": ("groundtruth.txt", "*/groundtruth.txt"),
    "NWM": ("*/traj_data.pkl",),
    "Recon": ("*.hdf5",),
}
ROVER = "robot_log.csv"  # of Udacity's simulator, which is converted


def check_is_folder(path: Path) -> None:
    """FileNotFoundError, which says what else to give, where a path is no folder."""
    if path.is_dir():
        return
    expected = f"{path}: expected a folder of recordings or a recipe (.yaml)."
    if path.is_file():
        raise FileNotFoundError(f"{expected} This is a file: give the folder it lies in.")
    raise FileNotFoundError(f"{expected} {how_to_get(path)}".strip())


def format_of(folder: Path) -> str | None:
    """The class that reads a folder, as far as its own files tell; None where they do not."""
    for name, signs in SIGNS.items():
        if any(next(folder.glob(sign), None) for sign in signs):
            return name
    return None


def tables_of(folder: Path) -> list[Path]:
    """The tables of a folder, in order."""
    return sorted(path for path in folder.glob("*.[cC][sS][vV]") if path.name[0] != ".")
