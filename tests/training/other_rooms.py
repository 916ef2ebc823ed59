"""Rooms whose actions and states are called as a test wants it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.data import Episode, Rooms, Window


class OtherRooms(Rooms):
    """names: of the actions' dimensions. state: of the body's, which stands still at its index."""

    def __init__(
        self,
        root: str,
        window: Window,
        names: Sequence[str] = ("dx", "dy", "dyaw"),
        state: Sequence[str] = (),
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        self.meaning = replace(Rooms.meaning, names=tuple(names))
        if state:
            units = ("V",) * len(state)
            self.state_meaning = ActionSpec(tuple(state), units, "body", "command", rate_hz=4.0)

    def episodes(self, split: str) -> list[Episode]:
        found = super().episodes(split)
        if self.state_meaning is None:
            return found
        width = self.state_meaning.width
        return [
            replace(e, states=np.tile(np.arange(e.num_frames, dtype=np.float32)[:, None], width))
            for e in found
        ]
