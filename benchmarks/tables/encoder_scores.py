"""Tables of scores by encoders: how they rank known errors, and what MooG foretells."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import caveat, source, table

FILE, MOOG = "encoder-scores.json", "moog.json"
EXACT = "oracle"
KINDS = {"pooled": "over errors and clips", "within": "within a clip", "means": "over means"}


def scores(results: Path) -> str:
    """One line a score: its rank correlations with the exact one."""
    record = read(results / FILE)
    heads = ("score", "networks", "clips", *KINDS.values())
    if record is None:
        return table(heads, [])
    pixels = record.get("pixels", "PSNR")
    heads = (*heads, f"minus that of {pixels}, within a clip")
    lines = [
        [
            row["score"], str(row["runs"]), str(row["clips"]),
            *(_found(row[f"by_{kind}"]) for kind in KINDS),
            "" if row["score"] == pixels else _found(row["less_pixels_within"], "+.3f"),
        ]
        for row in record["rows"]
        if row["score"] != EXACT
    ]  # fmt: skip
    return f"{table(heads, lines)}\n\n{source(record)}."


def means(results: Path) -> str:
    """One line an error: the mean of each score."""
    record = read(results / FILE)
    if record is None:
        return table(("error", "exact SCS"), [])
    names = ["exact SCS" if r["score"] == EXACT else r["score"] for r in record["rows"]]
    columns = [_column(row["means"]) for row in record["rows"]]
    lines = [[case, *cells] for case, *cells in zip(record["cases"], *columns, strict=True)]
    return table(["error", *names], lines) + caveat(record)


def foretold(results: Path) -> str:
    """One line a kind of tokens: the error of the next frame beside that of repeating it."""
    record = read(results / MOOG)
    heads = ("tokens", "steps", "error of the next frame, 1e-3", "of the frame before, 1e-3")
    if record is None:
        return table(heads, [])
    lines = [
        [row["tokens"], f"{row['steps']:,}", _error(row["next"]), _error(row["copy"])]
        for row in record["rows"]
    ]
    return f"{table(heads, lines)}\n\n{source(record)}."


def _found(found: Record, form: str = ".2f") -> str:
    if found["value"] is None:
        return "-"
    low, high = found["interval"]
    return f"{found['value']:{form}} [{low:{form}}, {high:{form}}]"


def _column(means: list[float | None]) -> list[str]:
    """Percent and decibels with one decimal, shares with three."""
    known = [value for value in means if value is not None]
    digits = 1 if max(map(abs, known), default=0) > 2 else 3
    return ["-" if value is None else f"{value:z.{digits}f}" for value in means]


def _error(found: Record) -> str:
    low, high = found["interval"]
    return f"{1e3 * found['mean']:.1f} [{1e3 * low:.1f}, {1e3 * high:.1f}]"
