"""A replay buffer on disk: one process adds episodes, others read them meanwhile."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from egowm.actions import ActionSpec
from egowm.actions.spec import SpecRecord
from egowm.arrays import read_npz
from egowm.checks import check_between, check_shape, checked, counted
from egowm.files import FolderKind, alone, begins, check_folder, whole
from egowm.paths import expanded
from egowm.typed_json import read_json

HEADER, FORMAT = "replay.json", 1
EXPECTED = "the header of a replay buffer (egowm collect)"
NAME = re.compile(r"episode_(\d{8})_(\d{1,6})\.npz")  # its number and its actions
MOST_STEPS = 999_999  # of an episode, as far as a name tells
MOST_PIXELS = 8192  # of a side
REPLAY = FolderKind(
    "egowm collect",
    rf"replay\.json|{NAME.pattern}",
    lambda folder: begins(folder / HEADER, rb'\{\s*"format": \d+,\s*"size"'),
)


class Header(TypedDict):
    """What a buffer holds: H and W of its frames, what its actions mean, with ranges, and what its
    rewards are for."""

    format: int
    size: list[int]
    spec: SpecRecord
    task: str


class ReplayEpisode(NamedTuple):
    """An episode: what a robot saw, did and was told.

    Args:
        frames: (N+1, H, W, 3) uint8.
        actions: (N, A) float32 in physical units; `actions[k]` takes frame k to frame k+1.
        rewards: (N,) float32, of each action.
        goes_on: (N,) float32, 0 where the task ended with that action, else 1.

    >>> still = np.zeros((3, 8, 8, 3), np.uint8)
    >>> ReplayEpisode(still, np.zeros((2, 3)), np.zeros(2), np.ones(2)).steps
    2
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    goes_on: np.ndarray

    @property
    def steps(self) -> int:
        """N, its actions."""
        return len(self.actions)

    def cut(self, first: int, length: int) -> "ReplayEpisode":
        """A stretch: its actions, and the frames around them.

        Args:
            first: Number of its first action.
            length: Of its actions.
        """
        told = [values[first : first + length] for values in self[1:]]
        return ReplayEpisode(self.frames[first : first + length + 1], *told)

    def check(self, size: tuple[int, int], width: int) -> None:
        """Refuse parts that do not belong together, and numbers that are not finite.

        Args:
            size: H and W of the buffer's frames.
            width: A, the dimensions of its actions.
        """
        check_shape("actions", self.actions, "N A", A=width)
        sizes = {"H": size[0], "W": size[1], "N": self.steps + 1}
        check_shape("frames", self.frames, "N H W 3", **sizes)
        check_shape("rewards", self.rewards, "N", N=self.steps)
        check_shape("goes_on", self.goes_on, "N", N=self.steps)
        if self.frames.dtype != np.uint8:
            raise ValueError(f"Expected frames of uint8, got {self.frames.dtype}.")
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"Expected 1 to {MOST_STEPS:,} actions, got {self.steps}.")
        if not all(np.isfinite(x).all() for x in self[1:]):
            raise ValueError("Expected actions, rewards and goes_on of finite numbers.")
        check_between("goes_on", float(self.goes_on.min()), 0, 1)
        check_between("goes_on", float(self.goes_on.max()), 0, 1)


class Stored(NamedTuple):
    """An episode's file, its number and its actions, told from its name."""

    path: Path
    number: int
    steps: int


def check_pixels(height: int, width: int) -> None:
    """Refuse sizes that no camera has."""
    check_between("height", height, 1, MOST_PIXELS)
    check_between("width", width, 1, MOST_PIXELS)


class ReplayWriter:
    """Adds episodes to a buffer, each a whole file or not there; one that is there is continued.

    Several processes may write and read at once (`Replay`): each episode takes the next number.

    Args:
        root: Folder of the buffer; made if missing.
        size: H and W of the frames, pixels.
        spec: What the actions mean, with ranges.
        task: What the rewards are for, in words.

    Raises:
        OSError: The folder holds something else.
        ValueError: It holds a buffer of frames of another size, of other actions or another task.

    >>> from tempfile import TemporaryDirectory
    >>> low, high = (0.0, -1.0), (2.0, 1.0)
    >>> spec = ActionSpec(("v", "w"), ("m/s", "rad/s"), "command", "command", 4.0, low, high)
    >>> with TemporaryDirectory() as folder:
    ...     writer = ReplayWriter(folder, (8, 8), spec)
    ...     seen = np.zeros((4, 8, 8, 3), np.uint8)
    ...     path = writer.add(ReplayEpisode(seen, np.zeros((3, 2)), np.zeros(3), np.ones(3)))
    ...     path.name, writer.steps
    ('episode_00000000_3.npz', 3)
    """

    @checked
    def __init__(
        self, root: str | Path, size: tuple[int, int], spec: ActionSpec, task: str = ""
    ) -> None:
        self.root, self.size, self.spec, self.task = expanded(str(root)), size, spec, task
        check_pixels(*size)
        if not spec.low:
            raise ValueError("Expected a spec with ranges: actions are drawn and learned in them.")
        if (self.root / HEADER).is_file():
            self._check_header()
            return
        check_folder(self.root, REPLAY)
        fields = {"format": FORMAT, "size": list(size), "spec": spec.record(), "task": task}
        write_header(self.root / HEADER, fields)

    def _check_header(self) -> None:
        size, spec = read_header(self.root)
        if size != self.size or spec != self.spec:
            mine = f"{self.size[0]}x{self.size[1]}", self.spec.names, self.spec.low, self.spec.high
            raise ValueError(
                f"{self.root} holds frames of {size[0]}x{size[1]}, of {spec.names} in {spec.low} "
                f"to {spec.high}; this robot has {mine[0]}, {mine[1]} in {mine[2]} to {mine[3]}: "
                f"name another folder."
            )
        task = read_json(self.root / HEADER, Header, EXPECTED)["task"]
        if task != self.task:
            raise ValueError(
                f"{self.root} holds rewards of another task ({task}; now {self.task}): name "
                f"another folder."
            )

    @property
    def steps(self) -> int:
        """Actions of all episodes."""
        return sum(stored.steps for stored in listed(self.root))

    @checked
    def add(self, episode: ReplayEpisode) -> Path:
        """Write an episode; gives its file.

        Args:
            episode: At least one action.
        """
        episode.check(self.size, self.spec.width)
        told = [np.asarray(values, np.float32) for values in episode[1:]]
        arrays: Any = dict(zip(ReplayEpisode._fields, [episode.frames, *told], strict=True))
        with alone(self.root):  # from the look at the numbers until this one is taken
            before = listed(self.root)
            number = 1 + before[-1].number if before else 0
            path = self.root / f"episode_{number:08d}_{episode.steps}.npz"
            with whole(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, **arrays)
        return path


def write_header(path: Path, fields: dict[str, Any]) -> None:
    """As JSON, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def read_header(root: Path) -> tuple[tuple[int, int], ActionSpec]:
    """H and W of a buffer's frames, and what its actions mean.

    Raises FileNotFoundError, or ValueError for a file of another kind or format.
    """
    path = root / HEADER
    found: Header = read_json(path, Header, EXPECTED)
    if found["format"] != FORMAT or len(found["size"]) != 2:
        raise ValueError(
            f"{path}: expected format {FORMAT} and a size of H and W, got {found['format']} and "
            f"{found['size']}."
        )
    check_pixels(*found["size"])
    return (found["size"][0], found["size"][1]), ActionSpec.of_record(found["spec"], f"{path}: ")


def listed(root: Path) -> list[Stored]:
    """The episodes of a buffer, the oldest first; other files are passed over."""
    found = [(path, NAME.fullmatch(path.name)) for path in root.glob("episode_*.npz")]
    stored = [Stored(path, int(name[1]), int(name[2])) for path, name in found if name]
    return sorted(stored, key=lambda one: one.number)


def read_episode(stored: Stored, size: tuple[int, int], width: int) -> ReplayEpisode:
    """One episode; ValueError where its file is damaged, or not what its name and buffer say."""
    found = read_npz(stored.path)
    if found.keys() != set(ReplayEpisode._fields):
        raise ValueError(f"{stored.path}: expected {', '.join(ReplayEpisode._fields)}.")
    episode = ReplayEpisode(**found)
    try:
        episode.check(size, width)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{stored.path}: {error}") from error
    if episode.steps != stored.steps:
        said = f"its name says {counted(stored.steps, 'action')}, it holds {episode.steps}"
        raise ValueError(f"{stored.path}: {said}.")
    return episode
