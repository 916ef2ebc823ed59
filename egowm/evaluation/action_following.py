"""Action following: the motion seen between the frames of a video, against the actions commanded.

What a video shows is measured where a simulator knows the room (`follow_in_room`) or from optical
flow in any video (`egowm.evaluation.flow_motion`). Both give the same record: the error of every
action in every dimension, in metres and degrees, and how far the camera's pose has drifted from
where the actions lead. A step whose motion could not be measured is counted and never dropped: in
a median it is worse than every step that was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from egowm.actions import ActionSpec
from egowm.actions.poses import planar_path
from egowm.checks import check_shape, checked
from egowm.evaluation.render_alignment import align
from egowm.worlds.rooms import Room

HORIZONS = (2, 4, 8, 16)  # frames
RESAMPLES = 2000
MIN_CLIPS = 10  # below which no interval is given


@dataclass(frozen=True)
class ActionFollowing:
    """What one video of T frames after its first shows of its T actions.

    told: (T, A) actions in the spec's units. seen: (T, A) motion in the same units, NaN where it
    could not be measured. aligned: (T,) bool, whether frame k+1 was found at all. drift: (T, 2)
    metres and degrees between where the actions lead and where the camera is, NaN where not known.
    measured: (A,) bool, the dimensions that the method can see.

    >>> spec = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
    >>> told, seen = np.array([[0.2, 0.0, 0.0]]), np.array([[0.1, 0.0, np.pi / 180]])
    >>> drift, all_three = np.array([[0.1, 1.0]]), np.array([True, True, True])
    >>> ActionFollowing(spec, told, seen, np.array([True]), drift, all_three).errors.round(3)
    array([[-0.1,  0. ,  1. ]])
    """

    spec: ActionSpec
    told: np.ndarray
    seen: np.ndarray
    aligned: np.ndarray
    drift: np.ndarray
    measured: np.ndarray

    @property
    def units(self) -> tuple[str, ...]:
        """Of the errors, one per dimension: "m" or "degrees"."""
        return tuple("degrees" if unit == "rad" else unit for unit in self.spec.units)

    @property
    def errors(self) -> np.ndarray:
        """(T, A) seen minus told in `units`, NaN where not measured."""
        errors = self.seen - self.told
        angles = np.array([unit == "rad" for unit in self.spec.units])
        wrapped = np.degrees((errors + np.pi) % (2 * np.pi) - np.pi)
        return np.where(angles, wrapped, errors)


class Summary(NamedTuple):
    """Many videos up to a horizon.

    horizon: frames. clips: videos that are as long. aligned: share of their frames. error: (A,)
    median of the absolute errors, `inf` where more than half could not be measured, NaN where the
    method sees nothing. error_ci95: (A, 2). gain: (A,) share of the told motion that is seen, by
    least squares: 1 all, 0 none, NaN where none was told. drift: (2,) metres and degrees, the
    median at the horizon's last frame. drift_ci95: (2, 2). Intervals are bootstrapped over clips,
    NaN below 10 of them.
    """

    horizon: int
    clips: int
    aligned: float
    error: np.ndarray
    error_ci95: np.ndarray
    gain: np.ndarray
    drift: np.ndarray
    drift_ci95: np.ndarray


@checked
def follow_in_room(
    frames: np.ndarray, actions: np.ndarray, spec: ActionSpec, room: Room, start: np.ndarray
) -> ActionFollowing:
    """Measure a video of a known room by aligning every frame to renderings.

    Args:
        frames: (T+1, H, W, 3) uint8, the context frame first.
        actions: (T, 3) what was commanded: dx, dy, dyaw in the body frame; metres, radians.
        spec: what the actions mean; kind "se2".
        room: the room that the context frame shows.
        start: (3,) x, y, yaw of the context frame; metres, radians.

    Raises:
        ValueError: actions of another kind or length, frames of another shape.
    """
    check_actions(frames, actions, spec, ("se2",))
    check_shape("start", start, "3")
    found = align(frames[1:], room, start)
    told, here = np.asarray(actions, float), np.asarray(start, float)
    poses = np.concatenate([here[None], found.poses])
    drift = _apart(found.poses, planar_path(told, here)[1:])
    return ActionFollowing(spec, told, _steps(poses), found.aligned, drift, np.ones(3, bool))


@checked
def summarise(
    videos: Sequence[ActionFollowing], horizons: Sequence[int] = HORIZONS, seed: int = 0
) -> list[Summary]:
    """Medians over videos with intervals, for every horizon that at least one video reaches.

    Raises:
        ValueError: no video, or videos whose actions mean different things.
    """
    if not videos:
        raise ValueError("Expected at least 1 video to summarise, got none.")
    for video in videos:
        if (video.spec.names, video.spec.units) != (videos[0].spec.names, videos[0].spec.units):
            raise ValueError("Expected videos whose actions have the same names and units.")
    found = []
    for horizon in sorted(set(horizons)):
        long = [video for video in videos if len(video.told) >= horizon]
        if long:
            found.append(_summary(long, horizon, np.random.default_rng(seed)))
    return found


def check_actions(
    frames: np.ndarray, actions: np.ndarray, spec: ActionSpec, kinds: Sequence[str]
) -> None:
    """Refuse frames and actions that do not fit each other, and actions that are no poses."""
    check_shape("frames", frames, "T H W 3")
    check_shape("actions", actions, "T A", T=len(frames) - 1, A=spec.width)
    if frames.dtype != np.uint8:
        raise ValueError(f"Expected frames of uint8, got {frames.dtype}.")
    if spec.kind not in kinds:
        raise ValueError(
            f"Expected actions that are motions in space ({' or '.join(kinds)}), got kind "
            f"{spec.kind}: convert them to poses first."
        )
    if not np.isfinite(actions).all():
        raise ValueError("Expected actions of finite numbers, got NaN or inf.")


def _steps(poses: np.ndarray) -> np.ndarray:
    """Motions (T, 3), each in the frame of the pose before, of poses (T+1, 3)."""
    moved, yaw = np.diff(poses, axis=0), poses[:-1, 2]
    cosine, sine = np.cos(yaw), np.sin(yaw)
    turn = (moved[:, 2] + np.pi) % (2 * np.pi) - np.pi
    x, y = moved[:, 0], moved[:, 1]
    return np.stack([cosine * x + sine * y, cosine * y - sine * x, turn], 1)


def _apart(poses: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Metres and degrees (T, 2) between poses (T, 3)."""
    away = poses - others
    turned = np.degrees(np.abs((away[:, 2] + np.pi) % (2 * np.pi) - np.pi))
    return np.stack([np.hypot(away[:, 0], away[:, 1]), turned], 1)


def _summary(videos: Sequence[ActionFollowing], horizon: int, rng: np.random.Generator) -> Summary:
    measured = np.any([video.measured for video in videos], 0)
    errors = _unknown_is_worst(np.abs([video.errors[:horizon] for video in videos]))
    last = _unknown_is_worst(np.array([video.drift[horizon - 1] for video in videos]))
    draws = rng.integers(len(videos), size=(RESAMPLES, len(videos)))
    error, error_ci = _median(errors.reshape(len(videos), -1, errors.shape[-1]), draws)
    drift, drift_ci = _median(last[:, None], draws)
    seen_drift = np.array([measured.all(), True])  # any method sees the rotation
    return Summary(
        horizon,
        len(videos),
        float(np.mean([video.aligned[:horizon] for video in videos])),
        np.where(measured, error, np.nan),
        np.where(measured[:, None], error_ci, np.nan),
        _gain(videos, horizon),
        np.where(seen_drift, drift, np.nan),
        np.where(seen_drift[:, None], drift_ci, np.nan),
    )


def _unknown_is_worst(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), np.inf, values)


def _median(values: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians (A,) of values (N, T, A) and their 95% intervals (A, 2) over resampled clips."""
    size = values.shape[-1]
    medians = np.array([_lower_median(values[draw].reshape(-1, size)) for draw in draws])
    ends = np.quantile(medians, [0.025, 0.975], axis=0, method="nearest").T
    if len(values) < MIN_CLIPS:
        ends = np.full_like(ends, np.nan)
    return _lower_median(values.reshape(-1, size)), ends


def _lower_median(rows: np.ndarray) -> np.ndarray:
    """The middle of sorted rows, the lower of two: defined also where the worst are infinite."""
    middle = (len(rows) - 1) // 2
    median: np.ndarray = np.partition(rows, middle, axis=0)[middle]
    return median


def _gain(videos: Sequence[ActionFollowing], horizon: int) -> np.ndarray:
    """Least squares through 0 of seen on told, (A,), over the steps that are known."""
    told = np.concatenate([video.told[:horizon] for video in videos])
    seen = np.concatenate([video.seen[:horizon] for video in videos])
    told = np.where(np.isnan(seen), 0, told)
    power = np.square(told).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain: np.ndarray = (told * np.nan_to_num(seen)).sum(0) / power
    return np.where(power > 1e-12, gain, np.nan)
