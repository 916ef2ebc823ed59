"""The table of an evaluation as lines of text."""

from collections.abc import Iterator

from egowm.checks import counted
from egowm.evaluation.record import CellRecord, ColumnRecord, EvalRecord, RowRecord
from egowm.evaluation.run_writer import CODEC, COPY, MEAN
from egowm.scs.bootstrap import MIN_UNITS

LABELS = {  # of the reference rows, here and on the page
    COPY: "Copy of the first frame",
    MEAN: "Mean frame",
    CODEC: "Codec ceiling",
}
SPEED = ("s/frame", "GiB")
_NOTHING = "-"


def table(record: EvalRecord) -> str:
    """Every row with every column, then the first row at each frame, then what is missing."""
    cumulative = record["protocol"]["name"] == "egowm"
    horizon = record["protocol"]["horizon"]
    over = f"frames 1 to {horizon}" if cumulative else ", ".join(record["reads"].values())
    clips, seeds = counted(len(record["clips"]), "clip"), counted(len(record["seeds"]), "seed")
    each = f", {seeds} (spread over them after ±)" if len(record["seeds"]) > 1 else ""
    lines = [f"Means over {over} of {clips}{each}:"]
    lines += _aligned([["", *_headings(record)], *(_cells(row, record) for row in record["rows"])])
    lines += ["", f"{record['rows'][0]['label']}, {interval_text(record)}:"]
    lines += _aligned(list(_by_frame(record, cumulative)))
    lines += [
        f"{column['label']}: {column['lacks']}" for column in record["columns"] if column["lacks"]
    ]
    return "\n".join([*lines, f"Rolled out on {record['device']}."])


def interval_text(record: EvalRecord) -> str:
    """What the intervals rest on, or why there are none."""
    count = len(set(record["recordings"]))
    if count < MIN_UNITS:
        return f"no intervals below {counted(MIN_UNITS, 'recording')} ({count} here)"
    return f"95% over {counted(count, 'recording')} in brackets"


def shown(value: float | None, digits: int) -> str:
    """A number with its decimals, or a dash."""
    return _NOTHING if value is None else f"{value:z.{digits}f}"  # z: never "-0.00"


def with_interval(value: float | None, ends: tuple[float, float] | None, digits: int) -> str:
    """A number, with its interval where there is one."""
    if value is None or ends is None:
        return shown(value, digits)
    return f"{value:z.{digits}f} [{ends[0]:z.{digits}f}, {ends[1]:z.{digits}f}]"


def filled(record: EvalRecord) -> list[ColumnRecord]:
    """The columns that some row fills."""
    return [column for column in record["columns"] if not column["lacks"]]


def _headings(record: EvalRecord) -> list[str]:
    return [*(column["label"] for column in filled(record)), *SPEED]


def _cells(row: RowRecord, record: EvalRecord) -> list[str]:
    cells = [_cell(row["cells"].get(column["key"]), column) for column in filled(record)]
    return [row["label"], *cells, *speed(row)]


def speed(row: RowRecord) -> tuple[str, str]:
    """Seconds a frame and memory of a row's rollouts, or dashes."""
    seconds, peak = row.get("seconds_per_frame"), row.get("peak_bytes")
    return (
        _NOTHING if seconds is None else f"{seconds:.3g}",
        f"{peak / 2**30:.2f}" if peak else _NOTHING,
    )


def _cell(cell: CellRecord | None, column: ColumnRecord) -> str:
    if cell is None:
        return _NOTHING
    text, spread = shown(cell["value"], column["digits"]), cell.get("spread")
    return text if spread is None else f"{text} ±{spread:.{column['digits']}f}"


def _by_frame(record: EvalRecord, cumulative: bool) -> Iterator[list[str]]:
    """The first row at every k, a line for each column."""
    yield ["", *(f"to {x}" if cumulative else f"at {x}" for x in record["reads"].values())]
    for column in filled(record):
        cell = record["rows"][0]["cells"].get(column["key"])
        if cell is not None:
            ends = cell.get("ci95_at") or {}
            pairs = ((cell["at"].get(k), ends.get(k)) for k in record["reads"])
            yield [column["label"], *(with_interval(*pair, column["digits"]) for pair in pairs)]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of text, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if k == 0 else text.rjust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
