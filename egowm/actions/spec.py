"""What an action vector means: names, units, frame, rate and a normaliser for each dimension."""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_float, checked, counted, shown
from egowm.files import whole
from egowm.readable import readable
from egowm.typed_json import RecordError, faults, read_json

log = logging.getLogger(__name__)
_MEANT: ContextVar[bool] = ContextVar("meant", default=False)
_WARNED: set[tuple[Any, ...]] = set()  # names and ranges of which a warning was given
_NAMED = 4  # dimensions that it names
Kind = Literal["se2", "se3", "command", "difference"]
NormaliserName = Literal["min-max", "quantile", "mean-std", "none"]
POSE_WIDTHS = {"se2": 3, "se3": 6}
MARGIN = 1.5  # actions beyond this many times the training range are counted
QUANTILES = (0.01, 0.99)
DEVIATIONS = 3.0  # stand for the training range where only mean and deviation are known


class SpecRecord(TypedDict):
    """The fields of an ActionSpec in JSON."""

    names: list[str]
    units: list[str]
    frame: str
    kind: str
    rate_hz: float
    low: NotRequired[list[float]]
    high: NotRequired[list[float]]
    normalisers: NotRequired[list[str]]


@checked
@dataclass(frozen=True)
class ActionSpec:
    """The meaning of an action, saved in every checkpoint and export.

    Args:
        names: One per dimension, A of them.
        units: One per dimension, for instance "m" or "rad/s".
        frame: What the numbers are expressed in: "body" (the previous pose's frame), "command" or
            "joint".
        kind: How actions compose over skipped frames: "se2" poses (dx, dy, dyaw), "se3" poses (dx,
            dy, dz and a rotation vector; each is the next pose in the frame of the one before),
            "difference" of states (summed), "command" (averaged).
        rate_hz: Of the frames of a clip, after skipping; above 0.
        low: Per dimension, what is mapped to -1; empty until the range is measured. A dimension
            with low == high is left at 0.
        high: Per dimension, what is mapped to 1.
        normalisers: Per dimension, what low and high are: "min-max" the extremes (also where it is
            left out), "quantile" the 1st and 99th percentile, "mean-std" mean minus and plus one
            standard deviation, "none" -1 and 1 (values pass unchanged).

    Raises:
        ValueError: Numbers of names, units and ranges that differ, or a range upside down.

    >>> low, high = (0.0, -1.0), (2.0, 1.0)
    >>> units = ("m/s", "rad/s")
    >>> spec = ActionSpec(("speed", "turn"), units, "command", "command", 4.0, low, high)
    >>> spec.normalise(torch.tensor([[1.5, -0.5]]))
    tensor([[ 0.5000, -0.5000]])
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    frame: str
    kind: Kind
    rate_hz: float
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    normalisers: tuple[NormaliserName, ...] = ()

    def __post_init__(self) -> None:
        fields = ("names", "units", "low", "high", "normalisers")
        for name in fields:  # YAML and JSON bring lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if set(self.normalisers) == {"min-max"}:  # said by saying nothing, as in older files
            object.__setattr__(self, "normalisers", ())
        for name in fields[1:]:
            got = len(getattr(self, name))
            if got != len(self.names) and not (got == 0 and name != "units"):
                names = counted(len(self.names), "name")
                found = counted(got, name.removesuffix("s"), name)
                raise ValueError(f"ActionSpec: {names} but {found}.")
        if not 0 < self.rate_hz < np.inf:
            raise ValueError(f"ActionSpec: expected a rate above 0 Hz, got {self.rate_hz}.")
        if len(self.low) != len(self.high) or not all(
            -np.inf < low <= high < np.inf for low, high in zip(self.low, self.high, strict=True)
        ):
            raise ValueError(
                f"ActionSpec: expected finite low <= high in each dimension, got {self.low} and "
                f"{self.high}."
            )
        expected = POSE_WIDTHS.get(self.kind, len(self.names))
        if len(self.names) != expected:
            raise ValueError(
                f"ActionSpec: kind {self.kind} has {counted(expected, 'dimension')}, "
                f"got {list(self.names)}."
            )

    @property
    def width(self) -> int:
        """A, the number of dimensions."""
        return len(self.names)

    def fitted(self, actions: Iterable[np.ndarray]) -> "ActionSpec":
        """This spec with low and high measured, each dimension by its normaliser.

        Extremes and percentiles are symmetric around 0 except for commands, so no motion stays at
        0. Mean and deviation are the values' own.

        Args:
            actions: Arrays (N, A) of composed actions in physical units, N of any length.

        Raises:
            ValueError: No actions, another width, or a number that is not finite.
        """
        if not self.width:
            raise ValueError(
                "These videos come without actions, so no world model can be fitted to them: train "
                "a video prior (egowm.pretraining.VideoPrior, recipes/passive_video_svd.yaml)."
            )
        rows = np.concatenate(
            [np.empty((0, self.width)), *[_rows(one, self.width) for one in actions]]
        )
        if not len(rows):
            raise ValueError("No actions to measure: the data set holds no complete clip.")
        if len(bad := np.argwhere(~np.isfinite(rows))):
            row, k = bad[0]
            raise ValueError(
                f"No range can be measured: row {row} of {self.names[k]} is not a finite number."
            )
        bounds = [
            self._measured(rows[:, k], name) for k, name in enumerate(self._normaliser_names())
        ]
        low, high = (tuple(float(bound[end]) for bound in bounds) for end in (0, 1))
        return replace(self, low=low, high=high)

    def _measured(self, values: np.ndarray, normaliser: NormaliserName) -> tuple[float, float]:
        """What -1 and 1 stand for in one dimension."""
        if normaliser == "none":
            return -1.0, 1.0
        if normaliser == "mean-std":
            mean, deviation = values.mean(), values.std()
            return mean - deviation, mean + deviation
        ends = (0.0, 1.0) if normaliser == "min-max" else QUANTILES
        low, high = np.quantile(values, ends)
        if self.kind != "command":
            high = max(abs(low), abs(high))
            low = -high
        return low, high

    def _normaliser_names(self) -> tuple[NormaliserName, ...]:
        least: NormaliserName = "min-max"
        return self.normalisers or (least,) * self.width

    def normalise(self, actions: Tensor) -> Tensor:
        """Physical units to about [-1, 1].

        Args:
            actions: (..., A) floats in physical units, tensor or array.
        """
        low, span = self._range(self._fitting(actions))
        return torch.where(span > 0, 2 * (actions - low) / span.clamp(min=1e-12) - 1, 0.0)

    def denormalise(self, actions: Tensor) -> Tensor:
        """The inverse of `normalise`; a constant dimension returns its constant.

        Args:
            actions: (..., A) floats in about [-1, 1], tensor or array.
        """
        low, span = self._range(self._fitting(actions))
        return low + (actions + 1) / 2 * span

    def check(self, actions: Tensor, strict: bool = False) -> int:
        """Refuse a wrong width or NaN; return how many values lie beyond 1.5x the training range.

        Args:
            actions: (..., T, A) floats in physical units, tensor or array.
            strict: Refuse values beyond the range too; else they warn once.
        """
        if actions.ndim < 2:
            raise ValueError(
                f"Expected actions of shape (..., T, {self.width}), got {tuple(actions.shape)}."
            )
        self._fitting(actions)
        if not torch.isfinite(actions).all():
            step, dim = (~torch.isfinite(actions)).nonzero()[0][-2:].tolist()
            raise ValueError(
                f"Action {step}, dimension {dim} ({self.names[dim]}) is not a finite number."
            )
        low, span = self._range(actions)
        centre, scale = low + span / 2, actions.new_tensor(self._margins())
        far = (actions - centre).abs() > scale * span / 2 + 1e-6
        outside = int(far.sum())
        if outside and strict:
            raise ValueError(
                f"{counted(outside, 'action value lies', 'action values lie')} beyond {MARGIN} "
                f"times the training range: {self._beyond(actions, far)}. Bound the planner's "
                f"samples, or pass strict=False."
            )
        known = (self.names, self.low, self.high)
        if outside and not _MEANT.get() and known not in _WARNED:
            _WARNED.add(known)
            log.warning(
                "Some action values lie beyond %s times the training range: %s",
                MARGIN,
                self._beyond(actions, far),
            )
        return outside

    def _fitting(self, actions: Tensor) -> Tensor:
        """The same, of the spec's width and floating point."""
        if not actions.ndim or actions.shape[-1] != self.width:
            raise ValueError(
                f"Expected actions of shape (..., T, {self.width}): {', '.join(self.names)}; "
                f"got {tuple(actions.shape)}."
            )
        check_float("actions", actions)
        return actions

    def _margins(self) -> list[float]:
        """How far from the centre a value may lie, in halves of high - low."""
        special = {"mean-std": MARGIN * DEVIATIONS, "none": float("inf")}
        return [special.get(name, MARGIN) for name in self._normaliser_names()]

    def compare(self, other: "ActionSpec") -> None:
        """Refuse another meaning, naming the difference.

        Args:
            other: Of the data; names, units, frame and kind must be the same, the rate within 1%.

        Raises:
            ValueError: They differ.
        """
        for name in ("names", "units", "frame", "kind"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"The model's actions and the data's differ in {name}: {mine} against "
                    f"{theirs}. Train on this robot, or convert the data."
                )
        if abs(self.rate_hz - other.rate_hz) > 0.01 * self.rate_hz:
            raise ValueError(
                f"The model was trained at {self.rate_hz:g} Hz, the data come at "
                f"{other.rate_hz:g} Hz: change the window's stride."
            )

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all.

        Args:
            path: The file; one that is there is replaced.
        """
        with whole(path) as temporary:
            temporary.write_text(json.dumps(self.record(), indent=2) + "\n")

    def record(self) -> dict[str, Any]:
        """Its fields for JSON; normalisers only where they are not all min-max, as in old files."""
        fields = asdict(self)
        if not self.normalisers:
            del fields["normalisers"]
        return fields

    @classmethod
    def load(cls, path: Path | str) -> "ActionSpec":
        """Read what `save` wrote.

        Args:
            path: The file.

        Raises:
            ValueError: It holds no ActionSpec; the message names what is wrong in it.
        """
        with readable(Path(path), "an ActionSpec"):
            found = read_json(Path(path), SpecRecord, "an ActionSpec")
        return cls.of_record(found, f"{path}: ")

    @classmethod
    def of_record(cls, fields: Any, owner: str = "") -> "ActionSpec":
        """The spec of what `record` gave and a file held.

        Args:
            fields: A dict of the fields, with lists or tuples.
            owner: What the messages begin with, for instance the file's name; nothing by default.

        Raises:
            ValueError: The fields make no ActionSpec.
        """
        if isinstance(fields, dict):  # checkpoints keep tuples
            fields = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        for fault in faults(fields, SpecRecord):
            raise RecordError(f"{owner}expected an ActionSpec; {' '.join(fault.split())}")
        try:
            spec = cls(**fields)
        except (ValueError, TypeError) as error:
            raise RecordError(f"{owner}{error}") from error
        if not spec.names:
            raise RecordError(f"{owner}expected an ActionSpec with at least one name.")
        return spec

    def _range(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if not self.low:
            raise ValueError(
                "This ActionSpec has no range yet: fit it on data (`ActionSpec.fitted`)."
            )
        low = torch.tensor(self.low, dtype=like.dtype, device=like.device)
        return low, torch.tensor(self.high, dtype=like.dtype, device=like.device) - low

    def _beyond(self, actions: Tensor, far: Tensor) -> str:
        """The first dimensions that are out of range: an example of each, and its range."""
        here = far.flatten(0, -2).any(0).nonzero().flatten().tolist()
        said = []
        for k in here[:_NAMED]:
            value = actions[..., k][far[..., k]].flatten()[0].item()
            low, high = f"{self.low[k]:.3g}", f"{self.high[k]:.3g}"
            said.append(f"{self.names[k]} {value:.3g} ({low}..{high} {self.units[k]})")
        more = [f"and {len(here) - _NAMED} more"] if len(here) > _NAMED else []
        return ", ".join(said + more)


def _rows(actions: Any, width: int) -> np.ndarray:
    """Actions (N, width); refuses what a range cannot be measured from."""
    try:
        rows = np.asarray(actions)
    except (TypeError, ValueError, RuntimeError):
        rows = np.empty(0)
    if rows.dtype.kind not in "biuf" or rows.shape[-1:] != (width,):
        raise ValueError(f"Expected arrays (N, {width}) of actions, got {shown(actions)}.")
    return rows.reshape(-1, width).astype(np.float64)


@contextmanager
def meant() -> Iterator[None]:
    """Actions beyond the training range are asked for on purpose here: nobody is warned of them.

    >>> with meant():
    ...     still = True  # a robot that never stood still is told to
    """
    before = _MEANT.set(True)
    try:
        yield
    finally:
        _MEANT.reset(before)
