"""The numbered files of a LeRobot data set, each of which takes several episodes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from egowm.data.parquet import TableFile

_NUMBERED = "chunk-{chunk_index:03d}/file-{file_index:03d}"
TABLES = f"data/{_NUMBERED}.parquet"
EPISODES = f"meta/episodes/{_NUMBERED}.parquet"
VIDEOS = f"videos/{{video_key}}/{_NUMBERED}.mp4"
MEGABYTE = 1024**2
_PANDAS = {  # how pandas finds that the task is the table's index
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {
            "name": name,
            "field_name": name,
            "pandas_type": kind,
            "numpy_type": held,
            "metadata": None,
        }
        for name, kind, held in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ],
    "pandas_version": "2.2.0",
}


class _Growing(Protocol):
    """A file that grows; num_bytes is about its size."""

    @property
    def num_bytes(self) -> float: ...

    def close(self) -> None: ...


File = TypeVar("File", bound=_Growing)


class Files(Generic[File]):
    """Files of one kind, of which the last is open.

    Args:
        open_file: Begins a file.
        folder: The data set's.
        path: Of a file in it, with fields for its chunk and its number.
        megabytes: A part that would make a file larger begins the next one.
        chunks_size: Files of a chunk.
    """

    def __init__(
        self,
        open_file: Callable[[Path], File],
        folder: Path,
        path: str,
        megabytes: float,
        chunks_size: int,
    ) -> None:
        self._open, self._folder, self._path = open_file, folder, path
        self._most, self._chunks_size, self._number = megabytes * MEGABYTE, chunks_size, 0
        self.last: File | None = None

    @property
    def place(self) -> dict[str, int]:
        """The chunk and the number of the open file."""
        chunk, number = divmod(self._number, self._chunks_size)
        return {"chunk_index": chunk, "file_index": number}

    def for_part(self, num_bytes: float) -> File:
        """The file that the next part of this size goes to."""
        if self.last and self.last.num_bytes + num_bytes > self._most:
            self.last.close()
            self.last, self._number = None, self._number + 1
        if self.last is None:
            self.last = self._open(self._folder / self._path.format(**self.place))
        return self.last

    def close(self) -> None:
        """End the last file; again is no error."""
        if self.last:
            self.last.close()


def write_tasks(file: Path, tasks: Sequence[str]) -> None:
    """The table of tasks, whose index is the task's text."""
    table = TableFile(file, {"pandas": json.dumps(_PANDAS)})
    table.add({"task_index": np.arange(len(tasks)), "task": list(tasks)})
    table.close()
