"""Frames into an mp4, one after the other: what writes videos, and the only encoders."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from egowm.checks import check_between, counted
from egowm.video_packets import VideoError

Options = Mapping[str, Mapping[str, str]]
ENCODERS: Options = {  # what browsers play; the first that is there is used
    "libx264": {"crf": "18"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"},
}
# For recordings: finer, and a key frame every 15 frames, since clips are read from anywhere.
RECORDING: Options = {
    "libx264": {"crf": "12", "g": "15", "preset": "fast"},
    "libvpx-vp9": {"crf": "12", "b": "0", "g": "15", "deadline": "good", "cpu-used": "4"},
}


class VideoEncoder:
    """An mp4 of a steady rate that takes frames one by one, of which it keeps a second or two.

    Args:
        stream: Where to; opened for binary writing, and left open.
        fps: Frames per second, 0.01 to 1000.
        options: Of each encoder that may be used, in the order of preference.
        shape: (H, W, 3) of the frames; that of the first without it.

    Raises:
        VideoError: A frame of another size, an odd size, or a PyAV without these encoders.
    """

    def __init__(
        self,
        stream: IO[bytes],
        fps: float,
        options: Options = RECORDING,
        shape: tuple[int, ...] = (),
    ) -> None:
        import av

        check_between("fps", fps, 0.01, 1000)
        name = _encoder(options)
        self.num_frames = self._num_encoded = self._num_bytes = 0
        self.shape = shape
        self._is_closed = False
        self._container = av.open(stream, "w", format="mp4")
        rate = Fraction(float(fps)).limit_denominator(1001)
        added: Any = self._container.add_stream(name, rate=rate)
        added.pix_fmt, added.options = "yuv420p", dict(options[name])
        self._stream, self.codec = added, str(added.codec_context.codec.canonical_name)

    def add(self, frame: np.ndarray, key: bool = False) -> None:
        """Append a frame (H, W, 3) uint8 RGB. key: decoding may begin there."""
        import av
        from av.video.frame import PictureType

        check_frame(frame, self.shape)
        if not self.num_frames:
            self.shape = frame.shape
            self._stream.height, self._stream.width = frame.shape[:2]
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if key:
            picture.pict_type = PictureType.I
        self._mux(self._stream.encode(picture))
        self.num_frames += 1

    def close(self) -> None:
        """Write what the encoder holds, and the index; again is no error."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._container:
            if self.num_frames:
                self._mux(self._stream.encode())

    @property
    def num_bytes(self) -> float:
        """About how many bytes the frames so far take; the encoder still holds some of them."""
        return self.bytes_of(self.num_frames)

    def bytes_of(self, count: int) -> float:
        """About how many bytes that many frames take."""
        return self._num_bytes / max(1, self._num_encoded) * count

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._num_bytes += packet.size
            self._num_encoded += 1
            self._container.mux(packet)


class VideoFile(VideoEncoder):
    """An mp4 of a recording.

    Args:
        path: Its folder is made.
        fps: Frames per second.
        shape: (H, W, 3) of the frames; that of the first without it.
    """

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")  # an error of the disk would come out of FFmpeg as another
        super().__init__(self._file, fps, RECORDING, shape)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._file.close()


def check_frames(frames: Any, count: int, shape: tuple[int, ...] = ()) -> None:
    """Refuse an array that is not `count` frames; of an iterator nothing is known before.

    shape: (H, W, 3) of the frames that are there already.
    """
    if not hasattr(frames, "__len__"):
        return
    if len(frames) != count:
        raise VideoError(f"expected {counted(count, 'frame')}, got {len(frames)}")
    for frame in [frames[0]] if isinstance(frames, np.ndarray) else frames:
        check_frame(frame, shape)


def check_frame(frame: Any, shape: tuple[int, ...] = ()) -> None:
    """Refuse what is not a frame (H, W, 3) uint8 of even sizes. shape: that of the others."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3:
        kind = f"{frame.shape} {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame)
        raise VideoError(f"expected a frame (H, W, 3) uint8, got {kind}")
    height, width, channels = frame.shape
    if channels != 3 or not frame.size or height % 2 or width % 2:
        raise VideoError(
            f"expected a frame (H, W, 3) of even height and width (H.264 has no others), got "
            f"{frame.shape}: pad or resize it"
        )
    if shape and frame.shape != shape:
        raise VideoError(f"expected frames of one size, {shape}, got {frame.shape}: resize it")


def _encoder(options: Options) -> str:
    """The first encoder of `options` that PyAV was built with."""
    import av

    for name in options:
        if name in av.codecs_available:
            return name
    raise VideoError(
        f"expected a PyAV with one of the encoders {', '.join(options)}, got one without: the "
        f"wheels of PyAV have them (`pip install --force-reinstall --only-binary av av`)"
    )
