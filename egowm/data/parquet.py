"""Columns out of Parquet files; nothing else here reads them."""

from pathlib import Path
from typing import Any

import numpy as np


class PyarrowMissing(ImportError):
    """Parquet files need pyarrow, which is an optional extra."""


def read_columns(file: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The columns of these names: numbers (N,), lists of one length (N, L), anything else as
    objects (N,).

    Raises FileNotFoundError for a missing file, ValueError for one that cannot be read or lacks a
    column, PyarrowMissing where pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise PyarrowMissing(
            f"{file}: Parquet files are read by pyarrow, which is not installed: "
            f"pip install 'egowm[lerobot]'."
        ) from error
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing. Download it, or copy the data set again.")
    try:
        with parquet.ParquetFile(file, pre_buffer=False) as source:
            known = set(source.schema_arrow.names)
            chosen = [name for name in names if name in known]
            # threads cost more than they bring for the small table of one episode
            table = source.read(columns=chosen, use_threads=source.num_row_groups > 1)
    except (OSError, RuntimeError, ValueError) as error:  # pyarrow's own are of all three kinds
        raise ValueError(
            f"{file}: not a readable Parquet file ({error}); copy it again."
        ) from error
    missing = [name for name in names if name not in known]
    if missing:
        listed = ", ".join(sorted(known))
        raise ValueError(f"{file}: expected a column {missing[0]}, got {listed}.")
    return {name: _array(table[name]) for name in names}


def _array(column: Any) -> np.ndarray:
    """One column, all of its chunks."""
    import pyarrow.compute as compute
    from pyarrow import types

    kind = column.type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not lists:
        return column.to_numpy()
    numbers = types.is_floating(kind.value_type) or types.is_integer(kind.value_type)
    lengths = set(compute.list_value_length(column).to_pylist())
    if numbers and len(lengths) == 1 and None not in lengths:
        flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
        return np.concatenate(flat).reshape(len(column), *lengths)
    out = np.empty(len(column), object)
    out[:] = column.to_pylist()
    return out
