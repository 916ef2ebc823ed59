"""The tables of students: scores by steps beside their teachers, and speed."""

from pathlib import Path

import numpy as np

from benchmarks.experiment.students import STUDENTS, best
from benchmarks.measure import Record, read
from benchmarks.tables.markdown import SAID, Columns, doubt, lines_of, ranged, source, table
from egowm.scs.bootstrap import interval

NAMES = SAID | {
    "W": "trained on, 33,550 steps",
    "distilled": "student, distilled",
    "distilled-steps": "student, distilled by the teacher's own steps",
    "distilled-one": "student, distilled by the teacher's own steps, for one",
    "regression": "control: regression on stored rollouts",
    "tuned": "student, tuned from that of 33,550 steps, own contexts",
    "tuned-long": "student, tuned from the long run, own contexts",
    "tuned-recorded": "student, tuned from that of 33,550 steps",
    "tuned-long-recorded": "student, tuned from the long run",
}


def students(results: Path) -> str:
    """One line a model and number of steps; a student's SCS less its teacher's best, by clip."""
    record = read(results / "students.json")
    rows: list[Record] = record["rows"] if record else []
    columns: Columns = {
        "model": lambda r: NAMES[r["model"]],
        "steps": lambda r: str(r["steps"]),
        "SCS [95%]": lambda r: ranged(r["scs"], r["ci95"]),
        "less the teacher's best [95%]": lambda r: _less(r, rows),
        "PSNR, dB": lambda r: f"{r['psnr']:.2f}",
        "sharpness [95%]": lambda r: ranged(r["sharpness"], r["sharpness_ci95"], ".2f"),
    }
    found = table(columns, lines_of(columns, rows))
    if record is None:
        return found
    speed = "; ".join(
        f"{r['candidates']:g} at {r['steps']}, which is {r['ratio_median']:.2f} "
        f"({r['ratio_min']:.2f} to {r['ratio_max']:.2f}) times the teacher's"
        for r in record["speeds"]
    )
    if speed:
        first = record["speeds"][0]
        speed = (
            f"\n\nCandidates of 8 actions that a planner compares by latents in a second of the "
            f"processor's clock, on one thread beside other work: the teacher "
            f"{first['teacher_candidates']:g} at its best number of steps, "
            f"{first['teacher_steps']}; the student for one step {speed}."
        )
    acted = [_arrivals(row, results) for row in record.get("arrivals", [])]
    there = "\n\nIn closed loop, one step: " + "; ".join(acted) + "." if acted else ""
    return f"{found}{speed}{there}\n\n{source(record)}."


def _arrivals(row: Record, results: Path) -> str:
    """Of a student, less its teacher's in one step, room by room."""
    rooms = len(row["each"])
    said = (
        f"{NAMES[row['model']]} arrives in {ranged(row['success'], row['ci95'])} % of {rooms} rooms"
    )
    teacher = read(results / "planning/2m-seen-from-the-prior-1-step.json")
    if teacher is None or STUDENTS[row["model"]] != "P+":
        return said
    there = np.array(teacher["each"][:rooms], float)
    difference = 100.0 * (np.array(row["each"], float) - there)
    low, high = interval(difference) or (np.nan, np.nan)
    less = f"{difference.mean():+.0f} [{low:+.0f} to {high:+.0f}]"
    unsure = f" ({doubt(teacher)})" if doubt(teacher) else ""
    return f"{said}, its teacher in {100 * there.mean():.0f} %{unsure}: {less}"


def _less(row: Record, rows: list[Record]) -> str:
    """Of a student; also of a teacher beside itself at its best."""
    other = best(rows, row["began"] or row["model"])
    if other is None or other is row:
        return ""
    difference = np.array(row["clip_scs"]) - np.array(other["clip_scs"])
    low, high = interval(difference) or (np.nan, np.nan)
    return f"{np.nanmean(difference):+.1f} [{low:+.1f} to {high:+.1f}]"
