"""The scheduler that comes with a base: followed as diffusers follows it, or refused.

egowm takes Euler steps over the noise levels that the stock scheduler gives. What else a
scheduler's settings change (what an output means, the time that the network is told) each family
does itself, for the values that it names.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from egowm.checks import counted
from egowm.loading import INDEX, expect, read_json
from egowm.readable import undamaged
from egowm.sizes import check_types

SETTINGS = "scheduler_config.json"
Levels = TypeVar("Levels", bound=Callable[[int], Tensor])
Supported = Mapping[str, Mapping[str, tuple[Any, ...]]]  # class: setting: values that are followed

_SOLVER = {
    "prediction_type": ("flow_prediction",),
    "use_flow_sigmas": (True,),
    "use_dynamic_shifting": (False,),
    "thresholding": (False,),
}
FLOW: Supported = {  # flow matching whose pipeline asks for a number of steps and nothing else
    "UniPCMultistepScheduler": _SOLVER | {"predict_x0": (True,)},
    "DPMSolverMultistepScheduler": _SOLVER | {"algorithm_type": ("dpmsolver++", "dpmsolver")},
    "FlowMatchEulerDiscreteScheduler": {
        "use_dynamic_shifting": (False,),
        "invert_sigmas": (False,),
        "stochastic_sampling": (False,),
    },
}


def _by_count(steps: int) -> dict[str, Any]:
    return {"num_inference_steps": steps}


@dataclass(frozen=True)
class StockLevels:
    """The noise levels (steps + 1,) of a stock scheduler, by the number of steps.

    Args:
        scheduler: Of diffusers.
        folder: Of the scheduler, for errors.
        ask: The arguments of its `set_timesteps` for a number of steps, as the pipeline gives them.
        ceiling: Highest level that makes sense; 1 in flow matching.
        holds_last: The last level is the one before instead of 0.
    """

    scheduler: Any
    folder: Path
    ask: Callable[[int], dict[str, Any]] = _by_count
    ceiling: float = math.inf
    holds_last: bool = False

    def __call__(self, steps: int) -> Tensor:
        """Raises ValueError for levels that are no way down from noise to frames."""
        file = self.folder / SETTINGS
        with undamaged(file), np.errstate(all="ignore"):
            self.scheduler.set_timesteps(**self.ask(steps))
            sigmas: Tensor = self.scheduler.sigmas.float().clone()
        if self.holds_last:
            sigmas[-1] = sigmas[-2]
        *levels, last = sigmas.tolist()
        if steps == 1 and len(levels) == 1 and levels[0] == last:
            raise ValueError(
                f"{file}: the scheduler's noise levels end above 0, expected at least 2 sampling "
                f"steps, got 1."
            )
        down = all(high > low >= 0 for high, low in zip(levels, [*levels[1:], 0], strict=True))
        if len(levels) != steps or not down or not 0 <= last <= levels[0] <= self.ceiling:
            shown = ", ".join(f"{level:.4g}" for level in [*levels, last][:6])
            raise ValueError(
                f"{file}: expected {counted(steps, 'noise level')}, falling towards 0, none above "
                f"{self.ceiling:g}, got {shown}: give a scheduler like that of the published base."
            )
        return sigmas


def load_scheduler(pipeline: Path, supported: Supported) -> Any:
    """The scheduler of a pipeline's folder, of the class that its index names.

    Raises FileNotFoundError for a missing file, ValueError, naming key and value, for one that
    cannot be read and for settings that are not among the supported ones.
    """
    import diffusers
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    index, folder = read_json(pipeline, INDEX), pipeline / "scheduler"
    expect(folder, SETTINGS)
    named = index.get("scheduler")
    name = named[1] if isinstance(named, list) and len(named) == 2 else None
    if not isinstance(name, str) or name not in supported:
        raise ValueError(
            f"{pipeline / INDEX}: scheduler {named!r} is not supported: expected "
            f"{' or '.join(supported)}."
        )
    cls = getattr(diffusers, name)
    settings = read_json(folder, SETTINGS)
    check_types(cls, settings, folder / SETTINGS)
    if not settings.get("sigma_data", 1) > 0:
        raise ValueError(f"{folder / SETTINGS}: expected sigma_data above 0.")
    # Noise levels are computed as it is made, also where a step is traced without values.
    with undamaged(folder), unset_fake_temporarily():
        scheduler = cls.from_pretrained(folder, local_files_only=True)
    check_followed(scheduler, supported, str(folder / SETTINGS))
    return scheduler


def check_followed(scheduler: Any, supported: Supported, where: str) -> None:
    """ValueError for a class, or a setting's value, also a default one, that is not supported."""
    name = type(scheduler).__name__
    if name not in supported:
        raise ValueError(f"{where}: {name} is not supported: expected {' or '.join(supported)}.")
    for key, values in supported[name].items():
        value = scheduler.config.get(key)
        if value not in values:
            raise ValueError(
                f"{where}: {key} {value!r} is not supported: expected "
                f"{' or '.join(map(repr, values))}."
            )


def tried(levels: Levels) -> Levels:
    """The same, after asking for two steps: damaged settings are told when a base is loaded."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    with unset_fake_temporarily():
        levels(2)
    return levels
