import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from egowm.data import OneX, Window
from egowm.data.one_x import NAMES, UNITS
from egowm.video import VideoError, write_mp4

Write = Callable[..., list[np.ndarray]]
WINDOW = Window(context=2, horizon=3, stride=6, height=32, width=32)


@pytest.fixture
def root(tmp_path: Path, write_one_x: Write) -> Path:
    """Two training shards, the first of two segments, and the flat validation folder."""
    write_one_x(tmp_path / "1x", [[40, 35], [30]], val=31)
    return tmp_path / "1x"


def shown(frames: np.ndarray) -> list[int]:
    """The numbers that frames (n, H, W, 3) show as 8 bars."""
    bars = frames.astype(float).mean((1, 3)).reshape(len(frames), 8, -1).mean(2) > 127
    return np.packbits(bars, axis=1)[:, 0].tolist()


def test_names_and_units_of_the_body() -> None:
    assert len(NAMES) == len(UNITS) == len(set(NAMES)) == 25
    assert [NAMES[k] for k in (0, 3, 5, 9, 12, 13, 19, 20, 22, 24)] == [
        *("hip_yaw", "knee_pitch", "ankle_pitch", "left_elbow_pitch", "left_wrist_roll"),
        *("right_shoulder_pitch", "right_wrist_roll", "neck_pitch", "right_hand_closure"),
        "angular_velocity",
    ]
    assert [UNITS[k] for k in (0, 20, 21, 23, 24)] == ["rad", "rad", "closed share", "m/s", "rad/s"]


def test_an_action_takes_its_frame_to_the_next(root: Path) -> None:
    """Frame k shows k, and the action from k to k + 6 the sum of k ... k+5 in dimension 0."""
    data = OneX(str(root), WINDOW, val_share=0)
    clip = data.windows("train", tiled=False)[5]
    assert clip.name == "train_0_000000_00005"
    assert shown(clip.frames.permute(0, 2, 3, 1).numpy()) == [5, 11, 17, 23, 29]
    steps = [sum(range(k, k + 6)) for k in (5, 11, 17, 23)]
    assert clip.past_actions[:, 0].tolist() == steps[:1]
    assert clip.actions[:, 0].tolist() == steps[1:]
    assert clip.actions[:, 24].tolist() == [25 * step for step in steps[1:]]
    assert clip.state[0] == 11 * 10 / 2  # at the last context frame
    assert clip.state.shape == (25,)


def test_windows_stay_within_a_segment_of_a_shard(root: Path) -> None:
    data = OneX(str(root), WINDOW, val_share=0)
    episodes = {e.name: e.num_frames for e in data.episodes("train")}
    assert episodes == {"train_0_000000": 40, "train_0_000040": 35, "train_1_000000": 30}
    clips = data.windows("train", tiled=False)
    assert len(clips) == sum(n - 24 for n in episodes.values())
    second = clips[40 - 24]
    assert second.name == "train_0_000040_00000"
    assert shown(second.frames.permute(0, 2, 3, 1).numpy()) == [40, 46, 52, 58, 64]
    assert second.past_actions[0, 0] == sum(range(40, 46))
    ids = np.array([1] * 2 + [2] * 3 + [1] * 25, np.int32)  # an id that comes back
    ids.tofile(root / "train_v2.0_raw/segment_indices/segment_idx_1.bin")
    found = {e.name: e.num_frames for e in data.episodes("train")}
    assert {k: n for k, n in found.items() if "train_1" in k} == {
        "train_1_000000": 2,
        "train_1_000002": 3,
        "train_1_000005": 25,
    }


def test_the_flat_folder_is_the_test_split(root: Path) -> None:
    data = OneX(str(root), WINDOW)
    (clip,) = data.windows("test", tiled=True)
    assert clip.name == "val_0_000000_00000"
    halves = OneX(str(root), WINDOW, val_share=0.5)
    train, val = ({e.name for e in halves.episodes(s)} for s in ("train", "val"))
    assert not train & val
    assert len(train | val) == 3


def test_meaning_and_ranges(root: Path) -> None:
    """Actions in a range about no motion, states in theirs; one-frame segments have no actions."""
    data = OneX(str(root), WINDOW, val_share=0)
    spec, state_spec = data.spec, data.state_spec
    assert state_spec is not None
    assert (spec.kind, spec.frame, spec.rate_hz) == ("difference", "joint", 5.0)
    assert (state_spec.kind, state_spec.frame, state_spec.rate_hz) == ("command", "joint", 5.0)
    assert spec.names == state_spec.names == NAMES
    # Steps are cut segment by segment from its first frame: the last of the second is 64 to 70.
    assert spec.high[0] == -spec.low[0] == sum(range(64, 70))
    assert (state_spec.low[0], state_spec.high[0]) == (0, 74 * 73 / 2)
    assert state_spec.high[24] == 25 * state_spec.high[0]


def test_the_reader_travels_to_a_worker(root: Path) -> None:
    episode = OneX(str(root), WINDOW, val_share=0).episodes("train")[1]
    read = pickle.loads(pickle.dumps(episode.read))
    assert shown(read([3, 34, 0])) == [43, 74, 40]


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*train_v2.0_raw; pass --data.root"):
        OneX(str(tmp_path)).episodes("train")
    (tmp_path / "val_v2.0_raw").mkdir()
    with pytest.raises(FileNotFoundError, match=r"looked for .*val_v2.0_raw/states_0.bin"):
        OneX(str(tmp_path)).episodes("test")


def spoil(folder: Path, how: str) -> str:
    """Spoil shard 1, of 30 frames; returns what an error must say."""
    states, ids = (
        folder / "robot_states/states_1.bin",
        folder / "segment_indices/segment_idx_1.bin",
    )
    metadata = folder / "metadata/metadata_1.json"
    if how == "no video":
        (folder / "videos/video_1.mp4").unlink()
        return "video_1.mp4: the file is missing"
    if how == "no ids":
        ids.unlink()
        return "segment_idx_1.bin: the file is missing"
    if how == "cut":
        states.write_bytes(states.read_bytes()[:-4])
        return r"states_1.bin: expected a multiple of 100 bytes \(25 x f4\), got 2996"
    if how == "short ids":
        ids.write_bytes(ids.read_bytes()[:-4])
        return "segment_idx_1.bin: 29 segment ids for 30 states"
    if how == "other count":
        metadata.write_text('{"shard_num_frames": 31}')
        return "states_1.bin: 30 states, metadata_1.json says 31 frames"
    if how == "no count":
        metadata.write_text("{}")
        return "metadata_1.json: expected JSON with shard_num_frames"
    values = np.fromfile(states, np.float32).reshape(-1, 25)
    values[4, 20] = np.nan
    values.tofile(states)
    return "states_1.bin: state 4, neck_pitch, is not a finite number"


@pytest.mark.parametrize(
    "how", ["no video", "no ids", "cut", "short ids", "other count", "no count", "nan"]
)
def test_corrupt_shards_name_file_and_numbers(
    root: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = spoil(root / "train_v2.0_raw", how)
    with pytest.raises(ValueError, match=f"{message}.*skip_corrupt: true"):
        OneX(str(root), WINDOW).episodes("train")
    skipping = OneX(str(root), WINDOW, val_share=0, skip_corrupt=True)
    with caplog.at_level(logging.WARNING):
        assert len(skipping.episodes("train")) == 2
    assert "left out: " in caplog.text


def test_a_video_that_is_too_short_is_named_when_read(root: Path) -> None:
    video = root / "train_v2.0_raw/videos/video_1.mp4"
    write_mp4(video, np.zeros((20, 32, 32, 3), np.uint8), 30)
    episode = OneX(str(root), WINDOW, val_share=0).episodes("train")[2]
    with pytest.raises(VideoError, match=r"video_1\.mp4: frame 25 is out of range"):
        episode.read([25])
