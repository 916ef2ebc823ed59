"""The folders that users have: one video or one set of masks per clip, in any of these layouts.

- `<clip>/00000.png ...` or `<clip>.mp4`, at any depth, frame 0 first;
- `<clip>/<sample>/00000.png ...` below PRED: several predictions of one clip;
- `<traj>/<start>_<end>/{GT,pred}/frames/f_{1..16}.png`, frame 0 apart as `f_<start>.png` of any
  size: one folder for truth and prediction, as EgoWM's authors announced it;
- pictures without frame 0 (NWM's `id_<n>/<i>.png`), with the first frames in a folder apart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from egowm.scs.videos import ANNOUNCED, VIDEOS, ClipShape, find_clips, read_shape
from egowm.video import PICTURES, read_frames, read_image, resize

Role = Literal["GT", "pred"]


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
        """Frame count (frame 0 included), numbers and sizes; pictures are not decoded for it."""
        found = read_shape(self.path)
        if self.first is None:
            return found
        return found._replace(num_frames=found.num_frames + 1)


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
            f"{first}: {len(missing)} of {len(found)} clips have no first frame: "
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
