"""Motion measured in videos whose motion is known; worked by hand where it can be."""

import cv2
import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.data.normalisers import WHEELED
from egowm.evaluation import image_alignment
from egowm.evaluation.action_following import ActionFollowing, follow_in_room, summarise
from egowm.evaluation.flow_motion import Ground, Pinhole, follow_by_flow
from egowm.evaluation.render_alignment import RoomScene, standing
from egowm.worlds.motion import ROBOT_HEIGHT
from egowm.worlds.recording import follow, record, seed_of
from egowm.worlds.rooms import Camera, Room

SEED = seed_of("test", 0)
ACTIONS = np.array([[0.2, 0.0, 0.05], [0.25, 0.0, -0.05], [0.0, 0.1, 0.08]])
ALL = np.ones(3, bool)


@pytest.fixture(scope="module")
def start():
    return record(SEED, num_frames=17).cameras[0, [0, 1, 3]].astype(float)


@pytest.fixture(scope="module")
def frames(start):
    return follow(SEED, start, ACTIONS)[0]


def by_hand(errors, drift=None) -> ActionFollowing:
    """A video that was told nothing and moved by these errors; metres and radians."""
    seen = np.array(errors, float)
    found = ~np.isnan(seen).any(1)
    drift = np.zeros((len(seen), 2)) if drift is None else np.array(drift, float)
    return ActionFollowing(WHEELED, np.zeros_like(seen), seen, found, drift, ALL)


def test_a_rendered_motion_is_found(frames, start):
    found = follow_in_room(frames, ACTIONS, WHEELED, Room(SEED), start)
    assert found.aligned.all()
    assert (np.median(np.abs(found.errors), 0) < (0.02, 0.02, 0.5)).all()
    assert np.abs(found.errors).max(0) == pytest.approx(0, abs=1.0)
    assert found.drift[:, 0].max() < 0.03
    assert found.drift[:, 1].max() < 1.0


def test_a_wrong_action_shows_its_own_size(frames, start):
    wrong = np.array([0.1, -0.05, 0.06])
    found = follow_in_room(frames, ACTIONS + wrong, WHEELED, Room(SEED), start)
    expected = -np.array([0.1, -0.05, np.degrees(0.06)])
    assert np.abs(found.errors - expected).max(0) == pytest.approx(0, abs=0.8)
    assert np.abs((found.errors - expected)[:, :2]).max() < 0.03


@pytest.mark.parametrize("blur", [1.5, 2.5])
def test_a_blurred_and_tinted_video_aligns(frames, start, blur):
    seen = [cv2.GaussianBlur(frame, (0, 0), blur) * (0.7, 0.9, 0.8) + 15 for frame in frames]
    found = follow_in_room(np.array(seen).astype(np.uint8), ACTIONS, WHEELED, Room(SEED), start)
    assert found.aligned.all()
    assert np.abs(found.errors).max(0)[2] < 1.2
    assert np.abs(found.errors[:, :2]).max() < 0.05


def test_grey_and_a_strange_room_are_not_aligned_and_counted(frames, start):
    grey = np.full_like(frames, 128)
    for shown, seed in ((grey, SEED), (frames, seed_of("test", 9))):
        found = follow_in_room(shown, ACTIONS, WHEELED, Room(seed), start)
        assert not found.aligned.any()
        assert np.isnan(found.errors).all()
        (two,) = summarise([found], horizons=(2,))
        assert two.aligned == 0
        assert np.isinf(two.error).all()
        assert np.isinf(two.drift).all()


def test_a_summary_by_hand():
    """Of 4 steps, errors 1, 2, 3 cm and one unknown: the lower middle is 2 cm."""
    first = by_hand([[0.01, 0, 0], [-0.02, 0, 0.1]], [[0, 0], [0.3, 4.0]])
    second = by_hand([[0.03, 0, 0], [np.nan] * 3], [[0, 0], [np.nan, np.nan]])
    (two,) = summarise([first, second])
    assert two.error == pytest.approx([0.02, 0, 0])
    assert two.aligned == 0.75
    assert two.drift == pytest.approx([0.3, 4.0])
    assert np.isnan(two.error_ci95).all()
    assert np.isnan(two.gain).all()


def test_the_interval_of_clips_that_are_alike_is_a_point():
    (two,) = summarise([by_hand([[0.01, 0, 0]] * 2)] * 10)
    assert two.error_ci95[0] == pytest.approx([0.01, 0.01])


def test_the_gain_of_half_the_motion_is_a_half():
    told = np.array([[0.2, 0, 0.1], [0.1, 0, -0.1]])
    video = ActionFollowing(WHEELED, told, told / 2, np.ones(2, bool), np.zeros((2, 2)), ALL)
    assert summarise([video])[0].gain[[0, 2]] == pytest.approx([0.5, 0.5])


def test_actions_that_are_no_motion_are_refused(frames, start):
    command = ActionSpec(("angle", "throttle", "brake"), ("1",) * 3, "command", "command", 4.0)
    with pytest.raises(ValueError, match="convert them to poses"):
        follow_in_room(frames, ACTIONS, command, Room(SEED), start)
    with pytest.raises(ValueError, match=r"Expected actions \(3, 3\), got \(2, 3\)"):
        follow_in_room(frames, ACTIONS[:2], WHEELED, Room(SEED), start)


# By optical flow ----------------------------------------------------------------------------------

VIEW = Pinhole.of_view(64, 64, 90.0)
DRIVE = np.array([[0.2, 0.0, 0.05], [0.25, 0.0, -0.04]])


def depth_of(start) -> np.ndarray:
    """(3, 64, 64) metres along the optical axis, of the poses to which DRIVE leads."""
    rays = np.stack([*np.meshgrid(*[(np.arange(64) - 31.5) / 32] * 2), np.ones((64, 64))])
    room, depth = Room(SEED), []
    for k in range(len(DRIVE) + 1):
        x, y, yaw = start if k == 0 else _after(start, k)
        view = room.render(Camera(x, y, ROBOT_HEIGHT, yaw))
        depth.append(view.depth / np.linalg.norm(rays, axis=0))
    return np.stack(depth)


def _after(start, count):
    from egowm.worlds.motion import step

    pose = tuple(start)
    for action in DRIVE[:count]:
        pose = step(*pose, action)
    return pose


def test_flow_with_depth_and_over_a_floor_finds_the_whole_motion(start):
    frames = follow(SEED, start, DRIVE)[0]
    for found in (
        follow_by_flow(frames, DRIVE, WHEELED, VIEW, depth=depth_of(start)),
        follow_by_flow(frames, DRIVE, WHEELED, VIEW, ground=Ground(ROBOT_HEIGHT)),
    ):
        assert found.measured.all()
        assert np.abs(found.errors[:, :2]).max() < 0.05
        assert np.abs(found.errors[:, 2]).max() < 1.0


def test_flow_alone_finds_the_rotation_and_no_length(start):
    frames = follow(SEED, start, DRIVE)[0]
    found = follow_by_flow(frames, DRIVE, WHEELED, VIEW)
    assert found.measured.tolist() == [False, False, True]
    assert np.isnan(found.errors[:, :2]).all()
    assert np.abs(found.errors[:, 2]).max() < 1.0
    assert np.isnan(found.drift[:, 0]).all()
    assert found.drift[-1, 1] < 1.5


def test_flow_sees_nothing_in_a_grey_video():
    grey = np.full((3, 64, 64, 3), 128, np.uint8)
    found = follow_by_flow(grey, DRIVE, WHEELED, VIEW, ground=Ground(0.6))
    assert not found.aligned.any()


def test_a_turn_of_the_camera_in_space_by_hand():
    """A picture shifted by 2 pixels to the left at focal length 100: 2 / 100 radians about y."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (48, 82)), (0, 0), 2)
    noise = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    frames = np.stack([noise[:, :80], noise[:, 2:]])[..., None].repeat(3, -1)
    names, units = ("dx", "dy", "dz", "rx", "ry", "rz"), ("m",) * 3 + ("rad",) * 3
    spec = ActionSpec(names, units, "body", "se3", 10.0)
    far = np.full((2, 48, 80), 50.0)
    camera = Pinhole(100.0, 100.0, 39.5, 23.5)
    told = np.array([[0, 0, 0, 0, 0.02, 0.0]])
    found = follow_by_flow(frames, told, spec, camera, depth=far)
    turned = found.seen[0, 4] + found.seen[0, 0] / 50  # far away, a step aside looks like a turn
    assert turned == pytest.approx(0.02, abs=0.003)
    assert np.abs(found.errors[0, [3, 5]]).max() < 0.3


def test_slopes_without_a_bound_are_no_alignment(frames, start, monkeypatch):
    """A wall that the camera all but touches moves without a bound."""
    monkeypatch.setattr(
        image_alignment._Target,
        "_slopes",
        lambda self, drawn, points: np.full((drawn.shape[0] * drawn.shape[1], 3, 3), np.inf),
    )
    fit = image_alignment.align_frame(frames[1], RoomScene(Room(SEED)), standing(*start))
    assert not fit.good
    assert np.isinf(fit.doubt)


@pytest.mark.long
@pytest.mark.real_data
def test_recordings_against_their_measured_poses(shared_data):
    """Five steps of a hand-held camera with depth, in the median; a rover's fastest turn."""
    from benchmarks.experiment.action_following_real import desk, rover

    real = desk(shared_data / "tum_fr1_rpy_excerpt")
    assert real.depth is not None
    ends, wrong = slice(20, 26), real.steps[40:45]
    frames, steps, far = real.frames[ends], real.steps[20:25], real.depth[ends]
    found = follow_by_flow(frames, steps, real.spec, real.camera, depth=far)
    off = np.median(np.abs(found.errors), 0)
    assert off[:3].max() < 0.02
    assert off[3:].max() < 0.5
    told = np.degrees(found.seen[:, 3:] - wrong[:, 3:])
    assert np.median(np.abs(told), 0).max() > 1.0
    drive = rover(shared_data / "udacity_rover_sim", 4)
    turning = int(np.argmax(np.abs(drive.steps[:, 2])))
    turn = drive.steps[turning : turning + 1]
    assert np.degrees(np.abs(turn[0, 2])) > 5
    seen = follow_by_flow(drive.frames[turning : turning + 2], turn, drive.spec, drive.camera)
    assert abs(seen.errors[0, 2]) < 0.5
