"""stable-worldmodel's readers on the same episodes, in the layouts that its writers write.

Folder and video hold the episodes as recorded, and its transform makes them small; Lance and HDF5
hold frames of the clip's size, as one would convert for training.
"""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.data.forms import QUALITY, Recording, jpeg
from benchmarks.data.peers import Chosen, Item, Reader, files_in, small

MISSING = "not installed: not yet measured"


class Pairs(Dataset[Item]):
    """Their dictionaries as (frames, actions), fetched as their own loaders fetch them."""

    def __init__(self, data: Any, chosen: Chosen) -> None:
        places = {(int(i), int(s)): k for k, (i, s) in enumerate(data.clip_indices)}
        self.data, self.items = data, [places[start] for start in chosen.starts]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> Item:
        return _pair(self.data[self.items[item]])

    def __getitems__(self, items: list[int]) -> list[Item]:
        wanted = [self.items[item] for item in items]
        if hasattr(self.data, "__getitems__"):
            return [_pair(found) for found in self.data.__getitems__(wanted)]
        return [_pair(self.data[k]) for k in wanted]


def readers(folder: Path, videos: Path, chosen: Chosen) -> tuple[list[Reader], dict[str, str]]:
    """Their readers, and why others have no figure, by name."""
    try:
        found = version("stable-worldmodel")
    except PackageNotFoundError:
        return [], {"stable-worldmodel": MISSING}
    missing = {}
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        why = "hdf5plugin is not installed: not yet measured"
        missing[f"stable-worldmodel {found}, HDF5"] = why
    made = list(_readers(folder, videos, chosen, hdf5=not missing))
    return made, missing


def _readers(folder: Path, videos: Path, chosen: Chosen, hdf5: bool) -> Iterator[Reader]:
    from stable_worldmodel.data import FolderDataset, LanceDataset, LanceWriter, VideoDataset

    steps = {"num_steps": chosen.span, "transform": Small(chosen.size)}
    root = _labelled(folder / f"folder_{chosen.size}", chosen.made)
    for number, recording in enumerate(chosen.made):
        for k, frame in enumerate(recording.frames):
            (root / f"pixels/ep_{number}_step_{k}.jpeg").write_bytes(jpeg(frame))
    yield _theirs("folder", "JPEG", FolderDataset(path=root, **steps), chosen, root)
    root = _labelled(folder / f"video_{chosen.size}", chosen.made)
    for number, recording in enumerate(chosen.made):
        copyfile(videos / f"{recording.name}.mp4", root / f"pixels/ep_{number}.mp4")
    video = VideoDataset(path=root, video_keys=["pixels"], **steps)
    yield _theirs("video", "mp4", video, chosen, root)
    episodes = []
    for recording in chosen.made:
        resized = small(recording.frames, chosen.size).permute(0, 2, 3, 1).numpy()
        episodes.append({"pixels": list(resized), "action": list(_actions(recording))})
    path = folder / f"lance_{chosen.size}.lance"
    with LanceWriter(path, jpeg_quality=QUALITY) as out:
        out.write_episodes(episodes)
    lance = LanceDataset(path=path, num_steps=chosen.span)
    yield _theirs("Lance", "JPEG, resized", lance, chosen, path)
    if hdf5:
        from stable_worldmodel.data import HDF5Dataset, HDF5Writer

        path = folder / f"hdf5_{chosen.size}.h5"
        with HDF5Writer(path) as out:
            out.write_episodes(episodes)
        data = HDF5Dataset(path=path, num_steps=chosen.span)
        yield _theirs("HDF5", "uint8 in HDF5", data, chosen, path)


class Small:
    """Their transform: frames of the clip's size, made small as the plain Datasets do."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, steps: dict[str, Any]) -> dict[str, Any]:
        frames: Tensor = steps["pixels"]
        if frames.shape[-1] != self.size:
            steps["pixels"] = small(frames.permute(0, 2, 3, 1).numpy(), self.size)
        return steps


def _theirs(name: str, form: str, data: Any, chosen: Chosen, path: Path) -> Reader:
    files = files_in(path) if path.is_dir() else [path]
    return Reader(f"stable-worldmodel, {name}", form, Pairs(data, chosen), files)


def _pair(steps: dict[str, Any]) -> Item:
    return steps["pixels"], steps["action"]


def _actions(recording: Recording) -> np.ndarray:
    """(N, 3) float32; the last leads nowhere."""
    return np.diff(recording.poses, axis=0, append=recording.poses[-1:]).astype(np.float32)


def _labelled(root: Path, made: list[Recording]) -> Path:
    """Its layout, into which the very pictures and videos go that the other readers read."""
    (root / "pixels").mkdir(parents=True)
    lengths = np.array([len(recording.frames) for recording in made])
    np.savez(root / "ep_len.npz", lengths.astype(np.int32))
    np.savez(root / "ep_offset.npz", np.cumsum([0, *lengths[:-1]]))
    np.savez(root / "action.npz", np.concatenate([_actions(recording) for recording in made]))
    return root
