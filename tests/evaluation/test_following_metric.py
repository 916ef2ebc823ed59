"""Action following as columns of `egowm eval`, by hand-made videos of one room."""

import numpy as np
import pytest

from egowm.data import Rooms, Window
from egowm.evaluation.metrics.catalogue import load_metrics
from egowm.evaluation.metrics.following import Following, following_of
from egowm.evaluation.metrics.metric import Sample


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """One test room whose first clip starts at its first frame."""
    window = Window(horizon=2, height=64, width=64)
    counts = {"episodes_train": 1, "episodes_val": 1, "episodes_test": 1}
    return Rooms(str(tmp_path_factory.mktemp("rooms")), window, num_frames=3, **counts)


@pytest.fixture(scope="module")
def clip(rooms):
    return rooms.windows("test", tiled=True)[0]


def measured(rooms, clip, told, shown=None):
    frames = clip.frames.numpy().transpose(0, 2, 3, 1)
    shown = frames[1:] if shown is None else shown
    sample = Sample(
        clip.name, frames[0], shown, frames[1:], told, clip.actions.numpy(), rooms.clip_meaning
    )
    metric = Following(rooms)
    metric.add(sample)
    found = metric.compute({2: "2 frames"}, True)
    return {key: values.frames[0] for key, values in found.items()}


def test_true_frames_follow_the_true_actions(rooms, clip):
    found = measured(rooms, clip, clip.actions.numpy())
    assert (found["moved"] < 0.02).all()
    assert (found["turned"] < 0.5).all()
    assert (found["drift"] < 0.03).all()
    assert found["lost"].tolist() == [0, 0]


def test_frames_told_to_go_elsewhere_are_off_by_the_difference(rooms, clip):
    told = clip.actions.numpy() + np.float32([0.1, 0.0, np.radians(5.0)])
    found = measured(rooms, clip, told)
    assert found["moved"] == pytest.approx([0.1, 0.1], abs=0.02)
    assert found["turned"] == pytest.approx([5.0, 5.0], abs=0.5)


def test_frames_that_show_nothing_count_as_no_motion(rooms, clip):
    told = np.array([[0.3, 0.4, 0.1], [0.0, 0.0, 0.0]], np.float32)
    found = measured(rooms, clip, told, np.full((2, 64, 64, 3), 128, np.uint8))
    assert found["moved"] == pytest.approx([0.5, 0.0])
    assert found["turned"] == pytest.approx([np.degrees(0.1), 0.0])
    assert found["drift"] == pytest.approx([0.5, 0.5])
    assert found["lost"].tolist() == [100, 100]


def test_only_robots_that_are_told_to_move_are_measured(rooms):
    assert len(following_of(rooms)) == 1
    assert following_of(Rooms(world="passive")) == []
    assert following_of(Rooms(actions="none")) == []
    assert following_of(None) == []
    assert load_metrics(None, data=rooms).columns[-1].key == "lost"
    assert "lost" not in {column.key for column in load_metrics(None).columns}
