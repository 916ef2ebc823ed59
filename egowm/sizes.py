"""What the settings of a model may ask for: values like the defaults, and weights that there are.

A damaged digit asks for terabytes, or for layers without end.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from egowm.checks import counted
from egowm.readable import undamaged

MOST_WEIGHTS, MOST_TENSORS = 10**12, 10_000  # of a part; published ones have a thousand tensors
LARGEST, LARGEST_FLOAT = 1_000_000, 1e9  # whole numbers are lengths: they take memory


def check_types(cls: Any, settings: Mapping[str, Any], file: Path) -> None:
    """Refuse settings of other types than the defaults of a constructor, and larger numbers."""
    for key, parameter in inspect.signature(cls.__init__).parameters.items():
        value, default = settings.get(key, parameter.default), parameter.default
        if value is None or value == default or default in (None, inspect.Parameter.empty):
            continue
        kinds: Any = {bool: bool, int: (int, float), float: (int, float), str: str}
        kind = kinds.get(type(default), (list, tuple, dict, int, str))
        each = value if isinstance(value, list) else [value]
        numbers = [x for x in each if _is_number(x)]
        largest = LARGEST_FLOAT if isinstance(default, float) else LARGEST
        listed = type(default) in kinds and "tuple" in str(parameter.annotation).lower()
        fits = all(
            isinstance(x, kind) and isinstance(x, bool) == isinstance(default, bool)
            for x in (each if listed else [value])
        )
        if not fits or any(not abs(number) <= largest for number in numbers):
            raise ValueError(
                f"{file}: {key} {value!r} is not supported: expected a value like the default "
                f"{default!r}."
            )


def room_for(files: Iterable[Path]) -> tuple[int, int]:
    """Weights and tensors that the model of these safetensors files may have at most.

    Four times what they hold: tied weights are stored once, and two small ones may be in a byte.
    """
    from safetensors import safe_open

    weights = tensors = 0
    for file in filter(Path.is_file, files):
        with undamaged(file), safe_open(file, "pt") as held:
            shapes = [held.get_slice(name).get_shape() for name in held.keys()]  # noqa: SIM118
        weights += sum(map(prod, shapes))
        tensors += len(shapes)
    if not tensors:  # as where a step is traced from settings alone
        return MOST_WEIGHTS, MOST_TENSORS
    return 4 * weights + 1_000_000, 4 * tensors + 1000


@contextmanager
def no_larger_than(weights: int, tensors: int) -> Iterator[None]:
    """The block in which modules are refused as soon as they have more weights or tensors; those
    that take another's place are not counted."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    taken = [0, 0]
    refused = (
        f"its settings ask for more than {counted(weights, 'weight')} in "
        f"{counted(tensors, 'tensor')}, which is more than there are"
    )

    def count(module: Any, name: str, parameter: Any) -> None:
        if parameter is None or name in module._parameters:
            return
        taken[0] += parameter.numel()
        taken[1] += 1
        if taken[0] > weights or taken[1] > tensors:
            raise ValueError(refused)

    handle = register_module_parameter_registration_hook(count)
    try:
        with _unallocated(weights, refused):
            yield
    finally:
        handle.remove()


@contextmanager
def _unallocated(most: int, refused: str) -> Iterator[None]:
    """The block in which `torch.empty`, of which layers make their weights, is refused more than
    so many numbers before it takes their memory."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Refusal(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            given = kwargs or {}
            if func is torch.empty:
                asked = given.get("size", args[0] if args and _is_shape(args[0]) else args)
                if prod(asked) > most:
                    raise ValueError(refused)
            return func(*args, **given)

    with Refusal():
        yield


def _is_shape(value: object) -> bool:
    return isinstance(value, list | tuple)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
