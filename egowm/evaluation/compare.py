"""Two evaluations of the same clips: the paired difference of every column, and a gate for CI."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.checks import checked, counted
from egowm.evaluation.metrics.catalogue import Metrics
from egowm.evaluation.protocol import Protocol
from egowm.evaluation.record import CellRecord, ColumnRecord, EvalRecord, load
from egowm.scs.apart import apart
from egowm.scs.bootstrap import MIN_UNITS, interval
from egowm.scs.compare import differences
from egowm.scs.gate import is_worse, verdict, worse
from egowm.scs.score import mean_defined


class Change(NamedTuple):
    """B minus A of one column of the first row, over the clips that have a value in both.

    at: "" for the table's main column, else what the frame is called. fell: whether B is worse,
    its interval wholly on that side of 0 by at least half of the last decimal shown.
    """

    column: ColumnRecord
    at: str
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    fell: bool

    @property
    def name(self) -> str:
        """Of the column, and of the frame."""
        return f"{self.column['label']} at {self.at}" if self.at else self.column["label"]


class EvalComparison(NamedTuple):
    """What `compare_evaluations` found. absent: labels of columns that one of the two lacks."""

    changes: tuple[Change, ...]
    num_clips: int
    num_recordings: int
    absent: tuple[str, ...]

    @property
    def fallen(self) -> list[Change]:
        """The changes for the worse."""
        return [change for change in self.changes if change.fell]


@checked
def compare_evaluations(a: Path | str, b: Path | str) -> EvalComparison:
    """The first rows of two eval.json, paired over clips, whole recordings drawn.

    Raises ValueError where protocol or clips differ, naming the difference.
    """
    return compare_records(str(a), load(Path(a)), str(b), load(Path(b)))


def compare_records(a: str, one: EvalRecord, b: str, other: EvalRecord) -> EvalComparison:
    """As `compare_evaluations`, of records that were read; a and b are their names."""
    check_alike(a, one, b, other)
    columns = {column["key"]: column for column in one["columns"]}
    first, second = (record["rows"][0]["cells"] for record in (one, other))
    shared = [key for key in columns if key in first and key in second]
    lone = [key for key in columns if (key in first) != (key in second)]
    changes = [
        change for key in shared for change in _changes(columns[key], first[key], second[key], one)
    ]
    recordings = len(set(one["recordings"]))
    absent = tuple(columns[key]["label"] for key in lone)
    return EvalComparison(tuple(changes), len(one["clips"]), recordings, absent)


def check_alike(a: str, one: EvalRecord, b: str, other: EvalRecord) -> None:
    """Refuse two evaluations that do not compare, naming the difference."""
    if one["clips"] != other["clips"]:
        missing = sorted(set(one["clips"]) ^ set(other["clips"]))
        raise ValueError(
            f"{a} and {b} are of different clips: {counted(len(missing), 'clip')} not in both, "
            f"{', '.join(missing[:3])}. Evaluate both with the same recipe, --clips and --horizon."
        )
    mine: dict[str, Any] = dict(one["protocol"])
    theirs: dict[str, Any] = dict(other["protocol"])
    mine_metrics, their_metrics = mine.pop("metrics", {}), theirs.pop("metrics", {})
    both = mine_metrics.keys() & their_metrics.keys()  # a missing column is told, not refused
    mine["metrics"], theirs["metrics"] = (
        {key: found[key] for key in both} for found in (mine_metrics, their_metrics)
    )
    if None in (mine.get("scs"), theirs.get("scs")):
        mine["scs"] = theirs["scs"] = None
    scored = [protocol.pop("scs", None) or {} for protocol in (mine, theirs)]
    found = differences(mine, theirs)
    if scored[0] != scored[1]:
        there, here = apart(*scored)
        found.insert(0, f"{there or 'one protocol'} and {here or 'another'} of SCS")
    if found:
        raise ValueError(
            f"{a} and {b} were made under different protocols, so they do not compare: "
            f"{'; '.join(found[:5])}. Evaluate both alike."
        )


def check_gate(baseline: EvalRecord, name: str, protocol: Protocol, metrics: Metrics) -> None:
    """Refuse, before any work, a baseline that a run cannot be held against."""
    recordings = len(set(baseline["recordings"]))
    if recordings < MIN_UNITS:
        raise ValueError(
            f"--gate {name}: a paired interval needs clips of at least "
            f"{counted(MIN_UNITS, 'recording')}, the baseline has {recordings}: make it with more "
            f"--clips."
        )
    mine = protocol.describe()
    theirs = {key: baseline["protocol"].get(key) for key in mine}
    if found := differences(theirs, mine):
        raise ValueError(
            f"--gate {name}: the baseline has another protocol: {'; '.join(found)}. Evaluate as it "
            f"was, or make a new one, --output RUN."
        )
    for column, lacks in metrics.missing.items():
        if any(c["key"] == column.key and not c["lacks"] for c in baseline["columns"]):
            raise ValueError(f"--gate {name}: the baseline has {column.label}, which {lacks} here.")


def format_comparison(found: EvalComparison) -> str:
    """The comparison as lines of text."""
    width = max((len(change.name) for change in found.changes), default=0)
    lines = [f"{'':{width}}{'A':>10}{'B':>10}{'B - A':>10}"]
    for change in found.changes:
        numbers = f"{_number(change, change.a):>10}{_number(change, change.b):>10}"
        lines.append(
            f"{change.name:{width}}{numbers}{_number(change, change.difference, '+'):>10}   "
            f"{_ends(change)}"
        )
    over = f"{counted(found.num_recordings, 'recording')} ({counted(found.num_clips, 'clip')})"
    few = f"no interval below {counted(MIN_UNITS, 'recording')}: {over}"
    lines.append(few if found.num_recordings < MIN_UNITS else f"95% over {over}, paired")
    lines += [f"{label}: only one of the two has it." for label in found.absent]
    return "\n".join(lines)


def format_gate(found: EvalComparison) -> str:
    """One line for each column that fell, or one that says that none did."""
    fallen = [worse(x.name, x.a, x.b, x.ci95, x.column["digits"]) for x in found.fallen]
    return verdict(fallen, len(found.changes))


def _changes(
    column: ColumnRecord, one: CellRecord, other: CellRecord, record: EvalRecord
) -> Iterator[Change]:
    """Of the main column and at every frame; values of all clips at once have no interval."""
    recordings, reads = record["recordings"], record["reads"]
    clips, others = one.get("clips"), other.get("clips")
    if clips is None or others is None:
        if one["value"] is not None and other["value"] is not None:
            a, b = one["value"], other["value"]
            yield Change(column, "", a, b, b - a, None, False)
        return
    yield _change(column, "", clips, others, recordings)
    at, others_at = one.get("clips_at") or {}, other.get("clips_at") or {}
    for k, label in reads.items():
        if k in at and k in others_at:
            yield _change(column, label, at[k], others_at[k], recordings)


def _change(
    column: ColumnRecord,
    at: str,
    one: list[float | None],
    other: list[float | None],
    recordings: list[str],
) -> Change:
    a, b = (np.array([np.nan if x is None else x for x in values]) for values in (one, other))
    change = b - a
    a, b = (np.where(np.isnan(change), np.nan, values) for values in (a, b))
    ci95 = interval(change, recordings)
    difference = float(mean_defined(change))
    fell = is_worse(difference, ci95, column["digits"], column["higher_is_better"])
    return Change(
        column, at, float(mean_defined(a)), float(mean_defined(b)), difference, ci95, fell
    )


def _number(change: Change, value: float, sign: str = "") -> str:
    return "-" if np.isnan(value) else f"{value:{sign}.{change.column['digits']}f}"


def _ends(change: Change) -> str:
    if change.ci95 is None:
        return "no interval"
    low, high = (_number(change, end, "+") for end in change.ci95)
    return f"95% [{low}, {high}]"
