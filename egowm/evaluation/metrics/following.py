"""Action following as columns: the motion between imagined frames against the actions told."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from egowm.actions.poses import planar_path
from egowm.data.humanoid import HumanoidHalls
from egowm.data.module import ClipData
from egowm.data.rooms import Rooms
from egowm.evaluation.action_following import follow_in_room
from egowm.evaluation.hall_scene import HallScene
from egowm.evaluation.image_alignment import Eye, align_frames
from egowm.evaluation.metrics.hands import Hands
from egowm.evaluation.metrics.metric import ClipMetric, Column, Sample

_COLUMNS = (
    Column(
        "moved",
        "off, m",
        "Metres between the motion that each frame shows and the action that the model was told; a "
        "frame that cannot be aligned to its room counts as no motion",
        3,
        False,
    ),
    Column(
        "turned",
        "off, °",
        "Degrees between the turn that each frame shows and the one that was told",
        2,
        False,
    ),
    Column(
        "drift",
        "drift, m",
        "Metres between where a frame is seen from and where the actions lead",
        2,
        False,
    ),
    Column("lost", "lost, %", "Frames that could not be aligned to their room", 0, False),
)


class Following(ClipMetric):
    """Motion seen less motion told, in rooms, where frames are aligned to renderings.

    A step that could not be measured counts as one that was not made, and its frame as seen from
    where the clip began: whoever shows nothing does not follow.

    Args:
        data: The rooms of the clips, with actions (dx, dy, dyaw).
    """

    columns: ClassVar = _COLUMNS

    def __init__(self, data: Rooms) -> None:
        super().__init__()
        self.data = data

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        room, start = self.data.place(sample.name)
        frames = np.concatenate([sample.context[None], sample.pred])
        found = follow_in_room(frames, sample.told, sample.meaning, room, start)
        known = ~np.isnan(found.errors)
        nothing = np.abs(found.told * [1.0, 1.0, np.degrees(1.0)])
        errors = np.where(known, np.abs(found.errors), nothing)
        away = np.hypot(*(planar_path(found.told, start)[1:] - start).T[:2])
        return {
            "moved": np.hypot(errors[:, 0], errors[:, 1]),
            "turned": errors[:, 2],
            "drift": np.where(found.aligned, found.drift[:, 0], away),
            "lost": 100.0 * ~found.aligned,
        }


class HeadFollowing(ClipMetric):
    """Motion of a humanoid's head seen less where its actions take it; see `Following`.

    Args:
        data: The halls of the clips.
    """

    columns: ClassVar = _COLUMNS

    def __init__(self, data: HumanoidHalls) -> None:
        super().__init__()
        self.data = data

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        replay = self.data.place(sample.name)
        start = Eye(*replay.robot.camera())
        led = [Eye(*robot.camera()) for robot in replay.told(sample.told)]
        fits = list(align_frames(sample.pred, HallScene(replay.robot), start))
        seen = [fit.eye if fit.good else None for fit in fits]
        told, shown = [start, *led], [start, *seen]
        steps = [_off(*told[k : k + 2], *shown[k : k + 2]) for k in range(len(led))]
        ends = zip(led, (eye or start for eye in seen), strict=True)
        return {
            "moved": np.array([way for way, _ in steps]),
            "turned": np.array([turn for _, turn in steps]),
            "drift": np.array([np.linalg.norm(a.place - b.place) for a, b in ends]),
            "lost": np.array([100.0 * (eye is None) for eye in seen]),
        }


def _off(
    before: Eye, after: Eye, seen_before: Eye | None, seen_after: Eye | None
) -> tuple[float, float]:
    """Metres and degrees between a motion that was told and the one that is seen; a frame that is
    not aligned shows none."""
    way, turn = _motion(before, after)
    other, turned = np.zeros(3), np.eye(3)
    if seen_before is not None and seen_after is not None:
        other, turned = _motion(seen_before, seen_after)
    cosine = (np.trace(turn.T @ turned) - 1) / 2
    return float(np.linalg.norm(way - other)), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _motion(before: Eye, after: Eye) -> tuple[np.ndarray, np.ndarray]:
    """Way (3,) and turn (3, 3) from one pose to another, in the frame of the first."""
    return before.turn.T @ (after.place - before.place), before.turn.T @ after.turn


def following_of(data: ClipData | None) -> list[ClipMetric]:
    """What can be measured: motion in rooms whose robot is told to move, a humanoid's hands and
    head."""
    if isinstance(data, HumanoidHalls):
        return [Hands(data), HeadFollowing(data)]
    if not isinstance(data, Rooms) or data.world != "robot" or data.actions == "none":
        return []
    return [Following(data)]
