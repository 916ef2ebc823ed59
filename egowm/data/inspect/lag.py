"""The lag between actions and pixels: where turning explains the picture's motion best.

`sideways[k]`, the horizontal motion from frame k to k+1, is explained by the turning actions of
step k - lag. Actions that take frame k to k+1 explain it best at lag 0. A positive lag: actions
come before what they move, as commands do; a negative one: after it, which nothing real does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from egowm.actions import ActionSpec
from egowm.data.inspect.findings import Finding

REACH_S = 0.75
WEAK = 0.3  # correlation below which nothing is said
BLOCK_S = 2.0
FEW_BLOCKS = 6  # a short recording is cut finer, to have as many
DRAWS = 400
TURNS = (  # names of a dimension that turns a wheeled robot
    *("turn", "turn_rate", "dyaw", "yaw", "yaw_rate", "omega", "wz", "angular", "angular_velocity"),
    *("angle", "steer", "steering", "steer_angle", "steering_angle"),
)
POSE = ("x", "y", "z", "roll", "pitch", "yaw")


class Lag(NamedTuple):
    """The best lag in seconds, its 95% interval, the correlation there and at 0; signed: the
    correlation of one turning dimension with motion to the right, 0 where several turn."""

    seconds: float
    low: float
    high: float
    strength: float
    at_zero: float
    signed: float = 0.0


def turning(spec: ActionSpec) -> list[int]:
    """The dimensions that turn the camera sideways; none where the names do not say so."""
    if spec.kind == "se2":
        return [2]
    if spec.kind == "se3":
        return [3, 4, 5]
    names = [name.lower().replace(" ", "_").removeprefix("base_") for name in spec.names]
    if set(POSE) <= set(names):  # a hand that holds the camera: it may move sideways by any of them
        return [names.index(name) for name in POSE]
    return [k for k, name in enumerate(names) if name in TURNS][:1]


def measure(
    turns: Sequence[np.ndarray], sideways: Sequence[np.ndarray], rate_hz: float, seed: int = 0
) -> Lag | None:
    """The lag over all episodes: turns (n, d), sideways (n,) each; None where they are too short.

    The interval is a bootstrap over stretches of 2 s, which may be called independent.
    """
    reach = max(2, round(REACH_S * rate_hz))
    pairs = [p for p in zip(turns, sideways, strict=True) if len(p[1]) >= 3 * reach + 3]
    steps = sum(len(motion) - 2 * reach for _, motion in pairs)
    block = max(4, min(round(BLOCK_S * rate_hz), steps // FEW_BLOCKS))
    grams = [gram for t, m in pairs for gram in _grams(t, m, reach, block)]
    if len(grams) < 2:
        return None
    blocks = np.stack(grams)  # (blocks, lags, d+2, d+2)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), DRAWS)
    curves = correlation(np.tensordot(drawn.astype(float), blocks, 1))
    whole = correlation(blocks.sum(0))
    peaks = np.array([_peak(curve) for curve in curves]) - reach
    low, high = np.quantile(peaks, [0.025, 0.975]) / rate_hz
    best = float(_peak(whole)) - reach
    signed = _signed(blocks.sum(0)[int(whole.argmax())])
    strength, at_zero = float(whole.max()), float(whole[reach])
    return Lag(best / rate_hz, float(low), float(high), strength, at_zero, signed)


def _signed(gram: np.ndarray) -> float:
    """Correlation out of a Gram matrix of (1, turn, motion); 0 for more turning dimensions."""
    if len(gram) != 3:
        return 0.0
    covariance = gram[1:, 1:] / gram[0, 0] - np.outer(gram[1:, 0], gram[0, 1:]) / gram[0, 0] ** 2
    scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / max(scale, 1e-12))


def correlation(gram: np.ndarray) -> np.ndarray:
    """Multiple correlation of motion on turns, from 0 to 1, out of Gram matrices (..., d+2, d+2) of
    (1, turns, motion)."""
    count = gram[..., :1, :1].clip(min=1)
    covariance = gram[..., 1:, 1:] / count - (gram[..., 1:, :1] @ gram[..., :1, 1:] / count**2)
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1)).clip(min=1e-12)
    unit = covariance / scale[..., :, None] / scale[..., None, :]
    among, with_motion = unit[..., :-1, :-1], unit[..., :-1, -1:]
    solved = np.linalg.solve(among + 1e-6 * np.eye(among.shape[-1]), with_motion)
    return np.sqrt((with_motion * solved).sum((-2, -1)).clip(0, 1))


def judge(spec: ActionSpec, lag: Lag | None, latency_frames: int = 0) -> Finding:
    """The finding for a lag, which depends on the kind of the actions."""
    if lag is None or lag.strength < WEAK:
        why = "episodes are too short" if lag is None else f"correlation {lag.strength:.2f}"
        return Finding(
            "note", "alignment", "", f"turning does not show in the pictures ({why}): not judged"
        )
    frames = lag.seconds * spec.rate_hz
    values = lag._asdict() | {"frames": round(frames, 2)}
    turn = ""
    if lag.signed:  # the sign is the robot's own convention: said, not judged
        name = spec.names[turning(spec)[0]]
        seen = ("right", "left") if lag.signed > 0 else ("left", "right")
        turn = f"; positive {name} moves the picture {seen[0]}, so it turns {seen[1]}"
    told = (
        f"turning explains the picture's motion best at a lag of {lag.seconds:+.2f} s "
        f"({frames:+.1f} frames), 95% {lag.low:+.2f} to {lag.high:+.2f} s; correlation "
        f"{lag.strength:.2f}, {lag.at_zero:.2f} as recorded{turn}"
    )
    # Whole frames of latency were taken off: what is left may be most of one, of either sign.
    least = 1.0 if latency_frames and frames < 0 else 0.5
    shifted = abs(frames) >= least and (lag.low > 0 or lag.high < 0)
    if not shifted:
        agree = abs(frames) < least  # within an interval that may be wide
        said = "actions and pictures agree" if agree else "too few turns to say what leads"
        return Finding("note", "alignment", "", f"{said}: {told}", values)
    if spec.kind == "command" and lag.low > 0:
        lead = latency_frames + round(frames)
        values["latency_frames"] = lead
        advice = f"commands lead the picture: set latency_frames: {lead}"
        return Finding("note", "latency", "", f"{advice} ({told})", values)
    if spec.kind == "command":
        reason = "commands come after the motion that they cause"
    else:
        reason = "actions from poses or states belong at 0"
    lead = latency_frames + round(frames)
    advice = f"shift the labels by {-lead:+d} rows, or repair how times were matched"
    if latency_frames:
        values["latency_frames"] = max(lead, 0)
        advice = f"set latency_frames: {max(lead, 0)}" + (f" and {advice}" if lead < 0 else "")
    return Finding("error", "shifted", "", f"{reason}: {told}; {advice}", values)


def _grams(turn: np.ndarray, motion: np.ndarray, reach: int, block: int) -> list[np.ndarray]:
    """Gram matrices of (1, turn, motion `lag` later) for each lag, block by block."""
    steps = np.arange(reach, len(motion) - reach)
    parts = np.array_split(steps, max(1, len(steps) // block))
    lags = np.arange(-reach, reach + 1)
    grams = []
    for part in parts:
        rows = np.concatenate([np.ones((len(part), 1)), turn[part]], 1)
        rows = np.broadcast_to(rows, (len(lags), *rows.shape))
        later = motion[part[None] + lags[:, None]][..., None]
        joint = np.concatenate([rows, later], -1).astype(np.float64)
        grams.append(joint.swapaxes(-1, -2) @ joint)
    return grams


def _peak(curve: np.ndarray) -> float:
    """Where a curve is largest, between its points by a parabola."""
    k = int(curve.argmax())
    if not 0 < k < len(curve) - 1:
        return float(k)
    left, middle, right = curve[k - 1 : k + 2]
    bend = left - 2 * middle + right
    return k + (0.5 * (left - right) / bend if bend < 0 else 0.0)
