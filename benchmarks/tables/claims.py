"""The table of the three claims, and what the curve against labels says."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment.arms import LABELLED, STEPS
from benchmarks.experiment.claims import GAIN_BARS
from benchmarks.measure import Record, read
from benchmarks.tables.experiment import is_chosen, steps_of, trainings
from benchmarks.tables.markdown import MISSING, SAID, caveat, ranged, table


def claims(results: Path) -> str:
    """Each claim of the arm that it was asked of, and whether it was reached."""
    record = read(results / "rooms.json")
    head = ("claim", "measured [95%]", "training runs", "asked", "")
    if record is None:
        return table(head, [])
    found, lines = record["claims"], []
    runs = {
        "P": "the short run",
        "P+": "the long run in its place",
        "W": "the shipped model in its place",
    }
    for arm, run in runs.items():
        claim = found.get("a" if arm == "P" else f"a, {arm}", {"value": None})
        what = " above the simulator with the mean action" if arm == "P" else ""
        lines.append(_line(f"(a) {run}{what}, SCS", claim, "above 0"))
        visible = claim.get("visible")
        lines.append(_line("(a) the same, where the true structure is visible", visible))
    for arm, run in runs.items():
        bar, low = GAIN_BARS[arm]
        claim = found.get("b" if arm == "P" else f"b, {arm}")
        lines.append(_line(f"(b) action gain of {run}", claim, f"{bar:g}, interval above {low:g}"))
    for name, gap in found["c"].get("differences", {}).items():
        lines.append(_line(f"(c) {_difference(name)}", gap, "above 0"))
    lines.append(_line("(c) the least of these", found["c"], "above 0"))
    asked = (
        f"All runs of (a) and (b) start from the prior. The claims were made for the short run, "
        f"{steps_of('P'):,} steps. The long run, {steps_of('P+'):,} steps, was put in its place "
        f"when the short one had missed them, and later the shipped model, so these answer other "
        f"questions. Where there is one training run, the interval is over clips alone."
    )
    notes = [table(head, lines), asked, labels(record)]
    return "\n\n".join(n for n in notes if n) + trainings(record) + caveat(record)


def _line(name: str, claim: Record | None, asked: str = "") -> tuple[str, ...]:
    if claim is None or claim["value"] is None:
        return name, MISSING, "", asked, ""
    measured = ranged(claim["value"], claim["ci95"], ".2f")
    runs = " and ".join(str(n) for n in claim.get("runs", ()))
    verdict = {True: "reached", False: "**not reached**", None: ""}[claim.get("reached")]
    return name, measured, runs, asked, verdict


def _difference(name: str) -> str:
    """A difference as the record names it, such as `P - S at 16 episodes`, in words."""
    runs, _, where = name.partition(" at ")
    arm, other = runs.split(" - ")
    return f"{SAID[arm]} less {SAID[other]}, {where}"


def labels(record: Record) -> str:
    """What the scores of short runs against the number of labelled episodes can say, and what not.

    Below the first frame repeated, a score says how far training got, not what labels are worth.
    """
    rows = [r for r in record["rows"] if r["world"] == "rooms" and is_chosen(r, record)]
    scores = {arm: [x for n in LABELLED for x in _score(rows, arm, n)] for arm in ("P", "S")}
    copy = [r["scs"] for r in rows if r["arm"] == "copy"]
    if not copy or any(len(found) < len(LABELLED) for found in scores.values()):
        return ""
    sizes = _listed([str(n) for n in LABELLED])
    each = "; ".join(f"{SAID[arm]} {_listed([f'{x:.1f}' for x in s])}" for arm, s in scores.items())
    said = f"After {STEPS} steps, with {sizes} labelled episodes, the SCS is: {each}."
    if max(map(max, scores.values())) >= copy[0]:
        return f"{said} The first frame repeated has {copy[0]:.1f}."
    most = _listed([f"{max(s) - min(s):.1f}" for s in scores.values()])
    times = LABELLED[-1] // LABELLED[0]
    return (
        f"{said} All of it is below the first frame repeated ({copy[0]:.1f}), and {times} times as "
        f"many labels move it by {most} points at most. So the prior makes training converge "
        f"faster; how many labels it is worth, these runs do not say."
    )


def _score(rows: Sequence[Record], arm: str, episodes: int) -> list[float]:
    """The mean over training runs under the true actions; empty where none was measured."""
    wanted = (arm, "true", episodes)
    found = [r["scs"] for r in rows if (r["arm"], r["actions"], r["episodes"]) == wanted]
    return [sum(found) / len(found)] if found else []


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}"
