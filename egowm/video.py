"""Frames in and out of files, pictures and videos.

Frames are `(n, H, W, 3)` uint8 RGB. Reading takes a folder of pictures or a video file; writing
gives a folder of PNG (exact: what scoring reads), mp4 (players) or animated WebP (browsers).
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egowm.checks import counted
from egowm.files import whole
from egowm.limits import read_bytes
from egowm.picture_file import decode_image
from egowm.video_encoder import ENCODERS, VideoEncoder
from egowm.video_file import VideoError, frame_index, read_video

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def picture_paths(folder: str | Path) -> list[Path]:
    """The pictures in `folder` in natural order (2.png before 10.png); none is an error."""
    folder = _existing(folder)
    paths = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.name[0] != "."]
    if not paths:
        raise VideoError(f"{folder}: no pictures here, expected one of {', '.join(PICTURES)}")
    return sorted(paths, key=lambda p: _natural(p.name))


def count_frames(path: str | Path) -> int:
    """How many frames a folder of pictures or a video file holds."""
    path = _existing(path)
    if path.is_dir():
        return len(picture_paths(path))
    return len(frame_index(path).ticks)


def video_rate(path: str | Path) -> float | None:
    """Frames a second that a video file says of itself; None where it says nothing sensible."""
    rate = frame_index(_existing(path)).rate
    return rate if 0 < rate < 1e4 else None


def read_frames(path: str | Path, indices: Sequence[int] | None = None) -> np.ndarray:
    """Frames of a folder of pictures or a video file, `(n, H, W, 3)` uint8 RGB.

    `indices` (at least one, any order, repeats allowed); None reads all: those that a player shows.

    Raises VideoError for a missing or unreadable file, an index out of range, and pictures of
    different sizes.
    """
    path = _existing(path)
    if path.is_dir():
        paths = picture_paths(path)
        return read_images([paths[i] for i in _in_range(indices, len(paths), path)])
    if path.suffix.lower() in PICTURES:
        raise VideoError(f"{path}: expected a folder of pictures or a video, got one picture")
    return read_video(path, _in_range(indices, count_frames(path), path))


def read_images(paths: Sequence[str | Path]) -> np.ndarray:
    """Picture files of one size (at least one) as `(n, H, W, 3)` uint8 RGB, in the given order."""
    frames = [read_image(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        (h, w), (new_h, new_w) = frames[0].shape[:2], frame.shape[:2]
        if (h, w) != (new_h, new_w):
            raise VideoError(
                f"{path}: frames differ in size: {Path(paths[0]).name} is {w}x{h}, "
                f"{Path(path).name} is {new_w}x{new_h} (width x height)"
            )
    return np.stack(frames)


def read_image(path: str | Path) -> np.ndarray:
    """One picture file as `(H, W, 3)` uint8 RGB; transparency is dropped."""
    path = _existing(path)
    return decode_image(read_bytes(path), str(path))


def encode_image(frame: np.ndarray, ending: str = ".png") -> bytes:
    """One frame `(H, W, 3)` as a picture file of this ending holds it."""
    import cv2

    _check_frames(frame[None])
    return bytes(cv2.imencode(ending, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1])


def write_frames(folder: str | Path, frames: np.ndarray) -> None:
    """Write `frames (n, H, W, 3)` as 00000.png, 00001.png ... in `folder`, whole or not at all.

    An earlier folder of numbered PNG is replaced; one that holds anything else is refused.
    """
    _check_frames(frames)
    folder = Path(folder)
    old = [p.name for p in folder.iterdir()] if folder.exists() else []
    other = [name for name in old if not re.fullmatch(r"\d{5}\.png", name)]
    if other:
        raise VideoError(f"{folder}: holds {other[0]!r} besides numbered frames, not replaced")
    with whole(folder) as temporary:
        temporary.mkdir()
        for k, frame in enumerate(frames):
            (temporary / f"{k:05d}.png").write_bytes(encode_image(frame))


def write_image(path: str | Path, frame: np.ndarray) -> None:
    """Write one frame `(H, W, 3)` as the picture file that its name says, whole or not at all."""
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise VideoError(f"{path}: expected a name that ends in one of {', '.join(PICTURES)}")
    data = encode_image(frame, path.suffix)
    with whole(path) as temporary:
        temporary.write_bytes(data)


def write_mp4(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """Write `frames (n, H, W, 3)` as an mp4 that browsers and players show: H.264, or VP9 where
    PyAV was built without an encoder of H.264.

    An odd height or width gains one repeated row or column, since H.264 takes even sizes only.
    """
    _check_frames(frames, fps)
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    file = io.BytesIO()  # of a short film; an error of the disk comes from the write below
    encoder = VideoEncoder(file, fps, ENCODERS)
    for frame in even:
        encoder.add(frame)
    encoder.close()
    with whole(Path(path)) as temporary:
        temporary.write_bytes(file.getvalue())


def webp_bytes(frames: np.ndarray, fps: float, quality: int = 80) -> bytes:
    """`frames (n, H, W, 3)` as an endlessly repeating animated WebP, which every browser shows.

    quality: 0 to 100.
    """
    from PIL import Image

    _check_frames(frames, fps)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    out = io.BytesIO()
    milliseconds = round(1000 / fps)
    more = {"append_images": rest, "duration": milliseconds, "loop": 0, "quality": quality}
    first.save(out, "WEBP", save_all=True, **more)
    return out.getvalue()


def resize(frames: np.ndarray, height: int, width: int, crop: bool = False) -> np.ndarray:
    """Resize `frames (n, H, W, 3)`: by area (antialiased) to shrink, linearly to grow.

    As in EgoWM the picture is stretched to the new shape; `crop=True` first cuts it about its
    centre to the new aspect ratio.
    """
    if height < 1 or width < 1:
        raise VideoError(f"expected a height and width of at least 1, got {height} x {width}")
    _check_frames(frames)
    if crop:
        frames = _centre_crop(frames, height, width)
    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack([_resize_one(frame, height, width) for frame in frames])


def write_planes(frames: np.ndarray, out: np.ndarray) -> None:
    """Resize `frames (n, h, w, 3)` as `resize` does, into `out (n, 3, H, W)` uint8, contiguous."""
    import cv2

    _check_frames(frames)
    if len(out) != len(frames) or out.shape[1] != 3 or not out.flags.c_contiguous:
        raise VideoError(
            f"expected room for {counted(len(frames), 'frame')} (n, 3, H, W), got {out.shape}"
        )
    for frame, planes in zip(frames, out, strict=True):
        # OpenCV takes channels apart several times as fast as a transposed copy
        cv2.split(_resize_one(frame, *planes.shape[1:]), list(planes))


def _resize_one(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    import cv2

    old_height, old_width = frame.shape[:2]
    small = (min(width, old_width), min(height, old_height))
    if small != (old_width, old_height):
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    if small != (width, height):
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return frame


def _centre_crop(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    old_height, old_width = frames.shape[1:3]
    new_height = min(old_height, max(1, round(old_width * height / width)))
    new_width = min(old_width, max(1, round(old_height * width / height)))
    top, left = (old_height - new_height) // 2, (old_width - new_width) // 2
    return frames[:, top : top + new_height, left : left + new_width]


def _check_frames(frames: np.ndarray, fps: float = 1.0) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise VideoError(f"expected frames (n, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    if not 1e-2 <= fps <= 1000:
        raise VideoError(f"expected fps from 0.01 to 1000, got {fps}")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path}: no such file or folder")
    return path


def _in_range(indices: Sequence[int] | None, count: int, path: Path) -> list[int]:
    chosen = list(range(count) if indices is None else map(int, indices))
    for i in chosen:
        if not 0 <= i < count:
            raise VideoError(f"{path}: frame {i} is out of range, it holds 0 to {count - 1}")
    if not chosen:
        raise VideoError(f"{path}: expected at least one frame, got none")
    return chosen


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which digits compare as numbers."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]
