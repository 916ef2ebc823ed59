"""Packs: any format's episodes as `egowm data pack` leaves them, decoded once and resized.

`<root>/pack.json` lists the episodes and says what their actions mean; `actions.npy`, `states.npy`
and `times.npy` hold the labels of all of them, one after the other; `frames-<key>/00012.npy` holds
the frames (N, 3, H, W) uint8 of episode 12. They are not compressed, and lie in the order in which
a clip wants them: a clip is read by one call, and nothing is decoded, resized or transposed. `key`
is the sha256 of everything else in pack.json, which has the sha256 of the labels; SHA256SUMS has
those of the frames, which are compared when an episode is first read in a process.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.checksums import is_changed
from egowm.data.episode import Episode
from egowm.data.module import ClipData, Window, Windows
from egowm.limits import TooLarge, load_json, read_bytes
from egowm.paths import inside
from egowm.video import VideoError

VERSION = 1  # raised when packs are written differently
INDEX = "pack.json"
LABELS = ("actions", "states", "times")
FIELDS = ("version", "source", "size", "meaning", "state_meaning", "published", "sha256")
HEADER = 128  # bytes before the values of such a .npy file


class Packed(ClipData):
    """A pack; episodes, splits, labels and meaning are those of what was packed.

    >>> from egowm.data import Rooms
    >>> from egowm.data.packing import pack
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     window = Window(horizon=2, height=8, width=8)
    ...     few = {"episodes_train": 1, "episodes_val": 0, "episodes_test": 0, "num_frames": 4}
    ...     rooms, output = Rooms(f"{folder}/rooms", window, **few), Path(folder, "pack")
    ...     _ = pack(rooms, output, (8, 8), progress=False)
    ...     frames = Packed(str(output), window).windows("train", tiled=True)[0].frames
    >>> frames.shape
    torch.Size([3, 3, 8, 8])

    Args:
        root: Folder of the pack, which holds pack.json.
        window: How clips are cut. Its height and width are the pack's, which is made for one size;
            context, horizon and stride are free.

    Raises:
        FileNotFoundError: No pack.
        ValueError: A pack that is incomplete, was changed, holds another size or is of another
            version.
    """

    def __init__(self, root: str, window: Window = Window(), **rest: Any) -> None:
        # commands were moved by the recipe's latency_frames when it was packed
        super().__init__(root, window, latency_frames=0, **rest)

    @cached_property
    def index(self) -> dict[str, Any]:
        """`pack.json`, checked against its key."""
        return read_index(self.folder)

    @property
    def source(self) -> str:
        return str(self.index["source"])

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        return ActionSpec(**self.index["meaning"])

    @cached_property
    def state_meaning(self) -> ActionSpec | None:  # type: ignore[override]
        meaning = self.index["state_meaning"]
        return None if meaning is None else ActionSpec(**meaning)

    @property
    def spec(self) -> ActionSpec:
        """As the packed data's: published ranges where it used them, else measured ones."""
        if self.index["published"] is None:
            return super().spec
        return replace(ActionSpec(**self.index["published"]), rate_hz=self.clip_meaning.rate_hz)

    def episodes(self, split: str) -> list[Episode]:
        return [episode for kind, episode in self._all if kind == split]

    def windows(self, name: str, tiled: bool) -> Windows:
        held, wanted = list(self.index["size"]), [self.window.height, self.window.width]
        if held != wanted:
            raise ValueError(
                f"{self.folder}: the pack holds frames of {held[0]}x{held[1]} (height x width), "
                f"the window wants {wanted[0]}x{wanted[1]}. Set the window to the pack's size, or "
                f"pack the recordings again: egowm data pack."
            )
        return super().windows(name, tiled)

    @cached_property
    def _all(self) -> list[tuple[str, Episode]]:
        """Every episode and its split; all files are there and have their lengths."""
        try:
            return self._read_rows()
        except (KeyError, TypeError, ArithmeticError, IndexError) as error:
            what = f"expected a row for each episode ({error!r})"
            raise _bad(self.folder / INDEX, what) from error

    def _read_rows(self) -> list[tuple[str, Episode]]:
        size = tuple(self.index["size"])
        labels = {name: self._labels(name) for name in LABELS}
        frames = self.folder / f"frames-{self.index['key']}"
        rows, used = [], dict.fromkeys(LABELS, 0)
        for number, row in enumerate(self.index["episodes"]):
            inside(self.folder, row["name"], str(self.folder / INDEX))  # clips are written by name
            length, own = row["num_frames"], dict[str, Any]()
            file, shape = frames / frames_name(number), (length, 3, *size)
            _check_length(file, HEADER + length * 3 * size[0] * size[1])
            counts = (length - 1, length * bool(row["states"]), length * bool(row["times"]))
            for name, count in zip(LABELS, counts, strict=True):
                own[name] = labels[name][used[name] : used[name] + count]
                used[name] += count
            read, planes = partial(read_frames, file, shape), partial(read_planes, file, shape)
            episode = Episode(
                row["name"], length, read, text=row["text"], read_planes=planes, **own
            )
            rows.append((row["split"], episode))
        return rows

    def _labels(self, name: str) -> np.ndarray:
        """The labels of one kind, of all episodes."""
        file = self.folder / f"{name}.npy"
        try:
            data = read_bytes(file)
        except FileNotFoundError as error:
            raise _bad(file, "is missing") from error
        if hashlib.sha256(data).hexdigest() != self.index["sha256"].get(name):
            raise _bad(file, "is not the one that was packed")
        return np.load(file, allow_pickle=False)


def read_index(folder: Path) -> dict[str, Any]:
    """The content of `pack.json`; ValueError where it is not a pack, or was changed."""
    file = folder / INDEX
    if not file.is_file():
        stopped = next(folder.glob("frames-*"), None)
        hint = f" Packing stopped at {stopped.name}: run it again." if stopped else ""
        raise FileNotFoundError(f"Packed: looked for {file} and found none.{hint}")
    try:
        index = load_json(file)
        version, key = index["version"], index["key"]
    except TooLarge:
        raise
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise _bad(file, f"expected the JSON of a pack ({error!r})") from error
    if version != VERSION:
        raise _bad(file, f"expected a pack of version {VERSION}, got {version!r}")
    missing = [name for name in (*FIELDS, "episodes") if name not in index]
    if missing or key_of(index) != key:
        what = f"has no {missing[0]}" if missing else "was changed after it was written"
        raise _bad(file, what)
    return dict(index)


def key_of(index: dict[str, Any]) -> str:
    """Sixteen hex digits that depend on everything in the index but the key itself."""
    rest = {name: value for name, value in index.items() if name != "key"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def frames_name(number: int) -> str:
    """The file of an episode's frames."""
    return f"{number:05d}.npy"


def read_frames(file: Path, shape: tuple[int, int, int, int], indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)`, seen through the `(n, 3, H, W)` that lies on disk."""
    out = np.empty((len(indices), *shape[1:]), np.uint8)
    read_planes(file, shape, indices, out)
    return out.transpose(0, 2, 3, 1)


def read_planes(
    file: Path, shape: tuple[int, int, int, int], indices: Sequence[int], out: np.ndarray
) -> None:
    """Fill `out (n, 3, H, W)`, contiguous, with frames of a file of this shape (N, 3, H, W).

    Neighbours are read at once; the file is open only meanwhile.
    """
    chosen = np.asarray(indices, np.int64)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= shape[0]:
        raise VideoError(f"{file}: expected frames from 0 to {shape[0] - 1}, got {list(indices)}")
    if out.shape != (len(chosen), *shape[1:]):
        raise VideoError(f"{file}: its frames are {shape[1:]}, asked for were {out.shape[1:]}")
    if is_changed(file.parents[1], f"{file.parent.name}/{file.name}"):
        raise VideoError(f"{file}: changed since it was packed; copy the pack again, or pack again")
    ends = [*(np.flatnonzero(np.diff(chosen) != 1) + 1).tolist(), len(chosen)]
    start = 0
    with file.open("rb", buffering=0) as stream:
        for end in ends:
            part = out[start:end]
            stream.seek(HEADER + int(chosen[start]) * out[0].nbytes)
            if stream.readinto(part.data) != part.nbytes:
                raise VideoError(f"{file}: ends before frame {chosen[end - 1]}; pack it again")
            start = end


def _check_length(file: Path, expected: int) -> None:
    try:
        length = file.stat().st_size
    except FileNotFoundError as error:
        raise _bad(file, "is missing") from error
    if length != expected:
        raise _bad(
            file, f"expected {counted(expected, 'byte')}, got {length}: it was cut or replaced"
        )


def _bad(file: Path, what: str) -> ValueError:
    return ValueError(f"{file}: {what}. Copy the pack again, or make it with egowm data pack.")
