"""What is served: a model, the pictures to begin from, and how it imagines."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from egowm.actions import ActionSpec, follows
from egowm.actions.keys import MOVES, pressed
from egowm.checks import counted
from egowm.dynamics import Dynamics
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.serving.domain import Domain
from egowm.serving.messages import (
    MOST_ANSWER,
    Begin,
    Format,
    Frames,
    MessageError,
    RolloutRequest,
    chosen,
    encoded,
    futures_of,
    picture_of,
)
from egowm.serving.walk import Truth, Walk, is_planar
from egowm.session import Session
from egowm.video import resize
from egowm.worlds.motion import find_start
from egowm.worlds.recording import seed_of
from egowm.worlds.rooms import Room

STRICT = Sampling(strict=True)  # no action far beyond what the model has seen
ROOMS = 1_000_000  # unseen ones, by number
AT_ONCE = 16  # futures imagined at once, which bounds the memory
MOST_AT_ONCE = 256  # their frames: then a walk may take its turn, and who has gone is left


class Asked(NamedTuple):
    """Futures that a client asks for: actions (N, T, A), and options of `Dynamics.rollout`."""

    actions: torch.Tensor
    form: Format
    options: dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A model and how it is walked in. All methods but `sent` and `asked`, which leave the
    model alone, run in its thread.

    Args:
        model: Makes frames.
        size: H and W of its pictures.
        pictures: Name and (H, W, 3) uint8 of each picture that a visitor may choose; without any,
            visitors begin in a room.
        domain: What the model's pictures are like; None where that is not known.
        how: The settings; actions beyond 1.5 times the training range are refused.
        room: Number of the unseen room in which visitors begin.
        state: (S,) at a picture, for models that embed one; None takes the middle of its range.
        text: Of the scene, for backbones that take one.
        source: Whose ranges normalise the actions.
        block: Actions imagined at once; None takes the model's own number.
        name: Of the model, for the page.
    """

    model: Dynamics
    size: tuple[int, int]
    pictures: Sequence[tuple[str, np.ndarray]] = ()
    domain: Domain | None = None
    how: Sampling = STRICT
    room: int = 0
    state: tuple[float, ...] | None = None
    text: str = ""
    source: str | None = None
    block: int | None = None
    name: str = "rooms"

    def __post_init__(self) -> None:
        self.model.check_size(*self.size)
        if self.state is not None and self.model.state_spec is None:
            raise ValueError("This model embeds no state: leave state out.")
        if not self.pictures and not self.in_rooms:
            raise ValueError(
                "Expected a picture: this model's actions are not those of the embedded rooms' "
                "robot, so nothing can be simulated beside it."
            )

    @property
    def spec(self) -> ActionSpec:
        """What actions mean."""
        return self.model.spec_of(self.source)

    @property
    def in_rooms(self) -> bool:
        """Whether the simulated robot can do what the model is told."""
        return is_planar(self.spec)

    @property
    def keys(self) -> dict[str, list[float]] | None:
        """The action of each key; None for actions that no key stands for."""
        try:
            return {key: pressed(key, self.spec)[0].tolist() for key in MOVES}
        except ValueError:
            return None

    def about(self) -> dict[str, Any]:
        """What a client has to know of the model, for JSON."""
        spec, meaning = self.spec, self.model.state_spec
        chunk = getattr(self.model, "chunk", self.model.frames_at_once)
        return {
            "name": self.name,
            "names": spec.names,
            "units": spec.units,
            "low": spec.low,
            "high": spec.high,
            "kind": spec.kind,
            "planar": is_planar(spec),
            "keys": self.keys,
            "rate_hz": spec.rate_hz,
            "block": self.block or chunk,
            "height": self.size[0],
            "width": self.size[1],
            "pictures": [name for name, _ in self.pictures],
            "rooms": self.in_rooms,
            "state": None if meaning is None else {"names": meaning.names, "units": meaning.units},
            "state_is_guessed": meaning is not None and self.state is None,
            "state_follows": meaning is None or follows(spec, meaning),
            "domain_is_known": self.domain is not None,
        }

    def sent(self, data: str | bytes) -> np.ndarray:
        """A file that was sent, or its base64, in the model's size; a large one takes seconds."""
        return self._fitted(picture_of(data))

    def begin(self, told: Begin, picture: np.ndarray | None = None) -> Walk:
        """A walk from a picture that was sent, or where visitors begin."""
        truth = None
        if picture is None and ("room" in told or not self.pictures):
            truth = self._in_room(told.get("room", self.room))
            picture = truth.look()
        elif picture is None:
            index = told.get("shown", 0)
            if index >= len(self.pictures):
                raise MessageError(f"Expected shown below {len(self.pictures)}, got {index}.")
            picture = self._fitted(self.pictures[index][1])
        session = Session(
            self.model,
            self._context(picture),
            self.how,
            state=self._state(told.get("state")),
            text=told.get("text", self.text),
            source=self.source,
            generator=torch.Generator().manual_seed(told.get("seed", 0)),
            block=self.block,
        )
        return Walk(session, picture, truth)

    def asked(self, told: RolloutRequest) -> Asked:
        """What is asked for, checked, before the picture is decoded, which takes far longer."""
        form: Format = chosen(told.get("format"), Format)
        decode: Frames = chosen(told.get("frames"), Frames)
        source = told.get("source", self.source)
        spec = self.model.spec_of(source)
        actions = torch.from_numpy(futures_of(told["actions"], spec.width))
        spec.check(actions, self.how.strict)  # all of them, before the first part
        self._check_answer(len(actions) * (1 if decode == "last" else actions.shape[1]))
        state = self._state(told.get("state"))
        how = replace(
            self.how,
            decode=decode,
            steps=told.get("steps", self.how.steps),
            guidance=told.get("guidance", self.how.guidance),
        )
        told_of = {
            "how": how,
            "state": None if state is None else state[None],
            "text": told.get("text", self.text),
            "source": source,
            "generator": torch.Generator().manual_seed(told.get("seed", 0)),
        }
        return Asked(actions, form, told_of)

    def rollout(
        self, asked: Asked, picture: np.ndarray
    ) -> tuple[dict[str, Any], Iterator[list[list[str]]]]:
        """What is told of futures of one picture, for JSON, and their encoded frames, some futures
        at a time: they are imagined when they are asked for."""
        actions, form = asked.actions, asked.form
        imagine = partial(self.model.rollout, self._context(picture), **asked.options)
        unlike = None if self.domain is None else self.domain.unlike(picture)
        answer = {"format": form, "height": self.size[0], "width": self.size[1], "unlike": unlike}
        size = max(1, min(AT_ONCE, MOST_AT_ONCE // actions.shape[1]))
        parts = actions.split(self.how.micro_batch or size)
        return answer, (_written(imagine(actions=part).frames, form) for part in parts)

    def _check_answer(self, count: int) -> None:
        most = MOST_ANSWER // (3 * self.size[0] * self.size[1])
        if count > most:
            raise MessageError(
                f"Expected at most {counted(most, 'frame')} of this size in one answer, got "
                f"{count}: ask for fewer, or for the last ones alone."
            )

    def _in_room(self, number: int) -> Truth:
        """The simulated robot at a free place of an unseen room."""
        if not self.in_rooms:
            raise MessageError("This model's actions are not those of the rooms' robot.")
        if number >= ROOMS:
            raise MessageError(f"Expected a room below {ROOMS}, got {number}.")
        seed = seed_of("test", number)
        room = Room(seed)
        return Truth(room, find_start(room, np.random.default_rng([seed, 7])), self.size)

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        """Cut about its centre to the shape of the model's pictures, and resized."""
        return resize(picture[None], *self.size, crop=True)[0]

    def _context(self, picture: np.ndarray) -> torch.Tensor:
        """(1, K, 3, H, W) uint8: the robot stood still before."""
        frame = torch.from_numpy(picture.transpose(2, 0, 1).copy())
        return frame[None, None].expand(1, self.model.num_context, -1, -1, -1)

    def _state(self, told: list[float] | None) -> torch.Tensor | None:
        meaning = self.model.state_spec
        if meaning is None:
            if told is not None:
                raise MessageError("This model embeds no state: leave state out.")
            return None
        given = told if told is not None else self.state
        if given is None:
            given = [(low + high) / 2 for low, high in zip(meaning.low, meaning.high, strict=True)]
        if len(given) != meaning.width:
            raise MessageError(
                f"Expected a state of {counted(meaning.width, 'number')}, got {len(given)}."
            )
        return torch.tensor(given, dtype=torch.float32)


def _written(futures: torch.Tensor, form: Format) -> list[list[str]]:
    """Frames (N, T, 3, H, W) in [0, 1] as base64 of encoded pictures."""
    return [
        [base64.b64encode(encoded(frame, form)).decode() for frame in to_uint8(future)]
        for future in futures
    ]
