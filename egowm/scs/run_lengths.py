"""Masks as COCO run lengths in json: SA-V's masklets, YouTube-VIS tracks, COCO annotations.

A run-length code is `{"size": [H, W], "counts": ...}`: how many pixels are 0, then 1, then 0 and
so on, down the columns. Counts are a list of numbers, or COCO's text: digits of 5 bits from the
lowest, a sixth bit for "more follows", sign in the last digit, each from the fourth count on as the
difference from the one two before.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from egowm.checks import counted
from egowm.limits import BYTES, admit, load_json

_HOW = (
    'expected {"masklet": [[code, ...] per frame]} (SA-V), {"annotations": [{"id", '
    '"segmentations": [code or null per frame]}]} (YouTube-VIS) or {"annotations": [{"id", '
    '"segmentation": code}]} (COCO, one picture)'
)


_MOST_DIGITS = 13  # of one run: 65 bits


def read_run_lengths(path: Path) -> tuple[list[int], np.ndarray]:
    """Ids and masks (T, O, H, W) bool of one json file."""
    record = load_json(path)
    try:
        ids, codes = _codes(record)
        sizes = {tuple(code["size"]) for row in codes for code in row if code is not None}
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError, IndexError) as error:
        raise ValueError(f"{path}: {_HOW}, got {type(error).__name__} {error}.") from error
    if len(sizes) != 1 or not codes or len({len(row) for row in codes}) != 1:
        raise ValueError(f"{path}: {_HOW}, of one size, with as many frames for every object.")
    (size,) = sizes
    frames = len(codes[0])
    height, width = _checked(path, size)
    admit(path, frames * len(ids) * height * width, "bytes of masks", BYTES)
    masks = np.zeros((frames, len(ids), height, width), bool)
    for k, row in enumerate(codes):
        for t, code in enumerate(row):
            if code is not None:
                masks[t, k] = decode(code, str(path))
    return ids, masks


def decode(code: Mapping[str, Any], name: str = "mask") -> np.ndarray:
    """The mask (H, W) bool of one run-length code; `name` is what an error calls it."""
    height, width = code["size"]
    admit(name, height * width, "bytes of a mask", BYTES)
    try:
        counts = code["counts"]
        if isinstance(counts, str) and len(counts) > _MOST_DIGITS * (height * width + 2):
            raise ValueError("more runs than pixels")
        runs = _read_text(counts) if isinstance(counts, str) else [int(n) for n in counts]
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ValueError(f"{name}: run lengths that cannot be read.") from error
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(
            f"{name}: expected run lengths that add up to {width}x{height} pixels, got {sum(runs)}."
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def encode(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W) bool as a code with plain counts."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def _codes(record: Any) -> tuple[list[int], list[list[Any]]]:
    """Ids, and for each of them one code or None per frame."""
    if "masklet" in record:
        frames = record["masklet"]
        count = len(frames[0])
        ids = [int(k) for k in record.get("masklet_id", range(1, count + 1))]
        if len(ids) != count or any(len(row) != count for row in frames):
            raise ValueError(f"expected {counted(len(ids), 'code')} in every frame")
        return ids, [[row[k] for row in frames] for k in range(count)]
    entries: Sequence[Any] = record["annotations"] if isinstance(record, dict) else record
    ids = [int(entry.get("id", k)) for k, entry in enumerate(entries, 1)]
    if len(set(ids)) != len(ids):
        raise ValueError("the same id twice")
    codes = [entry.get("segmentations") or [entry["segmentation"]] for entry in entries]
    return ids, codes


def _checked(path: Path, size: tuple[Any, ...]) -> tuple[int, int]:
    if len(size) != 2 or not all(isinstance(n, int) and 0 < n < 65536 for n in size):
        raise ValueError(f"{path}: expected a size [H, W], got {list(size)}.")
    return size[0], size[1]


def _read_text(text: str) -> list[int]:
    runs: list[int] = []
    at = 0
    while at < len(text):
        value, place, more = 0, 0, True
        while more:
            digit = ord(text[at]) - 48
            if not 0 <= digit < 64 or place >= _MOST_DIGITS:
                raise ValueError(f"no digit: {text[at]!r}")
            value |= (digit & 0x1F) << (5 * place)
            more = bool(digit & 0x20)
            at, place = at + 1, place + 1
            if not more and digit & 0x10:
                value |= -1 << (5 * place)
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
