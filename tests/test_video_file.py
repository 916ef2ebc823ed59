"""Which frames a video file shows: each carries its number, and none stands in for another."""

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from egowm import video_file
from egowm.limits import PIXELS
from egowm.video import VideoError, count_frames, read_frames, video_rate
from egowm.video_file import frame_index, strictly
from tests.h264 import CODECS, write_h264

HEIGHT, WIDTH, BITS, COUNT = 48, 96, 6, 50
READERS = ["decord", "PyAV"]


def drawn(number: int) -> np.ndarray:
    """A frame that shows its number as black and white blocks."""
    bits = [235 if number >> bit & 1 else 20 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8), WIDTH // BITS)
    return np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def number(frame: np.ndarray) -> int:
    """What a frame shows."""
    blocks = frame.mean((0, 2)).reshape(BITS, -1)[:, 3:-3].mean(1)
    return sum((value > 128) << bit for bit, value in enumerate(blocks))


FRAMES = np.stack([drawn(k) for k in range(COUNT)])
PATTERN = np.random.default_rng(1).integers(-15, 15, (HEIGHT, WIDTH, 1))
# the same under a moving pattern: frames large enough to be damaged in part
TEXTURED = np.stack([frame + np.roll(PATTERN, k, 1) for k, frame in enumerate(FRAMES)])
TEXTURED = TEXTURED.clip(0, 255).astype(np.uint8)


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether decord is installed."""
    if request.param == "decord":
        if not video_file.has_decord():
            pytest.skip("decord has no wheel here")
    else:
        monkeypatch.setattr(video_file, "has_decord", lambda: False)
    return request.param


def assert_shows(path: Path, numbers: list[int]) -> None:
    """A file shows these frames, in order, one by one and at random."""
    assert count_frames(path) == len(numbers)
    assert [number(frame) for frame in read_frames(path)] == numbers
    order = np.random.default_rng(0).integers(len(numbers), size=40).tolist()
    assert [number(frame) for frame in read_frames(path, order)] == [numbers[k] for k in order]
    for k in order[:8]:
        assert number(read_frames(path, [k])[0]) == numbers[k]


@pytest.mark.parametrize(
    ("codec", "ending"),
    [
        *[("libx264", ending) for ending in (".mp4", ".mov", ".m4v", ".MP4", ".mkv", ".ts")],
        *[("libx265", ending) for ending in (".mp4", ".mov", ".mkv", ".ts")],
        *[(codec, ending) for codec in ("libvpx-vp9", "libsvtav1") for ending in (".mp4", ".mkv")],
    ],
)
def test_every_codec_in_every_container(tmp_path, reader, codec, ending):
    path = tmp_path / f"a{ending}"
    more = {"bf": "2"} if codec == "libx264" else {}
    write_h264(path, FRAMES, 10, codec, **more)
    assert_shows(path, list(range(COUNT)))
    assert video_rate(path) == pytest.approx(10, rel=0.01)
    times = frame_index(path).times
    np.testing.assert_allclose(times, np.arange(COUNT) / 10, atol=2e-3)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("codec", "key", "how"),
    [
        ("libx264", "x264-params", "open-gop=1:bframes=3:keyint=10"),
        ("libx264", "x264-params", "intra-refresh=1:keyint=10"),
        ("libx265", "x265-params", "open-gop=1:bframes=3:keyint=10:log-level=0"),
    ],
)
def test_frames_that_lean_on_those_before_a_key_frame(tmp_path, reader, ending, codec, key, how):
    path = tmp_path / f"a{ending}"
    write_h264(path, TEXTURED, 10, codec, **{key: how})
    whole = read_frames(path)
    assert [number(frame) for frame in whole] == list(range(COUNT))
    for k in np.random.default_rng(0).permutation(COUNT)[:10].tolist():
        os.utime(path, (k, k))  # opened anew
        np.testing.assert_array_equal(read_frames(path, [k])[0], whole[k])


def trimmed(path: Path, hidden: int) -> None:
    """Hides the first frames by the edit list, as a phone does that cuts without encoding anew."""
    data = bytearray(path.read_bytes())
    at = data.find(b"elst") + 12
    length, start = struct.unpack(">Ii", data[at : at + 8])
    scale = data.find(b"mdhd")
    ticks = struct.unpack(">I", data[scale + 16 : scale + 20])[0] // 10
    data[at : at + 8] = struct.pack(">Ii", length - hidden * 100, start + hidden * ticks)
    path.write_bytes(data)


@pytest.mark.parametrize("hidden", [1, 7, 12, 25])
def test_an_edit_list_hides_frames(tmp_path, reader, hidden):
    path = tmp_path / "a.mp4"
    write_h264(path, FRAMES, 10, bf="2")
    trimmed(path, hidden)
    assert_shows(path, list(range(hidden, COUNT)))
    assert not frame_index(path).plain


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_recording_stands_upright(tmp_path, reader, degrees):
    path = tmp_path / "a.mp4"
    corner = np.full((2, 48, 96, 3), 20, np.uint8)
    corner[:, :20, :40] = 235
    write_h264(path, corner, 10, turned=degrees)
    (frame,) = read_frames(path, [1])
    expected = np.rot90(corner[1], degrees // 90)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 8


def test_times_of_a_recording_whose_rate_varies(tmp_path, reader):
    path, ticks = tmp_path / "a.mp4", [0, 3, 4, 9, 10, 11, 30]
    write_h264(path, FRAMES[:7], 30, ticks=ticks)
    assert_shows(path, list(range(7)))
    np.testing.assert_allclose(frame_index(path).times, np.array(ticks) / 30, atol=1e-4)


@pytest.mark.parametrize(("ending", "options"), [(".mp4", {"bf": "2"}), (".mov", {"bf": "0"})])
def test_the_header_of_an_mp4_says_what_its_frames_say(tmp_path, monkeypatch, ending, options):
    """Opened quickly or not: the same rate, times and key frames."""
    path = tmp_path / f"a{ending}"
    write_h264(path, FRAMES, 10, **options)
    quick = frame_index(path)
    monkeypatch.setattr("egowm.video_packets._MOV", ())
    video_file._index.cache_clear()
    thorough = frame_index(path)
    assert (quick.rate, len(quick.ticks), quick.plain) == (10, COUNT, True)
    assert quick[2:] == thorough[2:]
    np.testing.assert_array_equal(quick.ticks, thorough.ticks)
    np.testing.assert_array_equal(quick.keys, thorough.keys)


def test_frames_larger_than_their_header_says_are_refused(tmp_path, monkeypatch):
    """The size in an MP4's header is not that of its frames: the limit counts their pixels."""
    path = tmp_path / "a.mp4"
    write_h264(path, FRAMES[:3], 10)
    data, size = path.read_bytes(), struct.pack(">HH", WIDTH, HEIGHT)
    assert data.count(b"avc1") >= 1
    at = data.index(size, data.rindex(b"avc1"))
    path.write_bytes(data[:at] + struct.pack(">HH", 8, 8) + data[at + 4 :])
    monkeypatch.setenv(PIXELS, str(WIDTH * HEIGHT - 1))
    with pytest.raises(VideoError, match=f"frames of {WIDTH}x{HEIGHT}"):
        count_frames(path)


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Where the data of packets lie, and how many bytes they are; small and key frames left out."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size > 20]
    leaning = [p for p in packets if not p.is_keyframe] or packets
    return [(packet.pos, packet.size) for packet in leaning]


def noise(size: int) -> bytes:
    return np.random.default_rng(0).integers(0, 255, size, np.uint8).tobytes()


DAMAGE = {
    "noise": lambda data: noise(len(data)),
    "zeros": lambda data: bytes(len(data)),
    "a sector that was not written": lambda data: data[: len(data) // 2].ljust(len(data), b"\0"),
    "a small hole": lambda data: data[:20] + bytes(64)[: len(data) - 20] + data[84:],
}


def assert_damage_is_named(path: Path, most: int) -> None:
    """Every frame is itself or an error, and all errors together are named in one."""
    assert count_frames(path) == COUNT
    bad = []
    for k in range(COUNT):
        try:
            assert number(read_frames(path, [k])[0]) == k
        except VideoError:
            bad.append(k)
    assert 1 <= len(bad) <= most
    with pytest.raises(VideoError, match=rf"damaged frames: .*{bad[-1]} \(of 0 to {COUNT - 1}\)"):
        read_frames(path)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_an_error_and_never_another_frame(tmp_path, codec, damage):
    path = tmp_path / "a.mp4"
    write_h264(path, TEXTURED, 10, codec)
    data, (start, size) = bytearray(path.read_bytes()), packets_of(path)[7]
    data[start : start + size] = DAMAGE[damage](bytes(data[start : start + size]))
    path.write_bytes(data)
    assert_damage_is_named(path, 15)


@pytest.mark.parametrize("bits", [1, 8])
def test_flipped_bits_of_vp9_are_found_when_a_file_is_read_strictly(tmp_path, bits):
    path = tmp_path / "a.mp4"
    write_h264(path, TEXTURED, 10, "libvpx-vp9")
    whole, places = path.read_bytes(), packets_of(path)
    for trial in range(4):
        rng, data = np.random.default_rng(trial), bytearray(whole)
        start, size = places[7 * trial + 2]
        for at in rng.integers(size // 4, size, bits).tolist():
            data[start + at] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        os.utime(path, (trial, trial))  # or the file is taken for the one before
        with strictly(), pytest.raises(VideoError, match="damaged frames"):
            read_frames(path)


@pytest.mark.parametrize(
    ("codec", "ending", "more"),
    [
        ("libx264", ".mkv", {"bf": "2"}),
        ("libvpx-vp9", ".webm", {}),
        ("libsvtav1", ".mkv", {}),
        ("libx264", ".avi", {}),
        ("mpeg4", ".avi", {}),
        ("mpeg4", ".avi", {"bf": "2"}),
        ("mjpeg", ".avi", {}),
    ],
)
@pytest.mark.parametrize("fill", ["noise", "zeros"])
def test_frames_that_a_damaged_container_loses_shift_no_other(
    tmp_path, reader, codec, ending, more, fill
):
    path = tmp_path / f"a{ending}"
    write_h264(path, TEXTURED, 10, codec, **more)
    assert_shows(path, list(range(COUNT)))
    data, (start, size) = bytearray(path.read_bytes()), packets_of(path)[7]
    over = slice(start + size // 2, start + size + 40)  # the next packet's header, too
    data[over] = DAMAGE[fill](bytes(data[over]))
    path.write_bytes(data)
    assert_damage_is_named(path, 30)


def element(name: str, *parts: bytes) -> bytes:
    """A part of a Matroska file."""
    data = b"".join(parts)
    return bytes.fromhex(name) + (len(data) | 1 << 56).to_bytes(8) + data


def group(block: bytes) -> bytes:
    """A block as a recording with transparency has it: more bytes behind the picture's own."""
    more = element("75a1", element("a6", element("a5", bytes(range(1, 200)) * 4)))
    return element("a0", element("a1", block), more)


LACED = b"\x82\0\0\x04\x07" + bytes(8 * 400)  # sound in eight pieces of one size
BETWEEN = {
    "sound in pieces": lambda block: element("a3", LACED) + element("a3", block),
    "transparency": group,
    "room for more": lambda block: element("ec", bytes(1000)) + element("a3", block),
}


@pytest.mark.parametrize("kind", BETWEEN)
def test_what_lies_between_the_frames_of_a_sound_matroska_is_no_damage(tmp_path, kind):
    write_h264(tmp_path / "a.mp4", FRAMES, 10, bf="0")
    blocks = []
    with av.open(str(tmp_path / "a.mp4")) as source:
        setup = bytes(source.streams.video[0].codec_context.extradata)
        for k, packet in enumerate(p for p in source.demux(video=0) if p.size):
            start = struct.pack(">BhB", 0x81, 100 * k, 0x80 * packet.is_keyframe)
            blocks.append(BETWEEN[kind](start + bytes(packet)))
    size = element("e0", element("b0", bytes([WIDTH])), element("ba", bytes([HEIGHT])))
    video = element("83", b"\1") + element("86", b"V_MPEG4/ISO/AVC") + element("63a2", setup) + size
    rate = element("e1", element("b5", struct.pack(">d", 8000)), element("6264", b"\x10"))
    sound = element("83", b"\2") + element("86", b"A_PCM/INT/LIT") + rate
    tracks = [
        element("ae", element("d7", b"\1"), video),
        element("ae", element("d7", b"\2"), sound),
    ]
    cluster = element("1f43b675", element("e7", b"\0"), *blocks)
    info = element("1549a966", element("2ad7b1", (10**6).to_bytes(3)))
    segment = element("18538067", info, element("1654ae6b", *tracks), cluster)
    head = element("1a45dfa3", element("4282", b"matroska"))
    path = tmp_path / "a.mkv"
    path.write_bytes(head + segment + b"what somebody added")
    assert_shows(path, list(range(COUNT)))
    with strictly():
        assert_shows(path, list(range(COUNT)))


@pytest.mark.parametrize(
    ("ending", "codec"),
    [(".h264", "libx264"), (".hevc", "libx265"), (".avi", "libx264")],
)
def test_a_file_without_times_is_told_how_to_get_some(tmp_path, reader, ending, codec):
    path = tmp_path / f"a{ending}"
    write_h264(path, FRAMES[:20], 10, codec, **({"bf": "2"} if codec == "libx264" else {}))
    with pytest.raises(VideoError, match=r"ffmpeg -r RATE -i a\.\w+ a\.mp4"):
        read_frames(path)


def test_what_is_no_video_is_named(tmp_path, reader):
    (tmp_path / "text.mp4").write_bytes(b"no video" * 100)
    write_h264(tmp_path / "cut.mp4", FRAMES, 10)
    whole = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("text", "cut", "sound", "pipe"):
        for ask in (count_frames, read_frames, video_rate):
            with pytest.raises(VideoError, match=rf"{name}\.mp4: "):
                ask(tmp_path / f"{name}.mp4")


def test_a_name_of_any_bytes(tmp_path, reader):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    write_h264(tmp_path / "a.mp4", FRAMES[:5], 10)
    (tmp_path / "a.mp4").rename(path)
    assert_shows(path, list(range(5)))


def test_a_relative_name_with_a_colon(tmp_path, reader, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_h264(tmp_path / "a.mp4", FRAMES[:5], 10)
    (tmp_path / "a.mp4").rename("run:1.mp4")
    assert_shows(Path("run:1.mp4"), list(range(5)))


def test_a_container_of_another_name_is_read(tmp_path):
    """Opening quickly gives options of MP4, which other containers refuse."""
    write_h264(tmp_path / "a.flv", np.stack([drawn(k) for k in range(6)]), fps=10)
    (tmp_path / "a.flv").rename(tmp_path / "a.mp4")
    assert [number(frame) for frame in read_frames(tmp_path / "a.mp4")] == [*range(6)]


def test_writing_leaves_the_scheduler_as_it_was(tmp_path):
    """SVT-AV1 would hold a core against every other test."""
    before = os.sched_getscheduler(0)
    write_h264(tmp_path / "a.mkv", FRAMES[:3], 10, "libsvtav1")
    assert os.sched_getscheduler(0) == before
