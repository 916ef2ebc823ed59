"""One file of a latent cache: written whole or not at all, and checked when it is read."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from egowm.files import whole


class Damage(NamedTuple):
    """What is wrong with a file of a cache."""

    file: Path
    what: str


def save_shard(tensors: dict[str, Tensor], file: Path, key: str, **more: str) -> None:
    """One file of a cache, whole or not at all; the same tensors give the same bytes."""
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    # `save_file` would leave a temporary of its own where it is killed
    data = save(tensors, {"key": key, "sha256": checksum(tensors), **more})
    header, values = _ordered(data)
    with whole(file) as temporary, temporary.open("wb") as stream:
        stream.write(header)
        stream.write(values)


def _ordered(data: bytes) -> tuple[bytes, memoryview]:
    """Header and values of a safetensors file, which comes with its metadata in random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the values begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text, memoryview(data)[end:]


def checksum(tensors: dict[str, Tensor]) -> str:
    """sha256 of the values of a shard."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def damage(
    file: Path,
    key: str,
    shapes: dict[str, list[int]] | None = None,
    thorough: bool = False,
) -> Damage | None:
    """What is wrong with one file of the cache of this key; None for a whole one."""
    if not file.is_file():
        return Damage(file, "is missing")
    try:
        with safe_open(file, "pt") as stream:
            told = stream.metadata() or {}
            names = list(stream.keys())
            held = {name: list(stream.get_slice(name).get_shape()) for name in names}
            tensors = {name: stream.get_tensor(name) for name in names} if thorough else {}
    except (SafetensorError, OSError) as error:
        return Damage(file, f"is torn ({error})")
    if told.get("key") != key:
        return Damage(file, "belongs to another cache")
    if shapes is not None and held != shapes:
        return Damage(file, f"holds {held}, expected {shapes}")
    if thorough and checksum(tensors) != told.get("sha256"):
        return Damage(file, "was changed after it was written")
    return None
