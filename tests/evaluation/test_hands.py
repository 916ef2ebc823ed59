"""Where imagined frames show hands, things and the camera of the embedded humanoid."""

from dataclasses import dataclass

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.actions.humanoid_states import NAMES, UNITS
from egowm.data import HumanoidHalls
from egowm.evaluation.metrics.following import HallFollowing, Hands, following_of
from egowm.evaluation.metrics.metric import Sample
from egowm.worlds.humanoid import Humanoid
from egowm.worlds.humanoid_recording import HumanoidRecording, record_humanoid
from egowm.worlds.humanoid_replay import Replay

SEED, FRAMES = 20_000_000, 9
MEANING = ActionSpec(NAMES, UNITS, "joint", "difference", 5.0)


@dataclass
class Place:
    """A data set of one run."""

    run: HumanoidRecording

    def place(self, name: str) -> Replay:
        return Replay(Humanoid(SEED), self.run.positions, self.run.states)


@pytest.fixture(scope="module")
def run() -> HumanoidRecording:
    return record_humanoid(SEED, "manipulation", FRAMES)


def sample(run: HumanoidRecording, pred: np.ndarray, told: np.ndarray | None = None) -> Sample:
    own = np.diff(run.states.astype(float), axis=0)
    acts = own if told is None else told
    return Sample("a_0", run.frames[0], pred, run.frames[1:], acts, own, MEANING)


def test_hands_in_true_frames_are_where_the_states_put_them(run):
    found = Hands(Place(run)).clip(sample(run, run.frames[1:]))
    assert np.nanmax(found["hands"]) < 2.0  # centimetres; a pixel is 1 to 2
    assert np.nanmax(found["hands_lost"]) == 0


def test_hands_that_stay_are_off_by_as_much_as_they_should_have_moved(run):
    still = np.repeat(run.frames[:1], FRAMES - 1, 0)
    true = Hands(Place(run)).clip(sample(run, run.frames[1:]))["hands"]
    found = Hands(Place(run)).clip(sample(run, still))["hands"]
    assert found[-1] > true[-1] + 3
    grey = np.full_like(still, 128)  # shows no hand: as if they had stayed
    lost = Hands(Place(run)).clip(sample(run, grey))
    np.testing.assert_allclose(lost["hands"], found, atol=0.8)
    assert (lost["hands_lost"] == 100).all()


def test_a_model_that_obeys_other_actions_is_right_by_them(run):
    told = np.diff(run.states.astype(float), axis=0)
    told[:4, NAMES.index("left_elbow_pitch")] += 0.12
    replay = Place(run).place("")
    obedient = np.stack([robot.render().rgb for robot in replay.told(told)])
    metric = Hands(Place(run))
    assert np.nanmean(metric.clip(sample(run, obedient, told))["hands"]) < 1.0
    assert np.nanmean(metric.clip(sample(run, run.frames[1:], told))["hands"]) > 2.0


def test_the_camera_of_true_frames_is_where_the_body_puts_it(run):
    found = HallFollowing(Place(run)).clip(sample(run, run.frames[1:]))
    assert not found["lost"].any()
    assert found["drift"].max() < 0.02
    assert found["turned"].max() < 0.5


def test_a_camera_elsewhere_is_found_there(run):
    replay = Place(run).place("")
    own = np.diff(run.states.astype(float), axis=0)
    moved = (0.05, 0.03, np.radians(2.0))
    seen = np.stack([robot.render(64, 64, moved).rgb for robot in replay.told(own)])
    found = HallFollowing(Place(run)).clip(sample(run, seen))
    aligned = found["lost"] == 0
    assert aligned.mean() > 0.8
    np.testing.assert_allclose(found["drift"][aligned], np.hypot(0.05, 0.03), atol=0.02)
    assert found["moved"][0] == pytest.approx(np.hypot(0.05, 0.03), abs=0.02)
    assert found["turned"][0] == pytest.approx(2.0, abs=0.4)


def test_halls_have_both_metrics(tmp_path):
    assert [type(m) for m in following_of(HumanoidHalls(str(tmp_path)))] == [HallFollowing, Hands]
