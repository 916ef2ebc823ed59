"""One bit of a stored file is another: what is read is what was written, or nothing is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from egowm.commands.main import explain
from egowm.data import label_index
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.packed import Packed
from egowm.data.packing import pack
from egowm.data.rooms import Rooms
from egowm.scs.cache import CachedTracker
from egowm.scs.trackers.simple import CopyTracker
from egowm.training.latents.cache import FIELDS, VERSION, LatentCache, key_of
from egowm.training.latents.shards import save_shard
from egowm.worlds import store

FLIPS = 60
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 255, (4, 16, 16, 3), np.uint8)
MASKS = RNG.random((2, 16, 16)) < 0.5
LATENTS = torch.randn(6, 4, 2, 2, generator=torch.Generator().manual_seed(0))
STAMPS = {"a": [[1, 2]], "b": [[3, 4]]}
LABELS = {k: Kept(RNG.random((9, 2)), RNG.random((10, 1)), np.arange(10.0)) for k in STAMPS}


class Random(CopyTracker):
    """Tracks in which every bit matters."""

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Any:
        rng, found = np.random.default_rng(1), super().track(frames, masks)
        return found._replace(masks=rng.random(found.masks.shape) < 0.5)


def tracks(root: Path) -> Any:
    return [x.tolist() for x in CachedTracker(Random(), root).track(FRAMES, MASKS)]


def labels(root: Path) -> Any:
    kept = label_index._load(root / "labels.npz", STAMPS)
    if not kept:  # then they are read from the recordings
        kept = LABELS
        label_index._save(root / "labels.npz", STAMPS, kept)
    return {name: [part.tolist() for part in own] for name, own in kept.items()}


def write_latents(root: Path) -> None:
    index = dict.fromkeys(FIELDS, 0) | {"version": VERSION, "rows_per_shard": 6, "texts": []}
    index |= {"tensors": {"latents": [4, 2, 2]}, "episodes": [{"rows": 6}]}
    del index["key"]
    index["key"] = key_of(index)
    (root / "cache.json").write_text(json.dumps(index))
    save_shard({"latents": LATENTS}, LatentCache(root).shard(0), index["key"])


def latents(root: Path) -> Any:
    cache = LatentCache(root)
    return cache.rows("latents", [0, 1, 3, 5]).tolist()


def rooms(root: Path) -> Rooms:
    few = {"episodes_train": 1, "episodes_val": 0, "episodes_test": 0, "num_frames": 4}
    return Rooms(str(root / "rooms"), Window(horizon=2, height=16, width=16), **few)


def write_pack(root: Path) -> None:
    pack(rooms(root.parent / "drawn"), root, (16, 16), progress=False)


def read_pack(root: Path) -> Any:
    (episode,) = Packed(str(root), Window(horizon=2, height=16, width=16)).split("train")
    return episode.read([0, 1, 2, 3]).tolist(), episode.actions.tolist(), episode.name


def draw(root: Path) -> None:
    rooms(root).prepare_data()


def read_room(root: Path) -> Any:
    (folder,) = root.glob("rooms/*/room_*")
    ids = [store.read_ids(folder, k).tolist() for k in range(4)]
    told = {name: values.tolist() for name, values in store.read_labels(folder).items()}
    return store.read_frames(folder, range(4)).tolist(), ids, told


FORMATS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "tracks": (tracks, tracks),
    "labels": (labels, labels),
    "latents": (write_latents, latents),
    "pack": (write_pack, read_pack),
    "room": (draw, read_room),
}


def read_or_line(read: Callable[[Path], Any], root: Path) -> Any:
    """What is read, or the line of an error; None for a traceback."""
    try:
        return read(root)
    except Exception as error:
        return explain(error)


@pytest.mark.parametrize("form", FORMATS)
def test_no_flipped_bit_is_believed(form: str, tmp_path: Path) -> None:
    root, (write, read) = tmp_path / "root", FORMATS[form]
    root.mkdir()
    write(root)
    expected = read(root)
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    rng, refused = np.random.default_rng(0), 0
    for file in files:
        whole = file.read_bytes()
        for bit in rng.choice(len(whole) * 8, FLIPS, replace=False).tolist():
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            found = read_or_line(read, root)
            assert found is not None, f"a traceback for bit {bit} of {file.name}"
            assert found == expected or isinstance(found, str), f"bit {bit} of {file.name}"
            refused += isinstance(found, str)
            file.write_bytes(whole)
    assert read(root) == expected
    assert refused or form in ("tracks", "labels"), "nothing was refused"


@pytest.mark.parametrize("form", ["pack", "room"])
def test_folders_without_checksums_are_read(form: str, tmp_path: Path) -> None:
    root, (write, read) = tmp_path / "root", FORMATS[form]
    root.mkdir()
    write(root)
    expected = read(root)
    next(root.rglob("SHA256SUMS")).unlink()
    assert read(root) == expected


def test_a_damaged_cache_is_made_again_with_one_warning(tmp_path: Path, caplog: Any) -> None:
    expected = tracks(tmp_path)
    (file,) = tmp_path.rglob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    assert tracks(tmp_path) == expected
    assert file.read_bytes() == whole
    (record,) = caplog.records
    assert f"{file} is damaged" in record.getMessage()
