"""Every writer of the package, killed at its steps and out of space: whole, or as it was.

A child process writes over an earlier result, and is killed (`kill -9`), or told that the disk is
full or read-only, at one step of its writes after another. Steps are what Python's audit sees:
files that are opened for writing, renamed and removed, and folders; and each wait for the disk.
"""

import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from egowm import video
from egowm.commands.main import explain
from tests.forks import forks

STEPS = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.truncate"}
MOST = 6  # steps that are tried, of each writer
SECONDS = 60  # after which a child that hangs is ended

FRAMES = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)


class Writer(NamedTuple):
    """write: puts version 1 or 2 into a folder. read: what is there, by the public reader."""

    write: Callable[[Path, int], Any]
    read: Callable[[Path], Any]


def frames(version: int) -> np.ndarray:
    return FRAMES // version


def write_checkpoint(root: Path, version: int) -> None:
    import torch

    from egowm.training.checkpoints import write_checkpoint

    write_checkpoint({"n": version, "w": torch.full((9,), float(version))}, root / "step=1.ckpt")


def read_checkpoint(root: Path) -> Any:
    from egowm.training.checkpoints import newest, read_checkpoint

    found = read_checkpoint(newest(root) or root)
    return found["n"], found["w"].tolist()


def keep_checkpoints(root: Path, version: int) -> None:
    import torch

    from egowm.training.checkpoints import RunCheckpoint, write_checkpoint

    trainer: Any = SimpleNamespace(global_step=version, fast_dev_run=False, is_global_zero=True)
    trainer.save_checkpoint = lambda path: write_checkpoint(
        {"n": version, "w": torch.ones(3)}, path
    )
    RunCheckpoint(root).on_train_end(trainer, None)  # type: ignore[arg-type]


def show_pictures(root: Path, version: int) -> None:
    from egowm.training.pictures import RolloutPictures

    trainer: Any = SimpleNamespace(default_root_dir=root, global_step=1, loggers=[])
    RolloutPictures()._show(trainer, frames(version)[0], frames(version), 4.0)


def record_run(root: Path, version: int) -> None:
    from egowm.training.run_record import RunRecord

    RunRecord(root, ["fit", str(version)], {}).finish()


def describe_actions(root: Path, version: int) -> None:
    from egowm.actions import ActionSpec

    spec = ActionSpec(("x",), ("m",), "body", "difference", float(version), (-1.0,), (1.0,))
    spec.save(root / "spec.json")


def cache_tracks(root: Path, version: int) -> None:
    from egowm.scs.cache import CachedTracker
    from egowm.scs.trackers.simple import CopyTracker

    masks = np.ones((1, 16, 16), bool)
    CachedTracker(CopyTracker(), root / "tracks").track(frames(version), masks)


def write_run(root: Path, version: int) -> None:
    import torch

    from egowm.actions import ActionSpec
    from egowm.clip import Clip
    from egowm.evaluation.run_writer import new_run

    spec = ActionSpec(("x",), ("m",), "body", "difference", 4.0, (-1.0,), (1.0,))
    pixels = torch.from_numpy(frames(version).transpose(0, 3, 1, 2).copy())[None]
    none = torch.zeros(1, 0)
    clip: Any = Clip(pixels, torch.zeros(1, 2, 1), none, none, [""], ["rooms"], ["a"])  # type: ignore
    with new_run(root / "run", spec, "rooms", "model", {"pred": "model"}) as run:
        run.truth(clip, 0)
        run.annotation("a", np.ones((16, 16), np.uint8))
        run.finish(str(version))


def read_run(root: Path) -> Any:
    from egowm.evaluation.run_writer import RUN
    from egowm.files import check_folder

    check_folder(root / "run", RUN, force=True)  # as the next command does
    title = json.loads((root / "run/clips.json").read_text())["title"]
    return title, video.read_frames(root / "run/gt/a").tobytes()


def files_of(root: Path) -> dict[str, bytes]:
    """For formats whose readers are tested elsewhere."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(p): p.read_bytes() for p in found if ".egowm-" not in str(p)}


def text_of(name: str) -> Callable[[Path], Any]:
    return lambda root: json.loads((root / name).read_text())


def of_scs(root: Path, version: int) -> None:
    from egowm.scs.result import write_whole

    write_whole(root / "scs.json", json.dumps({"scs": version}))


def draw_sheet(root: Path, version: int) -> None:
    from egowm.data.inspect.contact_sheet import write_sheet

    write_sheet(root / "sheet.png", frames(version)[0])


def write_sums(root: Path, version: int) -> None:
    from egowm.checksums import write_sums

    write_sums(root, {"frames-0/00000.npy": f"{version:064x}"})


def read_sums(root: Path) -> Any:
    from egowm.checksums import read_sums

    return read_sums(root)


def write_shard(root: Path, version: int) -> None:
    import torch

    from egowm.training.latents.shards import save_shard

    save_shard({"latents": torch.full((4,), float(version))}, root / "0.safetensors", "key")


def read_shard(root: Path) -> Any:
    from safetensors.torch import load_file

    from egowm.training.latents.shards import damage

    file = root / "0.safetensors"
    return damage(file, "key", thorough=True), load_file(file)["latents"].tolist()


def draw_room(root: Path, version: int) -> None:
    """A room is drawn once; version 2 draws another beside it."""
    from egowm.worlds.motion import Disturbances
    from egowm.worlds.store import make_recording

    make_recording(root, "robot", 2, (8, 8), Disturbances(), "", version)


WRITERS = {
    "frames": Writer(
        lambda root, version: video.write_frames(root / "clip", frames(version)),
        lambda root: video.read_frames(root / "clip").tobytes(),
    ),
    "picture": Writer(
        lambda root, version: video.write_image(root / "a.png", frames(version)[0]),
        lambda root: video.read_image(root / "a.png").tobytes(),
    ),
    "mp4": Writer(
        lambda root, version: video.write_mp4(root / "clip.mp4", frames(version), 4),
        lambda root: video.read_frames(root / "clip.mp4").tobytes(),
    ),
    "checkpoint": Writer(write_checkpoint, read_checkpoint),
    "checkpoints of a run": Writer(keep_checkpoints, read_checkpoint),
    "pictures of a run": Writer(show_pictures, files_of),
    "record of a run": Writer(record_run, lambda root: text_of("run.json")(root)["command"]),
    "action spec": Writer(describe_actions, text_of("spec.json")),
    "cache of tracks": Writer(cache_tracks, files_of),
    "run of clips": Writer(write_run, read_run),
    "scores": Writer(of_scs, text_of("scs.json")),
    "sheet": Writer(draw_sheet, files_of),
    "checksums of a pack": Writer(write_sums, read_sums),
    "shard of latents": Writer(write_shard, read_shard),
    "room": Writer(draw_room, files_of),
}


class Ended(NamedTuple):
    """How a child ended."""

    killed: bool
    steps: int
    line: str | None  # of its error, as the command prints it; "" where it ended well


def in_child(
    name: str, root: Path, version: int, at: int = 0, fault: int = 0, limit: int = 0
) -> Ended:
    """Write in a process that is killed before step `at`, or meets an error from there on.

    fault: the system's number of it. limit: bytes that a file may have.
    """
    reading, writing = forks().Pipe(duplex=False)
    child = forks().Process(target=_write, args=(name, root, version, at, fault, limit, writing))
    child.start()
    writing.close()
    try:
        steps, line = reading.recv()
    except EOFError:
        steps, line = 0, None
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return Ended(child.exitcode != 0, steps, line)


def _write(
    name: str, root: Path, version: int, at: int, fault: int, limit: int, writing: Connection
) -> None:
    """In the child."""
    signal.alarm(SECONDS)
    steps, told = [0], ""

    def step() -> None:
        steps[0] += 1
        if fault and steps[0] >= at > 0:
            raise OSError(fault, os.strerror(fault))
        if not fault and steps[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, given: tuple[Any, ...]) -> None:
        writes = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in STEPS) and str(given[0]).startswith(str(root)):
            if fault and event in ("os.remove", "os.rmdir"):
                return  # a full disk can be tidied
            step()

    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sync = os.fsync
    os.fsync = lambda number: (step(), sync(number))[1]  # type: ignore[assignment]
    sys.addaudithook(audit)
    try:
        WRITERS[name].write(root, version)
    except Exception as error:
        told = explain(error) or f"traceback: {error!r}"
    finally:
        writing.send((steps[0], told))
        os._exit(0)


@pytest.fixture(params=WRITERS, ids=lambda name: name.replace(" ", "_"))
def writer(request: pytest.FixtureRequest) -> str:
    return request.param


def some(count: int) -> list[int]:
    """Steps from the first to the last."""
    return sorted(set(np.linspace(1, count, min(count, MOST)).round().astype(int).tolist()))


def nothing_unfinished(root: Path) -> bool:
    return not [path for path in root.rglob(".*") if path.name != ".egowm"]


@pytest.fixture
def written(writer: str, tmp_path: Path) -> tuple[Path, Any, Any, int]:
    """A place with version 1, what is read of both, and the steps from one to the other."""
    place, other = tmp_path / "place", tmp_path / "other"
    for root in (place, other):
        root.mkdir()
        assert in_child(writer, root, 1).line == ""
    ended = in_child(writer, other, 2)
    assert ended.line == ""
    assert ended.steps > 1
    other_read = WRITERS[writer].read(other)
    (tmp_path / "other").rename(tmp_path / "done")
    if isinstance(other_read, dict):
        other_read = {k.replace(str(other), str(place)): v for k, v in other_read.items()}
    first = WRITERS[writer].read(place)
    assert first != other_read
    return place, first, other_read, ended.steps


def test_killed(writer: str, written: tuple[Path, Any, Any, int]) -> None:
    root, first, second, count = written
    kept = shutil.copytree(root, root.with_name("kept"), symlinks=True)
    for at in some(count):
        assert in_child(writer, root, 2, at).killed
        assert_one_of(WRITERS[writer].read(root), first, second)
        assert in_child(writer, root, 2).line == ""
        assert WRITERS[writer].read(root) == second
        assert nothing_unfinished(root)
        shutil.rmtree(root)
        shutil.copytree(kept, root, symlinks=True)


def assert_one_of(found: Any, first: Any, second: Any) -> None:
    """Several files of one kind come one by one; each of them is whole."""
    if isinstance(found, dict):
        assert all(value in (first.get(name), second.get(name)) for name, value in found.items())
        assert found.keys() >= first.keys()
    else:
        assert found in (first, second)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_full_or_read_only(writer: str, written: tuple[Path, Any, Any, int], fault: int) -> None:
    root, first, second, count = written
    for at in some(count):
        line = in_child(writer, root, 2, at, fault).line
        if line:  # an error in the tidying after a success is none
            assert "traceback" not in line
            assert os.strerror(fault) in line
            assert line.count("\n") == 0
        assert_one_of(WRITERS[writer].read(root), first, second)
        assert nothing_unfinished(root)


def test_file_size_limit(writer: str, written: tuple[Path, Any, Any, int]) -> None:
    root, first, second, _ = written
    for share in (0.0, 0.5, 0.9):
        largest = max(path.stat().st_size for path in root.rglob("*") if path.is_file())
        ended = in_child(writer, root, 2, limit=max(1, int(share * largest)))
        if share == 0:
            assert ended.line
        assert not (ended.line or "").startswith("traceback")
        assert_one_of(WRITERS[writer].read(root), first, second)
        assert nothing_unfinished(root)
