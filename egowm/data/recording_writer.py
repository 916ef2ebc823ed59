"""What writers of recordings share: a folder that is there as a whole, or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from egowm.checks import counted
from egowm.files import FolderKind, check_folder, filled
from egowm.video import VideoError


class RecordingWriter(ABC):
    """A folder to which episodes are added in a `with` block, and which is there once it ended.

    Args:
        root: The folder; empty, or not there yet.
        kind: Its kind for `egowm.files`.
        force: Replace what the same writer wrote there before.
    """

    def __init__(self, root: str | Path, kind: FolderKind, force: bool) -> None:
        self.folder = Path(root)
        self._kind, self._is_cut = kind, False
        self._place: Path | None = None
        self._filled: AbstractContextManager[Path]
        check_folder(self.folder, kind, force)

    def __enter__(self) -> Self:
        self._filled = filled(self.folder, self._kind)
        self._place = self._filled.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish_whole()
        except BaseException as late:
            kind, error, trace = type(late), late, late.__traceback__
            raise
        finally:
            with suppress(Exception):  # after an error of the disk there may be another
                self._close()
            self._place = None
            self._filled.__exit__(kind, error, trace)

    @contextmanager
    def _adding(self) -> Iterator[Path]:
        """The folder to write to. An error within it leaves an episode that cannot be undone."""
        if self._place is None:
            name = type(self).__name__
            raise ValueError(f"{name}: add within its block: with {name}(...) as writer: ...")
        self._check_cut()
        self._is_cut = True
        yield self._place
        self._is_cut = False

    def _finish_whole(self) -> None:
        self._check_cut()
        self._finish()

    def _check_cut(self) -> None:
        if self._is_cut:
            raise ValueError(
                f"{self.folder}: an episode broke off while its frames were written, so nothing "
                f"is kept: let its error leave the with block, and write all of it again."
            )

    @abstractmethod
    def _finish(self) -> None:
        """Write what comes last, and close all files. Raises ValueError where none was added."""

    @abstractmethod
    def _close(self) -> None:
        """Close the files that are open; again is no error."""


def in_step(
    frames: Mapping[str, Iterable[np.ndarray]], count: int
) -> Iterator[dict[str, np.ndarray]]:
    """The frames of all cameras, step by step, `count` of them and no more. Raises VideoError."""
    cameras = {name: iter(shown) for name, shown in frames.items()}
    for step in range(count):
        found = {name: next(shown, None) for name, shown in cameras.items()}
        if ended := [name for name, frame in found.items() if frame is None]:
            raise VideoError(
                f"expected {counted(count, 'frame')} of {ended[0]}, one for each row, got {step}"
            )
        yield {name: frame for name, frame in found.items() if frame is not None}
    if more := [name for name, shown in cameras.items() if next(shown, None) is not None]:
        raise VideoError(
            f"expected {counted(count, 'frame')} of {more[0]}, one for each row, got more"
        )
