"""Clips on disk: finding them below `pred/` and `gt/`, and refusing folders that do not match.

A clip is a folder of pictures or a video file, at any depth; its name is its path below the root
(without a file's suffix). Nothing is ever cut to a common length or resized.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from egowm.scs.masks import MASKS, is_sav, read_masks
from egowm.video import PICTURES, opened, picture_paths, read_frames

VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov")
ANNOUNCED = ("GT", "pred")  # `<clip>/GT/frames` and `<clip>/pred/frames`: both in one folder
_LISTED = 10  # names in one message


class ClipShape(NamedTuple):
    """What must agree between the videos of a clip."""

    num_frames: int
    numbers: tuple[int, ...] | None  # the pictures' own numbers, where every name has one
    sizes: frozenset[tuple[int, int]]  # (H, W) of its frames; one, if all is well


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
    for path in _walk(root, suffixes, masks=tuple(suffixes) == MASKS):
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
    """Frame count, numbers and sizes of a clip; pictures are not decoded for it."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder.")
    if path.suffix in MASKS or (path.is_dir() and is_sav(path)):
        void = read_masks(path).void
        return ClipShape(len(void), None, frozenset([void.shape[1:]]))
    if path.is_dir():
        paths = picture_paths(path)
        sizes = frozenset(_picture_size(file) for file in paths)
        return ClipShape(len(paths), _numbers(paths), sizes)
    frames = read_frames(path)
    return ClipShape(len(frames), None, frozenset([frames.shape[1:3]]))


def check_match(
    truth: Mapping[str, ClipShape], other: Mapping[str, ClipShape], names: tuple[str, str]
) -> None:
    """Raise one ValueError that lists every difference between two sets of clips.

    names: what to call the two in the message. The same clips, frame numbers and size are expected,
    two frames or more, without gaps, and one size for all clips.
    """
    gt, pred = names
    problems = [
        _listing(f"only in {gt}", truth.keys() - other.keys()),
        _listing(f"only in {pred}", other.keys() - truth.keys()),
    ]
    for name in truth.keys() & other.keys():
        problems.append(_difference(name, truth[name], other[name], names))
    sizes = {size for shape in truth.values() for size in shape.sizes}
    if len(sizes) > 1:
        problems.append(f"{gt} holds clips of several sizes: {_text(sizes)}")
    found = sorted(filter(None, problems))
    if found:
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ValueError(f"{pred} does not match {gt}: " + "; ".join(found[:_LISTED]) + more)


def _difference(name: str, truth: ClipShape, other: ClipShape, names: tuple[str, str]) -> str:
    """What is wrong with one clip, or ""."""
    gt, pred = names
    if truth.num_frames != other.num_frames:
        missing = ""
        if truth.numbers and other.numbers:
            lacking = set(truth.numbers) ^ set(other.numbers)
            missing = f" (not in both: {_short(sorted(lacking))})"
        return (
            f"{name} has {truth.num_frames} frames in {gt}, {other.num_frames} in {pred}{missing}"
        )
    if truth.num_frames < 2:
        return f"{name} has one frame; expected the shared frame and at least one more"
    if truth.numbers and other.numbers and truth.numbers != other.numbers:
        return (
            f"{name} has frames {_short(truth.numbers)} in {gt}, {_short(other.numbers)} in {pred}"
        )
    for where, shape in ((gt, truth), (pred, other)):
        numbers = shape.numbers
        if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
            lacking = set(range(numbers[0], numbers[-1])) - set(numbers)
            return f"{name} lacks frames {_short(sorted(lacking))} in {where}"
    if len(truth.sizes | other.sizes) > 1:
        return f"{name} is {_text(truth.sizes)} in {gt}, {_text(other.sizes)} in {pred}"
    return ""


def _walk(folder: Path, suffixes: Sequence[str], masks: bool) -> Iterator[Path]:
    """Clips below a folder. A folder with pictures is one: what else lies in it is not searched."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() and path.suffix.lower() in suffixes:
            yield path
        elif path.is_dir():
            announced = any((path / half / "frames").is_dir() for half in ANNOUNCED)
            if announced or _holds_pictures(path) or (masks and is_sav(path)):
                yield path
            else:
                yield from _walk(path, suffixes, masks)


def _holds_pictures(folder: Path) -> bool:
    return any(p.suffix.lower() in PICTURES and p.is_file() for p in folder.iterdir())


def _numbers(paths: Sequence[Path]) -> tuple[int, ...] | None:
    """The last number in each name (f_10.png: 10); None if there is not one for every frame."""
    found = [re.findall(r"\d+", path.stem) for path in paths]
    numbers = tuple(int(digits[-1]) for digits in found if digits)
    return numbers if len(set(numbers)) == len(paths) else None


def _picture_size(file: Path) -> tuple[int, int]:
    with opened(file) as image:
        return image.height, image.width


def _listing(title: str, names: Collection[str]) -> str:
    return f"{title}: {_short(sorted(names))}" if names else ""


def _short(items: Sequence[object]) -> str:
    shown = ", ".join(map(str, items[:_LISTED]))
    return shown + (f", ... ({len(items)})" if len(items) > _LISTED else "")


def _text(sizes: Collection[tuple[int, int]]) -> str:
    return " and ".join(f"{width}x{height}" for height, width in sorted(sizes))
