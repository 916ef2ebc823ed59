"""Segments written by `OneXWriter` and read back by `OneX`."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from egowm.data import OneX, OneXWriter, Window
from egowm.data.inspect.check import check
from egowm.pixels import psnr
from egowm.video import VideoError, count_frames, video_rate
from egowm.video_file import frame_index

WINDOW = Window(context=1, horizon=2, stride=6, height=32, width=48)
LENGTHS = (30, 25, 40, 31)
PSNR = 38  # dB of the worst frame


def scene(count: int, first: int = 0, height: int = 32, width: int = 48) -> np.ndarray:
    """Soft waves that move, of little colour: H.264 keeps colour at half the resolution."""
    t, y, x = np.ogrid[first : first + count, :height, :width]
    light = 80 * np.sin(x / 6 + t / 9) + 30 * np.cos(y / 4 - t / 7)
    waves = [light + 10 * np.sin((x + k * y) / 8 + t / 11) for k in range(3)]
    return np.stack(waves, -1) + 128


def worst(frames: np.ndarray, true: np.ndarray) -> float:
    """The lowest PSNR in dB of a frame."""
    return min(psnr(one[None], other[None]) for one, other in zip(frames, true, strict=True))


def pictures(*given: int) -> np.ndarray:
    return scene(*given).astype(np.uint8)


def motion(count: int, seed: int = 0) -> np.ndarray:
    """Joints that move as a robot's do."""
    steps = np.random.default_rng(seed).normal(size=(count, 25)) * 0.01
    return np.cumsum(steps, 0).astype(np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four segments in three shards, the second by an iterator; one of validation between them."""
    root = tmp_path_factory.mktemp("humanoid") / "1x"
    with OneXWriter(root, frames_per_shard=55) as writer:
        for k, length in enumerate(LENGTHS):
            frames = pictures(length, 50 * k)
            writer.add(iter(frames) if k == 1 else frames, motion(length, k))
            if k == 1:
                writer.add(pictures(19, 500), motion(19, 9), split="val")
        assert not root.exists()
    return root


def test_the_layout_of_the_release(root: Path) -> None:
    train = root / "train_v2.0_raw"
    for number, count in enumerate((55, 40, 31)):
        assert count_frames(train / f"videos/video_{number}.mp4") == count
        assert video_rate(train / f"videos/video_{number}.mp4") == 30
        assert (train / f"robot_states/states_{number}.bin").stat().st_size == count * 100
        told = json.loads((train / f"metadata/metadata_{number}.json").read_text())
        assert told == {"shard_ind": number, "shard_num_frames": count}
    ids = np.fromfile(train / "segment_indices/segment_idx_0.bin", np.int32)
    assert ids.tolist() == [0] * 30 + [1] * 25
    assert json.loads((train / "metadata.json").read_text()) == {"num_shards": 3, "hz": 30}
    val = sorted(path.name for path in (root / "val_v2.0_raw").iterdir())
    assert val == [
        *("metadata.json", "metadata_0.json", "segment_idx_0.bin", "states_0.bin", "video_0.mp4")
    ]


def test_frames_and_states_come_back(root: Path) -> None:
    data = OneX(str(root), WINDOW, val_share=0)
    episodes = data.split("train")
    assert [episode.num_frames for episode in episodes] == list(LENGTHS)
    for k, episode in enumerate(episodes):
        np.testing.assert_array_equal(episode.states, motion(LENGTHS[k], k))
        read = episode.read(range(LENGTHS[k]))
        assert worst(read, pictures(LENGTHS[k], 50 * k)) > PSNR
    (test,) = data.split("test")
    np.testing.assert_array_equal(test.states, motion(19, 9))


def test_windows_take_every_sixth_frame_of_one_segment(root: Path) -> None:
    data = OneX(str(root), WINDOW, val_share=0)
    clips = data.windows("train", tiled=False)
    assert len(clips) == sum(length - 12 for length in LENGTHS)
    clip = clips[LENGTHS[0] - 12 + 3]  # of the second segment, from its frame 3
    assert clip.name == "train_0_000030_00003"
    true = pictures(25, 50)[[3, 9, 15]].transpose(0, 3, 1, 2)
    assert worst(clip.frames.numpy(), true) > PSNR
    states = motion(25, 1)
    np.testing.assert_allclose(clip.actions, states[[9, 15]] - states[[3, 9]], atol=1e-6)
    np.testing.assert_array_equal(clip.state, states[3])


def test_segments_begin_at_key_frames(root: Path) -> None:
    index = frame_index(root / "train_v2.0_raw/videos/video_0.mp4")
    assert index.plain
    assert {0, 30} <= {round(key * index.tick * 30) for key in index.keys.tolist()}


def test_check_finds_no_error(root: Path) -> None:
    findings = check(OneX(str(root), WINDOW), 1, progress=False)
    assert [finding for finding in findings if finding.level == "error"] == []


WRONG = {
    "no state": (pictures(5), motion(5)[:0], r"states \(N, 25\), got \(0, 25\)"),
    "a state too wide": (pictures(5), np.zeros((5, 26), np.float32), r"got \(5, 26\)"),
    "doubles": (pictures(5), np.zeros((5, 25)), r"float32, got float64: .*astype"),
    "NaN": (pictures(5), np.where(motion(5) == motion(5)[3, 7], np.nan, motion(5)),
            "got nan in row 3, left_shoulder_roll"),
    "a frame too many": (pictures(6), motion(5), "expected 5 frames, got 6"),
    "floats": (scene(5), motion(5), r"\(H, W, 3\) uint8, got \(32, 48, 3\) float64"),
    "an odd side": (pictures(5)[:, :31], motion(5), r"even height and width .* \(31, 48, 3\)"),
    "grey": (pictures(5)[..., :1], motion(5), r"got \(32, 48, 1\)"),
    "another size": (pictures(5)[:, :, :32], motion(5), r"one size, \(32, 48, 3\), got \(32, 32"),
}  # fmt: skip


@pytest.mark.parametrize(("frames", "states", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_segment_is_refused_and_nothing_is_lost(
    frames: np.ndarray, states: np.ndarray, words: str, tmp_path: Path
) -> None:
    with OneXWriter(tmp_path / "1x") as writer:
        writer.add(pictures(7), motion(7))
        with pytest.raises(ValueError, match=words):
            writer.add(frames, states)
        writer.add(pictures(4), motion(4))
    found = OneX(str(tmp_path / "1x"), val_share=0).split("train")
    assert [episode.num_frames for episode in found] == [7, 4]


def too_few() -> Iterator[np.ndarray]:
    yield from pictures(3)


def smaller() -> Iterator[np.ndarray]:
    yield from pictures(2)
    yield pictures(1)[0, :16]


@pytest.mark.parametrize(
    ("frames", "words"),
    [(too_few, "one for each row, got 3"), (smaller, "frames of one size"), (list, "got 0")],
)
def test_frames_that_break_off_leave_no_folder(frames, words: str, tmp_path: Path) -> None:
    writer = OneXWriter(tmp_path / "1x")
    with pytest.raises(VideoError, match=words), writer:
        writer.add(iter(frames()), motion(5))
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_broke_off_is_not_passed_over(tmp_path: Path) -> None:
    def keep_on(writer: OneXWriter) -> None:
        with writer:
            with pytest.raises(VideoError):
                writer.add(too_few(), motion(5))
            with pytest.raises(ValueError, match="broke off"):
                writer.add(pictures(5), motion(5))

    with pytest.raises(ValueError, match=r"broke off .* nothing is kept"):
        keep_on(OneXWriter(tmp_path / "1x"))
    assert list(tmp_path.iterdir()) == []


def test_only_its_own_folder_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "1x"
    with OneXWriter(root) as writer:
        writer.add(pictures(4), motion(4))
    with pytest.raises(FileExistsError, match=r"OneXWriter` wrote before: force=True replaces"):
        OneXWriter(root)
    with OneXWriter(root, force=True) as writer:
        writer.add(pictures(6), motion(6), split="val")
    assert not (root / "train_v2.0_raw").exists()
    (root / "mine.txt").write_text("notes")
    with pytest.raises(FileExistsError, match=r"holds mine.txt, which .* did not write"):
        OneXWriter(root, force=True)
    with pytest.raises(ValueError, match="no segment was added"), OneXWriter(tmp_path / "empty"):
        pass
    with pytest.raises(ValueError, match="with OneXWriter"):
        OneXWriter(tmp_path / "empty").add(pictures(4), motion(4))
    assert not (tmp_path / "empty").exists()
