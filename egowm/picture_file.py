"""Encoded pictures: their sizes are read from headers first, and cut ones are refused."""

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from egowm.checks import counted
from egowm.limits import PIXELS, TooLarge, admit, limit, ordinary
from egowm.video_file import VideoError

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ALONE = (0x00, 0x01, *range(0xD0, 0xD8))  # markers of a JPEG without a length
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # among those of frames


def decode_image(data: bytes, name: str = "picture") -> np.ndarray:
    """An encoded picture as `(H, W, 3)` uint8 RGB; `name` is what an error calls it."""
    if data.startswith(b"\x89PNG"):
        return _decode_png(data, name)
    import cv2

    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data, name)
    elif data[8:12] == b"WEBP" and len(data) >= 30:
        _admit(_webp_pixels(data), name)
    elif data:
        with opened(io.BytesIO(data), name):
            pass  # its size is admitted
    try:
        encoded = np.frombuffer(data, np.uint8)
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error:
        picture = None
    if picture is None:
        size = counted(len(data), "byte")
        raise VideoError(f"{name}: not a readable picture of {size}: corrupt or cut")
    return picture


@contextmanager
def opened(file: str | Path | io.BytesIO, name: str = "") -> Iterator[Any]:
    """A picture as Pillow opens it, for what is not RGB; `name` is what an error calls it.

    Raises VideoError, here or where the picture is read, if it is damaged or too large.
    """
    from PIL import Image

    name = name or str(file)
    if not isinstance(file, io.BytesIO):
        ordinary(Path(file))
    if Image.MAX_IMAGE_PIXELS is not None:  # or Pillow's own limit would stand before ours
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit(PIXELS))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file)
        with picture:
            _admit(math.prod(picture.size), name)
            yield picture
    except Image.DecompressionBombError as error:
        _admit(int(re.findall(r"\d+", str(error))[0]), name)
    except VideoError:
        raise
    except _BROKEN as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise VideoError(f"{name}: not a readable picture: corrupt or cut") from error


def _decode_png(data: bytes, name: str) -> np.ndarray:
    """By Pillow: OpenCV's PNG reader fails where somebody else loaded decord first."""
    from PIL import ImageOps

    check_png_end(data, name)
    with opened(io.BytesIO(data), name) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode.startswith("I"):  # grey of 16 bits, which a conversion would clip
            return (np.asarray(picture)[..., None] >> 8).astype(np.uint8).repeat(3, axis=2)
        opaque = picture.convert("RGBA") if "transparency" in picture.info else picture
        return np.array(opaque.convert("RGB"))


def check_png_end(data: bytes, name: str) -> None:
    """Refuse a PNG without its last chunk."""
    if data.rfind(b"IEND\xaeB`\x82") < 0:
        raise VideoError(f"{name}: not a readable picture: cut after {counted(len(data), 'byte')}")


def _check_jpeg(data: bytes, name: str) -> None:
    """Refuse a JPEG that is too large, or that ends before its end, which decoders fill in grey."""
    width, height, scan = _jpeg_parts(data)
    if not scan:
        size = counted(len(data), "byte")
        raise VideoError(f"{name}: not a readable picture of {size}: corrupt or cut")
    _admit(width * height, name)
    if data.find(b"\xff\xd9", scan) < 0:  # a thumbnail before has an end, too
        raise VideoError(f"{name}: not a readable picture: cut after {counted(len(data), 'byte')}")


def _jpeg_parts(data: bytes) -> tuple[int, int, int]:
    """Width, height, and where the picture's own values begin, 0 where they do not; Pillow takes as
    long to find the size as to decode a small picture."""
    at, width, height = 2, 0, 0
    while (at := data.find(b"\xff", at)) >= 0 and at + 9 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker == 0xDA:
            return width, height, at if width else 0
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return width, height, 0


def _webp_pixels(data: bytes) -> int:
    """Width times height, of each of the three kinds of WebP."""
    if data[12:16] == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1) * (
            int.from_bytes(data[27:30], "little") + 1
        )
    if data[12:16] == b"VP8L":
        sizes = int.from_bytes(data[21:25], "little")
        return ((sizes & 0x3FFF) + 1) * ((sizes >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", data, 26)
    return (width & 0x3FFF) * (height & 0x3FFF)


def _admit(pixels: int, name: str) -> None:
    try:
        admit(name, pixels, "pixels", PIXELS)
    except TooLarge as error:
        raise VideoError(str(error)) from error
