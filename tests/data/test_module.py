"""Windows out of episodes: which action leads to which frame, splits and their order."""

import numpy as np
import pytest
import torch

from egowm.actions import ActionSpec
from egowm.data import ClipData, Episode, Window


def numbered(indices) -> np.ndarray:
    """A frame's every pixel is its number."""
    return np.stack([np.full((16, 16, 3), k, np.uint8) for k in indices])


class Numbered(ClipData):
    """Episodes whose pixel is the frame's number and whose action is the step's number."""

    meaning = ActionSpec(("step",), ("1",), frame="joint", kind="command", rate_hz=6.0)

    def episodes(self, split: str) -> list[Episode]:
        steps = np.arange(29, dtype=np.float32)[:, None]
        states = 100 + np.arange(30, dtype=np.float32)[:, None]
        return [Episode(split, 30, numbered, steps, states, "go")]


@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("stride", [1, 3])
def test_actions_k_takes_frame_k_minus_1_plus_k_to_frame_k_plus_k(context, stride):
    """`actions[k]` takes frame K-1+k to frame K+k, through windows, strides, loader and collate."""
    window = Window(context, 4, stride, 16, 16)
    data = Numbered("", window, batch_size=3)
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (3, context + 4, 3, 16, 16)
    assert batch.actions.shape == (3, 4, 1)
    assert batch.past_actions.shape == (3, context - 1, 1)
    numbers = batch.frames[:, :, 0, 0, 0].long()  # of the native frames
    assert (numbers.diff(dim=1) == stride).all()
    for k in range(4):
        start, end = numbers[:, context - 1 + k], numbers[:, context + k]
        steps = (start + end - 1) / 2  # the mean of the native steps start, ..., end - 1
        torch.testing.assert_close(batch.actions[:, k, 0], steps.float())
    for k in range(context - 1):
        middle = (numbers[:, k] + numbers[:, k + 1] - 1) / 2
        torch.testing.assert_close(batch.past_actions[:, k, 0], middle.float())
    torch.testing.assert_close(batch.state[:, 0], 100.0 + numbers[:, context - 1])
    assert list(batch.text) == ["go"] * 3
    assert data.spec.rate_hz == 6.0 / stride


def test_windows_of_training_and_of_tests():
    data = Numbered("", Window(1, 4, 2, 16, 16), batch_size=2)
    every, apart = data.windows("train", tiled=False), data.windows("test", tiled=True)
    assert [clip.frames[0, 0, 0, 0].item() for clip in every] == list(range(22))
    assert [clip.frames[0, 0, 0, 0].item() for clip in apart] == [0, 9, 18]
    assert every[5].name == "train_00005"
    with pytest.raises(
        ValueError, match="a window needs 33 frames, got 1 episode, the longest of 30"
    ):
        Numbered("", Window(1, 16, 2, 16, 16)).windows("val", tiled=True)
    with pytest.raises(ValueError, match="positive numbers"):
        Window(stride=0)
    with pytest.raises(ValueError, match="A window's height is a positive whole number, got None"):
        Window(height=None)


def test_training_order_is_seeded_and_changes_by_epoch():
    def epochs(seed: int) -> list[list[str]]:
        data = Numbered("", Window(1, 4, 1, 16, 16), batch_size=5, seed=seed)
        loader = data.train_dataloader()
        return [[name for batch in loader for name in batch.name] for _ in range(2)]

    first, second = epochs(0)
    assert epochs(0) == [first, second]
    assert first != second != epochs(1)[1]
    assert len(set(first)) == len(first) == 25  # 26 windows, the incomplete batch dropped


def test_an_episode_s_labels_are_checked():
    steps = np.zeros((29, 3), np.float32)
    with pytest.raises(ValueError, match="run_3: expected 30 actions for 31 frames, got 29"):
        Episode("run_3", 31, numbered, steps)
    steps[17, 2] = np.nan
    with pytest.raises(ValueError, match="run_3: action 17, dimension 2 is not a finite number"):
        Episode("run_3", 30, numbered, steps)


def test_an_episode_has_a_state_for_each_frame():
    steps = np.zeros((29, 3), np.float32)
    assert Episode("run_3", 30, numbered, steps, np.zeros((30, 2))).states.shape == (30, 2)
    with pytest.raises(ValueError, match="run_3: expected 30 states, one for each frame, got 29"):
        Episode("run_3", 30, numbered, steps, np.zeros((29, 2)))


def test_ranges_are_measured_on_composed_training_actions():
    data = Numbered("", Window(1, 4, 3, 16, 16))
    assert (data.spec.low, data.spec.high) == ((1.0,), (25.0,))  # means of steps 0-2 and 24-26
    assert data.spec is data.spec
    assert data.state_spec is None  # the format names no states
