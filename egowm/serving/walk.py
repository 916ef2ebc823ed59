"""One visitor's walk: what the model imagines, where that leads, and the truth beside it."""

import io
from collections import deque
from typing import NamedTuple

import numpy as np
import torch

from egowm.actions import ActionSpec
from egowm.actions.keys import in_words
from egowm.evaluation.film import COLOURS, STRIP, beside, panel
from egowm.evaluation.map_drawing import Outline, Way, draw_map
from egowm.evaluation.navigation import Pose
from egowm.pixels import to_uint8
from egowm.session import Session
from egowm.video_encoder import ENCODERS, VideoEncoder
from egowm.worlds.floor_plan import floor_plan
from egowm.worlds.motion import ROBOT_HEIGHT, realise, step
from egowm.worlds.rooms import Camera, Room

KEPT = 600  # frames that a video of the walk shows: two and a half minutes of the rooms' robot
KEPT_BYTES = 48 << 20  # of pictures; larger ones are kept less long
PART = 50  # frames of a video that are drawn at once
SAID = 4  # dimensions of an action that are named
_AHEAD: Pose = (0.0, 0.0, 0.0)


class Seen(NamedTuple):
    """A frame and what belongs to it.

    Args:
        imagined: (H, W, 3) uint8.
        truth: (H, W, 3) uint8 of the simulator; None outside the rooms.
        pose: (x, y, yaw) where the actions lead from the start, metres and radians; None for
            actions that are no motions in the plane.
        true_pose: Where the simulated robot is; None outside the rooms.
        stopped: Whether a wall or a thing holds the simulated robot.
        words: The action in words.
    """

    imagined: np.ndarray
    truth: np.ndarray | None
    pose: Pose | None
    true_pose: Pose | None
    stopped: bool
    words: str


class Truth:
    """The simulated robot in a room, as seen from where it starts."""

    def __init__(self, room: Room, pose: Pose, size: tuple[int, int]) -> None:
        self.room, self.start, self.pose, self.size = room, pose, pose, size

    def look(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        x, y, yaw = self.pose
        return self.room.render(Camera(x, y, ROBOT_HEIGHT, yaw), *self.size).rgb

    def move(self, action: np.ndarray) -> bool:
        """As far as the room allows; whether something stands in the way."""
        wanted = np.asarray(action, float)
        moved = realise(self.room, *self.pose, wanted)
        self.pose = step(*self.pose, moved)
        return bool(np.hypot(*wanted[:2]) > 0 and not moved[:2].any())

    def relative(self, pose: Pose) -> Pose:
        """A pose of the room in the frame of the start."""
        x, y = self._turned(np.array([pose[:2]]))[0]
        return float(x), float(y), pose[2] - self.start[2]

    def outlines(self) -> list[Outline]:
        """Walls and things from above, in the frame of the start."""
        found = floor_plan(self.room)
        colours = [(np.clip(c, 0, 1) * 255).astype(int).tolist() for _, c in found]
        return [
            Outline(self._turned(corners), (c[0], c[1], c[2]))
            for (corners, _), c in zip(found, colours, strict=True)
        ]

    def _turned(self, points: np.ndarray) -> np.ndarray:
        c, s = np.cos(self.start[2]), np.sin(self.start[2])
        return (points - self.start[:2]) @ np.array([[c, -s], [s, c]])


class Walk:
    """What a visitor walks in; not shared between threads.

    Args:
        session: Of the model, at its picture.
        picture: (H, W, 3) uint8, of the model's size.
        truth: The simulated robot at the same place; None outside the rooms.
    """

    def __init__(self, session: Session, picture: np.ndarray, truth: Truth | None = None) -> None:
        self.session, self.truth, self.spec = session, truth, session.spec
        self._told: deque[np.ndarray] = deque()
        self.planar = is_planar(self.spec)
        pose = _AHEAD if self.planar else None
        seen = None if truth is None else truth.look()
        true_pose = None if truth is None else _AHEAD
        first = Seen(picture, seen, pose, true_pose, False, "the picture")
        room = KEPT_BYTES // (picture.nbytes * (1 if truth is None else 2))
        self.seen: deque[Seen] = deque([first], maxlen=max(2, min(KEPT, room)))

    @property
    def last(self) -> Seen:
        """The latest frame."""
        return self.seen[-1]

    def check(self, actions: np.ndarray) -> None:
        """Refuse actions (T, A) that no step would follow. Raises ValueError."""
        self.spec.check(torch.from_numpy(actions), self.session.how.strict)

    def step(self, action: np.ndarray, state: list[float] | None = None) -> list[Seen]:
        """The frames that are there with one more action (A,); none while a block is gathered."""
        given = None if state is None else torch.tensor(state)
        frames = self.session.step(torch.from_numpy(action), given)
        self._told.append(action)
        if not len(frames):
            return []
        found = []
        for frame in to_uint8(frames):
            found.append(self._after(self.last, self._told.popleft(), frame))
            self.seen.append(found[-1])
        return found

    def _after(self, before: Seen, action: np.ndarray, frame: np.ndarray) -> Seen:
        pose = None if before.pose is None else step(*before.pose, action.astype(float))
        words, truth = said(action, self.spec), self.truth
        if truth is None:
            return Seen(frame, None, pose, None, False, words)
        stopped = truth.move(action)
        return Seen(frame, truth.look(), pose, truth.relative(truth.pose), stopped, words)

    def film(self) -> bytes:
        """An mp4 of the walk as far as it is kept: imagined, true, and from above."""
        seen, file = list(self.seen), io.BytesIO()
        encoder = VideoEncoder(file, self.spec.rate_hz, ENCODERS)
        above = self._map(seen) if self.planar else None
        for first in range(0, len(seen), PART):
            here = slice(first, first + PART)
            drawn = self._drawn(seen[here], None if above is None else above[here])
            odd = [(0, size % 2) for size in drawn.shape[1:3]]  # of which H.264 has none
            for frame in np.pad(drawn, ((0, 0), *odd, (0, 0)), mode="edge"):
                encoder.add(frame)
        encoder.close()
        return file.getvalue()

    def _drawn(self, seen: list[Seen], above: np.ndarray | None) -> np.ndarray:
        """Frames (n, H', W', 3) uint8 of a video."""
        imagined = np.stack([one.imagined for one in seen])
        parts = [panel(imagined, "imagined", [one.words for one in seen], COLOURS[0])]
        if self.truth is not None:
            true = np.stack([one.truth for one in seen if one.truth is not None])
            notes = ["held by a wall or a thing" if one.stopped else " " for one in seen]
            parts.append(panel(true, "the simulator", notes, COLOURS[1]))
        if above is not None:
            parts.append(panel(above, "the way from above", [" "]))
        return beside(parts)

    def _map(self, seen: list[Seen]) -> np.ndarray:
        """Of all frames, for it is drawn to one scale."""
        side = self._drawn(seen[:1], None).shape[1] - 2 * STRIP
        poses = np.array([one.pose for one in seen])
        ways, outlines = [Way(poses, COLOURS[0])], []
        if self.truth is not None:
            ways.append(Way(np.array([one.true_pose for one in seen]), COLOURS[1]))
            outlines = self.truth.outlines()
        return draw_map(ways, side, outlines)


def is_planar(spec: ActionSpec) -> bool:
    """Whether actions are motions in the plane, in metres and radians."""
    return spec.kind == "se2" and spec.units[0] == "m" and spec.units[2] == "rad"


def said(action: np.ndarray, spec: ActionSpec) -> str:
    """An action (A,) in words; of a body, the dimensions that move, the first few of them.

    >>> body = ActionSpec(("hip", "knee"), ("rad", "rad"), "joint", "difference", 5.0)
    >>> said(np.array([0.0, 0.25]), body), said(np.zeros(2), body)
    ('knee 0.25 rad', 'at rest')
    """
    if spec.kind == "se2":
        return in_words(action, spec)
    values = zip(spec.names, action.tolist(), spec.units, strict=True)
    moving = [
        f"{name} {value:.2f} {unit}".rstrip() for name, value, unit in values if round(value, 2)
    ]
    more = [f"{len(moving) - SAID} more"] if len(moving) > SAID else []
    return ", ".join([*moving[:SAID], *more]) or "at rest"
