"""Video files for tests, as recorders write them."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GROUP = 12  # frames from one key frame to the next
CODECS = {  # nearly without loss, small and quick
    "libx264": {"crf": "1", "preset": "veryfast", "g": str(GROUP), "bf": "0"},
    "libx265": {"x265-params": "crf=1:keyint=12:log-level=none", "preset": "ultrafast"},
    "libvpx-vp9": {"crf": "2", "b": "0", "deadline": "realtime", "cpu-used": "8", "g": "12"},
    "libsvtav1": {"crf": "5", "preset": "10", "g": "12"},  # at 12 it writes invalid frames
}
OLD = {"mpeg4": {"qscale": "2", "g": "12"}, "mjpeg": {"qscale": "2"}}


def write_h264(
    path: Path,
    frames: np.ndarray,
    fps: float,
    codec: str = "libx264",
    ticks=None,
    turned: int = 0,
    **more,
) -> None:
    """Write frames (n, H, W, 3) uint8 in a codec and container of real cameras; `more` goes to the
    encoder, e.g. bf="2" for frames that lean on later ones. ticks: when each is shown, in 1 / fps,
    where the rate is not steady. turned: degrees by which a player turns them to the left.

    SVT-AV1 makes the calling thread a real-time one where the user is root, and it would hold its
    core against all others from then on: it gets its turn as before.
    """
    known = hasattr(os, "sched_getscheduler")  # which macOS has not
    scheduler = os.sched_getscheduler(0) if known else 0
    try:
        _write(path, frames, fps, codec, ticks, turned, more)
    finally:
        if known:
            os.sched_setscheduler(0, scheduler, os.sched_param(0))


def _write(
    path: Path, frames: np.ndarray, fps: float, codec: str, ticks, turned: int, more: dict[str, str]
) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = (CODECS | OLD)[codec] | more
        if turned:
            stream.set_display_rotation(turned)
        for k, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if ticks is not None:
                picture.pts, picture.time_base = int(ticks[k]), 1 / Fraction(fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
