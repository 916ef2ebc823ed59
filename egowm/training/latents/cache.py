"""Latent caches: encodings of recordings by frozen encoders, as `egowm data cache` writes them.

`<folder>/cache.json` says what made it, which episodes it holds and which tensors a row has. A row
is one frame where the VAE takes frame by frame, else one window. The rows of all episodes follow
each other, and `shards-<key>/00012.safetensors` holds the 12th lot of `rows_per_shard` of them;
`texts.safetensors` beside them holds the embeddings of texts. `key` is the sha256 of everything
else in cache.json; every shard carries it.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from egowm.backbones.base import Backbone, are_weights, weights_sha256
from egowm.checks import counted
from egowm.data.module import Window
from egowm.limits import TooLarge, load_json
from egowm.paths import expanded
from egowm.training.latents.shards import Damage, damage

VERSION = 1  # raised when caches are written differently
INDEX = "cache.json"
TEXTS = "texts.safetensors"
RUN = "egowm data cache -c RECIPE --output FOLDER"
FIELDS = ("version", "made_by", "tensors", "rows_per_shard", "episodes", "pictures", "key")


class LatentCache:
    """A cache in a folder, read row by row.

    Raises FileNotFoundError where there is none, ValueError for one that was changed or is of
    another version.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = expanded(folder)
        self.index = _read_index(self.folder)
        self.size = int(self.index["rows_per_shard"])
        self._found: dict[int, tuple[int, int]] = {}  # when the shards that were compared changed

    @property
    def shards(self) -> Path:
        return self.folder / f"shards-{self.index['key']}"

    @cached_property
    def episodes(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Their entries, by source and name."""
        return {(row["source"], row["name"]): row for row in self.index["episodes"]}

    @property
    def num_rows(self) -> int:
        return sum(row["rows"] for row in self.index["episodes"])

    @property
    def num_shards(self) -> int:
        return -(-self.num_rows // self.size)

    def shard(self, number: int) -> Path:
        return self.shards / f"{number:05d}.safetensors"

    def rows(self, name: str, wanted: list[int]) -> Tensor:
        """Rows (n, ...) of a tensor by their numbers; neighbours are read at once."""
        parts, start = [], 0
        for k in range(1, len(wanted) + 1):
            ends = k == len(wanted) or wanted[k] != wanted[k - 1] + 1
            if not ends and wanted[k] % self.size:
                continue
            first, last = wanted[start], wanted[k - 1]
            self._compare(first // self.size)
            with safe_open(self.shard(first // self.size), "pt") as file:
                parts.append(file.get_slice(name)[first % self.size : last % self.size + 1])
            start = k
        return torch.cat(parts)

    def _compare(self, number: int) -> None:
        """Compare a shard with its checksum, once in a process until it is written again."""
        about = self.shard(number).stat()
        state = about.st_mtime_ns, about.st_size
        if self._found.get(number) != state:
            if broken := self.damaged(number, thorough=True):
                raise ValueError(f"{broken.file}: {broken.what}. Run {RUN} --thorough.")
            self._found[number] = state

    def damaged(self, number: int, thorough: bool = False) -> Damage | None:
        """What is wrong with a shard, by its header; `thorough`: also by its checksum."""
        last = number == self.num_shards - 1
        count = self.num_rows - number * self.size if last else self.size
        shapes = {name: [count, *shape] for name, shape in self.index["tensors"].items()}
        return damage(self.shard(number), self.index["key"], shapes, thorough)

    def check(self, backbone: Backbone, size: tuple[int, int], window: Window) -> None:
        """Refuse a cache that was made for another family or other frames, naming which."""
        made = self.index["made_by"]
        for name, own in made_by(backbone, size, window).items():
            if made.get(name) != own:
                raise ValueError(
                    f"{self.folder}: the cache was made with {name} {made.get(name)}, the recipe "
                    f"has {own}: make another one with {RUN}, or change the recipe."
                )
        if backbone.codec.needs_pixels and "pixels" not in self.index["tensors"]:
            raise ValueError(
                f"{self.folder}: the cache holds no pixels of the context, and this recipe adds "
                f"noise to them or trains the image encoder: make another one with {RUN}."
            )

    def check_encoders(self, backbone: Backbone) -> None:
        """Refuse a cache of other weights than the backbone's frozen encoders have."""
        _check_encoders(self.folder, self.index["made_by"]["encoders"], backbone)

    def check_whole(self) -> None:
        """Refuse a cache with shards that are missing, torn or another cache's."""
        names = [self.shard(number) for number in range(self.num_shards)]
        bad = [damaged for number in range(len(names)) if (damaged := self.damaged(number))]
        if bad:
            raise ValueError(
                f"{bad[0].file}: {bad[0].what} ({len(bad)} of {counted(len(names), 'shard')}). "
                f"Run {RUN} again: it writes what is missing, and what is not whole anew."
            )

    def remember_texts(self, backbone: Backbone) -> None:
        """Give a backbone the embeddings of its texts."""
        file, held = self.shards / TEXTS, backbone.codec.texts
        if held is None:
            return
        if broken := damage(file, self.index["key"], thorough=True):
            raise ValueError(f"{file}: {broken.what}. Run {RUN} again.")
        with safe_open(file, "pt") as stream:
            texts = json.loads(stream.metadata()["texts"])
            if texts != self.index.get("texts", texts):
                raise ValueError(f"{file}: other texts than in {INDEX}. Delete it and run {RUN}.")
            rows = zip(stream.get_tensor("embedding"), stream.get_tensor("mask"), strict=True)
            for text, (embedding, mask) in zip(texts, rows, strict=True):
                held.remember(text, embedding, mask)


def made_by(backbone: Backbone, size: tuple[int, int], window: Window) -> dict[str, Any]:
    """What the rows of a cache depend on besides recordings and encoders."""
    made: dict[str, Any] = {
        "family": backbone.codec.family,
        "size": list(size),
        "crop": "stretched",
    }
    if not backbone.codec.frame_wise:
        made["window"] = [window.context, window.horizon, window.stride]
        made["context"] = backbone.context
    return made


def key_of(index: dict[str, Any]) -> str:
    """Sixteen hex digits that depend on everything in the index but the key itself."""
    rest = {name: value for name, value in index.items() if name != "key"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _check_encoders(folder: Path, made: dict[str, str], backbone: Backbone) -> None:
    for name, path in backbone.codec.encoders.items():
        held = made.get(name)
        if held is None and name != "text_encoder":
            raise ValueError(f"{folder}: the cache holds no answers of the {name}: {RUN}.")
        if held is not None and not are_weights(held, path):
            sha256 = weights_sha256(path)
            raise ValueError(
                f"{folder}: the cache was made with another {name}: expected weights with sha256 "
                f"{held[:12]}..., {path} has {sha256[:12]}...: make another one with {RUN}."
            )


def _read_index(folder: Path) -> dict[str, Any]:
    file = folder / INDEX
    if not file.is_file():
        raise FileNotFoundError(f"No latent cache in {folder}: make one with {RUN}.")
    try:
        index: dict[str, Any] = load_json(file)
        version, missing = index["version"], [name for name in FIELDS if name not in index]
    except TooLarge:
        raise
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"{file}: expected the JSON of a latent cache ({error!r}).") from error
    if version != VERSION:
        raise ValueError(f"{file}: expected a cache of version {VERSION}, got {version!r}: {RUN}.")
    if missing or key_of(index) != index["key"]:
        what = f"has no {missing[0]}" if missing else "was changed after it was written"
        raise ValueError(f"{file}: {what}: copy the cache again, or make it with {RUN}.")
    return index
