"""Columns in and out of Parquet files; nothing else here reads or writes them."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from egowm.limits import BYTES, TooLarge, admit

_WIDEST = 8  # bytes of a number, or of the place of a text


class PyarrowMissing(ImportError):
    """Parquet files need pyarrow, which is an optional extra."""


def read_columns(file: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The columns of these names: numbers (N,), lists of one length (N, L), anything else as
    objects (N,).

    Raises FileNotFoundError for a missing file, ValueError for one that cannot be read or lacks a
    column, PyarrowMissing where pyarrow is not installed.
    """
    parquet = load_parquet(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing. Download it, or copy the data set again.")
    try:
        with parquet.ParquetFile(file, pre_buffer=False) as source:
            known = set(source.schema_arrow.names)
            chosen = [name for name in names if name in known]
            texts = _admitted(file, source.metadata, chosen)
            if texts:  # each distinct one is kept once, as it is in the file
                source.close()
                about = {"metadata": source.metadata, "read_dictionary": texts}
                source = parquet.ParquetFile(file, pre_buffer=False, **about)
            # threads cost more than they bring for the small table of one episode
            table = source.read(columns=chosen, use_threads=source.num_row_groups > 1)
    except TooLarge:
        raise
    except (OSError, RuntimeError, ValueError, MemoryError) as error:  # pyarrow's own are of these
        raise ValueError(
            f"{file}: not a readable Parquet file ({error}); copy it again."
        ) from error
    missing = [name for name in names if name not in known]
    if missing:
        listed = ", ".join(sorted(known))
        raise ValueError(f"{file}: expected a column {missing[0]}, got {listed}.")
    return {name: _array(table[name]) for name in names}


def load_parquet(file: Path) -> Any:
    """The module of pyarrow; PyarrowMissing where it is not installed. file: for the message."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise PyarrowMissing(
            f"{file}: Parquet files are read and written by pyarrow, which is not installed: "
            f"pip install 'egowm[lerobot]'."
        ) from error
    return parquet


class TableFile:
    """A Parquet file that takes rows part by part.

    Args:
        path: Its folder is made.
        metadata: Texts that its schema carries.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str] = MappingProxyType({})) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.metadata = path, dict(metadata)
        self._file = path.open("wb")  # pyarrow refuses some names that the system has
        self.num_bytes = 0  # of the rows, before they are compressed
        self._writer: Any = None

    def add(self, columns: Mapping[str, Any]) -> None:
        """Append rows: numbers (N,), or (N, L) as lists of one length, or Python lists."""
        import pyarrow

        table = pyarrow.table({key: _column(values) for key, values in columns.items()})
        if self._writer is None:
            schema = table.schema.with_metadata(self.metadata)
            self._writer = load_parquet(self.path).ParquetWriter(self._file, schema)
        self._writer.write_table(table.cast(self._writer.schema))
        self.num_bytes += table.nbytes

    def close(self) -> None:
        """Write the file's index of its parts; again is no error."""
        if not self._file.closed:
            with self._file:
                if self._writer is not None:
                    self._writer.close()


def _column(values: Any) -> Any:
    import pyarrow

    if not isinstance(values, np.ndarray) or values.ndim == 1:
        return pyarrow.array(values)
    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _admitted(file: Path, about: Any, names: list[str]) -> list[str]:
    """Which of the columns hold texts. Refuses those that take too much memory: a run of equal
    values takes a few bytes on disk."""
    total, texts = 0, set()
    for group in range(about.num_row_groups):
        for number in range(about.num_columns):
            column = about.row_group(group).column(number)
            if not any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in names):
                continue
            total += max(column.num_values * _WIDEST, column.total_uncompressed_size)
            if column.physical_type == "BYTE_ARRAY":
                texts.add(column.path_in_schema)
    admit(file, total, "bytes of columns", BYTES)
    return sorted(texts)


def _array(column: Any) -> np.ndarray:
    """One column, all of its chunks."""
    import pyarrow.compute as compute
    from pyarrow import types

    kind = column.type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not lists:
        if not types.is_dictionary(kind) or not column.num_chunks:
            return column.to_numpy()
        return np.concatenate([_objects(chunk) for chunk in column.chunks])
    numbers = types.is_floating(kind.value_type) or types.is_integer(kind.value_type)
    lengths = set(compute.list_value_length(column).to_pylist())
    if numbers and len(lengths) == 1 and None not in lengths:
        flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
        return np.concatenate(flat).reshape(len(column), *lengths)
    out = np.empty(len(column), object)
    out[:] = [row for chunk in column.chunks for row in _rows(chunk)]
    return out


def _objects(chunk: Any) -> np.ndarray:
    """Texts, of which each is in memory once, however often it is there; None for missing ones."""
    values = np.array([*chunk.dictionary.to_pylist(), None], object)
    return values[chunk.indices.fill_null(len(values) - 1).to_numpy()]


def _rows(chunk: Any) -> list[Any]:
    """The lists of a column."""
    if not hasattr(chunk.values, "dictionary"):
        return chunk.to_pylist()
    flat, ends = _objects(chunk.values), chunk.offsets.to_pylist()
    rows = [flat[a:b].tolist() for a, b in pairwise(ends)]
    there = chunk.is_valid().to_pylist()
    return [row if known else None for row, known in zip(rows, there, strict=True)]
