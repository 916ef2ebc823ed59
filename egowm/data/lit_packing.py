"""`egowm data pack --to litdata`: recordings in the format of litdata, to be put into a bucket.

Blocks of frames are written chunk by chunk, each whole or not at all; one that was written before
is not written again. The two indexes come last: what has them is complete.
"""

import io
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.lit_data import BLOCK, FRAMES, HELD
from egowm.data.module import ClipData
from egowm.data.packing import described
from egowm.files import FolderKind, check_folder, whole
from egowm.limits import load_json
from egowm.video import write_planes

log = logging.getLogger(__name__)
CHUNK = 64_000_000  # bytes
INDEX, LOCK = "index.json", "part-{:05d}.json"
LITDATA = FolderKind(
    "egowm data pack --to litdata",
    rf"({FRAMES}|{HELD})(/(chunk-0-\d+\.bin|index\.json|part-\d{{5}}\.json))?",
    lambda folder: (
        any((folder / FRAMES).glob("part-*.json")) or (folder / FRAMES / INDEX).is_file()
    ),
)


class Place(NamedTuple):
    """A block of frames: of which episode, and which frames."""

    episode: Episode
    frames: range


def pack_litdata(
    data: ClipData, output: Path, size: tuple[int, int], progress: bool = True
) -> dict[str, Any]:
    """Write a data set at a size (height, width) for `LitData`; returns its index.

    Raises ValueError for a mixture, and where litdata is missing, FileExistsError where the folder
    holds other recordings, VideoError for frames that cannot be read.
    """
    check_folder(output, LITDATA, force=True)
    rows, labels, index = described(data, output, size)
    chunks = list(_chunks([episode for _, episode in rows], size))
    frames = output / FRAMES
    frames.mkdir(parents=True, exist_ok=True)
    _check_space(frames, index, size)
    parts = []
    bar = tqdm(chunks, "packing", unit="chunk", disable=None if progress else True)
    for number, places in enumerate(bar):
        parts.append(_chunk(frames, number, places, size, index["key"]))
    sums = np.concatenate([np.array(part["sums"], np.uint8) for part in parts])
    _write_labels(output / HELD, index, labels, sums)
    told = {"chunks": [part["chunk"] for part in parts], "config": parts[0]["config"]}
    with whole(frames / INDEX) as temporary:  # last: what has an index is complete
        temporary.write_text(json.dumps(told), encoding="utf-8")
    return index


def _chunks(episodes: Sequence[Episode], size: tuple[int, int]) -> Iterator[list[Place]]:
    """The blocks of all episodes, as many together as make a chunk."""
    most = max(1, CHUNK // (BLOCK * 3 * size[0] * size[1]))
    found: list[Place] = []
    for episode in episodes:
        for start in range(0, episode.num_frames, BLOCK):
            found.append(Place(episode, range(start, min(start + BLOCK, episode.num_frames))))
            if len(found) == most:
                yield found
                found = []
    if found:
        yield found


def _chunk(
    frames: Path, number: int, places: Sequence[Place], size: tuple[int, int], key: str
) -> dict[str, Any]:
    """One chunk, written now or before; what the index says of it."""
    note, file = frames / LOCK.format(number), frames / f"chunk-0-{number}.bin"
    if note.is_file() and file.is_file():
        part: dict[str, Any] = load_json(note)
        if part["key"] != key:
            raise FileExistsError(
                f"{frames.parent} holds other recordings, or the same at another size: name a new "
                f"folder, or delete this one."
            )
        if part["sha256"] == sha256(file.read_bytes()).hexdigest():
            return part
        log.warning("%s is damaged: it is written again", file)
    items = [_block(place, size) for place in places]
    chunk, config, content = _written(items, number)
    part = {
        "key": key,
        "chunk": chunk,
        "config": config,
        "sha256": sha256(content).hexdigest(),
        "sums": [list(sha256(item).digest()) for item in items],
    }
    with whole(file) as temporary:
        temporary.write_bytes(content)
    with whole(note) as temporary:
        temporary.write_text(json.dumps(part), encoding="utf-8")
    return part


def _block(place: Place, size: tuple[int, int]) -> bytes:
    planes = np.empty((len(place.frames), 3, *size), np.uint8)
    write_planes(place.episode.read(place.frames), planes)
    return planes.tobytes()


def _written(items: Sequence[bytes], number: int) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """A chunk of litdata's own writer: its entry in the index, its format, and its bytes."""
    try:
        from litdata.streaming.writer import BinaryWriter
    except ImportError as error:
        needed = "pack: --to litdata needs the package litdata: pip install 'egowm[litdata]'."
        raise ValueError(needed) from error
    with TemporaryDirectory() as folder:
        writer = BinaryWriter(folder, chunk_size=len(items) + 1, chunk_index=number)
        for place, item in enumerate(items):
            writer.add_item(place, item)
        writer.done()
        (told,) = Path(folder).glob("*index.json")
        found = json.loads(told.read_text(encoding="utf-8"))
        (chunk,) = found["chunks"]
        return chunk, found["config"], (Path(folder) / chunk["filename"]).read_bytes()


def _write_labels(
    folder: Path, index: dict[str, Any], labels: dict[str, np.ndarray], sums: np.ndarray
) -> None:
    """The item of labels, as a data set of its own."""
    stored = io.BytesIO()
    told = np.frombuffer(json.dumps(index).encode(), np.uint8)
    np.savez_compressed(stored, index=told, sums=sums, **labels)  # type: ignore[arg-type]
    chunk, config, content = _written([stored.getvalue()], 0)
    folder.mkdir(exist_ok=True)
    for name, data in (
        (chunk["filename"], content),
        (INDEX, json.dumps({"chunks": [chunk], "config": config}).encode()),
    ):
        with whole(folder / name) as temporary:
            temporary.write_bytes(data)


def _check_space(frames: Path, index: dict[str, Any], size: tuple[int, int]) -> None:
    count = sum(row["num_frames"] for row in index["episodes"])
    written = sum(file.stat().st_size for file in frames.glob("chunk-*.bin"))
    needed, free = count * 3 * size[0] * size[1] - written, shutil.disk_usage(frames).free
    if needed > free:
        raise ValueError(
            f"{frames}: {counted(count, 'frame')} need {needed / 1e9:.1f} GB more and "
            f"{free / 1e9:.1f} GB are free; pack elsewhere, or at a smaller size."
        )
