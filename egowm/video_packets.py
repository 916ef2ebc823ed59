"""The packets of a video file and what they decode to, by PyAV: damage is never painted over."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from egowm.limits import PIXELS, TooLarge, admit
from egowm.video_end import broken_places

SEEKING = ("mov", "matroska", "avi")  # containers that find a key frame by its time
_HEADER = 8  # bytes of an AVI chunk before its data
_IDR = 5  # the kind of H.264's units that need nothing before them
_PADDING = bytes(32)  # more zeros than any recorder adds to a unit
_UNITS, _ZEROS = re.compile(rb"\0{3}[^\0\1]"), re.compile(rb"\0{32}")
# bytes that a codec forbids inside its frames, or never writes; lost sectors read as zeros
_HOLES = {"h264": _UNITS, "hevc": _UNITS, "vp9": _ZEROS, "av1": _ZEROS}
_MOV = (".mp4", ".m4v", ".mov")
_QUICK = {
    "options": {"probesize": "32", "analyzeduration": "0", "fpsprobesize": "0"},
    "stream_options": [{"skip_frame": "all"}] * 8,
}
_NAMES = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9"}


class VideoError(ValueError):
    """A picture or a video that cannot be read or written; the message names the file."""


class Packets:
    """An open video file.

    quick: of an MP4 or MOV with H.264, take what its header says; FFmpeg decodes frames to learn
    the same. codec: the coding's name, whichever decoder reads it. container: "mov", "avi" and so
    on.
    """

    def __init__(self, path: Path, quick: bool = False) -> None:
        self.path = path
        self._container, self.stream = _opened(path, quick and path.suffix.lower() in _MOV)
        self._decoder = self.stream.codec_context
        self.codec = _NAMES.get(self._decoder.name, self._decoder.name)
        self.container = str(self._container.format.name).split(",")[0]
        self._prefix = _prefix(self.codec, bytes(self._decoder.extradata or b""))
        self._hole = _HOLES.get(self.codec)
        self.kept: list[int] = []  # when an AVI's own index says that there are frames
        self._places: dict[int, int] = {}
        self._broken = broken_places(path) if self.container == "matroska" else []
        if self.container == "avi":
            entries = [entry for entry in self.stream.index_entries if entry.size]
            self.kept = sorted(entry.timestamp for entry in entries)
            self._places = {entry.pos + _HEADER: entry.timestamp for entry in entries}
        self._stricter()

    @property
    def reorders(self) -> bool:
        """Whether frames are stored in another order than shown, in a container that cannot tell
        which."""
        leans = self.container == "avi" and self.codec in ("h264", "hevc")
        return leans and bool(self.stream.codec_context.has_b_frames)

    def close(self) -> None:
        self._container.close()

    def seek(self, when: int) -> None:
        """To the key frame at a time, or before it."""
        self._container.seek(when, stream=self.stream, backward=True)
        self._decoder.flush_buffers()

    def __iter__(self) -> Iterator[tuple[Any, int | None]]:
        """Packets in the order of decoding, the last one empty; and until when something is known
        to be lost by then, without decoding it."""
        held: Any = None
        lost: int | None = None
        for packet, gap in self._placed():
            if held is not None:  # what a gap swallowed may have begun in the packet before it
                yield held, when_shown(held) if gap else lost
            when = when_shown(packet)
            lost = when - 1 if gap and when is not None else None
            lost = when if packet.is_corrupt or self._torn(packet) else lost
            held = packet
        if held is not None:
            yield held, lost

    def _placed(self) -> Iterator[tuple[Any, bool]]:
        """Packets at their times, and whether the file shows that others are missing before it."""
        before: Any = None
        for packet in self._container.demux(self.stream):
            if self._place(packet):
                yield packet, before is not None and self._missing(before, packet)
                before = packet

    def decode(self, packet: Any) -> list[Any] | None:
        """The frames that a packet completes, or the end (None); None where it is damaged."""
        import av

        try:
            frames: list[Any] = self._decoder.decode(packet if packet and packet.size else None)
        except (av.FFmpegError, ValueError):
            return None
        return frames

    def alone(self, packet: Any) -> Any:
        """The frame of a packet, by itself; None where it has none, is damaged or needs others."""
        frames = self.decode(packet) or self.decode(None)  # else it waits for the next packets
        self._decoder.flush_buffers()
        return next(iter(frames or []), None)

    def _stricter(self) -> None:
        """Read VP9 with its authors' decoder, which notices most damage; FFmpeg's own does not."""
        import av

        plain = self._decoder.pix_fmt == "yuv420p"  # others may be left out of its build
        if self.codec == "vp9" and plain and "libvpx-vp9" in av.codecs_available:
            self._decoder = av.CodecContext.create("libvpx-vp9", "r")
        self._decoder.thread_count = 1
        self._decoder.options = {"err_detect": "explode"}  # or damage is painted over

    def _place(self, packet: Any) -> bool:
        """Give a packet of an AVI the time that its index has for it: the container only counts,
        and what is lost would shift the rest. False: the index knows of no such packet."""
        place = self._places.get(packet.pos)
        if place is None:
            return not packet.size or packet.pos > max(self._places, default=-1)
        if place != packet.dts is not None:
            packet.pts = None if packet.pts is None else packet.pts + place - packet.dts
            packet.dts = place
        return True

    def _missing(self, before: Any, after: Any) -> bool:
        """Whether an AVI's index has a frame between two packets that follow each other, or a
        Matroska is broken there."""
        known = self._broken or self.kept
        one, other = (before.pos, after.pos) if self._broken else (before.dts, after.dts)
        if one is None or other is None:
            return False
        return bisect_left(known, other) > bisect_right(known, one)

    def _torn(self, packet: Any) -> bool:
        """Whether a packet's bytes show that some were lost, without decoding it."""
        if self._hole is None or not packet.size:
            return False
        data = bytes(packet)
        if not self._prefix:
            return self._holed(data)
        return any(
            not unit or is_cut or self._holed(unit) or unit.endswith(_PADDING)
            for unit, is_cut in self._units(data)
        )

    def _holed(self, data: bytes) -> bool:
        # all patterns begin with zeros, which are found many times as fast by themselves
        return b"\0\0\0" in data and self._hole is not None and bool(self._hole.search(data))

    def _units(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The units of a packet, each behind its length, and whether it is shorter than that."""
        at = 0
        while at + self._prefix < len(data):
            first = at + self._prefix
            at = first + int.from_bytes(data[at:first])
            yield data[first:at], at > len(data)

    def begins(self, packet: Any) -> bool:
        """Whether decoding may begin here: no frame from here on needs one before it.

        H.264 also calls pictures key frames after which others still lean on those before.
        """
        if not packet.is_keyframe or self.codec != "h264":
            return bool(packet.is_keyframe)
        data = bytes(packet)
        units = (unit for unit, _ in self._units(data)) if self._prefix else data.split(b"\0\0\1")
        return any(unit and unit[0] & 31 == _IDR for unit in units)


def when_shown(packet_or_frame: Any) -> int | None:
    """In units of the file; formats without such times show frames in the order of decoding."""
    when: int | None = packet_or_frame.pts
    return packet_or_frame.dts if when is None else when


def _prefix(codec: str, setup: bytes) -> int:
    """Bytes that say how long each unit of a packet is; 0 where they do not."""
    if len(setup) < 23 or setup[0] != 1 or codec not in ("h264", "hevc"):
        return 0
    return (setup[4 if codec == "h264" else 21] & 3) + 1


def _opened(path: Path, quick: bool) -> tuple[Any, Any]:
    import av

    container: Any
    options: dict[str, Any] = _QUICK if quick else {}
    if not path.is_file():
        raise VideoError(f"{path}: expected a video file, got a device or a pipe")
    try:
        with path.open("rb") as file:  # FFmpeg takes names in UTF-8 only
            name = str(path) if str(path).isprintable() else f"/dev/fd/{file.fileno()}"
            container = av.open(name, metadata_errors="ignore", **options)
    except (av.FFmpegError, ValueError) as error:
        if quick:  # its options are those of one container
            return _opened(path, quick=False)
        raise VideoError(f"{path}: not a readable video, corrupt or cut short") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path}: holds no video, only other streams")
    stream = container.streams.video[0]
    known = stream.codec_context is not None and stream.codec_context.name == "h264"
    if quick and not (known and stream.codec_context.width and stream.average_rate):
        container.close()
        return _opened(path, quick=False)
    if stream.codec_context is None:
        container.close()
        raise VideoError(f"{path}: its codec is not known here; convert it to H.264")
    try:
        check_size(path, stream.codec_context)
    except VideoError:
        container.close()
        raise
    return container, stream


def check_size(path: Path, frame: Any) -> None:
    """Refuse frames that are larger than the limit; frame: one of them, or a codec's context."""
    width, height = frame.width, frame.height
    try:
        admit(f"{path}: frames of {width}x{height}", width * height, "pixels", PIXELS)
    except TooLarge as error:
        raise VideoError(str(error)) from error
