"""The contract of a policy: all that the closed loop, collectors and planners need of one."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from egowm.actions.spec import ActionSpec
from egowm.diffusion import Generator


@runtime_checkable
class Policy(Protocol):
    """Decides from what is seen, for N robots side by side; a class of your own may answer it.

    What a robot remembers is the policy's own affair: `begin` gives it, `act` takes it.

    >>> from egowm.policies import Dreamer
    >>> policy = Dreamer(size=64)
    >>> isinstance(policy, Policy), policy.size
    (True, 64)
    """

    def spec_of(self, source: str | None) -> ActionSpec:
        """What its actions mean.

        Args:
            source: None.
        """
        ...

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames of a size that the policy does not take.

        Args:
            height: H, pixels.
            width: W, pixels.
        """

    def begin(self, goals: Tensor) -> Any:
        """What N robots remember before they see anything.

        Args:
            goals: (N, 3, H, W) in [0, 1], what each is to see in the end.
        """

    def act(self, memory: Any, frames: Tensor, generator: Generator = None) -> tuple[Any, Tensor]:
        """What they remember now, and what they do: actions (N, A) in physical units.

        Args:
            memory: Of the step before.
            frames: (N, 3, H, W) in [0, 1], what they see now.
            generator: Draws the actions; without one they are the most likely ones.
        """
        ...
