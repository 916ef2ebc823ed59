"""Videos without tables: what a video prior is trained on before any action is known.

`<root>/**/<name>.mp4` (or .mov, .m4v, .webm, .mkv, .avi), at any depth. No labels are needed, and
none are read.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.recordings import Recordings
from egowm.data.text import bad
from egowm.data.times import rate_of
from egowm.data.video_csv import VIDEOS
from egowm.video import VideoError, read_frames
from egowm.video_file import frame_index

SLOWER = 0.95  # of the wanted rate: below it frames would be shown twice


class Videos(Recordings[Path]):
    """Videos without actions, for `egowm.pretraining.VideoPrior`; actions have no dimension.

    All videos come at one rate, each frame the nearest in time; where a video leaves frames out it
    is cut.

    >>> Videos("clips", rate_hz=5.0).meaning.width
    0

    Args:
        root: Folder of the videos, which may lie in folders of it, at any depth.
        rate_hz: Frames a second that are taken of each video; without it those of the slowest one.

    Raises:
        FileNotFoundError: No video.
        ValueError: A video that cannot be read or is slower than rate_hz; the message names it.
    """

    def __init__(
        self, root: str, window: Window = Window(), *, rate_hz: float | None = None, **rest: Any
    ) -> None:
        super().__init__(root, window, latency_frames=0, **rest)
        if rate_hz is not None and not rate_hz > 0:
            raise ValueError(f"Videos: rate_hz is frames a second, above 0; got {rate_hz}.")
        self.rate_hz = rate_hz

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        rate = self.rate_hz or self._slowest()
        return ActionSpec((), (), "none", "difference", rate)

    def _slowest(self) -> float:
        """The lowest rate of the videos that can be read; the others are named when they are."""
        rates, places = [], list(self.recordings().values())
        for place in places:
            with suppress(ValueError):
                rates.append(_rate(place))
        return min(rates) if rates else _rate(places[0])

    def recordings(self) -> dict[str, Path]:
        found = sorted(path for path in self.folder.rglob("*") if is_video(path))
        if not found:
            raise FileNotFoundError(
                f"Videos: looked for {self.folder}/**/*{{{','.join(VIDEOS)}}} and found none; pass "
                f"--data.root PATH."
            )
        names = ["_".join(p.relative_to(self.folder).with_suffix("").parts) for p in found]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"Videos: two files of {self.folder} are called {twice}; rename one.")
        return dict(zip(names, found, strict=True))

    def vacant(self) -> list[str]:
        return [name for name in super().vacant() if name == "val"]  # a prior is not tested

    def files(self, place: Path) -> Sequence[Path]:
        return (place,)

    def options(self) -> list[Any]:
        return [self.meaning.rate_hz]

    def read(self, place: Path) -> Episode:
        rate, own = self.meaning.rate_hz, _rate(place)
        if own < SLOWER * rate:
            raise ValueError(
                f"{place}: comes at {own:g} frames a second, rate_hz {rate:g} asks for more: lower "
                f"rate_hz, or leave out slower videos with skip_corrupt: true."
            )
        shown = frame_index(place).times
        wanted = shown[0] + np.arange(int((shown[-1] - shown[0]) * rate + 1e-6) + 1) / rate
        near = np.abs(shown[_nearest(shown, wanted)] - wanted) <= 0.5 / rate + 1e-6
        if near.sum() < 2:
            raise bad(place, f"expected 2 frames or more at {rate:g} Hz, got {near.sum()}")
        return self.made(place, Kept(np.zeros((0, 0)), np.zeros((0, 0)), wanted[near]))

    def made(self, place: Path, labels: Kept) -> Episode:
        count = len(labels.times)
        name = "_".join(place.relative_to(self.folder).with_suffix("").parts)
        read = partial(read_at, place, labels.times)
        none = np.zeros((count - 1, 0), np.float32)
        return Episode(name, count, read, none, times=labels.times)


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name; hidden ones are not."""
    return path.suffix.lower() in VIDEOS and path.name[0] != "." and path.is_file()


def read_at(video: Path, times: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)`: those nearest to `times[indices]`, seconds of the video."""
    numbers = _nearest(frame_index(video).times, times[list(indices)])
    return read_frames(video, numbers.tolist())


def _nearest(shown: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.searchsorted((shown[1:] + shown[:-1]) / 2, wanted)


def _rate(video: Path) -> float:
    try:
        rate = rate_of(frame_index(video).times)
    except VideoError as error:
        raise bad(video, f"cannot be read ({error})") from error
    if rate is None:
        raise bad(video, "holds fewer than 2 frames")
    return rate
