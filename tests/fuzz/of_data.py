"""Targets: the formats of recordings, as training and `egowm data` read them."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.data.forms import FORMS, recordings
from egowm.commands.main import guarded, main
from egowm.data import ClipData, ImaginedWriter, LeRobot, LitData, Packed, Rooms, Window
from egowm.data.lit_packing import pack_litdata
from tests.data.convert.test_convert import write_rover
from tests.data.convert.test_ros_bag import write_bag
from tests.fuzz.place import Place, Target, command

WINDOW = Window(context=1, horizon=2, height=16, width=16)


def made(form: str) -> Callable[[Place], None]:
    """Writes two recordings of 8 frames."""
    return lambda place: FORMS[form].write(place.inputs / "data", recordings(2, 8, 16, 0))


def trained_on(form: str) -> Callable[[Place], int]:
    return lambda place: read(lambda: FORMS[form].open(str(place.inputs / "data"), WINDOW))


def read(open_data: Callable[[], ClipData]) -> int:
    """What a training takes: the range of the actions, and clips."""

    def work() -> int:
        data = open_data()
        assert data.spec.width
        clips = data.windows("train", tiled=True)
        for number in {0, len(clips) - 1} & set(range(len(clips))):
            assert clips[number].frames.shape[1] == 3
        return 0

    return guarded("egowm", work)


def data(verb: str, *more: str, name: str = "data") -> Callable[[Place], int]:
    """`egowm data VERB` on the input."""
    return command(main, "data", verb, f"IN/{name}", *more)


def rooms(root: Path) -> Rooms:
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1}
    return Rooms(str(root), WINDOW, num_frames=4, **counts)


def make_pack(place: Place) -> None:
    source = place.kept / "packed from"
    FORMS["NWM"].write(source, recordings(2, 8, 16, 0))
    words = [str(source), str(place.inputs / "pack"), "--height", "16", "--width", "16"]
    assert main(["data", "pack", *words, "--workers", "1"]) == 0


def make_bucket(place: Place) -> None:
    pack_litdata(rooms(place.kept / "rooms"), place.inputs / "lit", (16, 16), progress=False)


def make_deleted(place: Place) -> None:
    """Imagined episodes, LeRobot's layout 3.0, of which one is taken out of the index; tables and
    videos still hold it."""
    import torch
    from pyarrow import parquet

    spec = rooms(place.kept / "rooms").meaning
    with ImaginedWriter(place.inputs / "data", spec) as writer:
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            pixels = torch.rand(8, 3, 16, 16, generator=generator)
            actions = torch.rand(7, spec.width, generator=generator)
            writer.add_rollout(pixels[:1], pixels[1:], actions)
    (file,) = (place.inputs / "data/meta/episodes").rglob("*.parquet")
    parquet.write_table(parquet.read_table(file).slice(1), file)


def bag(kind: str) -> Target:
    name = "drive.bag" if kind == "ros1" else "drive"
    return Target(
        lambda place: write_bag(place.inputs / name, kind, seconds=3),
        data("convert", "OUT/nwm", name=name),
    )


KINDS = {"VideoCSV": ("--kind=pose",)}  # of columns that are asked about
ALL = {"val_share": 0.0, "test_share": 0.0}
PACKED = ("OUT/pack", "--height", "16", "--width", "16", "--workers", "1")
TARGETS = {
    **{f"read {form}": Target(made(form), trained_on(form)) for form in FORMS},
    **{
        f"data check {form}": Target(made(form), data("check", "--workers=1", *KINDS.get(form, ())))
        for form in FORMS
    },
    "data stats": Target(made("VideoCSV"), data("stats", "-o", "OUT/spec.json", "--kind=pose")),
    "data show": Target(made("DonkeyTub"), data("show", "-o", "OUT/sheet.png")),
    "data pack": Target(made("LeRobot"), data("pack", *PACKED), leaves=r"^pack/"),
    "data convert rover": Target(
        lambda place: write_rover(place.inputs / "log", n=30),
        data("convert", "OUT/nwm", "--shortest", "4", name="log"),
    ),
    "data convert ROS 1": bag("ros1"),
    "data convert ROS 2 sqlite": bag("sqlite3"),
    "data convert ROS 2 mcap": bag("mcap"),
    "read Packed": Target(
        make_pack, lambda place: read(lambda: Packed(str(place.inputs / "pack"), WINDOW))
    ),
    "read LitData": Target(
        make_bucket, lambda place: read(lambda: LitData(str(place.inputs / "lit"), WINDOW))
    ),
    "read LeRobot, deleted episode": Target(
        make_deleted,
        lambda place: read(lambda: LeRobot(str(place.inputs / "data"), WINDOW, state="", **ALL)),
    ),
    "read Rooms": Target(
        lambda place: rooms(place.inputs / "rooms").prepare_data(),
        lambda place: read(lambda: rooms(place.inputs / "rooms")),
        mends="^rooms",
    ),
}
