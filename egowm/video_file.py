"""The frames of a video file: PyAV says which ones a player shows, and when; decord reads fast.

decord is asked only for files in which it finds the same frames at the same times. It does not know
edit lists, rotated recordings, many codecs, damage, and key frames behind which others lean on
those before; all of that is read by PyAV, frame by frame at its own time, and a frame whose damage
the decoder notices is an error there.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.decord_library import array_of, decord_errors, has_decord, load_decord
from egowm.video_packets import SEEKING, Packets, VideoError, check_size, when_shown

KEPT_OPEN = 8  # files; opening one costs as much as decoding some frames
KEPT_INDEXES = 4096
_THREAD = threading.local()  # decord's readers belong to one thread of one process
_FORKED: list[Any] = []
CODECS = ("h264", "vp9")  # of which decord shows the right frame
BEFORE = -(1 << 62)
_STRICT: ContextVar[bool] = ContextVar("strict", default=False)
_TOLERANCE = 0.1  # of the time between two frames, within which decord's times are the same


class DamagedFrames(VideoError):
    """Frames of a file whose damage the decoder notices. numbers: theirs, of `count`."""

    path: Path
    numbers: Sequence[int]
    count: int


class FrameIndex(NamedTuple):
    """The frames that a player shows, in order.

    ticks: (n,) when each is shown, in units of the file. keys: those of key frames at which
    decoding may begin, where the container finds a key frame by its time. tick: seconds. rate:
    frames per second that the file claims, 0 where it claims none. turns: quarter turns to the left
    that a frame needs to stand upright. plain: whether all stored frames are shown as they are, and
    none needs one before a key frame, so that decord may be asked.
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


@contextmanager
def strictly() -> Iterator[None]:
    """Within the block no frame comes from decord, which paints over what it cannot decode."""
    token = _STRICT.set(True)
    try:
        yield
    finally:
        _STRICT.reset(token)


def frame_index(path: Path) -> FrameIndex:
    """The index of a file as it is now, read once. Raises VideoError for what is not a video."""
    return _index(*_state(path))


def read_video(path: Path, chosen: Sequence[int]) -> np.ndarray:
    """Frames of a file by number (each in range), `(n, H, W, 3)` uint8 RGB."""
    path = path.absolute()  # FFmpeg takes what stands before a colon for a protocol
    index, reader = frame_index(path), _reader(path)
    if not isinstance(reader, _Frames):
        try:
            return array_of(reader.get_batch(list(chosen)))
        except decord_errors():  # decord also fails on some sound files, e.g. 48 pixels wide
            reader = _keep(path, _Frames(path, index))
    found = reader.read(sorted(set(chosen)))
    return np.stack([found[k] for k in chosen])


def _state(path: Path) -> tuple[str, int, int]:
    """What a file is called and how it was last changed."""
    about = path.stat()
    return str(path.absolute()), about.st_mtime_ns, about.st_size


@lru_cache(KEPT_INDEXES)
def _index(name: str, changed: int, size: int) -> FrameIndex:
    path, first, begin, leans = Path(name), None, 0, False
    shown: list[int] = []
    keys: list[int] = []
    torn: list[int] = []
    with closing(Packets(path, quick=True)) as packets:
        counts = packets.container == "avi"  # in which frames are found by their order of decoding
        for packet, missed in packets:
            first = first or packets.alone(packet)
            if not packet.size:
                continue  # the end
            when = when_shown(packet)
            if when is None:
                raise VideoError(_untimed(path))
            torn += [when] if packet.is_discard or missed is not None else []
            if not packet.is_discard:
                begin = begin if shown else packet.dts or 0
                shown.append(when)
                begins = packets.begins(packet)
                leans |= packet.is_keyframe and not begins
                keys += [packet.dts if counts else when] if begins else []
        seeks = packets.container in SEEKING
        if packets.reorders:
            raise VideoError(_untimed(path))
        plain = seeks and not torn and not leans and packets.codec in CODECS
        tick, rate = float(packets.stream.time_base), float(packets.stream.average_rate or 0)
    if not shown or first is None:
        raise VideoError(f"{path}: not a readable video, corrupt or cut short: no frame in it")
    check_size(path, first)
    turns = round(first.rotation / 90) % 4
    # of an AVI also those that its index has and the file lost
    ticks = np.unique(np.asarray(shown + [when + min(shown) - begin for when in packets.kept]))
    if packets.container == "matroska":  # which reads on behind damage, at the right time
        ticks = _with_lost(ticks, torn)
    starts = np.unique(np.asarray(keys if seeks else [], np.int64))
    return FrameIndex(ticks, starts, tick, rate, turns, plain and not turns)


def _with_lost(ticks: np.ndarray, torn: Sequence[int]) -> np.ndarray:
    """Ticks (n,) and those of frames that were lost, at the pace of the rest, where packets at
    `torn` show that bytes are missing: else every later frame would count as one before it."""
    step = np.diff(ticks)
    pace = float(np.median(step)) if len(torn) and len(step) else 0.0
    if (np.abs(step - pace) > _TOLERANCE * pace + 1).sum() > len(step) // 5:
        return ticks  # of a recording without a pace nothing is known
    holes = [
        np.linspace(ticks[k], ticks[k + 1], round(step[k] / pace) + 1).round().astype(np.int64)
        for k in np.flatnonzero(step > 1.5 * pace)
        if any(ticks[k] <= when <= ticks[k + 1] + 8 * pace for when in torn)
    ]
    return np.unique(np.concatenate([ticks, *holes]))


def _untimed(path: Path) -> str:
    return (
        f"{path}: it does not say when its frames are shown, nor in which order; put it into an "
        f"MP4 at its recorded rate: ffmpeg -r RATE -i {path.name} {path.stem}.mp4"
    )


def damaged(path: Path, numbers: Sequence[int], count: int) -> DamagedFrames:
    """The error for frames of a file that holds `count`."""
    error = DamagedFrames(
        f"{path}: damaged frames: {_ranges(numbers)} (of 0 to {count - 1}); leave them out, or get "
        f"the file anew"
    )
    error.path, error.numbers, error.count = path, numbers, count
    return error


class _Frames:
    """An open file, decoded forwards; it goes to a key frame to go back, or far ahead."""

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self.path, self.index = path, index
        self._begin()

    def _begin(self) -> None:
        self.packets = Packets(self.path)
        self.coming = self._frames()
        self.first = self.last = BEFORE  # when the frames since here are shown

    def __del__(self) -> None:
        if hasattr(self, "packets"):
            self.packets.close()

    def read(self, chosen: Sequence[int]) -> dict[int, np.ndarray]:
        """Frames by number, each of which is wanted once, in order."""
        found, bad = {}, []
        for number in chosen:
            frame = self._at(int(self.index.ticks[number]))
            if frame is None:
                bad.append(number)
            else:
                found[number] = np.rot90(frame.to_ndarray(format="rgb24"), self.index.turns)
        if bad:
            raise damaged(self.path, bad, len(self.index.ticks))
        return found

    def _at(self, when: int) -> Any:
        """The frame that is shown at a time; None where it is damaged."""
        index = self.index
        starts = index.keys[index.keys <= when]
        coming = index.ticks[np.searchsorted(index.ticks, self.last, "right") :][:1]
        if self.last < when and not (len(starts) and starts[-1] > coming[0]):
            return self._forward(when)
        for start in starts[::-1].tolist():
            self.packets.seek(start)
            self.coming, self.last = self._frames(), BEFORE
            frame = self._forward(when)
            if frame is not None or self.first <= when:
                return frame  # else it began too late: frames may be stored before their key frame
        self.packets.close()
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
        lost: int | None = None  # when the damage was shown; a key frame before it mends nothing
        keys: set[int | None] = set()  # not every decoder says which frames are
        for packet, missed in self.packets:
            frames = self.packets.decode(packet)
            keys |= {when_shown(packet)} if packet.is_keyframe else set()
            missed = when_shown(packet) if frames is None else missed
            if missed is not None:
                lost = missed if lost is None else max(lost, missed)
            for frame in frames or []:
                if (shown := when_shown(frame)) is None:
                    continue
                if frame.is_corrupt:
                    lost = shown
                elif lost is not None and shown > lost and (frame.key_frame or shown in keys):
                    lost = None
                yield shown, frame if lost is None else None


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
    readers, key = _kept_readers(), _key(path)
    last = next(reversed(readers), None)
    if last not in (None, key) and not isinstance(readers[last], _Frames):
        readers[last].seek(0)  # or it goes on decoding ahead of what was asked
    if key not in readers:
        index = frame_index(path)
        fast = index.plain and not _STRICT.get() and has_decord()
        return _keep(path, (_decord_reader(path, index) if fast else None) or _Frames(path, index))
    readers.move_to_end(key)
    return readers[key]


def _keep(path: Path, reader: Any) -> Any:
    readers = _kept_readers()
    readers[_key(path)] = reader
    if len(readers) > KEPT_OPEN:
        readers.popitem(last=False)
    return reader


def _key(path: Path) -> tuple[str, int, int, bool]:
    return *_state(path), _STRICT.get()


def _kept_readers() -> OrderedDict[Any, Any]:
    """Of this thread; a forked process begins with none, and leaves its parent's alone: closing
    them would wait for threads that are not there."""
    if getattr(_THREAD, "process", None) != os.getpid():
        if hasattr(_THREAD, "readers"):
            _FORKED.append(_THREAD.readers)
        _THREAD.process, _THREAD.readers = os.getpid(), OrderedDict()
    readers: OrderedDict[Any, Any] = _THREAD.readers
    return readers


def _decord_reader(path: Path, index: FrameIndex) -> Any:
    """decord's reader, if it finds the frames of the index at their times; else None."""
    decord = load_decord()
    errors: tuple[type[Exception], ...] = (*decord_errors(), UnicodeEncodeError)
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
