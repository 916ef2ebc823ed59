"""Mistakes in labels: times that fall, numbers that are not finite, dimensions that never move or
jump, yaw of another convention."""

from collections.abc import Iterator, Sequence

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.inspect.findings import Finding, Level
from egowm.data.times import breaks

RATE_TOLERANCE = 0.05
OUTLIER = 12.0  # spans of the 1st to 99th percentile
FORWARD = 0.9  # of 1: how well headings and displacements agree where a robot drives forward
OFF_DEGREES = 20
LISTED = 6


def time_findings(episode: Episode, rate_hz: float, cut: bool = False) -> Iterator[Finding]:
    """Times that fall, another rate than the format says, gaps. cut: whether at them."""
    times = episode.times
    if len(times) < 3:
        return
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        k = int(np.argmax(~(np.diff(times) > 0)))
        yield Finding("error", "times", episode.name, f"time does not rise after frame {k}")
        return
    spacing = np.diff(times)
    rate = 1 / float(np.median(spacing))
    if abs(rate - rate_hz) > RATE_TOLERANCE * rate_hz:
        rates = {"measured_hz": rate, "told_hz": rate_hz}
        text = f"its times say {rate:.2f} Hz, the data set {rate_hz:g} Hz"
        yield Finding("error", "rate", episode.name, f"{text}: set rate_hz, or leave it out", rates)
    gaps = breaks(times, None)
    if len(gaps):
        longest = f"the longest {spacing.max():.2f} s after frame {int(spacing.argmax())}"
        what = "episodes end there" if cut else "clips cross them; cut the recording there"
        text = f"{counted(len(gaps), 'gap')}, {longest}: {what}"
        yield Finding("warning", "gap", episode.name, text)


def state_findings(episode: Episode) -> Iterator[Finding]:
    """States that are not finite numbers (actions are refused when they are read)."""
    if len(bad := np.argwhere(~np.isfinite(episode.states))):
        first = f"the first is row {bad[0][0]}, dimension {bad[0][1]}"
        text = f"{counted(len(bad), 'state is', 'states are')} not finite, {first}"
        yield Finding("error", "nan", episode.name, text)


def dimension_findings(spec: ActionSpec, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Dimensions that never change, and values far from all others."""
    rows = np.concatenate([episode.actions for episode in episodes]).astype(np.float64)
    low, high = np.quantile(rows, [0.01, 0.99], axis=0)
    frozen = np.ptp(rows, axis=0) == 0
    if frozen.all():
        yield Finding("error", "frozen", "", "no action ever changes: nothing can be learned")
    elif frozen.any():
        names = [name for name, still in zip(spec.names, frozen, strict=True) if still]
        listed = ", ".join(names[:LISTED]) + (" ..." if len(names) > LISTED else "")
        text = f"no change in {len(names)} of {counted(len(frozen), 'dimension')}: {listed}"
        # wheels do not slide sideways, but a joint of which one asks to move should
        level: Level = "note" if spec.kind in ("se2", "se3") else "warning"
        yield Finding(level, "frozen", "", text, {"names": names})
    span = high - low
    for episode in episodes:
        off = np.maximum(low - episode.actions, episode.actions - high)
        bad = np.argwhere((off > OUTLIER * span) & (span > 0))
        if len(bad):
            step, k = bad[0]
            text = (
                f"{counted(len(bad), 'value')} far outside the others, the first is action {step}, "
                f"{spec.names[k]} = {episode.actions[step, k]:.4g} (1st to 99th percentile "
                f"{low[k]:.4g} to {high[k]:.4g} {spec.units[k]})"
            )
            yield Finding("warning", "range", episode.name, text)


def yaw_findings(spec: ActionSpec, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Whether poses' heading is that of their displacement: se2 actions say so without the world.

    Seen from a robot that drives forward, every displacement points along x. With yaw negated it
    points along twice the heading, so it lines up again when turned back by it; with yaw measured
    from another axis it points steadily elsewhere.
    """
    if spec.kind != "se2":
        return
    parts = _directions(episodes)
    if sum(len(angle) for angle, _ in parts) < 20:
        yield Finding("note", "yaw", "", "too little motion to tell the convention of yaw")
        return
    whole = _mean([angle for angle, _ in parts])
    each = _within([angle for angle, _ in parts])
    negated = _within([angle + 2 * heading for angle, heading in parts])
    degrees = float(np.rad2deg(np.angle(whole) / 2))
    values = {"agreement": abs(whole), "within_episodes": each, "with_yaw_negated": negated}
    level: Level = "error"
    if negated > FORWARD and negated > each + 0.05:
        text = "displacements follow the heading only with yaw negated: the sign of yaw is wrong"
    elif abs(whole) > FORWARD and abs(degrees) > OFF_DEGREES:
        values |= {"degrees": degrees}
        text = (
            f"displacements point {degrees:+.0f} degrees off the heading (of 180): yaw is measured "
            f"from another axis"
        )
    elif each > FORWARD and abs(whole) < 0.5:
        text = (
            "displacements point off the heading by another angle in every episode: yaw is "
            "negated, or not measured in the frame of the positions"
        )
    else:
        level = "note"
        how = "agree" if abs(whole) > FORWARD else "agree loosely (does it move sideways?)"
        text = f"heading and displacement {how}: {abs(whole):.2f} of 1"
    yield Finding(level, "yaw", "", text, values)


def _directions(episodes: Sequence[Episode]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each episode's moving steps: the displacement's direction in the body frame, and the
    heading since the episode's start, both halfway through the step."""
    lengths = [np.hypot(*episode.actions[:, :2].T) for episode in episodes]
    least = max(0.3 * float(np.quantile(np.concatenate(lengths), 0.9)), 1e-6)
    directions = []
    for episode, length in zip(episodes, lengths, strict=True):
        steps, moving = episode.actions.astype(np.float64), length > least
        turned = np.cumsum(steps[:, 2]) - steps[:, 2] / 2
        # the chord of an arc points along the heading halfway
        angle = np.arctan2(steps[:, 1], steps[:, 0]) - steps[:, 2] / 2
        directions.append((angle[moving], turned[moving]))
    return directions


def _mean(angles: list[np.ndarray]) -> complex:
    """Mean of directions on the doubled circle, where backwards is forwards."""
    return complex(np.exp(2j * np.concatenate(angles)).mean())


def _within(angles: list[np.ndarray]) -> float:
    """How steady directions are within an episode, from 0 to 1, over all."""
    sums = [abs(np.exp(2j * angle).sum()) for angle in angles]
    return float(sum(sums) / max(1, sum(map(len, angles))))
