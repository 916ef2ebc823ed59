"""The table of the robot that learns while it drives."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import caveat, source, table

FILE = "daydreamer.json"
LEARNERS = ("Dreamer", "SAC")


def driving(results: Path) -> str:
    """One line for each minute and light at which policies were judged, then what it says."""
    record = read(results / FILE)
    heads = ["minutes driven", "light"]
    heads += [f"{name}: {what}" for name in LEARNERS for what in ("arrived", "gradient steps")]
    if record is None:
        return table(heads, [])
    judged = {(r["row"], r["minutes"], r["gain"]): r for r in record["rows"] if "minutes" in r}
    places = sorted({(minutes, -gain) for _, minutes, gain in judged})
    lines = []
    for minutes, darkness in places:
        found = [judged.get((name, minutes, -darkness)) for name in LEARNERS]
        cells = [cell for row in found for cell in _cells(row)]
        lines.append([str(minutes), f"x {-darkness:g}", *cells])
    return f"{table(heads, lines)}\n\n{_said(record)}{caveat(record)}"


def _cells(row: Record | None) -> tuple[str, str]:
    return ("", "") if row is None else (_arrived(row), f"{row['gradient_steps']:,}")


def _arrived(row: Record) -> str:
    low, high = (round(100 * share) for share in row["ci95"])
    return f"{row['arrived']} of {row['starts']} ({low} to {high}%)"


def _said(record: Record) -> str:
    """The references, the budget, and where the figures come from."""
    known = {row["row"]: row for row in record["rows"]}
    spent = record.get("learner_cpu_seconds")
    cost = f" Dreamer's learner took {spent:,} CPU seconds." if spent is not None else ""
    sac = known.get("SAC")
    cost += f" SAC took {sac['cpu_seconds']:,}." if sac else ""
    return (
        f"By random actions {_arrived(known['random actions'])} arrive within "
        f"{record['attempt']} steps, by a driver that knows where it is "
        f"{_arrived(known['knows where it is'])}. The light is multiplied by {record['gain']:g} "
        f"after {record['minutes']} minutes.{cost} In brackets 95% intervals (Clopper and Pearson) "
        f"over the places; one training of each. {source(record)}."
    )
