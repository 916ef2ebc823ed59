"""`egowm data cache`: encode a data set once, and train from the encodings.

Rows are cut into shards of about 64 MiB, which are written whole or not at all. Several processes
share the shards out by their numbers alone (`--shard 2/8`): they never wait for each other, one
that dies takes nothing with it, and it is started again by itself, on any machine that sees the
folder. An interrupted process goes on where it stopped.
"""

import json
import logging
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from egowm.backbones.base import Backbone, weights_sha256
from egowm.data.module import ClipData, Windows
from egowm.files import FolderKind, begins, check_folder, whole
from egowm.pixels import to_model
from egowm.training.latents.cache import (
    INDEX,
    TEXTS,
    VERSION,
    LatentCache,
    key_of,
    made_by,
)
from egowm.training.latents.clips import picture_sha256
from egowm.training.latents.shards import damage, save_shard

log = logging.getLogger(__name__)
CACHE = FolderKind(
    "egowm data cache",
    r"\.?cache\.json(\.\d+)?|shards-[0-9a-f]{16}(/[^/]+\.safetensors(\.unfinished)?)?",
    lambda folder: begins(folder / INDEX, rb'\{\s*"version": \d+,\s*"made_by": '),
)
SHARD = 2**26  # bytes
SAMPLES = 8  # episodes whose first frame is part of the key
DTYPES = {"float16": torch.float16, "float32": torch.float32}


class Place(NamedTuple):
    """An episode: its entry in the index, and where it is read."""

    entry: dict[str, Any]
    windows: Windows
    number: int


class Row(NamedTuple):
    """The frames of an episode that a row is made of."""

    place: Place
    frames: Sequence[int]


class LatentWriter:
    """Writes the cache of a backbone's clips of training and validation.

    backbone: loaded; its encoders move to `device`. data: what to cache. dtype: of latents and
    embeddings; float16 has three more bits than bfloat16 at the size that they have.
    """

    def __init__(
        self,
        backbone: Backbone,
        data: ClipData,
        dtype: str = "float16",
        device: torch.device | str = "cpu",
    ) -> None:
        if not backbone.codec.encoders:
            raise ValueError(
                f"{type(backbone).__name__} cannot train from a latent cache: train from pixels."
            )
        backbone.check_lengths(data.window.context, data.window.horizon)
        self.backbone, self.data, self.dtype = backbone, data, DTYPES[dtype]
        self.to(device)
        splits = data.windows("train", tiled=False), data.windows("val", tiled=True)
        self.parts = [part for windows in splits for part in windows.parts]
        self.places = _places(self.parts, backbone.codec.frame_wise)
        self.firsts = [place.entry["first"] for place in self.places]
        self.num_rows = self.firsts[-1] + self.places[-1].entry["rows"]
        self.tensors = {k: v[0] for k, v in self._encoded([self._row(0)]).items()}
        self.bytes_per_row = sum(value.nbytes for value in self.tensors.values())
        self.size = max(1, min(self.num_rows, SHARD // self.bytes_per_row))

    def to(self, device: torch.device | str) -> None:
        """Move the encoders."""
        self.device = torch.device(device)
        for module in self.backbone.codec.modules.values():
            module.to(self.device)

    @property
    def bytes_per_hour(self) -> float:
        """Of video at the data's rate: a row for each frame, or for each window's start."""
        return self.bytes_per_row * 3600 * self.data.meaning.rate_hz

    def index(self) -> dict[str, Any]:
        """What cache.json says, with its key."""
        w = self.data.window
        encoders = {
            name: weights_sha256(path) for name, path in self.backbone.codec.encoders.items()
        }
        sampled = torch.linspace(0, len(self.places) - 1, SAMPLES).round().int().unique()
        chosen = [self.places[k] for k in sampled.tolist()]
        index = {
            "version": VERSION,
            "made_by": made_by(self.backbone, (w.height, w.width), w)
            | {"encoders": encoders, "dtype": str(self.dtype).removeprefix("torch.")},
            "tensors": {name: list(value.shape) for name, value in self.tensors.items()},
            "rows_per_shard": self.size,
            "episodes": [place.entry for place in self.places],
            "pictures": {
                f"{p.entry['source']}/{p.entry['name']}": picture_sha256(p.windows, p.number)
                for p in chosen
            },
            "texts": self._texts(),
        }
        index = json.loads(json.dumps(index))
        return index | {"key": key_of(index)}

    def check(self, folder: Path) -> dict[str, Any]:
        """Refuse a folder that holds another cache; the index of this one."""
        check_folder(folder, CACHE, force=True)
        index = self.index()
        _refuse_another(folder, index)
        return index

    def write(
        self,
        folder: Path,
        shard: tuple[int, int] = (1, 1),
        batch_size: int = 8,
        thorough: bool = False,
        progress: bool = True,
    ) -> LatentCache:
        """Write this process' shards (the i-th of n) that are not there or not whole.

        thorough: read what is there and compare checksums. Raises FileExistsError where the folder
        holds another cache, ValueError for too small a disk or values that float16 cannot hold.
        """
        index = self.check(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / INDEX, json.dumps(index).encode())
        cache = LatentCache(folder)
        cache.shards.mkdir(exist_ok=True)
        mine = range(shard[0] - 1, cache.num_shards, shard[1])
        bad = [damaged for k in mine if (damaged := cache.damaged(k, thorough))]
        for damaged in bad:
            if damaged.what != "is missing":
                log.warning("%s: %s; writing it anew", *damaged)
        _check_space(cache.shards, len(bad) * self.size * self.bytes_per_row)
        if shard[0] == 1:
            self._write_texts(cache)
        for damaged in tqdm(bad, "encoding", unit="shard", disable=not progress):
            self._write_shard(cache, int(damaged.file.stem), batch_size)
        return cache

    def _row(self, k: int) -> Row:
        """Row k of all."""
        place = self.places[bisect_right(self.firsts, k) - 1]
        w, start = place.windows.window, (k - place.entry["first"]) * place.entry["step"]
        if self.backbone.codec.frame_wise:
            return Row(place, [start])
        skipped = (w.context - self.backbone.context) * w.stride
        return Row(place, range(start + skipped, start + w.span, w.stride))

    @torch.no_grad()
    def _encoded(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The tensors (n, ...) of some rows, as they are stored."""
        pictures = torch.cat([_pictures(list(own)) for _, own in groupby(rows, itemgetter(0))])
        frames = to_model(pictures.to(self.device))
        encodings = self.backbone.codec.encode_for_cache(frames, self.backbone.context)._asdict()
        held = {name: x.to("cpu", self.dtype) for name, x in encodings.items() if x.numel()}
        for name, value in held.items():
            if not value.isfinite().all():
                raise ValueError(
                    f"{self.data.source}, episode {rows[0].place.entry['name']} or one that "
                    f"follows: {name} that {self.dtype} cannot hold: choose --dtype float32."
                )
        if self.backbone.codec.frame_wise:
            held["latents"] = held["latents"][:, 0]
            if self.backbone.codec.needs_pixels:
                held["pixels"] = pictures[:, 0]
        return held

    def _write_shard(self, cache: LatentCache, number: int, batch_size: int) -> None:
        first, end = number * self.size, min(self.num_rows, (number + 1) * self.size)
        rows = [self._row(k) for k in range(first, end)]
        parts = [self._encoded(rows[k : k + batch_size]) for k in range(0, len(rows), batch_size)]
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        save_shard(tensors, cache.shard(number), cache.index["key"])

    def _texts(self) -> list[str]:
        """Those of all episodes and "", where the backbone takes text."""
        if self.backbone.codec.texts is None:
            return []
        return sorted({"", *(episode.text for part in self.parts for episode in part.episodes)})

    def _write_texts(self, cache: LatentCache) -> None:
        texts, file = cache.index["texts"], cache.shards / TEXTS
        embed = self.backbone.codec.texts
        if not texts or embed is None or damage(file, cache.index["key"], thorough=True) is None:
            return
        embedding, mask = embed(texts, torch.device("cpu"))
        tensors = {"embedding": embedding.to(self.dtype), "mask": mask.to(self.dtype)}
        save_shard(tensors, file, cache.index["key"], texts=json.dumps(texts))


def _places(parts: Sequence[Windows], frame_wise: bool) -> list[Place]:
    """Each episode once; its rows follow those of the one before."""
    places: dict[tuple[str, str], Place] = {}
    first = 0
    for part in parts:
        span = 1 if frame_wise else part.window.span
        step = 1 if frame_wise else part.step
        for number, episode in enumerate(part.episodes):
            name, rows = (part.source, episode.name), (episode.num_frames - span) // step + 1
            if name in places or rows < 1:
                continue  # training comes first, and has every start
            entry = {"source": name[0], "name": name[1], "num_frames": episode.num_frames}
            places[name] = Place(entry | {"first": first, "rows": rows, "step": step}, part, number)
            first += rows
    return list(places.values())


def _pictures(rows: Sequence[Row]) -> Tensor:
    """Pictures (n, F, 3, H, W) uint8 of rows of one episode; each frame is read once."""
    frames = sorted({frame for row in rows for frame in row.frames})
    pictures = rows[0].place.windows.pictures(rows[0].place.number, frames)
    at = {frame: k for k, frame in enumerate(frames)}
    return torch.stack([pictures[[at[frame] for frame in row.frames]] for row in rows])


def _refuse_another(folder: Path, index: dict[str, Any]) -> None:
    """An output folder is new, or holds this cache or a beginning of it."""
    if not (folder / INDEX).is_file():
        return
    held = LatentCache(folder).index
    if held["key"] != index["key"]:
        other = [name for name, value in index.items() if held[name] != value and name != "key"]
        raise FileExistsError(
            f"{folder} holds another cache, which differs in {', '.join(other)}; name a new folder "
            f"with --output, or delete this one."
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; give "
            f"another --output, or a smaller window or fewer episodes."
        )


def _write(file: Path, data: bytes) -> None:
    with whole(file) as temporary:
        temporary.write_bytes(data)
