"""How cameras move: RECON-like driving that walls stop, switches, and a hand-held camera."""

import numpy as np
import pytest

from egowm.worlds.motion import (
    MAX_TURN,
    ROBOT_HEIGHT,
    Disturbances,
    clearances,
    drive,
    find_start,
    hand_held,
    realise,
    step,
)
from egowm.worlds.recording import record, seed_of
from egowm.worlds.rooms import Room

PLAIN = Disturbances()


def runs(disturbances: Disturbances = PLAIN, count: int = 30, num_frames: int = 33):
    """Rooms, poses and actions of some drives."""
    for k in range(count):
        room, rng = Room(seed_of("val", k)), np.random.default_rng(k)
        yield room, *drive(room, rng, num_frames, disturbances)


@pytest.fixture(scope="module")
def plain():
    return list(runs())


def test_motion_is_recon_s(plain):
    """0.15-0.3 m forward when moving, at most 6 degrees, some stops, at 4 Hz."""
    commands = np.concatenate([commanded for _, _, commanded, _ in plain])
    moving = commands[:, 0] > 0
    assert commands[moving, 0].min() >= 0.15
    assert commands[moving, 0].max() <= 0.3
    assert np.abs(commands[:, 1]).max() == 0
    assert np.degrees(np.abs(commands[:, 2]).max()) <= 6 + 1e-9
    assert 0.01 < 1 - moving.mean() < 0.15
    assert 1 < np.degrees(np.median(np.abs(commands[:, 2]))) < 4


def test_turning_is_smooth(plain):
    turns = np.stack([commanded[:, 2] for _, _, commanded, _ in plain])
    before, after = turns[:, :-1].ravel(), turns[:, 1:].ravel()
    assert np.corrcoef(before, after)[0, 1] > 0.7


def test_poses_are_the_realised_actions_summed(plain):
    for _, poses, _, realised in plain[:5]:
        pose = tuple(poses[0])
        for k, action in enumerate(realised):
            pose = step(*pose, action)
            np.testing.assert_allclose(pose, poses[k + 1], atol=1e-12)


def test_a_step_in_closed_form():
    """Body frame: forward is along the heading, positive dy is left, positive dyaw turns left."""
    np.testing.assert_allclose(step(1, 2, 0, np.array([0.3, 0.1, 0.2])), (1.3, 2.1, 0.2))
    np.testing.assert_allclose(
        step(1, 2, np.pi / 2, np.array([0.3, 0.1, -0.2])), (0.9, 2.3, 1.3708), 1e-4
    )


def test_realised_differs_from_commanded_only_at_walls(plain):
    """There the translation is dropped and the turn kept; elsewhere both are equal."""
    stopped, total = 0, 0
    for room, poses, commanded, realised in plain:
        for pose, command, real in zip(poses, commanded, realised, strict=False):
            total += 1
            if np.array_equal(command, real):
                continue
            stopped += 1
            assert real.tolist() == [0, 0, command[2]]
            ahead = clearances(room, *pose, np.radians([-25, 0, 25])).min()
            assert ahead < command[0] + 0.45
    assert 0 < stopped < 0.1 * total


def test_the_camera_never_enters_a_surface(plain):
    around = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    nearest = [clearances(room, *pose, around).min() for room, poses, *_ in plain for pose in poses]
    assert min(nearest) > 0.1
    assert np.mean(np.array(nearest) > 0.3) > 0.99


def test_a_wall_ahead_stops_the_translation():
    room = Room(seed_of("val", 0))
    x, y, yaw = find_start(room, np.random.default_rng(0))
    ahead = clearances(room, x, y, yaw, np.zeros(1))[0]
    action = np.array([0.3, 0.0, 0.05])
    assert realise(room, x, y, yaw, action) is action
    close = x + (ahead - 0.5) * np.cos(yaw), y + (ahead - 0.5) * np.sin(yaw)
    assert realise(room, *close, yaw, action).tolist() == [0.0, 0.0, 0.05]
    turn = np.array([0.0, 0.0, 0.05])
    assert realise(room, *close, yaw, turn) is turn
    assert realise(room, *close, yaw, np.array([-0.3, 0.0, 0.0]))[0] == -0.3  # backing off


def test_starts_look_into_the_room():
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for k in range(20):
        room = Room(seed_of("val", k))
        x, y, yaw = find_start(room, np.random.default_rng(k))
        assert clearances(room, x, y, yaw, np.radians([-15, 0, 15])).min() > 2
        assert clearances(room, x, y, yaw, around).min() > 0.7


def test_slip():
    """The realised motion scatters about the command by its share, and sideways a little."""
    commanded, realised = (
        np.concatenate(rows)
        for rows in zip(*((c, r) for _, _, c, r in runs(Disturbances(slip=0.1), 12)), strict=True)
    )
    moved = (commanded[:, 0] > 0) & (realised[:, 0] > 0)
    ratio = realised[moved, 0] / commanded[moved, 0]
    assert abs(ratio.mean() - 1) < 0.03
    assert 0.07 < ratio.std() < 0.13
    assert 0 < np.abs(realised[moved, 1]).mean() < 0.02


def test_switches_do_what_they_say():
    seed = seed_of("val", 3)
    plain, jitter, blur, exposure = (
        record(seed, num_frames=9, disturbances=d)
        for d in (
            PLAIN,
            Disturbances(jitter=0.03),
            Disturbances(blur=3),
            Disturbances(exposure=0.1),
        )
    )
    assert np.abs(plain.cameras[:, 4:]).max() == 0
    assert (plain.cameras[:, 2] == np.float32(ROBOT_HEIGHT)).all()
    assert 0.01 < jitter.cameras[:, 4:].std() < 0.06
    for other in (jitter, blur, exposure):  # the motion is the same
        assert np.array_equal(other.realised, plain.realised)
        assert not np.array_equal(other.frames, plain.frames)
    assert np.array_equal(blur.frames[0], plain.frames[0])
    assert np.array_equal(blur.ids, plain.ids)

    def sharpness(frames: np.ndarray) -> float:
        return float(np.abs(np.diff(frames.astype(float), axis=2)).mean())

    assert sharpness(blur.frames[1:]) < 0.97 * sharpness(plain.frames[1:])
    gains = exposure.frames.mean((1, 2, 3)) / plain.frames.mean((1, 2, 3))
    assert gains.std() > 0.03


def test_a_hand_held_camera():
    """Height 0.3-1.7 m, pitch and roll, smooth, slower than 0.45 m a frame."""
    tracks = [
        np.array(hand_held(Room(seed_of("passive", k), "passive"), np.random.default_rng(k), 33))
        for k in range(30)
    ]
    cameras = np.concatenate(tracks)
    assert cameras[:, 2].min() >= 0.3
    assert cameras[:, 2].max() <= 1.7
    assert np.ptp(cameras[:, 2]) > 1.0
    assert cameras[:, 4].min() >= -0.4
    assert cameras[:, 4].max() <= 0.3
    assert np.abs(cameras[:, 5]).max() <= 0.2
    assert cameras[:, 4].std() > 0.03
    assert cameras[:, 5].std() > 0.01
    steps = np.concatenate([np.diff(track, axis=0) for track in tracks])
    assert np.hypot(steps[:, 0], steps[:, 1]).max() < 0.45
    assert np.abs(steps[:, 3]).max() <= 1.2 * MAX_TURN + 1e-9
    assert np.median(np.hypot(steps[:, 0], steps[:, 1])) > 0.05
