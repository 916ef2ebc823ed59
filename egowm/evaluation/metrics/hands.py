"""Where imagined frames show a humanoid's hands, and what it carries, in centimetres."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from egowm.data.humanoid import HumanoidHalls
from egowm.evaluation.metrics.metric import ClipMetric, Column, Sample
from egowm.scs.trackers.palette import PaletteTracker
from egowm.worlds.drawing import FLOOR, View, ray_fan
from egowm.worlds.humanoid import FOV_DEGREES
from egowm.worlds.humanoid_room import FIRST_OBJECT, LEFT_HAND, NUM_OBJECTS, RIGHT_HAND
from egowm.worlds.rooms import CEILING

LEAST_PIXELS = 8  # of a hand or thing that is looked for
MOVED = 0.05  # metres: a thing that was carried or pushed


class Hands(ClipMetric):
    """Hands and moved things, told by their hues, against where the body's states put them.

    Of hands and things that the context frame shows: their hue is read there. One that should still
    be in view and that the frame does not show counts as one that stayed where it was in the
    context frame. Distances are in the plane of the picture, at the true depth of what is looked
    for. Things are known to be where they were recorded, so they count under the true actions only.

    Args:
        data: The halls of the clips.
    """

    columns: ClassVar = (
        Column(
            "hands",
            "hands off, cm",
            "Centimetres between a hand that the context frame shows and where its states put it",
            1,
            False,
        ),
        Column(
            "hands_lost",
            "hands lost, %",
            "Hands that should be in view and are not",
            0,
            False,
        ),
        Column(
            "carried",
            "things off, cm",
            "Centimetres between a thing that the hands moved and where it truly is",
            1,
            False,
        ),
    )

    def __init__(self, data: HumanoidHalls) -> None:
        super().__init__()
        self.data, self.tracker = data, PaletteTracker()

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        replay = self.data.place(sample.name)
        height, width = sample.context.shape[:2]
        first, places = replay.robot.render(height, width), replay.robot.objects()
        seen = self._seen(sample, first.ids)
        ahead = ray_fan(height, width, np.radians(FOV_DEGREES))[:, 0].reshape(height, width)
        centimetres = 200 * np.tan(np.radians(FOV_DEGREES) / 2) / width  # a pixel's, at 1 m
        own = np.allclose(sample.told, sample.actions, atol=1e-6)
        hands, lost, carried = [], [], []
        for k, robot in enumerate(replay.told(sample.told)):
            view = robot.render(height, width)
            view = view._replace(depth=view.depth * ahead)  # along the axis, not along the ray
            moved = np.linalg.norm(robot.objects() - places, axis=1) > MOVED
            things = [FIRST_OBJECT + n for n in range(NUM_OBJECTS) if moved[n]]
            masks = {identity: video[k] for identity, video in seen.items()}
            things = things if own else []
            off, gone = _apart(view, first, masks, (LEFT_HAND, RIGHT_HAND), centimetres)
            hands.append(off)
            lost.append(100 * gone)
            carried.append(_apart(view, first, masks, things, centimetres)[0])
        return {
            "hands": np.array(hands),
            "hands_lost": np.array(lost),
            "carried": np.array(carried),
        }

    def _seen(self, sample: Sample, ids: np.ndarray) -> dict[int, np.ndarray]:
        """Masks (T, H, W) of everything that the context frame shows, by id."""
        values, counts = np.unique(ids, return_counts=True)
        shown = [
            int(value)
            for value, count in zip(values, counts, strict=True)
            if count >= LEAST_PIXELS and value not in (FLOOR, CEILING)
        ]
        if not shown:
            return {}
        frames = np.concatenate([sample.context[None], sample.pred])
        masks = self.tracker.track(frames, np.stack([ids == value for value in shown])).masks
        return {value: masks[1:, n] for n, value in enumerate(shown)}


def _apart(
    view: View,
    first: View,
    masks: Mapping[int, np.ndarray],
    wanted: Sequence[int],
    centimetres: float,
) -> tuple[float, float]:
    """Mean distance in a frame, and the share that is missing; NaN where none is looked for."""
    apart, gone = [], []
    for identity in wanted:
        true = view.ids == identity
        if identity not in masks or true.sum() < LEAST_PIXELS:
            continue
        missing = bool(masks[identity].sum() < LEAST_PIXELS / 2)
        here = (first.ids == identity) if missing else masks[identity]
        depth = float(np.median(view.depth[true]))
        apart.append(np.linalg.norm(_middle(here) - _middle(true)) * depth * centimetres)
        gone.append(missing)
    if not apart:
        return float("nan"), float("nan")
    return float(np.mean(apart)), float(np.mean(gone))


def _middle(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(0)
