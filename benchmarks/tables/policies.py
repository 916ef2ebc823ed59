"""The table of policies."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, lines_of, source, table


def policies(results: Path) -> str:
    """One line for each of those that go to a picture in unseen rooms."""
    record = read(results / "policies.json")
    columns: Columns = {
        "who goes to the picture": lambda r: r["row"],
        "arrived, % (95% interval)": _arrived,
        "was there at any time, %": lambda r: f"{r['reached']:.0f}",
        "metres left (95% interval)": _metres,
        "hours of robot time": _robot,
        "CPU seconds of its training": lambda r: f"{r['cpu_seconds']:,}" if "steps" in r else "",
        "CPU seconds an action": lambda r: f"{r['cpu_seconds_per_action']:.2f}",
    }
    rows = record["rows"] if record else []
    return table(columns, lines_of(columns, rows)) + (f"\n\n{source(record)}." if record else "")


def _arrived(row: Record) -> str:
    low, high = row["ci95"] or (row["success"], row["success"])
    return f"{row['success']:.0f} ({low:.0f} to {high:.0f})"


def _metres(row: Record) -> str:
    ends = row.get("metres_ci95")
    spread = f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
    return f"{row['metres']:.2f}{spread}"


def _robot(row: Record) -> str:
    return f"{row['robot_seconds'] / 3600:.1f}" if "robot_seconds" in row else ""
