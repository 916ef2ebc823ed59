"""Halls of the embedded humanoid as a data set."""

import numpy as np
import pytest
import torch

from egowm.data import HumanoidHalls, Window
from egowm.worlds.humanoid_room import LEFT_HAND, RIGHT_HAND
from egowm.worlds.store import read_ids, read_labels

SMALL = Window(context=1, horizon=3, height=32, width=32)


@pytest.fixture(scope="module")
def halls(tmp_path_factory) -> HumanoidHalls:
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1, "num_frames": 6}
    return HumanoidHalls(
        str(tmp_path_factory.mktemp("halls")), SMALL, behaviour="manipulation", **counts
    )


def test_a_clip_holds_differences_of_states_and_the_first_state(halls):
    clip = halls.windows("test", tiled=True)[0]
    states = read_labels(halls.folder / "hall_20000000")["states"]
    assert clip.frames.shape == (4, 3, 32, 32)
    assert clip.name == "hall_20000000_00000"
    np.testing.assert_allclose(clip.actions, np.diff(states[:4], axis=0), atol=1e-6)
    np.testing.assert_array_equal(clip.state, states[0])
    np.testing.assert_array_equal(clip.later_states, states[1:4])
    assert halls.spec.rate_hz == 5.0
    assert halls.state_spec.kind == "command"


def test_without_a_state_clips_have_none(halls):
    bare = HumanoidHalls(
        halls.root, SMALL, behaviour="manipulation", episodes_train=2, episodes_val=1,
        episodes_test=1, num_frames=6, state=False,
    )  # fmt: skip
    assert bare.folder == halls.folder
    assert bare.state_spec is None
    assert bare.windows("test", tiled=True)[0].state.numel() == 0


def test_a_range_by_deviation_gives_each_dimension_as_much_room(halls):
    scaled = HumanoidHalls(
        halls.root, SMALL, behaviour="manipulation", episodes_train=2, episodes_val=1,
        episodes_test=1, num_frames=6, normaliser="mean-std",
    )  # fmt: skip
    actions = np.concatenate([e.actions for e in scaled.split("train")])
    spread = scaled.spec.normalise(torch.tensor(actions)).std(0, unbiased=False)
    moving = actions.std(0) > 1e-6
    np.testing.assert_allclose(spread[moving], 1.0, atol=1e-3)


def test_the_annotation_is_of_the_context_frame_and_holds_the_hands(halls):
    ids = read_ids(halls.folder / "hall_20000000", 0)
    scored = halls.annotation("hall_20000000_00000")
    for hand in (LEFT_HAND, RIGHT_HAND):
        if (ids == hand).mean() >= 0.01:
            assert len(np.unique(scored[ids == hand])) == 1
    assert scored.max() >= 3


def test_the_place_of_a_clip_is_its_run_from_the_context_frame(halls):
    labels = read_labels(halls.folder / "hall_20000000")
    replay = halls.place("hall_20000000_00002")
    np.testing.assert_array_equal(replay.positions, labels["positions"][2:])
    np.testing.assert_allclose(replay.robot.state()[:23], labels["states"][2, :23], atol=1e-6)


def test_a_stride_takes_as_many_moments(halls):
    strided = HumanoidHalls(
        halls.root, Window(context=1, horizon=2, stride=2, height=32, width=32),
        behaviour="manipulation", episodes_train=2, episodes_val=1, episodes_test=1, num_frames=6,
    )  # fmt: skip
    clip = strided.windows("test", tiled=True)[0]
    replay = strided.place(clip.name)
    seen = np.stack([r.render(32, 32).rgb for r in replay.told(clip.actions.numpy())])
    assert (seen == clip.frames[1:].numpy().transpose(0, 2, 3, 1)).all()
    assert replay.seconds == pytest.approx(0.4)
