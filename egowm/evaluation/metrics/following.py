"""Action following as columns: the motion between imagined frames against the actions told."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from egowm.data.humanoid import HumanoidHalls
from egowm.data.module import ClipData
from egowm.data.rooms import Rooms
from egowm.evaluation.action_following import follow_in_room, path
from egowm.evaluation.metrics.hands import Hands
from egowm.evaluation.metrics.metric import ClipMetric, Column, Sample


class Following(ClipMetric):
    """Motion seen less motion told, in rooms, where frames are aligned to renderings.

    A step that could not be measured counts as one that was not made, and its frame as seen from
    where the clip began: whoever shows nothing does not follow.

    Args:
        data: The rooms of the clips, with actions (dx, dy, dyaw).
    """

    columns: ClassVar = (
        Column(
            "moved",
            "off, m",
            "Metres between the motion that each frame shows and the action that the model was "
            "told; a frame that cannot be aligned to its room counts as no motion",
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
        away = np.hypot(*(path(found.told, start) - start).T[:2])
        return {
            "moved": np.hypot(errors[:, 0], errors[:, 1]),
            "turned": errors[:, 2],
            "drift": np.where(found.aligned, found.drift[:, 0], away),
            "lost": 100.0 * ~found.aligned,
        }


def following_of(data: ClipData | None) -> list[ClipMetric]:
    """What can be measured: motion in rooms whose robot is told to move, a humanoid's hands."""
    if isinstance(data, HumanoidHalls):
        return [Hands(data)]
    if not isinstance(data, Rooms) or data.world != "robot" or data.actions == "none":
        return []
    return [Following(data)]
