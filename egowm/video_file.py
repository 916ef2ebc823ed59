"""The frames of a video file: PyAV says which ones a player shows, and when; decord reads fast.

decord is asked only for files in which it finds the same frames at the same times. It does not know
edit lists, rotated recordings and many codecs; all of that is read by PyAV, frame by frame at its
own time, and a frame whose damage the decoder notices is an error there.
"""

import ctypes
import importlib.util
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.limits import PIXELS, TooLarge, admit

KEPT_OPEN = 8  # files; opening one costs as much as decoding some frames
KEPT_INDEXES = 4096
_THREAD = threading.local()  # decord's readers belong to one thread of one process
_FORKED: list[Any] = []
_FOR_ALL = ctypes.RTLD_GLOBAL
CONTAINERS = ("mov", "matroska", "avi")  # that find a key frame by its time
CODECS = ("h264", "vp9")  # of which decord shows the right frame
BEFORE = -(1 << 62)
_TOLERANCE = 0.1  # of the time between two frames, within which decord's times are the same


class VideoError(ValueError):
    """A picture or a video that cannot be read or written; the message names the file."""


class FrameIndex(NamedTuple):
    """The frames that a player shows, in order.

    ticks: (n,) when each is shown, in units of the file. keys: those of key frames, where the
    container finds a key frame by its time. tick: seconds. rate: frames per second that the file
    claims, 0 where it claims none. turns: quarter turns to the left that a frame needs to stand
    upright. plain: whether all stored frames are shown as they are, so that decord may be asked.
    """

    ticks: np.ndarray
    keys: np.ndarray
    tick: float
    rate: float
    turns: int
    plain: bool

    @property
    def times(self) -> np.ndarray:
        """Seconds from the first frame to each (n,)."""
        seconds: np.ndarray = (self.ticks - self.ticks[0]) * self.tick
        return seconds


def frame_index(path: Path) -> FrameIndex:
    """The index of a file as it is now, read once. Raises VideoError for what is not a video."""
    return _index(*_state(path))


def read_video(path: Path, chosen: Sequence[int]) -> np.ndarray:
    """Frames of a file by number (each in range), `(n, H, W, 3)` uint8 RGB."""
    path = path.absolute()  # FFmpeg takes what stands before a colon for a protocol
    index, reader = frame_index(path), _reader(path)
    if not isinstance(reader, _Frames):
        try:
            return _shared(reader.get_batch(list(chosen)))
        except _decord_error():  # decord also fails on some sound files, e.g. 48 pixels wide
            reader = _keep(path, _Frames(path, index))
    found = reader.read(sorted(set(chosen)))
    return np.stack([found[k] for k in chosen])


def _state(path: Path) -> tuple[str, int, int]:
    """What a file is called and how it was last changed."""
    about = path.stat()
    return str(path.absolute()), about.st_mtime_ns, about.st_size


@lru_cache(KEPT_INDEXES)
def _index(name: str, changed: int, size: int) -> FrameIndex:
    path, shown, keys, hidden, first = Path(name), [], [], False, None
    with _container(path) as (container, stream):
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(_decoded(packet) or []), None)
            when = _when(packet)
            if when is None:
                continue  # the end
            hidden |= packet.is_discard
            if not packet.is_discard:
                shown.append(when)
                keys += [when] if packet.is_keyframe else []
        tick, rate = float(stream.time_base), float(stream.average_rate or 0)
        seeks = container.format.name.split(",")[0] in CONTAINERS
        plain = seeks and not hidden and stream.codec_context.name in CODECS
    if not shown or first is None:
        raise VideoError(f"{path}: not a readable video, corrupt or cut short: no frame in it")
    turns = round(first.rotation / 90) % 4
    ticks, starts = (
        np.unique(np.asarray(shown)),
        np.unique(np.asarray(keys if seeks else [], np.int64)),
    )
    return FrameIndex(ticks, starts, tick, rate, turns, plain and not turns)


def _when(packet_or_frame: Any) -> int | None:
    """When it is shown; formats without such times show frames in the order of decoding."""
    when: int | None = packet_or_frame.pts
    return packet_or_frame.dts if when is None else when


def _decoded(packet: Any) -> list[Any] | None:
    """The frames that a packet completes; None where it is damaged."""
    import av

    try:
        frames: list[Any] = packet.decode()
    except (av.FFmpegError, ValueError):
        return None
    return frames


@contextmanager
def _container(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file as PyAV opens it, and its video."""
    container, stream = _opened(path)
    try:
        yield container, stream
    finally:
        container.close()


def _opened(path: Path) -> tuple[Any, Any]:
    import av

    container: Any
    if not path.is_file():
        raise VideoError(f"{path}: expected a video file, got a device or a pipe")
    try:
        with path.open("rb") as file:  # FFmpeg takes names in UTF-8 only
            name = str(path) if str(path).isprintable() else f"/dev/fd/{file.fileno()}"
            container = av.open(name, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"{path}: not a readable video, corrupt or cut short") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path}: holds no video, only other streams")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise VideoError(f"{path}: its codec is not known here; convert it to H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    try:
        admit(f"{path}: frames of {width}x{height}", width * height, "pixels", PIXELS)
    except TooLarge as error:
        container.close()
        raise VideoError(str(error)) from error
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": "explode"}  # or damage is painted over
    return container, stream


class _Frames:
    """An open file, decoded forwards; it goes to a key frame to go back, or far ahead."""

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self.path, self.index = path, index
        self._begin()

    def _begin(self) -> None:
        self.container, self.stream = _opened(self.path)
        self.coming = self._frames()
        self.first = self.last = BEFORE  # when the frames since here are shown

    def __del__(self) -> None:
        if hasattr(self, "container"):
            self.container.close()

    def read(self, chosen: Sequence[int]) -> dict[int, np.ndarray]:
        """Frames by number, each of which is wanted once, in order."""
        found, damaged = {}, []
        for number in chosen:
            frame = self._at(int(self.index.ticks[number]))
            if frame is None:
                damaged.append(number)
            else:
                found[number] = np.rot90(frame.to_ndarray(format="rgb24"), self.index.turns)
        if damaged:
            raise VideoError(
                f"{self.path}: damaged frames: {_ranges(damaged)} (of 0 to "
                f"{len(self.index.ticks) - 1}); leave them out, or get the file anew"
            )
        return found

    def _at(self, when: int) -> Any:
        """The frame that is shown at a time; None where it is damaged."""
        starts = self.index.keys[self.index.keys <= when]
        if self.last < when and not (len(starts) and starts[-1] > self.last):
            return self._forward(when)
        for start in starts[::-1].tolist():
            self.container.seek(start, stream=self.stream, backward=True)
            self.coming, self.last = self._frames(), BEFORE
            frame = self._forward(when)
            if frame is not None or self.first <= when:
                return frame  # else it began too late: frames may be stored before their key frame
        self.container.close()
        self._begin()
        return self._forward(when)

    def _forward(self, when: int) -> Any:
        for shown, frame in self.coming:
            self.first = shown if self.last == BEFORE else self.first
            self.last = shown
            if shown >= when:
                return frame if shown == when else None
        return None

    def _frames(self) -> Iterator[tuple[int, Any]]:
        """When each frame is shown, and the frame: None from damage up to the next key frame."""
        sound = True
        for packet in self.container.demux(self.stream):
            frames = _decoded(packet)
            sound = sound and frames is not None
            for frame in frames or []:
                sound = not frame.is_corrupt and (sound or frame.key_frame)
                if (shown := _when(frame)) is not None:
                    yield shown, frame if sound else None


def _ranges(numbers: Sequence[int]) -> str:
    """3, 4, 5 and 9 as "3 to 5, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if run[1:] else str(run[0]) for run in runs)


def _reader(path: Path) -> Any:
    """The open file: decord's reader where its frames are the index's, else `_Frames`; the last few
    of a thread stay open for its next clip."""
    readers, key = _kept_readers(), _state(path)
    last = next(reversed(readers), None)
    if last not in (None, key) and not isinstance(readers[last], _Frames):
        readers[last].seek(0)  # or it goes on decoding ahead of what was asked
    if key not in readers:
        index = frame_index(path)
        reader = _decord_reader(path, index) if index.plain and has_decord() else None
        return _keep(path, reader or _Frames(path, index))
    readers.move_to_end(key)
    return readers[key]


def _keep(path: Path, reader: Any) -> Any:
    readers = _kept_readers()
    readers[_state(path)] = reader
    if len(readers) > KEPT_OPEN:
        readers.popitem(last=False)
    return reader


def _kept_readers() -> OrderedDict[Any, Any]:
    """Of this thread; a forked process begins with none, and leaves its parent's alone: closing
    them would wait for threads that are not there."""
    if getattr(_THREAD, "process", None) != os.getpid():
        if hasattr(_THREAD, "readers"):
            _FORKED.append(_THREAD.readers)
        _THREAD.process, _THREAD.readers = os.getpid(), OrderedDict()
    readers: OrderedDict[Any, Any] = _THREAD.readers
    return readers


def has_decord() -> bool:
    return importlib.util.find_spec("decord") is not None


def _decord_reader(path: Path, index: FrameIndex) -> Any:
    """decord's reader, if it finds the frames of the index at their times; else None."""
    decord = _decord()
    errors: tuple[type[Exception], ...] = (*_decord_error(), UnicodeEncodeError)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        times = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]
    except errors:
        return None
    if len(times) != len(index.ticks):
        return None
    apart = np.abs(times - times[0] - index.times)
    step = np.diff(index.times).min(initial=1.0)
    return reader if apart.max() <= _TOLERANCE * step + index.tick else None


def _decord() -> Any:
    """decord, its libraries kept to itself.

    It wants them to be seen by the whole process, and one of them is the zlib of 2005: OpenCV's and
    torchvision's PNG readers, if they come later, fail or crash on a mixture of that and their own.
    """
    ctypes.RTLD_GLOBAL = ctypes.RTLD_LOCAL  # type: ignore[misc]
    try:
        import decord
    finally:
        ctypes.RTLD_GLOBAL = _FOR_ALL  # type: ignore[misc]
    return decord


def _decord_error() -> tuple[type[Exception], ...]:
    from decord import _ffi

    return (_ffi.base.DECORDError, RuntimeError)


def _shared(batch: Any) -> np.ndarray:
    """decord's frames as an array without a copy, which its own `asnumpy` makes."""
    if not hasattr(batch, "to_dlpack"):  # another package set decord's bridge: a torch tensor
        return np.asarray(batch)
    from torch.utils.dlpack import from_dlpack

    return np.asarray(from_dlpack(batch.to_dlpack()))
