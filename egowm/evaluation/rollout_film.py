"""The film of rollouts from one picture: what each sequence shows, and a map of the ways."""

from collections.abc import Sequence

import numpy as np

from egowm.actions import ActionSpec
from egowm.actions.keys import MOVES, in_words
from egowm.actions.poses import planar_path
from egowm.evaluation.film import COLOURS, NOTE_LINES, STRIP, beside, key_strips, panel, strip
from egowm.evaluation.map_drawing import Way, draw_map


def rollout_film(
    videos: Sequence[np.ndarray],
    names: Sequence[str],
    actions: Sequence[np.ndarray],
    spec: ActionSpec,
) -> np.ndarray:
    """Frames (n, H', W', 3) uint8: a panel for each video, and the ways from above.

    Args:
        videos: (T+1, H, W, 3) uint8 each, the picture first.
        names: The keys of each, or the name of its file.
        actions: (T, A) of each, in the units of the spec.
        spec: What the actions mean. Without motions in the plane there is no map.
    """
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(videos))]
    panels = []
    for video, name, told, colour in zip(videos, names, actions, colours, strict=True):
        _, tall, width, _ = panel(video[:1], "").shape
        file = [strip(name, width, colour, keep_end=True)]  # the folders it lies in tell less
        label = key_strips(name, width, colour) if set(name) <= set(MOVES) else file
        notes = ["the picture", *(in_words(action, spec) for action in told)]
        panels.append(panel(video, label, notes, most_lines=NOTE_LINES))
    if spec.kind == "se2":
        ways = [Way(planar_path(told), c) for told, c in zip(actions, colours, strict=True)]
        drawn = draw_map(ways, tall - STRIP)
        panels.append(panel(drawn, "the way from above", [""]))
    return beside(panels)
