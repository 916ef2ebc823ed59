"""Gates for CI: whether values are worse than a baseline's, by their paired intervals.

`egowm-scs score --gate` holds a scoring against an earlier one, `egowm eval --gate` an evaluation.
"""

from collections.abc import Sequence
from pathlib import Path

from egowm.checks import counted
from egowm.scs.apart import apart
from egowm.scs.bootstrap import MIN_UNITS, num_independent
from egowm.scs.compare import compare_records, values_of
from egowm.scs.inputs import Inputs
from egowm.scs.protocol import describe_protocol
from egowm.scs.result import UNITS, Result
from egowm.scs.score import MIN_AREA
from egowm.scs.trackers import MaskReader, Tracker

DIGITS = 1  # of a score, as shown
Ends = tuple[float, float] | None


def is_worse(difference: float, ci95: Ends, digits: int, higher_is_better: bool = True) -> bool:
    """Whether a paired interval lies wholly on the worse side of 0, and the difference is at least
    half of the last decimal shown."""
    if ci95 is None or abs(difference) < 0.5 * 10**-digits:
        return False
    return ci95[1] < 0 if higher_is_better else ci95[0] > 0


def worse(name: str, a: float, b: float, ci95: Ends, digits: int) -> str:
    """A value that fell, from what to what."""
    ends = "no interval"
    if ci95 is not None:
        ends = f"95% [{ci95[0]:+.{digits}f}, {ci95[1]:+.{digits}f}]"
    return f"{name} is worse, {a:.{digits}f} to {b:.{digits}f} ({b - a:+.{digits}f}, {ends})"


def verdict(fallen: Sequence[str], count: int) -> str:
    """A line for each value that fell, or one that says that none of `count` did."""
    lines = [f"gate: {line}" for line in fallen]
    return "\n".join(lines) or f"gate: passed, none of {counted(count, 'value')} is worse"


# A gate of scores --------------------------------------------------------------------------------


class Gate:
    """A scoring that others are held against.

    Args:
        path: What `score --json` wrote. Raises RecordError where it is not that, ValueError where
            it has too few clips for an interval.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.baseline = path, Result.load(path)
        clips = self.baseline["clips"]
        recordings = [clip.get("trajectory") for clip in clips]
        groups = None if None in recordings else [str(name) for name in recordings]
        count = num_independent(values_of(self.baseline), groups)
        if count < MIN_UNITS:
            unit = "clips" if groups is None else "trajectories"
            raise ValueError(
                f"--gate {path}: a paired interval needs at least {MIN_UNITS} {unit} with a score, "
                f"the baseline has {counted(count, UNITS[unit], unit)}: make it from more clips."
            )

    def check(self, tracker: Tracker | MaskReader, inputs: Inputs) -> None:
        """Refuse, before anything is tracked, other clips or another tracker than its own."""
        there = {clip["name"] for clip in self.baseline["clips"]}
        if missing := sorted(set(inputs.gt) ^ there):
            raise ValueError(
                f"--gate {self.path}: {counted(len(missing), 'clip is', 'clips are')} not in both: "
                f"{', '.join(missing[:5])}. Score what the baseline was scored on."
            )
        separate = any(video.first is not None for video in inputs.gt.values())
        mine = describe_protocol(
            tracker,
            {name: shape.num_frames for name, shape in inputs.shapes.items()},
            {},
            inputs.size,
            MIN_AREA,
            "frame 0 apart, stretched to the frames" if separate else "none",
        )
        del mine["annotations"]  # structures are read clip by clip: `hold` compares them
        theirs = {key: self.baseline["protocol"].get(key) for key in mine}
        if theirs != mine:
            was, is_now = apart(theirs, mine)
            raise ValueError(
                f"--gate {self.path}: the baseline has {was or 'another protocol'}, this scoring "
                f"has {is_now or 'its own'}: score as the baseline was, or make a new one with "
                f"--json."
            )

    def hold(self, result: Result) -> tuple[str, bool]:
        """The gate's lines for a scoring, and whether a value fell.

        Raises ValueError where the structures are others than the baseline's.
        """
        rows = compare_records([self.path, "this scoring"], [self.baseline, result.record()]).rows
        fallen = [
            worse(row.name, row.a, row.b, row.ci95, DIGITS)
            for row in rows
            if is_worse(row.difference, row.ci95, DIGITS)
        ]
        return verdict(fallen, len(rows)), bool(fallen)
