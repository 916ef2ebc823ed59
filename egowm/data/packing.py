"""`egowm data pack`: decode and resize once, and train from what `egowm.data.Packed` reads.

It reads faster than any format that is decoded, and costs 3 x height x width bytes a frame. An
interrupted packing goes on where it stopped. Splits, labels and meaning stay what they are.
"""

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.checksums import SUMS, sum_of, write_sums
from egowm.data.episode import Episode
from egowm.data.inspect.opening import SPLITS
from egowm.data.mixture import Mixture
from egowm.data.module import ClipData
from egowm.data.packed import HEADER, INDEX, LABELS, VERSION, Packed, frames_name, key_of
from egowm.data.threads import in_threads
from egowm.files import FolderKind, check_folder, whole
from egowm.paths import inside
from egowm.video import write_planes

log = logging.getLogger(__name__)
KEY = "[0-9a-f]" * 16
PACK = FolderKind(
    "egowm data pack",
    rf"\.?(pack\.json|SHA256SUMS)(\.\d+)?|\.?(actions|states|times)\.npy"
    rf"|frames-{KEY}(/\.?\d{{5}}\.npy)?",
    lambda folder: any(folder.glob(f"frames-{KEY}")),
)
SAMPLES = 8  # episodes whose first frame is part of the key: labels alone do not tell cameras apart


def pack(
    data: ClipData, output: Path, size: tuple[int, int], workers: int = 0, progress: bool = True
) -> dict[str, Any]:
    """Write the pack of a data set at a size (height, width); returns its index.

    Raises ValueError for a mixture, FileExistsError where the folder holds another pack, VideoError
    for frames that cannot be read, OSError for too small a disk.
    """
    check_folder(output, PACK, force=True)
    rows, labels, index = described(data, output, size)
    episodes = [episode for _, episode in rows]
    frames = output / f"frames-{index['key']}"
    _refuse_another(output, frames)
    frames.mkdir(parents=True, exist_ok=True)
    sums = _write_frames(episodes, frames, size, workers, progress)
    for name, values in labels.items():
        with whole(output / f"{name}.npy") as temporary:
            temporary.write_bytes(_encoded(values))
    write_sums(output, sums)
    with whole(output / INDEX) as temporary:  # last: what has an index is complete
        temporary.write_text(json.dumps(index), encoding="utf-8")
    return index


def described(
    data: ClipData, output: Path, size: tuple[int, int]
) -> tuple[list[tuple[str, Episode]], dict[str, np.ndarray], dict[str, Any]]:
    """The episodes of a data set with their splits, their labels, and the index of a pack of them.

    Raises ValueError for what cannot be packed.
    """
    if isinstance(data, Mixture | Packed):
        raise ValueError(
            "pack: cannot pack a mixture (pack each of its sources) or a pack (it is packed "
            "already)."
        )
    if min(size) < 1:
        raise ValueError(f"pack: height and width are at least 1, got {size[0]} and {size[1]}.")
    rows = [(split, episode) for split in SPLITS for episode in _split(data, split)]
    if not rows:
        raise ValueError(f"pack: {data.source} {data.root} holds no episode.")
    episodes = [episode for _, episode in rows]
    for episode in episodes:
        inside(output, episode.name, f"{data.source} {data.root}")
    labels = _labels(episodes, data.meaning.width)
    return rows, labels, _index(data, rows, labels, size)


def _split(data: ClipData, split: str) -> list[Episode]:
    try:
        return data.split(split)
    except FileNotFoundError as error:
        if split == "train":
            raise
        log.warning("no %s split: %s", split, error)  # a format may hold one of its splits only
        return []


def _labels(episodes: Sequence[Episode], width: int) -> dict[str, np.ndarray]:
    """All labels of a kind in one array, (0, ...) where no episode has them."""
    labels = {}
    for name, dtype in zip(LABELS, (np.float32, np.float32, np.float64), strict=True):
        parts = [getattr(e, name) for e in episodes if getattr(e, name).size]
        empty = {"actions": (0, width), "states": (0, 0), "times": (0,)}[name]
        labels[name] = np.concatenate(parts).astype(dtype) if parts else np.zeros(empty, dtype)
    return labels


def _index(
    data: ClipData,
    rows: Sequence[tuple[str, Episode]],
    labels: dict[str, np.ndarray],
    size: tuple[int, int],
) -> dict[str, Any]:
    """The content of pack.json, with its key."""
    states = data.state_meaning
    sampled = np.unique(np.linspace(0, len(rows) - 1, SAMPLES).round().astype(int))
    index = {
        "version": VERSION,
        "source": data.source,
        "size": list(size),
        "meaning": data.meaning.record(),
        "state_meaning": None if states is None else states.record(),
        "published": _published(data),
        "latency_frames": data.latency_frames,
        "sha256": {name: _sha256(_encoded(values)) for name, values in labels.items()},
        "first_frames": [_sha256(rows[k][1].read([0]).tobytes()) for k in sampled],
        "episodes": [
            {
                "name": episode.name,
                "split": split,
                "num_frames": episode.num_frames,
                "states": bool(episode.states.size),
                "times": bool(episode.times.size),
                "text": episode.text,
            }
            for split, episode in rows
        ],
    }
    index = json.loads(json.dumps(index))  # as it is read: tuples are lists
    return index | {"key": key_of(index)}


def _published(data: ClipData) -> dict[str, Any] | None:
    """Published ranges, where the recipe takes them in place of measured ones."""
    if type(data).spec is ClipData.spec:
        return None
    measured: ActionSpec = ClipData.spec.fget(data)  # type: ignore[attr-defined]
    return None if data.spec == measured else data.spec.record()


def _refuse_another(output: Path, frames: Path) -> None:
    """An output folder is new, or holds this pack or a beginning of it."""
    allowed = {INDEX, SUMS, frames.name, *(f"{name}.npy" for name in LABELS)}
    others = [p.name for p in output.iterdir() if p.name not in allowed] if output.exists() else []
    others = [name for name in others if name[0] != "."]
    if others:
        raise FileExistsError(
            f"{output} holds {others[0]}, which is not of this pack (other recordings, another "
            f"size, or labels that changed since); name a new folder, or delete this one."
        )


def _write_frames(
    episodes: Sequence[Episode], frames: Path, size: tuple[int, int], workers: int, progress: bool
) -> dict[str, str]:
    """Write the missing files of frames in parallel; the checksums of all by name."""
    lengths = [HEADER + e.num_frames * 3 * size[0] * size[1] for e in episodes]
    for leftover in frames.glob(".*"):  # of a packing that was stopped
        leftover.unlink()
    missing = [k for k in range(len(episodes)) if _length(frames / frames_name(k)) != lengths[k]]
    needed, free = sum(lengths[k] for k in missing), shutil.disk_usage(frames).free
    if needed > free:
        raise ValueError(
            f"{frames}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; pack "
            f"elsewhere, or at a smaller size."
        )
    if len(missing) < len(episodes):
        done = len(episodes) - len(missing)
        log.info("packed before: %d of %s", done, counted(len(episodes), "episode"))
    wanted = set(missing)

    def write(k: int) -> str:
        file = frames / frames_name(k)
        return _write_episode(size, episodes[k], file) if k in wanted else sum_of(file)

    sums = in_threads(write, range(len(episodes)), workers, "packing", progress)
    return {f"{frames.name}/{frames_name(k)}": value for k, value in enumerate(sums)}


def _write_episode(size: tuple[int, int], episode: Episode, file: Path) -> str:
    """One episode's frames, whole or not at all; their checksum."""
    digest = hashlib.sha256()
    with whole(file) as temporary, temporary.open("wb") as out:
        for part in _parts(size, episode):
            out.write(part)
            digest.update(part)
    return digest.hexdigest()


def _parts(size: tuple[int, int], episode: Episode) -> Iterator[bytes | memoryview]:
    """The bytes of a file of frames, a few frames at a time."""
    yield _header((episode.num_frames, 3, *size), np.dtype(np.uint8))
    for batch in episode.batches():
        planes = np.empty((len(batch), 3, *size), np.uint8)
        write_planes(batch, planes)
        yield planes.data


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The header of NumPy's own files of this shape."""
    out = io.BytesIO()
    described = np.lib.format.dtype_to_descr(dtype)
    about = {"descr": described, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, about)
    if len(out.getvalue()) != HEADER:
        raise ValueError(f"NumPy wrote a header of {len(out.getvalue())} bytes for {shape}.")
    return out.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _encoded(values: np.ndarray) -> bytes:
    return _header(values.shape, values.dtype) + np.ascontiguousarray(values).tobytes()


def _length(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
