"""Recordings in the format of litdata, which are read from a bucket without a copy of it.

`<root>/labels` holds one item: what `pack.json` of a pack holds, the labels of all episodes, and
the sha256 of every block of frames. `<root>/frames` holds the blocks, up to 16 frames
(n, 3, H, W) uint8 each, in chunks of about 64 MB. `egowm data pack --to litdata` writes both. A
clip asks for the bytes of its blocks alone; batches come in the same order as from any other
format, so that a run which is resumed goes on exactly.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from functools import cache, cached_property, partial
from importlib.util import find_spec
from os import getpid
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.packed import LABELS, VERSION, Packed, key_of
from egowm.data.windows import Window
from egowm.paths import expanded, inside
from egowm.video import VideoError

BLOCK = 16  # frames of an item
FRAMES, HELD = "frames", "labels"  # the two folders of a root
BUCKETS = ("s3://", "gs://", "r2://", "azure://", "hf://")


class LitData(Packed):
    """Recordings in a bucket, or a local folder; episodes, splits and labels of what was packed.

    >>> from tempfile import TemporaryDirectory
    >>> from egowm.data import Rooms
    >>> from egowm.data.lit_packing import pack_litdata
    >>> with TemporaryDirectory() as folder:
    ...     window = Window(horizon=2, height=8, width=8)
    ...     few = {"episodes_train": 1, "episodes_val": 0, "episodes_test": 0, "num_frames": 4}
    ...     rooms, output = Rooms(f"{folder}/rooms", window, **few), Path(folder, "packed")
    ...     _ = pack_litdata(rooms, output, (8, 8), progress=False)
    ...     frames = LitData(str(output), window).windows("train", tiled=True)[0].frames
    >>> frames.shape
    torch.Size([3, 3, 8, 8])

    Args:
        root: Of the recordings: s3://, gs://, r2://, azure:// or hf://, a folder, or file://.
        window: How clips are cut. Its height and width are those that were packed.

    Raises:
        FileNotFoundError: No recordings there.
        ValueError: No package litdata; what is there was changed, or is of another size.
    """

    def __init__(self, root: str, window: Window = Window(), **rest: Any) -> None:
        super().__init__(root, window, **rest)
        if find_spec("litdata") is None:
            raise ValueError("LitData needs the package litdata: pip install 'egowm[litdata]'.")

    @cached_property
    def place(self) -> str:
        """The root as litdata takes it: an address, or an absolute path."""
        if self.root.startswith(BUCKETS):
            return self.root.rstrip("/")
        if self.root.startswith("file://"):
            return unquote(urlsplit(self.root).path)
        return str(expanded(self.root).absolute())

    @cached_property
    def held(self) -> dict[str, np.ndarray]:
        """The item of labels."""
        found = _Reader(f"{self.place}/{HELD}").item(0)  # asked for once
        try:
            with np.load(io.BytesIO(found), allow_pickle=False) as stored:
                return {name: stored[name] for name in (*LABELS, "index", "sums")}
        except Exception as error:  # NumPy and zipfile raise what their parsers raise
            raise self._bad(f"expected labels that egowm packed ({error!r})") from error

    @cached_property
    def index(self) -> dict[str, Any]:
        """What pack.json of a pack holds, checked against its key."""
        told = self.held["index"].tobytes()
        try:
            index = dict(json.loads(told))
            wrong = index["version"] != VERSION or key_of(index) != index["key"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._bad(f"expected the index of a pack ({error!r})") from error
        if wrong:
            raise self._bad(f"expected an unchanged pack of version {VERSION}")
        return index

    def _read_rows(self) -> list[tuple[str, Episode]]:
        rows, used, block = [], dict.fromkeys(LABELS, 0), 0
        size = tuple(self.index["size"])
        for row in self.index["episodes"]:
            inside(expanded("."), row["name"], self.place)  # clips are written by name
            length, own = row["num_frames"], dict[str, Any]()
            counts = (length - 1, length * bool(row["states"]), length * bool(row["times"]))
            for name, count in zip(LABELS, counts, strict=True):
                own[name] = self.held[name][used[name] : used[name] + count]
                used[name] += count
            count = -(-length // BLOCK)
            sums = self.held["sums"][block : block + count]
            blocks = Blocks(f"{self.place}/{FRAMES}", block, length, size, sums)
            episode = Episode(
                row["name"], length, partial(read_frames, blocks), text=row["text"],
                read_planes=partial(read_planes, blocks), **own,
            )  # fmt: skip
            rows.append((row["split"], episode))
            block += count
        return rows

    def _bad(self, what: str) -> ValueError:
        return ValueError(
            f"{self.place}: {what}. Copy the recordings again, or make them with egowm data pack "
            f"--to litdata."
        )


class Blocks:
    """Where an episode's frames lie. first: the number of its first block. sums: (n, 32) uint8."""

    def __init__(
        self, place: str, first: int, length: int, size: tuple[int, ...], sums: np.ndarray
    ) -> None:
        self.place, self.first, self.length = place, first, length
        self.size, self.sums = size, sums

    def read(self, number: int) -> np.ndarray:
        """Frames (n, 3, H, W) of one block, compared with its checksum."""
        data = _item(self.place, self.first + number)
        count = min(BLOCK, self.length - number * BLOCK)
        if hashlib.sha256(data).digest() != self.sums[number].tobytes():
            raise VideoError(
                f"{self.place}: block {self.first + number} changed since it was packed; copy it "
                f"again, or pack again"
            )
        return np.frombuffer(data, np.uint8).reshape(count, 3, *self.size)


def read_frames(blocks: Blocks, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)`, seen through the `(n, 3, H, W)` of the blocks."""
    out = np.empty((len(indices), 3, *blocks.size), np.uint8)
    read_planes(blocks, indices, out)
    return out.transpose(0, 2, 3, 1)


def read_planes(blocks: Blocks, indices: Sequence[int], out: np.ndarray) -> None:
    """Fill `out (n, 3, H, W)` with frames of an episode; each block is asked for once."""
    chosen = np.asarray(indices, np.int64)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= blocks.length:
        frames = f"expected frames from 0 to {blocks.length - 1}"
        raise VideoError(f"{blocks.place}: {frames}, got {list(indices)}")
    if out.shape != (len(chosen), 3, *blocks.size):
        raise VideoError(f"{blocks.place}: frames of {blocks.size}, asked for were {out.shape[1:]}")
    for number in np.unique(chosen // BLOCK):
        here = chosen // BLOCK == number
        out[here] = blocks.read(int(number))[chosen[here] - number * BLOCK]


class _Reader:
    """litdata's reader of a place. It keeps one chunk open, which a second thread would close."""

    def __init__(self, place: str) -> None:
        self.place, self.lock = place, Lock()
        self.opened: Any = None

    def item(self, number: int) -> bytes:
        """One block; VideoError for a damaged index, and for what the bucket does not give."""
        with self.lock:
            try:
                return self._read(number)
            except (OSError, VideoError):
                raise
            except Exception as error:  # litdata raises what its parsers and clients raise
                raise VideoError(
                    f"{self.place}: litdata cannot read block {number} ({error!r}); copy it again, "
                    f"or pack again"
                ) from error

    def _read(self, number: int) -> bytes:
        if self.opened is None:
            self.opened = _opened(self.place)
        if number >= len(self.opened):
            items = counted(len(self.opened), "block")
            raise VideoError(
                f"{self.place}: expected block {number}, there are {items}; copy it again"
            )
        return bytes(self.opened[number])


@cache
def _reader(place: str, process: int) -> _Reader:
    """One for each process: a fork may come while another thread holds the lock."""
    return _Reader(place)


def _item(place: str, number: int) -> bytes:
    return _reader(place, getpid()).item(number)


def _opened(place: str) -> Any:
    from litdata import StreamingDataset

    if not place.startswith(BUCKETS) and not (Path(place) / "index.json").is_file():
        raise FileNotFoundError(f"LitData: looked for {place}/index.json and found none.")
    return StreamingDataset(place)
