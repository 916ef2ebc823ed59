"""A world model as a torchrl environment. Needs the extra: pip install 'egowm[torchrl]'.

Importing this module needs torchrl; `egowm.planning` itself does not.
"""

import multiprocessing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egowm.checks import MOST_SEED, check_between, check_float, check_shape, checked
from egowm.planning.imagined import ImaginedWorlds
from egowm.planning.space import Space

multiprocessing.get_start_method()  # settles it: torchrl would make all loaders spawn
try:
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import Binary, Bounded, Composite, Unbounded
    from torchrl.envs import EnvBase
except ImportError as error:
    raise ImportError(
        "TorchRLEnv needs torchrl 0.14 or newer: pip install 'egowm[torchrl]'. Without it, use "
        "egowm.planning.ImaginedWorlds, which does the same."
    ) from error


class TorchRLEnv(EnvBase):
    """`ImaginedWorlds` behind torchrl's interface, as a batch of N environments.

    An observation is `pixels`, the last frame (N, H, W, 3) uint8, and `state` (N, S) in physical
    units where the model embeds one. `action` is (N, A) in physical units within the training
    range, or (N, block, A) where the model's VAE makes several frames at once. `reward`, `done`,
    `terminated` and `truncated` are (N, 1). A reset of some worlds, by a mask `_reset`, leaves the
    others as they are; `rollout(..., break_when_any_done=False)` so begins those anew that ended.

    What a future goes on from stays in the worlds, not in the tensordict. So this is an `EnvBase`
    of a fixed batch size; torchrl's `ModelBasedEnvBase` takes models whose whole state is tensors
    that it hands back and forth.

    Args:
        worlds: N imagined worlds, which become N environments.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> env = TorchRLEnv(ImaginedWorlds(model, torch.zeros(2, 1, 3, 64, 64)))
    >>> env.batch_size, env.observation_spec["pixels"].shape, env.action_spec.shape
    (torch.Size([2]), torch.Size([2, 64, 64, 3]), torch.Size([2, 3]))
    """

    @checked
    def __init__(self, worlds: ImaginedWorlds) -> None:
        count, device = len(worlds), worlds.model.device
        super().__init__(device=device, batch_size=(count,))
        self.worlds = worlds
        height, width = worlds.contexts.shape[-2:]
        seen: dict[str, Any] = {
            "pixels": Bounded(0, 255, (count, height, width, 3), device, torch.uint8)
        }
        if worlds.first_state is not None:
            seen["state"] = Unbounded(tuple(worlds.first_state.shape), device, torch.float32)
        self.observation_spec = Composite(seen, shape=(count,), device=device)
        allowed = Space.of(worlds.spec, horizon=worlds.block)
        low, high = (self._as_action(bound) for bound in (allowed.low, allowed.high))
        self.action_spec = Bounded(low, high, device=device, dtype=torch.float32)
        self.reward_spec = Unbounded((count, 1), device, torch.float32)
        ends = ("done", "terminated", "truncated")
        self.done_spec = Composite(
            {name: Binary(1, (count, 1), device, torch.bool) for name in ends},
            shape=(count,),
            device=device,
        )

    def _as_action(self, bound: Tensor) -> Tensor:
        """A bound (block, A) as one for each world, (N, A) or (N, block, A)."""
        one = bound[0] if self.worlds.block == 1 else bound
        return one.expand(len(self.worlds), *one.shape).float().clone()

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        if mask is None or mask.all():
            self.worlds.reset()
        else:
            self.worlds.reset_some(mask.reshape(len(self.worlds)).cpu().numpy())
        return self._observed({})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        check_float("action", tensordict["action"])
        told = tensordict["action"].float()
        check_shape("action", told, "N A" if self.worlds.block == 1 else "N n A")
        made = self.worlds.step(told[:, None] if self.worlds.block == 1 else told)
        ended = made.terminated | made.truncated
        return self._observed(
            {
                "reward": made.reward.astype(np.float32),
                "done": ended,
                "terminated": made.terminated,
                "truncated": made.truncated,
            }
        )

    def _observed(self, told: dict[str, np.ndarray]) -> TensorDict:
        """What is seen, and what N worlds tell (N,)."""
        found = {name: torch.from_numpy(values)[:, None] for name, values in told.items()}
        found["pixels"] = torch.from_numpy(self.worlds.seen)
        if self.worlds.state is not None:
            found["state"] = self.worlds.state.clone()
        return TensorDict(found, self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        """Of the noise, one for all worlds; None leaves the generator as it is."""
        if seed is not None:
            check_between("seed", seed, 0, MOST_SEED)
            self.worlds.generator.manual_seed(seed)
