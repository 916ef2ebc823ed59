"""The rooms themselves as a world model: what truly follows from actions, walls included."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import check_shape, counted
from egowm.clip import Clip
from egowm.data.normalisers import WHEELED
from egowm.diffusion import Generator
from egowm.evaluation.navigation import MAX_FORWARD, Pose, simulate
from egowm.pixels import to_unit
from egowm.sampling import Actions, Rollout, Sampling, as_frames, as_sequences
from egowm.worlds.drawing import check_size
from egowm.worlds.motion import MAX_TURN, ROBOT_HEIGHT
from egowm.worlds.rooms import Camera, Room

if TYPE_CHECKING:
    from egowm.data.rooms import Rooms

Place = tuple[Room, Pose]


class Futures:
    """Where robots stand, and in which rooms; size (H, W) of what they see."""

    def __init__(self, places: Sequence[Place], size: tuple[int, int]) -> None:
        self.places, self.size = list(places), size

    def moved(self, actions: np.ndarray) -> "Futures":
        """After an action (N, 3) of each, as far as its room allows."""
        pairs = zip(self.places, actions, strict=True)
        after = [(room, simulate(room, pose, [action])) for (room, pose), action in pairs]
        return Futures(after, self.size)

    def seen(self) -> Tensor:
        """(N, 3, H, W) in [0, 1]."""
        cameras = [(room, Camera(x, y, ROBOT_HEIGHT, yaw)) for room, (x, y, yaw) in self.places]
        frames = np.stack([room.render(camera, *self.size).rgb for room, camera in cameras])
        return to_unit(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()))


class Simulator:
    """`egowm.dynamics.Dynamics` by the embedded rooms; its latents are its frames.

    It looks at no context: it has to be told where it stands, or it looks up the clips of `data`.

    Args:
        data: Rooms whose clips it can imagine (`rollout_of`).
        places: Rooms, and poses (x, y, yaw) in them: one for all sequences, or one for each.

    >>> simulator = Simulator(places=[(Room(7), (0.0, 0.0, 0.0))])
    >>> simulator.rollout(torch.zeros(1, 1, 3, 8, 8), torch.zeros(2, 4, 3)).frames.shape
    torch.Size([2, 4, 3, 8, 8])
    """

    spec: ActionSpec | None = replace(
        WHEELED, low=(0.0, 0.0, -float(MAX_TURN)), high=(MAX_FORWARD, 0.0, float(MAX_TURN))
    )
    state_spec: ActionSpec | None = None
    device = torch.device("cpu")
    num_context, frames_at_once, jump, steps = 1, 1, 0, 1
    makes_frames, name, base = True, "the simulator", "the embedded rooms"

    def __init__(self, data: "Rooms | None" = None, places: Sequence[Place] = ()) -> None:
        self.data, self.places = data, list(places)

    def move(self, action: np.ndarray) -> None:
        """All robots do an action (3,)."""
        self.places = [(room, simulate(room, pose, [action])) for room, pose in self.places]

    def rollout(
        self,
        context: Any,
        actions: Actions,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
        source: str | None = None,
        generator: Generator = None,
    ) -> Rollout:
        """The frames that follow; of the context, the size alone counts."""
        if state is not None or any([text] if isinstance(text, str) else text) or source:
            raise ValueError("The simulator takes no state, text or source: leave them out.")
        if how.gradient or how.guidance != 1:
            raise ValueError("The simulator has neither a gradient nor guidance: leave them out.")
        told = as_sequences(actions, self.spec_of(source), self.device)
        outside = self.spec_of(source).check(told, how.strict)
        futures, frames = self._futures(as_frames(context), len(told)), []
        for number, action in enumerate(told.detach().double().numpy().transpose(1, 0, 2), 1):
            futures = futures.moved(action)
            if how.decode != "last" or number == told.shape[1]:
                frames.append(futures.seen())
        shown = torch.stack(frames, 1)
        return Rollout(shown[:, :0] if how.decode == "none" else shown, shown, outside)

    def rollout_of(
        self,
        clip: Clip,
        actions: Tensor | None = None,
        how: Sampling = Sampling(),
        *,
        generator: Generator = None,
    ) -> Rollout:
        """The frames that follow where the clips were recorded."""
        told = clip.actions if actions is None else actions
        return self._where(clip).rollout(clip.frames[:, :1], told, how)

    def spec_of(self, source: str | None) -> ActionSpec:
        """Metres ahead and to the left, radians to the left; there is one source."""
        assert self.spec is not None
        return self.spec

    def source_of(self, clip: Clip) -> str | None:
        """None: there is one source."""
        return None

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames that cannot be drawn."""
        check_size(height, width)

    def stepper(self, how: Sampling, source: str | None, generator: Generator) -> "Simulator":
        """Itself."""
        return self

    def stepper_of(self, clip: Clip, how: Sampling, generator: Generator) -> "Simulator":
        """The simulator with robots where the clips were recorded."""
        return self._where(clip)

    def begin(self, context: Tensor) -> Futures:
        """Robots where they stand now; of the context (N, K, 3, H, W) the size alone counts."""
        return self._futures(context, len(context))

    def advance(
        self, before: Futures, actions: Tensor, state: Tensor | None, texts: Sequence[str]
    ) -> tuple[Futures, Rollout]:
        """After one action (N, 1, 3) of each."""
        after = before.moved(actions[:, 0].double().numpy())
        seen = after.seen()[:, None]
        return after, Rollout(seen, seen, 0)

    def begin_again(self, before: Futures, context: Tensor, here: Tensor) -> Futures:
        """The robots where `here` (N,) is true stand where they began."""
        first = self._futures(context, len(context)).places
        chosen = zip(here.tolist(), first, before.places, strict=True)
        return Futures([new if back else now for back, new, now in chosen], before.size)

    def encode_goal(self, frame: Tensor) -> Tensor:
        """The frame (3, H, W) itself."""
        return frame

    def reconstruct(self, clip: Clip) -> Tensor:
        """The recorded frames (B, T, 3, H, W) in [0, 1]."""
        return to_unit(clip.frames[:, -clip.actions.shape[1] :])

    def about(self) -> dict[str, Any]:
        """It has no base."""
        return {"base_sha256": None}

    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """Mean squared difference from the recorded frames."""
        return (self.rollout_of(clip).frames - self.reconstruct(clip)).square().mean()

    def _where(self, clip: Clip) -> "Simulator":
        """With robots at the last context frames of a batch of clips; each room is built once."""
        if self.data is None:
            raise ValueError("Expected Simulator(data): it looks up where the clips were recorded.")
        known = {name: self.data.place(name) for name in set(clip.name)}
        places = [(known[name][0], tuple(known[name][1])) for name in clip.name]
        return Simulator(self.data, places)

    def _futures(self, context: Tensor, count: int) -> Futures:
        check_shape("context", context, "N K 3 H W")
        if len(self.places) not in (1, count):
            raise ValueError(
                f"Expected the simulator in 1 place, or in one for each of "
                f"{counted(count, 'sequence')}, got {len(self.places)}: Simulator(places=...)."
            )
        places = self.places * count if len(self.places) == 1 else self.places
        return Futures(places, (context.shape[-2], context.shape[-1]))
