import errno
import io
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections import OrderedDict
from pathlib import Path

import av
import numpy as np
import pytest

from egowm import video, video_file
from egowm.video import VideoError
from tests.h264 import write_h264


def ramp(n: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Frame k is a colour gradient plus 10 k in red, so that frames, axes and channels differ."""
    frames = np.zeros((n, height, width, 3), np.uint8)
    frames[..., 0] = 10 * np.arange(n)[:, None, None]
    frames[..., 1] = np.linspace(0, 200, height)[None, :, None]
    frames[..., 2] = np.linspace(0, 200, width)[None, None, :]
    return frames


def write_pictures(folder: Path, frames: np.ndarray, names: list[str]) -> None:
    from PIL import Image

    folder.mkdir()
    for frame, name in zip(frames, names, strict=True):
        Image.fromarray(frame).save(folder / name)


def test_png_round_trip_is_exact(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (12, 5, 7, 3), np.uint8)
    video.write_frames(tmp_path / "run" / "clip", frames)
    assert [p.name for p in video.picture_paths(tmp_path / "run/clip")][-1] == "00011.png"
    assert np.array_equal(video.read_frames(tmp_path / "run/clip"), frames)
    assert np.array_equal(video.read_frames(tmp_path / "run/clip", [7, 0, 7]), frames[[7, 0, 7]])
    assert video.count_frames(tmp_path / "run/clip") == 12
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["clip"]


def test_folder_order_is_natural_and_formats_mix(tmp_path: Path) -> None:
    frames = ramp(4)
    names = ["f10.bmp", "f2.png", "f1.webp", "f9.jpg"]
    write_pictures(tmp_path / "clip", frames, names)
    (tmp_path / "clip" / "._f1.png").write_bytes(b"not a picture")
    (tmp_path / "clip" / "notes.txt").write_text("x")
    red = video.read_frames(tmp_path / "clip")[..., 0].mean((1, 2))
    np.testing.assert_allclose(red, [20, 10, 30, 0], atol=3)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_picture_bytes_give_rgb(tmp_path: Path, ending: str) -> None:
    frame = ramp(3)[2]
    write_pictures(tmp_path / "p", frame[None], [f"a.{ending}"])
    back = video.decode_image((tmp_path / "p" / f"a.{ending}").read_bytes())
    # 4:2:0 chroma and two roundings cost some levels; swapped channels would cost 90
    assert np.abs(back.astype(int) - frame).mean() < (0.5 if ending in ("png", "bmp") else 4)


def test_palette_and_transparent_pictures_become_rgb(tmp_path: Path) -> None:
    from PIL import Image

    frame = np.full((4, 6, 3), (200, 30, 90), np.uint8)
    Image.fromarray(frame).quantize(4).save(tmp_path / "palette.png")
    Image.fromarray(frame).convert("RGBA").save(tmp_path / "alpha.png")
    assert np.array_equal(video.read_image(tmp_path / "palette.png"), frame)
    assert np.array_equal(video.read_image(tmp_path / "alpha.png"), frame)


def png(depth: int, kind: int, rows: np.ndarray) -> bytes:
    """A PNG of 24 rows of bytes; depth: bits a value, kind: 0 grey, 2 RGB, 4 and 6 with alpha."""
    width = rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 4: 2, 6: 4}[kind])
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [b"IHDR" + header, b"IDAT" + data, b"IEND"]
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(picture, **options) -> bytes:
    """A Pillow picture as PNG."""
    out = io.BytesIO()
    picture.save(out, "PNG", **options)
    return out.getvalue()


def turned(picture, orientation: int) -> bytes:
    exif = picture.getexif()
    exif[0x112] = orientation
    return saved(picture, exif=exif)


def kinds_of_png() -> dict[str, bytes]:
    """Noise in every form that PNG has."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (24, 96), np.uint8)
    colour = Image.fromarray(noise.reshape(24, 32, 3))
    palette = colour.quantize(16)
    return {
        **{f"grey of {bits} bits": png(bits, 0, noise) for bits in (1, 2, 4, 8, 16)},
        **{f"grey and alpha of {bits} bits": png(bits, 4, noise) for bits in (8, 16)},
        **{f"RGB of {bits} bits": png(bits, 2, noise) for bits in (8, 16)},
        **{f"RGB and alpha of {bits} bits": png(bits, 6, noise) for bits in (8, 16)},
        **{f"orientation {k}": turned(colour, k) for k in range(1, 9)},
        "palette": saved(palette),
        "palette of 4 bits": saved(palette, bits=4),
        "palette, a colour transparent": saved(palette, transparency=3),
        "palette with alpha": saved(palette, transparency=bytes(range(16))),
        "RGB, a colour transparent": saved(colour, transparency=(1, 2, 3)),
        "grey, a colour transparent": saved(colour.convert("L"), transparency=3),
        "animated": saved(colour, save_all=True, append_images=[palette]),
        "followed by bytes": saved(colour) + b"more",
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", kinds_of_png())
def test_every_kind_of_png_has_the_colours_that_opencv_reads(kind: str) -> None:
    """Both drop transparency, shorten 16 bits to the upper 8, and turn what EXIF says is turned."""
    import cv2

    data = kinds_of_png()[kind]
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    found = video.decode_image(data)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("write", [video.write_mp4, write_h264])
@pytest.mark.parametrize("reader", ["decord", "PyAV"])
def test_video_file_by_either_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, write
) -> None:
    if reader == "decord":
        pytest.importorskip("decord")
    monkeypatch.setattr(video_file, "has_decord", lambda: reader == "decord")
    path, frames = tmp_path / "clip.mp4", ramp(20, 32, 48)
    write(path, frames, fps=4)
    assert video.count_frames(path) == 20
    assert video.video_rate(path) == 4
    back = video.read_frames(path).astype(int)
    assert back.shape == frames.shape
    assert np.abs(back - frames).mean() < 4
    assert np.array_equal(video.read_frames(path, [13, 2, 13, 0]), back[[13, 2, 13, 0]])
    with pytest.raises(VideoError, match=r"clip\.mp4: frame 20 is out of range, it holds 0 to 19"):
        video.read_frames(path, [0, 20])
    with pytest.raises(VideoError, match="frame -1 is out of range"):
        video.read_frames(path, [-1])


def test_decoders_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    path = tmp_path / "clip.mp4"
    video.write_mp4(path, ramp(20), fps=4)
    by_decord = video.read_frames(path, [3, 17]).astype(int)
    monkeypatch.setattr(video_file, "has_decord", lambda: False)
    video_file._kept_readers().clear()
    assert np.abs(video.read_frames(path, [3, 17]) - by_decord).max() <= 2


@pytest.mark.parametrize("has_decord", [True, False])
def test_corrupt_video_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_decord: bool
) -> None:
    if has_decord:
        pytest.importorskip("decord")
    monkeypatch.setattr(video_file, "has_decord", lambda: has_decord)
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 500)
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        video.read_frames(tmp_path / "bad.mp4")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        video.count_frames(tmp_path / "bad.mp4")


def test_odd_mp4_keeps_every_pixel(tmp_path: Path) -> None:
    video.write_mp4(tmp_path / "odd.mp4", ramp(3, 23, 31), fps=2.5)
    assert video.read_frames(tmp_path / "odd.mp4").shape == (3, 24, 32, 3)


def test_webp_is_animated_at_the_given_rate() -> None:
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(video.webp_bytes(ramp(5), fps=4.0, quality=90)))
    assert (picture.n_frames, picture.size, picture.info["loop"]) == (5, (32, 24), 0)
    picture.seek(3)
    picture.load()  # sets the duration
    assert picture.info["duration"] == 250
    assert abs(np.asarray(picture.convert("RGB"))[..., 0].mean() - 30) < 4


def test_unreadable_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="nowhere: no such file or folder"):
        video.read_frames(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: no pictures here, expected one of \.png"):
        video.read_frames(tmp_path / "empty")
    write_pictures(tmp_path / "p", ramp(1), ["0.png"])
    with pytest.raises(VideoError, match="expected a folder of pictures or a video, got one"):
        video.read_frames(tmp_path / "p/0.png")
    with pytest.raises(VideoError, match="expected at least one frame"):
        video.read_frames(tmp_path / "p", [])


def test_frames_of_two_sizes_name_both_files(tmp_path: Path) -> None:
    from PIL import Image

    write_pictures(tmp_path / "clip", ramp(2), ["0.png", "1.png"])
    Image.fromarray(ramp(1, 10, 12)[0]).save(tmp_path / "clip/2.png")
    with pytest.raises(VideoError, match=r"0\.png is 32x24, 2\.png is 12x10"):
        video.read_frames(tmp_path / "clip")


@pytest.mark.parametrize("behind", [b"\xff\xda", bytes(99), b"\xff\xd9 and \xff\xda", b"\xff\xd8"])
def test_what_a_phone_writes_behind_a_jpeg_is_left_alone(behind: bytes) -> None:
    """Such as the film of a moving photo, in which any bytes occur."""
    data = video.encode_image(np.full((16, 16, 3), 90, np.uint8), ".jpg")
    np.testing.assert_array_equal(video.decode_image(data + behind), video.decode_image(data))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_cut_picture_is_an_error(tmp_path: Path, ending: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    write_pictures(tmp_path / "clip", noise[None], [f"7.{ending}"])
    file = tmp_path / "clip" / f"7.{ending}"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(VideoError, match=rf"7\.{ending}: not a readable picture"):
        video.read_frames(tmp_path / "clip")


def test_writing_replaces_frames_only(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    video.write_frames(folder, ramp(5))
    video.write_frames(folder, ramp(2))
    assert video.count_frames(folder) == 2
    (folder / "notes.txt").write_text("keep me")
    with pytest.raises(VideoError, match=r"holds 'notes\.txt' besides numbered frames"):
        video.write_frames(folder, ramp(3))
    assert video.count_frames(folder) == 2


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video.write_frames(tmp_path / "old", ramp(2))
    write, calls = Path.write_bytes, []

    def fail_later(file: Path, data: bytes) -> int:
        calls.append(file)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        return write(file, data)

    monkeypatch.setattr(Path, "write_bytes", fail_later)
    for name in ("new", "old"):
        calls.clear()
        with pytest.raises(OSError, match=r"No space left on device.*00002\.png"):
            video.write_frames(tmp_path / name, ramp(4))
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert video.count_frames(tmp_path / "old") == 2


def test_a_video_that_the_disk_cut_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    video.write_mp4(file, ramp(2), 4)
    before = file.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, old[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*a\.mp4"):
            video.write_mp4(file, ramp(20), 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 3, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((0, 4, 4, 3), np.uint8),
    ],
)
def test_wrong_frames_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    for write in (
        lambda: video.write_frames(tmp_path / "a", frames),
        lambda: video.write_mp4(tmp_path / "a.mp4", frames, 4),
        lambda: video.webp_bytes(frames, 4),
        lambda: video.resize(frames, 2, 2),
    ):
        with pytest.raises(VideoError, match=r"expected frames \(n, H, W, 3\) uint8"):
            write()
    assert not list(tmp_path.iterdir())


def test_rate_and_size_are_positive(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"fps from 0\.01 to 1000, got 0"):
        video.write_mp4(tmp_path / "a.mp4", ramp(2), 0)
    with pytest.raises(VideoError, match="got 0 x 4"):
        video.resize(ramp(2), 0, 4)


def test_shrinking_averages_blocks() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 12, 18, 3), np.uint8)
    blocks = frames.reshape(2, 4, 3, 6, 3, 3).astype(float).mean((2, 4))
    assert np.abs(video.resize(frames, 4, 6) - blocks).max() <= 0.5 + 1e-6
    stripes = np.zeros((1, 8, 8, 3), np.uint8)
    stripes[:, :, ::2] = 200
    assert (video.resize(stripes, 8, 4) == 100).all()  # sampled instead, it would be 0 or 200


def test_growing_is_linear_and_each_axis_its_own() -> None:
    frames = ramp(1, 8, 8)
    assert video.resize(frames, 8, 8) is frames
    row = video.resize(frames, 4, 16)[0, 0, :, 2].astype(int)
    assert (np.diff(row) >= 0).all()
    assert (row[0], row[-1]) == (0, 200)
    green = video.resize(frames, 4, 16)[0, :, 5, 1]
    np.testing.assert_allclose(green, frames[0, :, 0, 1].reshape(4, 2).mean(1), atol=0.51)


@pytest.mark.parametrize("size", [(12, 18), (4, 6), (20, 40), (6, 40), (1, 1)])
def test_planes_are_the_resized_frames(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 12, 18, 3), np.uint8)
    last = np.asfortranarray(frames)  # as a transposed view: OpenCV has to copy it
    for given in (frames, last):
        out = np.full((3, 3, *size), 77, np.uint8)
        video.write_planes(given, out)
        assert np.array_equal(out.transpose(0, 2, 3, 1), video.resize(frames, *size))


def test_planes_need_room() -> None:
    frames = ramp(3, 8, 8)
    for out in (np.zeros((2, 3, 8, 8), np.uint8), np.zeros((3, 8, 8, 3), np.uint8)):
        with pytest.raises(VideoError, match="expected room for 3 frames"):
            video.write_planes(frames, out)
    with pytest.raises(VideoError, match="expected room for 3 frames"):
        video.write_planes(frames, np.zeros((3, 3, 8, 16), np.uint8)[..., ::2])


def test_crop_keeps_the_middle_and_the_shape_of_things() -> None:
    frames = np.zeros((1, 30, 60, 3), np.uint8)
    frames[:, :, 15:45] = 255
    assert (video.resize(frames, 10, 10, crop=True) == 255).all()
    assert video.resize(frames, 10, 10)[0, 5, 0, 0] == 0
    tall = frames.transpose(0, 2, 1, 3)
    assert (video.resize(tall, 10, 10, crop=True) == 255).all()


def test_import_is_light() -> None:
    code = (
        "import sys, egowm.video; "
        "print([m for m in ('cv2', 'torch', 'PIL', 'decord') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.skipif(not video_file.has_decord(), reason="decord has no wheel here")
def test_frames_come_where_another_package_set_decords_bridge(tmp_path: Path) -> None:
    """stable-worldmodel sets it for the whole process when it opens a video."""
    import decord

    file = tmp_path / "a.mp4"
    video.write_mp4(file, np.full((4, 32, 32, 3), 90, np.uint8), 10)
    expected = video.read_frames(file, [1, 3])
    decord.bridge.set_bridge("torch")
    try:
        found = video.read_frames(file, [1, 3])
    finally:
        decord.bridge.set_bridge("native")
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected)


FORKED = """
import multiprocessing, sys
from egowm import video
expected = video.read_frames(sys.argv[1], [7, 1])
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert (pool.apply(video.read_frames, (sys.argv[1], [7, 1])) == expected).all()
"""


@pytest.mark.long
@pytest.mark.skipif(not video_file.has_decord(), reason="decord has no wheel here")
def test_a_video_that_stays_open_shows_the_same_frames(tmp_path: Path) -> None:
    """In any order, beside others, more of them than stay open, in another process, replaced."""
    files = [tmp_path / f"{k}.mp4" for k in range(video_file.KEPT_OPEN + 2)]
    for k, file in enumerate(files):
        video.write_mp4(file, np.roll(ramp(20), k, 0), 10)
    rng = np.random.default_rng(0)
    for _ in range(60):
        file, start = files[rng.integers(len(files))], int(rng.integers(17))
        found = video.read_frames(file, range(start, start + 3))
        kept, video_file._THREAD.readers = video_file._THREAD.readers, OrderedDict()
        np.testing.assert_array_equal(found, video.read_frames(file, range(start, start + 3)))
        video_file._THREAD.readers = kept
    for file in files:
        video.read_frames(file, [5, 2])
    assert len(video_file._kept_readers()) == video_file.KEPT_OPEN
    expected = video.read_frames(files[-1], [7, 1])
    # In a fresh process: a fork of one with many threads may wait for what they hold.
    subprocess.run([sys.executable, "-c", FORKED, files[-1]], check=True, timeout=60)
    video.write_mp4(files[-1], 255 - ramp(9), 10)
    assert np.abs(video.read_frames(files[-1], [7, 1]).astype(int) - expected).mean() > 20
    assert video.count_frames(files[-1]) == 9


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", "café.mp4".encode(), b"a b.mp4"])
def test_an_mp4_of_any_name_plays_in_a_browser(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    video.write_mp4(path, ramp(5), fps=4)
    assert [os.fsencode(found) for found in os.listdir(tmp_path)] == [name]
    assert len(video.read_frames(path)) == 5
    with av.open(path.open("rb")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].pix_fmt == "yuv420p"
