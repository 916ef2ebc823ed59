"""Predictions that are cut anywhere, or still being written, are not scored: the file is named."""

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.files import whole
from egowm.scs.masks import write_palette
from egowm.scs.run_lengths import encode
from egowm.video import encode_image, write_frames, write_mp4

RNG = np.random.default_rng(0)
TILES = np.kron(RNG.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
FRAMES = np.stack([np.roll(TILES, 2 * k, axis=1) for k in range(5)])
LABELS = np.zeros((5, 48, 64), np.uint8)
LABELS[:, 8:24, 8:24] = 1
CUTS = (1, 3, 0.02, 0.3, 0.7)  # bytes, or share of the file, that are lacking at its end


def container(name: str, codec: str, **options: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with av.open(str(folder / name), "w", options=options) as file:
            stream: Any = file.add_stream(codec, rate=Fraction(8))
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for frame in FRAMES:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            file.mux(stream.encode())

    return write


def pictures(ending: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "a").mkdir()
        for k, frame in enumerate(FRAMES):
            (folder / f"a/{k:05d}{ending}").write_bytes(encode_image(frame, ending))

    return write


def palettes(folder: Path) -> None:
    for k, frame in enumerate(LABELS):
        write_palette(folder / f"a/{k:05d}.png", frame)


def sav(folder: Path) -> None:
    for k, frame in enumerate(LABELS):
        write_palette(folder / f"a/001/{k:05d}.png", frame)


def run_lengths(folder: Path) -> None:
    record = {"masklet": [[encode(frame > 0)] for frame in LABELS]}
    (folder / "a.json").write_text(json.dumps(record))


FORMATS: dict[str, tuple[Callable[[Path], Any], str]] = {  # and their tracker
    "mp4": (lambda folder: write_mp4(folder / "a.mp4", FRAMES, 8), "copy"),
    "mp4 whose index comes first": (container("a.mp4", "libx264", movflags="faststart"), "copy"),
    "mp4 in pieces": (container("a.mp4", "libx264", movflags="frag_keyframe+empty_moov"), "copy"),
    "mov": (container("a.mov", "libx264"), "copy"),
    "mkv": (container("a.mkv", "libx264"), "copy"),
    "webm": (container("a.webm", "libvpx-vp9"), "copy"),
    "avi": (container("a.avi", "mpeg4"), "copy"),
    "png": (pictures(".png"), "copy"),
    "jpg": (pictures(".jpg"), "copy"),
    "webp": (pictures(".webp"), "copy"),
    "bmp": (pictures(".bmp"), "copy"),
    "palettes": (palettes, "masks"),
    "SA-V": (sav, "masks"),
    "npz": (lambda f: np.savez(f / "a.npz", masks=LABELS[:, None] > 0), "masks"),
    "npz, packed": (lambda f: np.savez_compressed(f / "a.npz", masks=LABELS[:, None] > 0), "masks"),
    "json": (run_lengths, "masks"),
}


@pytest.fixture(params=FORMATS)
def clips(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder with truth and prediction that are equal, and the command that scores them."""
    write, tracker = FORMATS[request.param]
    for folder in ("gt", "pred", "drawn"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "gt")
    write(tmp_path / "pred")
    write_palette(tmp_path / "drawn/a.png", LABELS[0])
    command = ["score", str(tmp_path / "pred"), str(tmp_path / "gt"), "--tracker", tracker]
    return tmp_path, [*command, "--annotations", str(tmp_path / "drawn")]


def test_cut_predictions_are_not_scored(clips: tuple[Path, list[str]], capsys: Any) -> None:
    root, command = clips
    assert main(command) == 0
    file = max(path for path in (root / "pred").rglob("*") if path.is_file())
    data = file.read_bytes()
    for cut in CUTS:
        lacking = cut if isinstance(cut, int) else int(cut * len(data))
        file.write_bytes(data[: len(data) - lacking])
        capsys.readouterr()
        assert main(command) == 2, f"{lacking} of {len(data)} bytes are lacking"
        told = capsys.readouterr().err.splitlines()[-1]
        assert str(file) in told, told
    file.write_bytes(data)
    assert main(command) == 0


def test_what_a_writer_left_is_refused(clips: tuple[Path, list[str]], capsys: Any) -> None:
    root, command = clips
    for folder in {path.parent for path in (root / "pred").rglob("*")}:
        left = folder / ".egowm-77-00004.png"
        left.write_bytes(b"")
        assert main(command) == 2
        assert str(left) in capsys.readouterr().err
        left.unlink()


def test_missing_frames_are_named(tmp_path: Path, capsys: Any) -> None:
    for half in ("gt", "pred"):
        write_frames(tmp_path / half / "a", FRAMES)
    (tmp_path / "pred/a/00003.png").unlink()
    write_palette(tmp_path / "drawn/a.png", LABELS[0])
    command = ["score", str(tmp_path / "pred"), str(tmp_path / "gt"), "--tracker", "copy"]
    assert main([*command, "--annotations", str(tmp_path / "drawn")]) == 2
    told = capsys.readouterr().err
    assert f"a has 5 frames in {tmp_path}/gt, 4 in {tmp_path}/pred (not in both: 3)" in told


def test_a_clip_that_is_being_written_is_refused(tmp_path: Path, capsys: Any) -> None:
    for half in ("gt", "pred"):
        write_frames(tmp_path / half / "a", FRAMES)
    write_palette(tmp_path / "drawn/a.png", LABELS[0])
    command = ["score", str(tmp_path / "pred"), str(tmp_path / "gt"), "--tracker", "copy"]
    command += ["--annotations", str(tmp_path / "drawn")]
    with whole(tmp_path / "pred/a") as temporary:
        shutil.copytree(tmp_path / "gt/a", temporary)
        assert main(command) == 2
        assert str(temporary) in capsys.readouterr().err
    assert main(command) == 0


def test_cut_scores_are_not_compared(tmp_path: Path, capsys: Any) -> None:
    for half in ("gt", "pred"):
        write_frames(tmp_path / half / "a", FRAMES)
    write_palette(tmp_path / "drawn/a.png", LABELS[0])
    command = ["score", str(tmp_path / "pred"), str(tmp_path / "gt"), "--tracker", "copy"]
    file = tmp_path / "scs.json"
    assert main([*command, "--annotations", str(tmp_path / "drawn"), "--json", str(file)]) == 0
    data = file.read_bytes()
    for lacking in (2, 3, 100, len(data) // 2, len(data)):
        file.write_bytes(data[: len(data) - lacking])
        assert main(["compare", str(file), str(file)]) == 2
        assert str(file) in capsys.readouterr().err
