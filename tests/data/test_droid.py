"""DROID episodes as Ctrl-World's subset lays them out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from egowm.actions import integrate
from egowm.data import Droid, Window
from egowm.video import write_mp4

WINDOW = Window(context=2, horizon=2, stride=2, height=32, width=32)


def bars(numbers: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(numbers.astype(np.uint8)[:, None], axis=1).repeat(4, 1) * 255
    return np.ascontiguousarray(np.broadcast_to(bits[:, None, :, None], (len(bits), 32, 32, 3)))


def shown(frames: np.ndarray) -> list[int]:
    wide = frames[:, frames.shape[1] // 2, :, 0].reshape(len(frames), 8, -1).mean(-1) > 127
    return np.packbits(wide, axis=1)[:, 0].tolist()


def write_episode(root: Path, split: str, name: str, n: int = 12, **changes: Any) -> Path:
    """State k: x = k (k-1) / 200, roll passes through pi, gripper closes at once at frame 6.

    Frame k of camera c shows k + 20 c."""
    k = np.arange(n)
    roll = (np.pi - 0.05 + 0.01 * k + np.pi) % (2 * np.pi) - np.pi
    zero = np.zeros(n)
    states = np.stack([k * (k - 1) / 200, zero, zero + 0.3, roll, zero, zero, 1.0 * (k >= 6)], 1)
    folder = root / "videos" / split / name
    folder.mkdir(parents=True)
    for camera in range(3):
        write_mp4(folder / f"{camera}.mp4", bars(k + 20 * camera), 5)
    found = {
        "texts": ["close the gripper"],
        "episode_id": name,
        "video_length": n,
        "states": states.tolist(),
        "videos": [{"video_path": f"videos/{split}/{name}/{c}.mp4"} for c in range(3)],
    }
    file = root / "annotation" / split / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found | changes))
    return file


def test_differences_lead_from_frame_to_frame(tmp_path):
    write_episode(tmp_path, "train", "7")
    write_episode(tmp_path, "val", "8")
    data = Droid(str(tmp_path), WINDOW, val_share=0)
    (episode,) = data.split("train")
    assert (episode.name, episode.text) == ("train_7", "close the gripper")
    assert shown(episode.read(range(12))) == [40 + k for k in range(12)]
    np.testing.assert_allclose(episode.actions[:, 0], np.arange(11) / 100, atol=1e-6)
    np.testing.assert_allclose(episode.actions[:, 3], 0.01, atol=1e-6)  # through pi without a jump
    assert episode.actions[:, 6].tolist() == [0.0] * 5 + [1.0] + [0.0] * 5
    clip = data.windows("train", tiled=True)[0]
    np.testing.assert_allclose(clip.actions[:, 0], [0.05, 0.09], atol=1e-6)  # 2 + 3 and 4 + 5
    actions, states = torch.from_numpy(episode.actions), torch.from_numpy(episode.states)
    later = integrate(states[:1], actions[None], data.meaning, data.state_meaning, 1)
    torch.testing.assert_close(later[0], states[:-1], atol=1e-5, rtol=0)
    assert [e.name for e in data.split("test")] == ["val_8"]


def test_the_camera_is_chosen(tmp_path):
    write_episode(tmp_path, "train", "7")
    (episode,) = Droid(str(tmp_path), WINDOW, camera="left", val_share=0).split("train")
    assert shown(episode.read([3])) == [3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"states": [[0.0] * 6] * 12}, r"states: expected \(T, 7\), T at least 2, got \(12, 6\)"),
        ({"states": [[0.0] * 7] * 11 + [[0.0] * 6 + [float("nan")]]}, "row 11, gripper"),
        ({"states": "many"}, "could not convert|expected"),
        ({"video_length": 13}, "12 states, video_length says 13"),
        ({"videos": [{"video_path": "../../secret.mp4"}] * 3}, "climb out"),
        ({"videos": [{"video_path": "/etc/secret.mp4"}] * 3}, "absolute"),
        ({"videos": [{"video_path": ["a"]}] * 3}, "expected the name of a file"),
        ({"videos": []}, "expected JSON with states, video_length, videos"),
        ({"videos": [{"video_path": "videos/train/7/9.mp4"}] * 3}, "the video is missing"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path, change, words):
    write_episode(tmp_path, "train", "7", **change)
    with pytest.raises(ValueError, match=words):
        Droid(str(tmp_path), WINDOW, val_share=0).split("train")
    assert Droid(str(tmp_path), WINDOW, val_share=0, skip_corrupt=True).split("train") == []


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"annotation/train/\*\.json"):
        Droid(str(tmp_path)).split("train")


@pytest.mark.real_data
def test_the_subset(shared_data):
    data = Droid(str(shared_data / "droid_subset_ctrlworld"), WINDOW, val_share=0)
    episodes = [*data.split("train"), *data.split("test")]
    assert (len(episodes), sum(e.num_frames for e in episodes)) == (11, 854)
    assert np.abs(np.concatenate([e.actions for e in episodes])[:, 3:6]).max() < 0.5  # no jumps
