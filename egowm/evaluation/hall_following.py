"""Where imagined frames are seen from, against where a humanoid's body puts its head camera."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from egowm.checks import check_shape, checked
from egowm.evaluation.render_alignment import Pose, align_drawn
from egowm.worlds.drawing import View
from egowm.worlds.humanoid import Humanoid
from egowm.worlds.humanoid_replay import Replay

# Where the search begins, besides where the frame before was: metres and degrees off.
_AHEAD, _TURNS = (-0.12, 0.0, 0.12), (-7.0, 0.0, 7.0)


class HallMotion(NamedTuple):
    """What T frames show of the camera's motion.

    Args:
        offsets: (T, 3) metres ahead and to the left, and degrees to the left, by which the camera
            is off, in its own frame; NaN where a frame is not aligned.
        errors: (T, 3) motion from frame to frame less the one told, in the same units; one that is
            not known counts as a motion that was not made.
        drift: (T,) metres; a frame that is not aligned counts as seen from where the clip began.
        aligned: (T,) bool.
    """

    offsets: np.ndarray
    errors: np.ndarray
    drift: np.ndarray
    aligned: np.ndarray


@checked
def follow_in_hall(frames: np.ndarray, actions: np.ndarray, replay: Replay) -> HallMotion:
    """Align every frame to a drawing of what the body would see under its actions.

    Args:
        frames: (T, H, W, 3) uint8, after the context frame.
        actions: (T, 25) that the model was told, in physical units.
        replay: The run, from the context frame.

    >>> from egowm.worlds.humanoid_recording import record_humanoid
    >>> run = record_humanoid(20_000_000, "navigation", num_frames=3)
    >>> replay = Replay(Humanoid(20_000_000), run.positions, run.states)
    >>> own = np.diff(run.states.astype(float), axis=0)
    >>> bool(follow_in_hall(run.frames[1:], own, replay).drift.max() < 0.02)
    True
    """
    check_shape("frames", frames, "T H W 3")
    check_shape("actions", actions, f"{len(frames)} 25")
    offsets, cameras, here = [], [replay.robot.camera()], (0.0, 0.0, 0.0)
    for frame, robot in zip(frames, replay.told(actions), strict=True):
        cameras.append(robot.camera())
        fit = align_drawn(frame, _drawer(robot), here, _starts(here))
        offsets.append(fit.pose if fit.good else (np.nan,) * 3)
        here = fit.pose if fit.good else (0.0, 0.0, 0.0)
    off = np.array(offsets) * [1, 1, np.degrees(1)]
    aligned = ~np.isnan(off[:, 0])
    changes = np.diff(np.concatenate([np.zeros((1, 3)), off]), axis=0)
    steps = np.array([_motion(*pair) for pair in pairwise(cameras)])
    away = np.array([np.linalg.norm(place - cameras[0][0]) for place, _ in cameras[1:]])
    errors = np.where(np.isnan(changes), steps, changes)
    return HallMotion(off, errors, np.where(aligned, np.hypot(*off.T[:2]), away), aligned)


def _drawer(robot: Humanoid) -> Callable[[Pose, int], View]:
    def draw(pose: Pose, size: int) -> View:
        return robot.render(size, size, pose)

    return draw


def _starts(here: Pose) -> list[Pose]:
    around = [(a, 0.0, float(np.radians(t))) for a in _AHEAD for t in _TURNS]
    return [here, *around]


def _motion(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Of a camera: metres ahead and to the left, degrees to the left, in its frame before."""
    way = (after[0] - before[0]) @ before[1]
    looks = before[1].T @ after[1][:, 0]
    return np.array([way[0], way[1], np.degrees(np.arctan2(looks[1], looks[0]))])
