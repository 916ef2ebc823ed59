"""eval.json: its types, how a column of a row is summed up, and reading it back."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict

import numpy as np

from egowm.checks import counted
from egowm.evaluation.metrics.metric import Column, Values
from egowm.evaluation.protocol import Protocol
from egowm.files import whole
from egowm.scs.bootstrap import interval
from egowm.scs.score import mean_defined
from egowm.typed_json import RecordError, read_json

EXPECTED = "what `egowm eval` writes as eval.json (evaluate again)"
Number = float | None


class ProtocolRecord(TypedDict):
    """What tables and pages take from the protocol; the rest is shown and compared as it is."""

    name: str
    horizon: int


class ColumnRecord(TypedDict):
    """A column of all rows; lacks: why it is empty, "" where it is not."""

    key: str
    label: str
    meaning: str
    digits: int
    higher_is_better: bool
    lacks: str


class CellRecord(TypedDict, total=False):
    """One column of one row; null is undefined.

    value: the mean over clips and seeds. at: the same at frame k. frames: at each frame. seeds: the
    mean over clips under each seed; spread: their standard deviation. clips, clips_at: means over
    seeds, in the order of the record's clips.
    """

    value: Required[Number]
    ci95: tuple[float, float] | None
    at: Required[dict[int, Number]]
    ci95_at: dict[int, tuple[float, float] | None]
    frames: list[Number]
    seeds: list[Number]
    spread: Number
    clips: list[Number] | None
    clips_at: dict[int, list[Number]] | None


class RowRecord(TypedDict, total=False):
    """One row; role: "model" or "reference"."""

    folder: Required[str]
    label: Required[str]
    role: Required[str]
    cells: Required[dict[str, CellRecord]]
    seconds_per_frame: Number
    peak_bytes: int | None


class EvalRecord(TypedDict, total=False):
    """All of eval.json. about: recipe and model, shown as they are."""

    protocol: Required[ProtocolRecord]
    fingerprint: Required[str]
    reads: Required[dict[int, str]]
    columns: Required[list[ColumnRecord]]
    rows: Required[list[RowRecord]]
    clips: Required[list[str]]
    recordings: Required[list[str]]
    seeds: Required[list[int]]
    device: Required[str]
    about: dict[str, Any]
    environment: dict[str, Any]


def make_cell(
    values: Sequence[Values], protocol: Protocol, recordings: Sequence[str], digits: int
) -> CellRecord:
    """One column of one row from its values under each seed."""

    def of_clips(k: int | None) -> np.ndarray:
        """(seeds, N) at frame k, or in the table's main column."""
        if k is not None or protocol.is_cumulative:
            return np.stack([v.at(k or protocol.horizon, protocol.is_cumulative) for v in values])
        return mean_defined(np.stack([of_clips(k) for k in protocol.reads]), axis=0)

    def between(clips: np.ndarray) -> tuple[float, float] | None:
        ends = interval(clips, recordings) if values[0].is_per_clip else None
        return None if ends is None else (round(ends[0], places), round(ends[1], places))

    places = digits + 4

    def numbers(found: np.ndarray) -> list[Number]:
        return [None if np.isnan(x) else round(float(x), places) for x in found]

    main = of_clips(None)
    at = {k: mean_defined(of_clips(k), axis=0) for k in protocol.reads}
    per_seed = mean_defined(main, axis=1)
    clips = mean_defined(main, axis=0)
    frames = mean_defined(np.stack([mean_defined(v.frames, axis=0) for v in values]), axis=0)
    spread = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else float("nan")
    per_clip = values[0].is_per_clip
    (value,) = numbers(mean_defined(clips)[None])
    return {
        "value": value,
        "ci95": between(clips),
        "at": {k: numbers(mean_defined(v)[None])[0] for k, v in at.items()},
        "ci95_at": {k: between(v) for k, v in at.items()},
        "frames": numbers(frames),
        "seeds": numbers(per_seed),
        "spread": numbers(np.array([spread]))[0],
        "clips": numbers(clips) if per_clip else None,
        "clips_at": {k: numbers(v) for k, v in at.items()} if per_clip else None,
    }


def column_record(column: Column, lacks: str = "") -> ColumnRecord:
    """The column as eval.json has it."""
    return {
        "key": column.key,
        "label": column.label,
        "meaning": column.meaning,
        "digits": column.digits,
        "higher_is_better": column.higher_is_better,
        "lacks": lacks,
    }


def fingerprint(protocol: Mapping[str, Any]) -> str:
    """sha256 of the protocol as canonical JSON; no version or commit is part of it."""
    text = json.dumps(protocol, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def save(record: EvalRecord, path: Path) -> None:
    """Write eval.json, whole or not at all, one line for each row."""
    rows = ",\n".join(json.dumps(row, allow_nan=False) for row in record["rows"])
    parts = [
        f"{json.dumps(key)}: " + (f"[\n{rows}\n]" if key == "rows" else json.dumps(value))
        for key, value in record.items()
    ]
    with whole(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def load(path: Path) -> EvalRecord:
    """What `save` wrote, checked key by key, whole-number keys as numbers again.

    Raises RecordError, one line that names file and key.
    """
    found: EvalRecord = read_json(path, EvalRecord, EXPECTED)
    for fault in _faults(found):
        raise RecordError(f"{path}: expected {EXPECTED}; {fault}")
    found["reads"] = {int(k): label for k, label in found["reads"].items()}
    for row in found["rows"]:
        for cell in row["cells"].values():
            for key in ("at", "ci95_at", "clips_at"):
                if cell.get(key):
                    cell[key] = {int(k): v for k, v in cell[key].items()}  # type: ignore
    return found


def _faults(record: EvalRecord) -> Iterator[str]:
    """What does not belong together in a record of the right types."""
    count = len(record["clips"])
    if not record["rows"] or not count:
        yield "rows and clips: at least one of each"
    if len(record["recordings"]) != count:
        yield f"recordings: {count}, as many as clips"
    yield from (
        f"columns.{column['key']}.digits: 0 to 9"
        for column in record["columns"]
        if not 0 <= column["digits"] <= 9
    )
    for row in record["rows"]:
        for key, cell in row["cells"].items():
            tables = [cell.get("clips"), *(cell.get("clips_at") or {}).values()]
            if any(table is not None and len(table) != count for table in tables):
                yield f"rows.{row['folder']}.{key}: {counted(count, 'value')}, one for each clip"
