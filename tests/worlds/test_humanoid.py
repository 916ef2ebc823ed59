"""The embedded humanoid: its states, its physics, what it sees, and what its hands can do."""

from itertools import islice

import numpy as np
import pytest

from egowm.actions.humanoid_states import NAMES, UNITS
from egowm.worlds.arm import Arm, Goal
from egowm.worlds.behaviours import Sway
from egowm.worlds.humanoid import FOV_DEGREES, JOINTS, Base, Humanoid
from egowm.worlds.humanoid_recording import live, record_humanoid
from egowm.worlds.humanoid_replay import Replay
from egowm.worlds.humanoid_room import FIRST_OBJECT, LEFT_HAND, RIGHT_HAND, plan_humanoid_room
from egowm.worlds.rooms import NUM_HUES

SEED = 20_000_001


@pytest.fixture(scope="module")
def ready() -> np.ndarray:
    """A state with both hands over the table."""
    state = np.zeros(25)
    for name, angle in (("hip_pitch", 0.3), ("neck_pitch", 0.65)):
        state[NAMES.index(name)] = angle
    for side in ("left", "right"):
        state[NAMES.index(f"{side}_shoulder_pitch")] = 0.55
        state[NAMES.index(f"{side}_shoulder_roll")] = 0.2
        state[NAMES.index(f"{side}_elbow_pitch")] = 1.5
    return state


@pytest.fixture
def robot(ready) -> Humanoid:
    robot = Humanoid(SEED)
    robot.place(ready, robot.before_table())
    return robot


def test_its_states_are_those_of_1x_in_their_order():
    assert len(NAMES) == len(UNITS) == 25
    assert (NAMES[0], NAMES[3], NAMES[6], NAMES[13]) == (
        *("hip_yaw", "knee_pitch"),
        *("left_shoulder_pitch", "right_shoulder_pitch"),
    )
    assert NAMES[20:] == (
        *("neck_pitch", "left_hand_closure", "right_hand_closure"),
        *("linear_velocity", "angular_velocity"),
    )


def test_a_state_is_read_as_it_was_placed(robot, ready):
    state = ready.copy()
    state[21:] = 0.25, 1.0, 0.4, -0.3
    robot.place(state, Base(0.5, -0.2, 1.1))
    np.testing.assert_allclose(robot.state(), state, atol=1e-6)
    assert robot.base == (0.5, -0.2, 1.1)


def test_motors_hold_a_posture_and_reach_another(robot, ready):
    for _ in range(30):
        robot.step(ready)
    assert np.abs(robot.state()[:21] - ready[:21]).max() < 0.01
    bent = ready.copy()
    bent[NAMES.index("left_elbow_pitch")] = 0.8
    bent[NAMES.index("knee_pitch")] = 0.4
    for _ in range(45):
        robot.step(bent)
    assert np.abs(robot.state()[:21] - bent[:21]).max() < 0.03


def test_wheels_go_where_they_are_told(ready):
    robot = Humanoid(SEED)
    robot.place(ready, Base(0.0, 0.0, np.pi / 2))
    targets = ready.copy()
    targets[23:] = 0.3, 0.0
    for _ in range(30):
        robot.step(targets)
    assert robot.base.y == pytest.approx(0.3, abs=0.02)
    assert abs(robot.base.x) < 0.01
    assert robot.state()[23] == pytest.approx(0.3, abs=0.01)
    targets[23:] = 0.0, 0.5
    before = robot.base.yaw
    for _ in range(30):
        robot.step(targets)
    assert robot.base.yaw - before == pytest.approx(0.5, abs=0.05)
    assert robot.state()[24] == pytest.approx(0.5, abs=0.03)


def test_a_wall_stops_the_wheels(ready):
    robot = Humanoid(SEED)
    ahead, _ = robot.room.half_size
    targets = ready.copy()
    targets[23] = 0.6
    robot.place(ready, Base(ahead - 0.8, 0.0, 0.0))
    for _ in range(90):
        robot.step(targets)
    assert robot.base.x < ahead - 0.1 - 0.2  # half a wall's thickness, and the wheels' radius
    assert robot.base.x > ahead - 0.7


def test_objects_lie_still_on_the_table(robot, ready):
    before = robot.objects()
    for _ in range(60):
        robot.step(ready)
    assert np.abs(robot.objects() - before).max() < 0.005
    assert (robot.objects()[:, 2] > robot.room.table[2]).all()


def test_a_closed_hand_lifts_what_is_between_its_fingers(robot, ready):
    """The whole chain: inverse kinematics, motors, contact and friction against gravity."""
    place = min(robot.objects(), key=lambda p: abs(robot.point_to_base(p)[1] - 0.15))
    side = int(robot.point_to_base(place)[1] < 0)
    arm, targets = Arm(robot, side, ready), ready.copy()
    high = place + np.array([0, 0, 0.14])
    object_number = int(np.argmin(np.linalg.norm(robot.objects() - place, axis=1)))
    for goal in (Goal(high, 0.0, 45), Goal(place, 0.0, 30), Goal(place, 1.0, 20)):
        arm.aim(goal)
        for _ in range(goal.steps):
            arm.fill(targets, working=True)
            robot.step(targets)
    arm.aim(Goal(high, 1.0, 45))
    for _ in range(45):
        arm.fill(targets, working=True)
        robot.step(targets)
    lifted = robot.objects()[object_number] - place
    assert lifted[2] > 0.08
    assert np.linalg.norm(robot.objects()[object_number] - robot.hands()[side]) < 0.06


def test_an_arm_brings_the_hand_to_its_goal(robot, ready):
    arm, targets = Arm(robot, 0, ready), ready.copy()
    goal = robot.hands()[0] + np.array([0.03, 0.05, 0.08])
    arm.aim(Goal(goal, 0.0, 60))
    for _ in range(60):
        arm.fill(targets, working=True)
        robot.step(targets)
    assert np.linalg.norm(robot.hands()[0] - goal) < 0.015


def test_the_camera_sees_both_hands_and_masks_name_them(robot):
    view = robot.render(128, 128)
    assert view.rgb.shape == (128, 128, 3)
    for identity, hand in zip((LEFT_HAND, RIGHT_HAND), robot.hands(), strict=True):
        seen = view.ids == identity
        assert seen.sum() > 40
        column, row = robot.project(hand[None], 128, 128)[0]
        rows, columns = np.nonzero(seen)
        assert abs(columns.mean() - column) < 8
        assert abs(rows.mean() - row) < 12
        distance = np.linalg.norm(hand - robot.camera()[0])
        assert abs(np.median(view.depth[seen]) - distance) < 0.12


def test_every_structure_has_a_hue_of_its_own():
    for seed in range(3):
        colours = plan_humanoid_room(seed).colours[2:]
        hues = [_hue(colour) for colour in colours]
        places = np.round(np.array(hues) * NUM_HUES).astype(int) % NUM_HUES
        assert len(set(places.tolist())) == len(colours)
        np.testing.assert_allclose(
            np.array(hues) * NUM_HUES, np.round(np.array(hues) * NUM_HUES), atol=1e-3
        )


def _hue(colour: np.ndarray) -> float:
    import colorsys

    return colorsys.rgb_to_hsv(*map(float, colour))[0]


def test_a_point_projects_to_the_middle_and_to_the_edge_of_the_picture(robot):
    origin, rotation = robot.camera()
    ahead = origin + 2 * rotation[:, 0]
    edge = ahead + 2 * np.tan(np.radians(FOV_DEGREES) / 2) * rotation[:, 1]
    found = robot.project(np.stack([ahead, edge, origin - rotation[:, 0]]), 64, 64)
    np.testing.assert_allclose(found[:2], [[31.5, 31.5], [-0.5, 31.5]], atol=1e-9)
    assert np.isnan(found[2]).all()


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first = record_humanoid(SEED, "manipulation", 3, 16, 16)
    again = record_humanoid(SEED, "manipulation", 3, 16, 16)
    other = record_humanoid(SEED + 1, "manipulation", 3, 16, 16)
    assert (first.frames == again.frames).all()
    assert (first.states == again.states).all()
    assert (first.states != other.states).any()
    assert first.states.dtype == np.float32


@pytest.mark.parametrize("behaviour", ["navigation", "manipulation"])
def test_every_dimension_moves(behaviour):
    states = np.array([robot.state() for robot, _ in islice(live(SEED, behaviour), 40)])
    moved = np.ptp(states, axis=0)
    still = [name for name, by in zip(NAMES, moved, strict=True) if by < 0.005]
    assert set(still) <= {"left_hand_closure", "right_hand_closure"}
    limits = Humanoid(SEED).model
    for number, name in enumerate(JOINTS):
        low, high = limits.joint(name).range
        assert (states[:, number] > low - 0.02).all()
        assert (states[:, number] < high + 0.02).all()


@pytest.mark.long
def test_something_is_moved_in_most_runs_at_the_table():
    moved = 0
    for seed in range(SEED, SEED + 3):
        robots = live(seed, "manipulation", every=30)
        places = [robot.objects() for robot, _ in islice(robots, 7)]
        moved += np.linalg.norm(places[-1] - places[0], axis=1).max() > 0.05
    assert moved >= 2


def test_a_replay_under_its_own_actions_is_the_recording(ready):
    run = record_humanoid(SEED, "manipulation", 5, 24, 24)
    replay = Replay(Humanoid(SEED), run.positions, run.states)
    own = np.diff(run.states.astype(float), axis=0)
    frames = [robot.render(24, 24).rgb for robot in replay.told(own.astype(np.float32))]
    assert (np.stack(frames) == run.frames[1:]).all()


def test_a_replay_moves_what_its_actions_say(ready):
    run = record_humanoid(SEED, "manipulation", 5, 24, 24)
    replay = Replay(Humanoid(SEED), run.positions, run.states)
    told = np.diff(run.states.astype(float), axis=0)
    elbow, speed, turn = (
        NAMES.index(n) for n in ("left_elbow_pitch", "linear_velocity", "angular_velocity")
    )
    told[0, elbow] += 0.2
    told[0, speed] += 0.5  # half a metre a second faster from the first frame on
    told[0, turn] += 1.0
    robot = list(replay.told(told))[-1]
    true = run.positions[4]
    # The first fifth of a second speeds up evenly: half of it counts.
    assert robot.base.yaw - true[2] == pytest.approx(0.1 + 3 * 0.2, abs=1e-6)
    way = np.array(robot.base[:2]) - true[:2]
    assert np.linalg.norm(way) == pytest.approx(0.5 * 0.7, abs=0.03)
    assert robot.state()[elbow] - run.states[4, elbow] == pytest.approx(0.2, abs=1e-5)


def test_wrong_input_is_told(robot, ready):
    with pytest.raises(ValueError, match="finite"):
        robot.step(np.full(25, np.nan))
    with pytest.raises(ValueError, match="25"):
        robot.step(np.zeros(21))
    with pytest.raises(ValueError, match="finite"):
        robot.place(np.full(25, np.inf), robot.base)
    with pytest.raises(ValueError, match="finite"):
        robot.restore(np.full(robot.model.nq, np.nan))
    with pytest.raises(ValueError, match="navigation"):
        record_humanoid(SEED, "dancing", 3)
    run = record_humanoid(SEED, "navigation", 3, 16, 16)
    replay = Replay(Humanoid(SEED), run.positions, run.states)
    with pytest.raises(ValueError, match="fewer actions than the 3 moments recorded"):
        replay.told(np.zeros((3, 25)))
    with pytest.raises(ValueError, match="finite"):
        replay.told(np.full((1, 25), np.nan))


def test_targets_out_of_reach_are_held_at_the_end_of_their_range(robot, ready):
    """Without it the physics diverges, and begins anew at the origin without a word."""
    wild = ready.copy()
    wild[NAMES.index("left_shoulder_pitch")] = 1e4
    wild[NAMES.index("right_hand_closure")] = -50.0
    before = robot.base
    for _ in range(30):
        robot.step(wild)
    assert robot.state()[NAMES.index("left_shoulder_pitch")] == pytest.approx(2.6, abs=0.1)
    assert np.linalg.norm(np.array(robot.base[:2]) - before[:2]) < 0.05
    assert robot.data.time == pytest.approx(1.0)


def test_a_replay_can_be_gone_through_again():
    run = record_humanoid(SEED, "manipulation", 4, 16, 16)
    replay = Replay(Humanoid(SEED), run.positions, run.states)
    own = np.diff(run.states.astype(float), axis=0)
    first = [robot.state() for robot in replay.told(own)]
    np.testing.assert_array_equal(first, [robot.state() for robot in replay.told(own)])


def test_a_sway_stays_around_its_posture_and_never_jumps():
    sway = Sway({"neck_pitch": (0.3, 0.2)}, np.random.default_rng(0))
    seen = np.array([sway.next() for _ in range(300)])
    neck = NAMES.index("neck_pitch")
    assert np.ptp(seen[:, neck]) > 0.1
    assert np.abs(seen[:, neck] - 0.3).max() < 0.25
    assert np.abs(np.diff(seen[:, neck])).max() < 0.05
    assert not seen[:, [n for n in range(25) if n != neck]].any()


def test_objects_have_ids_of_their_own(robot):
    geoms = [robot.model.body(f"object{k}").geomadr[0] for k in range(3)]
    assert robot.ids[geoms].tolist() == [FIRST_OBJECT, FIRST_OBJECT + 1, FIRST_OBJECT + 2]
