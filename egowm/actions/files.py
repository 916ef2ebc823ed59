"""Files of actions, as users write them: .csv, .json or .npy, one row per step."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egowm.actions.keys import check_told, is_file, pressed
from egowm.actions.spec import ActionSpec
from egowm.arrays import read_npy
from egowm.checks import counted
from egowm.limits import TEXT, load_json, read_bytes


def read_actions(text: str, spec: ActionSpec) -> Tensor:
    """Actions (T, A) from a file (.csv, .json, .npy) or from a string of the keys w a s d q e .

    A file holds one row per step in the units of the spec; a CSV may have a header of names.
    Raises ValueError naming what was expected.
    """
    check_told(text)
    if is_file(text):
        return torch.from_numpy(_read_file(Path(text), spec))
    return torch.from_numpy(pressed(text, spec))


def _read_file(path: Path, spec: ActionSpec) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what is not finite is refused with its place
            rows = np.asarray(_READERS[path.suffix](path, spec), np.float32)
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(
            f"{path}: expected numbers, one row per step, columns {', '.join(spec.names)} "
            f"({error})."
        ) from error
    if rows.ndim != 2 or rows.shape[1] != spec.width or not len(rows):
        raise ValueError(
            f"{path}: expected rows of {counted(spec.width, 'number')} ({', '.join(spec.names)}), "
            f"got an array of shape {rows.shape}."
        )
    return rows


def _read_csv(path: Path, spec: ActionSpec) -> list[list[float]]:
    text = read_bytes(path, TEXT).decode("utf-8-sig")  # Excel writes a byte order mark
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    if lines and [cell.strip() for cell in lines[0]] == list(spec.names):
        lines = lines[1:]
    return [[float(cell) for cell in line] for line in lines]


_READERS: dict[str, Callable[[Path, ActionSpec], Any]] = {
    ".csv": _read_csv,
    ".json": lambda path, spec: load_json(path),
    ".npy": lambda path, spec: read_npy(path),
}
