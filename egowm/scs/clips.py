"""Clips on disk, in any of the folders that users have: found, measured and read.

A clip is a folder of pictures or a video file, or its masks; its name is its path below the root
(without a file's suffix). Nothing is ever cut to a common length or resized. The layouts:

- `<clip>/00000.png ...` or `<clip>.mp4`, at any depth, frame 0 first;
- `<clip>/<sample>/00000.png ...` below PRED: several predictions of one clip;
- `<traj>/<start>_<end>/{GT,pred}/frames/f_{1..16}.png`, frame 0 apart as `f_<start>.png` of any
  size: one folder for truth and prediction, as EgoWM's authors announced it;
- pictures without frame 0 (NWM's `id_<n>/<i>.png`), with the first frames in a folder apart.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from egowm.checks import checked, counted
from egowm.limits import ordinary
from egowm.picture_file import opened
from egowm.scs.masks import MASKS, is_sav, read_masks
from egowm.unfinished import UNFINISHED
from egowm.video import (
    PICTURES,
    count_frames,
    picture_paths,
    read_frames,
    read_image,
    resize,
)
from egowm.video_end import check_end

VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov")
ANNOUNCED = ("GT", "pred")  # `<clip>/GT/frames` and `<clip>/pred/frames`: both in one folder
Role = Literal["GT", "pred"]


class ClipShape(NamedTuple):
    """What must agree between the videos of a clip."""

    num_frames: int
    numbers: tuple[int, ...] | None  # the pictures' own numbers, where every name has one
    sizes: frozenset[tuple[int, int]]  # (H, W) of its frames; one, if all is well


class Video(NamedTuple):
    """One clip of one folder."""

    path: Path  # a folder of pictures, a video file, or masks
    first: Path | None = None  # frame 0, where it is kept apart
    trajectory: str | None = None  # the recording, where the layout says

    def frames(self) -> np.ndarray:
        """(T+1, H, W, 3) uint8; a frame 0 kept apart is stretched to the size of the others."""
        frames = read_frames(self.path)
        if self.first is None:
            return frames
        first = resize(read_image(self.first)[None], *frames.shape[1:3])
        return np.concatenate([first, frames])

    def shape(self) -> ClipShape:
        """Frame count (frame 0 included), numbers and sizes."""
        found = read_shape(self.path)
        if self.first is None:
            return found
        return found._replace(num_frames=found.num_frames + 1)


@checked
def find_clips(root: str | Path, suffixes: Sequence[str] = VIDEOS) -> dict[str, Path]:
    """Every clip below `root` by name; `suffixes` are of files that are clips (videos or masks)."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder. Expected one with a folder per clip.")
    if _holds_pictures(root):
        raise ValueError(
            f"{root}: holds pictures itself. Expected one folder or video file per clip in it."
        )
    clips: dict[str, Path] = {}
    for path in _walk(root, suffixes, masks=tuple(suffixes) == MASKS, seen={root.resolve(): None}):
        inside = path.relative_to(root)
        name = (inside if path.is_dir() else inside.with_suffix("")).as_posix()
        if name in clips:
            raise ValueError(f"{root}: the clip {name!r} is there twice: {clips[name]} and {path}.")
        clips[name] = path
    if not clips:
        raise ValueError(
            f"{root}: found no clip. Expected folders of pictures ({', '.join(PICTURES)}) or files "
            f"({', '.join(suffixes)})."
        )
    return clips


def read_shape(path: Path) -> ClipShape:
    """Frame count, numbers and sizes of a clip; of a video, one frame is decoded for its size."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder.")
    for left in path.rglob(f"{UNFINISHED}*"):
        _check_left(left)
    if path.suffix in MASKS or (path.is_dir() and is_sav(path)):
        void = read_masks(path).void
        return ClipShape(len(void), None, frozenset([void.shape[1:]]))
    if path.is_dir():
        paths = picture_paths(path)
        sizes = frozenset(_picture_size(file) for file in paths)
        return ClipShape(len(paths), _numbers(paths), sizes)
    check_end(path)
    return ClipShape(count_frames(path), None, frozenset([read_frames(path, [0]).shape[1:3]]))


@checked
def find_videos(root: str | Path, role: Role, first: str | Path | None = None) -> dict[str, Video]:
    """Every clip below `root` by name.

    role: which half of the announced layout is wanted. first: folder with the frames 0
    (`<clip>.png`), where `root` holds only what comes after them.
    """
    videos = {}
    for name, path in find_clips(root, VIDEOS).items():
        if path.is_dir() and any((path / half / "frames").is_dir() for half in ANNOUNCED):
            videos[name] = _announced(name, path, role)
        else:
            videos[name] = Video(path)
    if first is None:
        return videos
    found = {name: _first(Path(first), name) for name in videos}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise FileNotFoundError(
            f"{first}: no first frame in {len(missing)} of {counted(len(found), 'clip')}: "
            f"{', '.join(missing[:10])}. Expected {first}/<clip>.png."
        )
    return {name: video._replace(first=found[name]) for name, video in videos.items()}


def group_samples(
    clips: Mapping[str, object], found: Mapping[str, Video]
) -> tuple[dict[str, str], dict[str, tuple[Video, ...]]]:
    """Which clip every found video predicts, and the videos of every clip.

    A video is called as its clip, or `<clip>/<sample>`. One that fits no clip keeps its own name,
    so that `check_match` can list it. Raises ValueError where clips differ in their samples.
    """
    owner = {}
    for name in found:
        parent = name.rpartition("/")[0]
        owner[name] = parent if name not in clips and parent in clips else name
    samples: dict[str, tuple[Video, ...]] = {}
    for name, clip in owner.items():
        samples[clip] = (*samples.get(clip, ()), found[name])
    counts = {clip: len(videos) for clip, videos in samples.items() if clip in clips}
    if len(set(counts.values())) > 1:
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise ValueError(
            f"Expected the same number of samples for every clip, got {counts[least]} for {least} "
            f"and {counts[most]} for {most}."
        )
    return owner, samples


def _walk(
    folder: Path, suffixes: Sequence[str], masks: bool, seen: dict[Path, None]
) -> Iterator[Path]:
    """Clips below a folder. A folder with pictures is one: what else lies in it is not searched.

    seen: what was searched already, the root first; no link leads there again.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            _check_left(path)
            continue
        if path.suffix.lower() in suffixes and path.exists() and not path.is_dir():
            ordinary(path)
            yield path
        elif path.is_dir():
            announced = any((path / half / "frames").is_dir() for half in ANNOUNCED)
            if announced or _holds_pictures(path) or (masks and is_sav(path)):
                yield path
            elif not _is_searched(path, seen):
                yield from _walk(path, suffixes, masks, seen)


def _check_left(path: Path) -> None:
    """Refuse what a writer that was ended leaves: what lies beside it may be half-written."""
    if path.name.startswith(UNFINISHED):
        raise ValueError(
            f"{path}: a writer was ended, or still writes here. Write these clips again, or delete "
            f"this if they are whole."
        )


def _is_searched(folder: Path, seen: dict[Path, None]) -> bool:
    """Whether a folder is, will be or holds what is searched by another name: links may lead in
    circles."""
    place, root = folder.resolve(), next(iter(seen))
    around = place.is_relative_to(root) or root.is_relative_to(place)
    if place in seen or (folder.is_symlink() and around):
        return True
    seen[place] = None
    return False


def _holds_pictures(folder: Path) -> bool:
    return any(
        path.suffix.lower() in PICTURES and path.name[0] != "." and path.is_file()
        for path in folder.iterdir()
    )


def _numbers(paths: Sequence[Path]) -> tuple[int, ...] | None:
    """The last number in each name (f_10.png: 10); None if there is not one for every frame."""
    found = [re.findall(r"\d+", path.stem) for path in paths]
    numbers = tuple(int(digits[-1]) for digits in found if digits)
    return numbers if len(set(numbers)) == len(paths) else None


def _picture_size(file: Path) -> tuple[int, int]:
    with opened(file) as image:
        return image.height, image.width


def _announced(name: str, folder: Path, role: Role) -> Video:
    """One `<traj>/<start>_<end>` folder; the frame 0 apart lies in it or in GT."""
    frames = folder / role / "frames"
    if not frames.is_dir():
        raise FileNotFoundError(f"{frames}: no such folder. Expected {'/'.join(ANNOUNCED)} in it.")
    start = folder.name.partition("_")[0]
    apart = [folder, folder / "GT", folder / role]
    options = [place / f"f_{start}{suffix}" for place in apart for suffix in PICTURES]
    first = next((path for path in options if path.is_file()), None)
    trajectory = name.rpartition("/")[0]
    return Video(frames, first, trajectory or None)


def _first(root: Path, name: str) -> Path | None:
    return next((path for suffix in PICTURES if (path := root / f"{name}{suffix}").is_file()), None)
