"""A world model as a Gymnasium vector environment. Needs the extra: pip install 'egowm[planning]'.

Importing this module needs gymnasium; `egowm.planning` itself does not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from egowm.checks import MOST_SEED, check_between, check_shape, checked
from egowm.planning.imagined import ImaginedWorlds, Step
from egowm.planning.space import Space

try:
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise ImportError(
        "WorldModelEnv needs gymnasium 1.2 or newer: pip install 'egowm[planning]'. Without it, "
        "use egowm.planning.ImaginedWorlds, which does the same."
    ) from error


class WorldModelEnv(VectorEnv):
    """`ImaginedWorlds` behind Gymnasium's interface.

    An observation is the last frame (H, W, 3) uint8. An action is (A,) in physical units, or
    (block, A) where the model's VAE makes several frames at once, within the training range. The
    frames in between come as `infos["frames"]`, the body's state (N, S) as `infos["state"]` where
    the model embeds one. A world that ended begins anew with the next step
    (`AutoresetMode.NEXT_STEP`). Each reset begins at the same contexts.

    Args:
        worlds: N imagined worlds, which become N sub-environments.

    >>> import torch
    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> env = WorldModelEnv(ImaginedWorlds(model, torch.zeros(2, 1, 3, 64, 64)))
    >>> env.observation_space.shape, env.action_space.shape
    ((2, 64, 64, 3), (2, 3))
    """

    def __init__(self, worlds: ImaginedWorlds) -> None:
        self.worlds, self.num_envs = worlds, len(worlds)
        self.metadata = {
            "autoreset_mode": AutoresetMode.NEXT_STEP,
            "render_modes": ["rgb_array"],
            "render_fps": worlds.spec.rate_hz,
        }
        self.render_mode = "rgb_array"  # the frames are there anyway
        height, width = worlds.contexts.shape[-2:]
        allowed = Space.of(worlds.spec, horizon=worlds.block)
        low, high = (bound.numpy().copy() for bound in (allowed.low, allowed.high))
        if worlds.block == 1:
            low, high = low[0], high[0]
        self.single_observation_space = spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.single_action_space = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @checked
    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all worlds; observations (N, H, W, 3) uint8 and infos.

        Args:
            seed: Of the noise, one for all worlds; None goes on with the generator as it is.
            options: Not used; must be None or {}.
        """
        if options:
            raise ValueError(f"Expected no options, got {sorted(options)}.")
        if seed is not None and not isinstance(seed, int):
            raise ValueError("Expected one seed: the worlds share a generator.")
        if seed is not None:
            check_between("seed", seed, 0, MOST_SEED)
        super().reset(seed=seed)
        return self.worlds.reset(seed), self._state

    @checked
    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Observations (N, H, W, 3), rewards, terminations, truncations (N,), and infos.

        Args:
            actions: (N, A) in physical units, or (N, block, A).
        """
        told = np.asarray(actions, np.float32)
        check_shape("actions", told, "N A" if self.worlds.block == 1 else "N n A")
        made: Step = self.worlds.step(told[:, None] if self.worlds.block == 1 else told)
        infos = {"frames": made.frames} | self._state
        return made.frames[:, -1], made.reward, made.terminated, made.truncated, infos

    def render(self) -> tuple[np.ndarray, ...]:
        """The last frame of each world, (H, W, 3) uint8."""
        return tuple(self.worlds.seen)

    @property
    def _state(self) -> dict[str, Any]:
        """Physical units, in which the next actions begin."""
        state = self.worlds.state
        return {} if state is None else {"state": state.numpy().copy()}
