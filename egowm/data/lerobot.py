"""LeRobotDataset of codebase 2.0, 2.1 and 3.0: any robot's recordings as LeRobot writes them.

`meta/info.json` says where tables and videos lie and what their columns mean. In 2.x every episode
is one Parquet file and one mp4 a camera; in 3.0 many episodes share a file
(`egowm/data/lerobot_index.py`). Row t holds what the robot was told at frame t, so it takes frame
t to frame t+1; the last row leads nowhere and is not used.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.actions import ActionSpec, Kind, NormaliserName
from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.imagined import noted_meaning
from egowm.data.label_index import Kept
from egowm.data.lerobot_features import camera_of, features_of, joined_names, names_of
from egowm.data.lerobot_index import Entry, read_entries, read_info
from egowm.data.module import Window
from egowm.data.parquet import read_columns
from egowm.data.recordings import Recordings
from egowm.data.text import ADVICE, bad
from egowm.data.times import GAP
from egowm.video import VideoError, read_frames
from egowm.video_file import frame_index

POINTER = 1024  # bytes; a pointer of Git LFS is smaller, and no video is
UNITS = "as recorded"
TOLERANCE_S = 1e-4  # LeRobot's own, between a row's time and its frame's


class LeRobot(Recordings[Entry]):
    """One LeRobot data set and one of its cameras; episodes have names like episode_000012.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     file = Path(root, "meta/info.json")
    ...     file.parent.mkdir()
    ...     features = '{"action": {"shape": [2], "names": ["shoulder", "elbow"]}}'
    ...     info = f'{{"codebase_version": "v2.1", "fps": 30, "features": {features}}}'
    ...     _ = file.write_text(info)
    ...     meaning = LeRobot(root, state="").meaning
    >>> meaning.names, meaning.rate_hz
    (('shoulder', 'elbow'), 30.0)

    Args:
        root: Folder that holds `meta`, `data` and `videos`.
        camera: A feature of dtype "video"; may be left out where the data set holds one.
        action: The feature of actions; several by a list, or by a pattern such as "action.*".
        state: The feature of states, or several in the same way; "" gives clips without a state.
        actions: "recorded" takes the action feature, as commands; "state" takes the differences of
            the state.
        dimensions: Names of the dimensions to keep; without them all.
        units: One unit for all dimensions or one for each; the format carries none, but a data set
            that `ImaginedWriter` wrote does.
        normaliser: How each dimension is scaled to about [-1, 1].
        tolerance_s: Seconds between a row's time and its frame's, at most; LeRobot's own is 1e-4.
            Raise it, below half a frame, for recordings timed by a clock that jitters or drifts.

    Raises:
        FileNotFoundError: Missing files.
        ValueError: Options that do not fit the data set, or a corrupt file.
        ImportError: pyarrow is not installed.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        camera: str | None = None,
        action: str | list[str] = "action",
        state: str | list[str] = "observation.state",
        actions: Literal["recorded", "state"] = "recorded",
        dimensions: list[str] | None = None,
        units: str | list[str] = UNITS,
        normaliser: NormaliserName = "min-max",
        tolerance_s: float = TOLERANCE_S,
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        if actions == "state" and not state:
            raise ValueError("LeRobot: actions 'state' are differences of the state; name it.")
        self.camera, self.action, self.state, self.actions = camera, action, state, actions
        self.dimensions, self.units, self.normaliser = dimensions, units, normaliser
        self.tolerance_s = tolerance_s

    @cached_property
    def info(self) -> dict[str, Any]:
        """`meta/info.json`."""
        return read_info(self.folder)

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        if self.actions == "state":
            return self._meaning(self.state, "joint", "difference")
        spec, noted = self._meaning(self.action, "command", "command"), noted_meaning(self.folder)
        if noted is None or spec.names != noted.names:
            return spec
        units = noted.units if self.units == UNITS else spec.units
        return replace(spec, units=units, frame=noted.frame, kind=noted.kind)

    @cached_property
    def state_meaning(self) -> ActionSpec | None:  # type: ignore[override]
        return self._meaning(self.state, "joint", "command") if self.state else None

    def _meaning(self, wanted: str | list[str], frame: str, kind: Kind) -> ActionSpec:
        self._check_options(for_frames=False)
        names, rate_hz = self._kept(wanted), float(self.info["fps"])
        units, normalisers = self._units(len(names)), (self.normaliser,) * len(names)
        return ActionSpec(names, units, frame, kind, rate_hz, normalisers=normalisers)

    @property
    def _camera(self) -> str:
        return camera_of(self.folder, self.info, self.camera)

    def _check_options(self, for_frames: bool) -> None:
        """Everything that does not fit the data set, in one error. for_frames: also where nothing
        but the camera does not."""
        recorded = self.actions == "recorded"
        asked = [self.action] if recorded else []
        asked += [self.state] if self.state else []
        checks: list[Callable[[], object]] = [partial(self._kept, wanted) for wanted in asked]
        if isinstance(self.units, list):
            checks.append(lambda: self._units(len(self._kept(asked[0]))))
        faults = [text for check in checks if (text := _fault(check))]
        if faults or for_frames:
            faults += [text] if (text := _fault(lambda: self._camera)) else []
        if len(faults := list(dict.fromkeys(faults))) > 1:
            listed = " | ".join(faults)
            raise ValueError(
                f"{self.folder}: {counted(len(faults), 'option does', 'options do')} not fit: "
                f"{listed}"
            )
        if faults:
            raise ValueError(faults[0])

    def recordings(self) -> dict[str, Entry]:
        self._check_options(for_frames=True)
        entries = read_entries(self.folder, self.info, self._camera)
        return {entry.name: entry for entry in entries}

    def files(self, place: Entry) -> Sequence[Path]:
        return (place.table,)

    def options(self) -> list[Any]:
        meta = sorted(path for path in (self.folder / "meta").rglob("*") if path.is_file())
        stamps = [[str(p), p.stat().st_mtime_ns, p.stat().st_size] for p in meta]
        how = [self.action, self.state, self.actions, self.dimensions, self.tolerance_s]
        return [self._camera, *how, stamps]

    def read(self, place: Entry) -> Episode:
        found: list[np.ndarray] = []
        faults: dict[str, Exception] = {}
        for part in (_check_video, self._actions, self._states, self._times):
            try:
                found.append(part(place))
            except (ValueError, FileNotFoundError) as error:
                faults[str(error)] = error
        if len(faults) > 1:
            listed = " | ".join(text.removesuffix(ADVICE).rstrip(" .") for text in faults)
            raise _bad(place, f"{counted(len(faults), 'fault')}: {listed}")
        for fault in faults.values():
            raise fault
        return self.made(place, Kept(*found[1:]))

    def _used(self, place: Entry) -> dict[str, np.ndarray]:
        """All columns of an episode that are used."""
        asked = [self.action] if self.actions == "recorded" else []
        asked += [self.state] if self.state else []
        keys = [key for wanted in asked for key in features_of(self.info, wanted)]
        return _rows(place, ("episode_index", "timestamp", *dict.fromkeys(keys)))

    def _times(self, place: Entry) -> np.ndarray:
        times = self._used(place)["timestamp"].astype(np.float64)
        if (count := len(times)) != place.length:
            raise _bad(place, f"{counted(count, 'row')}, the episode's length is {place.length}")
        self._frames(place, times)
        return times

    def _states(self, place: Entry) -> np.ndarray:
        if not self.state:
            return np.zeros((0, 0), np.float32)
        return self._chosen(place, self.state, self._used(place)).astype(np.float32)

    def _actions(self, place: Entry) -> np.ndarray:
        rows = self._used(place)
        if self.actions == "state":
            return np.diff(self._chosen(place, self.state, rows), axis=0).astype(np.float32)
        return self._chosen(place, self.action, rows)[:-1].astype(np.float32)

    def made(self, place: Entry, labels: Kept) -> Episode:
        actions, states, times = labels
        frames, seconds = self._frames(place, times)
        read = partial(read_rows, place.video, frames, seconds)
        own = place.video if place.own_video else None
        return Episode(place.name, place.length, read, actions, states, place.text, times, own)

    def _frames(self, entry: Entry, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The frame of the video file that each row's time names, and that time in the file, (N,).

        A video of the episode's own begins with its first row, whose time is 0 by the format; some
        writers begin at 1 / fps, and the last row would lie beyond the video's end.
        """
        fps = float(self.info["fps"])
        if not np.isfinite(times).all():
            raise _bad(entry, "a row's timestamp is not a finite number")
        late = round(times[0] * fps) / fps if entry.own_video and len(times) else 0.0
        since = entry.from_timestamp + times - late
        frames = np.round(since * fps).astype(np.int64)
        off = np.abs(frames / fps - since)
        # float32 times are coarser than 1e-4 s after half an hour, hence 1e-6 of the time
        if len(off_rows := np.flatnonzero(off > self.tolerance_s + 1e-6 * np.abs(times))):
            row = off_rows[0]
            when = f"row {row} at {times[row]:.5f} s lies between two frames at {fps:g} fps"
            raise _bad(
                entry,
                f"{when}: {1e3 * off.max():.3g} ms beside its frame at most; set tolerance_s "
                f"above that if its clock jitters",
            )
        if len(np.unique(frames)) < len(frames):
            raise _bad(entry, "two rows name one frame: their times are no times of frames")
        return frames, since

    def _chosen(
        self, entry: Entry, wanted: str | list[str], rows: dict[str, np.ndarray]
    ) -> np.ndarray:
        """The kept columns (N, A) of features, float64."""
        parts = []
        for key in features_of(self.info, wanted):
            try:
                values = np.asarray(rows[key], np.float64).reshape(len(rows[key]), -1)
            except (TypeError, ValueError) as error:
                raise _bad(entry, f"{key}: rows differ in length") from error
            if (width := values.shape[1]) != (named := len(names_of(self.info, key))):
                told = f"info.json names {counted(named, 'dimension')}"
                raise _bad(entry, f"{key}: {told}, the table has {width}")
            parts.append(values)
        names = joined_names(self.info, wanted)
        return np.concatenate(parts, 1)[:, [names.index(name) for name in self._kept(wanted)]]

    def _kept(self, wanted: str | list[str]) -> tuple[str, ...]:
        names = joined_names(self.info, wanted)
        if self.dimensions is None:
            return tuple(names)
        unknown = [name for name in self.dimensions if name not in names]
        if unknown:
            raise ValueError(
                f"LeRobot: {wanted} has no dimension {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(names)}."
            )
        return tuple(self.dimensions)

    def _units(self, count: int) -> tuple[str, ...]:
        units = (self.units,) * count if isinstance(self.units, str) else tuple(self.units)
        if len(units) != count:
            raise ValueError(f"LeRobot: expected 1 or {counted(count, 'unit')}, got {len(units)}.")
        return units


def read_rows(
    video: Path, frames: np.ndarray, seconds: np.ndarray, indices: Sequence[int]
) -> np.ndarray:
    """Frames `(n, H, W, 3)` of an episode whose row k is at `seconds[k]` of a video file.

    It is frame `frames[k]` of a file at a steady rate; of another the frame nearest to that time.
    """
    shown = frame_index(video).times
    steps = np.diff(shown)
    if steps.max(initial=0) > GAP / 2 * steps.min(initial=np.inf):
        frames = np.searchsorted((shown[1:] + shown[:-1]) / 2, seconds)
        off = np.abs(shown[frames] - seconds)[list(indices)]
        if off.max() > np.median(steps) / 2:
            row = indices[int(off.argmax())]
            raise VideoError(
                f"{video}: row {row} is at {seconds[row]:.4f} s, its nearest frame {off.max():.4f} "
                f"s from there: the video leaves frames out; leave the episode out"
            )
    return read_frames(video, [int(frames[k]) for k in indices])


def _check_video(entry: Entry) -> np.ndarray:
    """Refuse a video that is not there; nothing of it is read."""
    video = entry.video
    if not video.is_file():
        raise FileNotFoundError(f"{video} is missing. Download it, or copy the data set again.")
    if video.stat().st_size < POINTER and video.read_bytes().startswith(b"version "):
        raise FileNotFoundError(
            f"{video} is a pointer of Git LFS, the video itself is missing: git lfs pull."
        )
    return np.zeros(0)


def _fault(check: Callable[[], object]) -> str:
    """What an option's check complains about, or ""."""
    try:
        check()
    except ValueError as error:
        return str(error)
    return ""


def _rows(entry: Entry, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """An episode's rows; in 3.0 many episodes share a table."""
    table, order, numbers = _table(entry.table, columns)
    first, last = np.searchsorted(numbers, [entry.number, entry.number + 1])
    mine = order[first:last]
    return {key: values[mine] for key, values in table.items()}


@lru_cache(maxsize=2)
def _table(
    file: Path, columns: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A table's columns; its rows by episode, and their episodes, which rise."""
    table = read_columns(file, list(columns))
    order = np.argsort(table["episode_index"], kind="stable")
    return table, order, table["episode_index"][order]


def _bad(entry: Entry, what: str) -> ValueError:
    return bad(entry.table, f"{entry.name}: {what}")
