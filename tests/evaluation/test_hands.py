"""Where imagined frames show hands, things and the head of the embedded humanoid."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.actions.humanoid_states import NAMES, UNITS
from egowm.data import HumanoidHalls
from egowm.evaluation.hall_scene import HallScene
from egowm.evaluation.metrics.following import Hands, HeadFollowing, following_of
from egowm.evaluation.metrics.metric import Sample
from egowm.worlds.humanoid import Humanoid
from egowm.worlds.humanoid_recording import HumanoidRecording, record_humanoid
from egowm.worlds.humanoid_replay import Replay
from egowm.worlds.humanoid_room import LEFT_HAND, RIGHT_HAND, TABLE

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


def test_a_pixel_in_the_corner_is_as_wide_as_one_in_the_middle(run, monkeypatch):
    """Centimetres in the plane of the picture: depth along the axis, not along the ray."""
    replay = Place(run).place("")
    hand = replay.robot.hands()[0]
    origin, rotation = replay.robot.camera()
    ahead = ((hand - origin) @ rotation)[0]
    a, b = replay.robot.project(np.stack([hand, hand + 0.1 * rotation[:, 1]]), 64, 64)
    assert np.linalg.norm(a - b) * ahead * 200 / 64 == pytest.approx(10.0, abs=0.01)
    metric = Hands(Place(run))
    hands = (LEFT_HAND, RIGHT_HAND)
    masks = {hand: np.roll(run.ids[1:] == hand, -3, axis=1) for hand in hands}  # three pixels up
    monkeypatch.setattr(metric, "_seen", lambda *_: masks)
    found = metric.clip(sample(run, run.frames[1:]))["hands"][0]
    robot = next(replay.told(np.diff(run.states[:2].astype(float), axis=0)))
    view, depths = robot.render(), []
    for hand in hands:
        rows, columns = np.nonzero(view.ids == hand)
        slant = np.sqrt(1 + ((columns - 31.5) / 32) ** 2 + ((rows - 31.5) / 32) ** 2)
        depths.append(np.median(view.depth[rows, columns] / slant))
    assert found == pytest.approx(3 * np.mean(depths) * 200 / 64, rel=0.02)


def test_things_are_not_judged_under_other_actions(run):
    told = np.diff(run.states.astype(float), axis=0)
    told[0, 0] += 0.05
    assert np.isnan(Hands(Place(run)).clip(sample(run, run.frames[1:], told))["carried"]).all()


def test_halls_have_the_metric(tmp_path):
    assert [type(m) for m in following_of(HumanoidHalls(str(tmp_path)))] == [Hands, HeadFollowing]


# The head ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drive() -> HumanoidRecording:
    return record_humanoid(SEED, "navigation", 4)


@pytest.mark.long
def test_the_head_in_true_frames_is_where_the_states_take_it(drive):
    """Also in blurred frames that are tinted; whoever stays is off by the whole motion."""
    metric = HeadFollowing(Place(drive))
    true = metric.clip(sample(drive, drive.frames[1:]))
    assert true["moved"].max() < 0.02
    assert true["turned"].max() < 0.5
    assert true["drift"].max() < 0.02
    assert not true["lost"].any()
    dim = [cv2.GaussianBlur(frame, (0, 0), 1.5) * 0.8 + 20 for frame in drive.frames[1:]]
    blurred = metric.clip(sample(drive, np.array(dim).astype(np.uint8)))
    assert blurred["drift"].max() < 0.05
    assert blurred["turned"].max() < 1.5
    still = metric.clip(sample(drive, np.repeat(drive.frames[:1], 3, 0)))
    grey = metric.clip(sample(drive, np.full_like(drive.frames[1:], 128)))
    assert (grey["lost"] == 100).all()
    assert grey["moved"].max() > 0.05
    assert grey["turned"].max() > 2.0
    for key, within in (("moved", 0.02), ("turned", 0.5), ("drift", 0.02)):
        np.testing.assert_allclose(still[key], grey[key], atol=within)


def test_a_head_that_nods_more_than_it_was_told_is_off_by_as_much(drive):
    told = np.diff(drive.states.astype(float), axis=0)
    nodding = told.copy()
    nodding[0, NAMES.index("neck_pitch")] += np.radians(6.0)
    robots = Place(drive).place("").told(nodding)
    seen = np.stack([robot.render().rgb for robot in robots])
    found = HeadFollowing(Place(drive)).clip(sample(drive, seen, told))
    assert found["turned"][0] == pytest.approx(6.0, abs=0.5)
    assert found["turned"][1:].max() < 0.5
    assert not found["lost"].any()


def test_frames_of_another_hall_are_not_aligned(drive):
    other = record_humanoid(SEED + 1, "navigation", 3).frames[1:]
    assert (HeadFollowing(Place(drive)).clip(sample(drive, other, np.zeros((2, 25))))["lost"]).all()


def test_a_frame_of_nothing_but_a_body_is_not_aligned(drive):
    """What is left of it is of one colour, which fits anything."""
    hand = 255 * Humanoid(SEED).room.colours[LEFT_HAND]
    frames = np.full_like(drive.frames[1:], 128)
    for k, frame in enumerate(frames):
        frame[10 * k : 10 * k + 30, 5:50] = hand
    found = HeadFollowing(Place(drive)).clip(sample(drive, frames))
    assert (found["lost"] == 100).all()


def test_what_moves_is_told_from_the_hall_by_its_hue(run):
    robot = Humanoid(SEED)
    robot.restore(run.positions[4])
    view = robot.render()
    shown = HallScene(robot).shown(view.rgb)
    moves = (view.ids >= LEFT_HAND) & (view.ids < TABLE)
    assert 0.05 < moves.mean() < 0.6
    assert (shown == ~moves).mean() > 0.99
