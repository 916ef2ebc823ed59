"""The model-free peer of Dreamer: SAC of stable-baselines3, same robot, same rewards."""

import time
from typing import Any

import gymnasium
import numpy as np
from torch import Tensor, nn

from benchmarks.measure import Record
from egowm.network.convolutions import halvings
from egowm.policies import LiveRobot
from egowm.policies.collector import RandomActions

DEPTH, FEATURES = 8, 128  # channels of the first layer, as Dreamer's; what they are taken to


class LiveEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """The robot as an environment; a reset drives it away by random actions, which cost robot
    time, too.

    driven: steps so far. attempt, away: as of `egowm collect`.
    """

    def __init__(self, robot: LiveRobot, attempt: int, away: int, seed: int) -> None:
        self.robot, self.attempt, self.away = robot, attempt, away
        self.rng, self.driven = np.random.default_rng([seed, 2]), 0
        shape = (3, *robot.size)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        if self.driven:
            actions = RandomActions(self.robot.spec, self.rng)
            for _ in range(self.away):
                self.robot.move(actions(self.robot.blocked))
            self.driven += self.away
        self.tried = 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        told = self.robot.move(physical(self.robot, action))
        self.driven, self.tried = self.driven + 1, self.tried + 1
        is_over = self.tried >= self.attempt
        return self._seen(), told.reward, not told.goes_on, is_over, {}

    def _seen(self) -> np.ndarray:
        return self.robot.look().transpose(2, 0, 1).copy()


def physical(robot: LiveRobot, action: np.ndarray) -> np.ndarray:
    """Metres ahead and radians from (2,) in [-1, 1]."""
    high = robot.spec.high
    return np.array([(action[0] + 1) / 2 * high[0], 0.0, action[1] * high[2]], float)


def encoder(robot: LiveRobot) -> type[nn.Module]:
    """A features extractor for frames of this robot; SB3's own takes no frames of 32 pixels."""
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Encoder(BaseFeaturesExtractor):  # type: ignore[misc]
        def __init__(self, space: gymnasium.spaces.Box) -> None:
            super().__init__(space, FEATURES)
            channels = [DEPTH << k for k in range(robot.size[0].bit_length() - 3)]
            flat = [nn.Flatten(), nn.Linear(channels[-1] * 16, FEATURES), nn.ELU()]
            self.layers = nn.Sequential(*halvings([3, *channels]), *flat)

        def forward(self, frames: Tensor) -> Tensor:
            found: Tensor = self.layers(frames - 0.5)
            return found

    return Encoder


class BySac:
    """A trained SAC as a driver."""

    def __init__(self, model: Any, robot: LiveRobot) -> None:
        self.model, self.robot = model, robot

    def begin(self) -> None:
        """It remembers nothing."""

    def act(self, frame: np.ndarray) -> np.ndarray:
        seen = frame.transpose(2, 0, 1).copy()
        return physical(self.robot, self.model.predict(seen, deterministic=True)[0])


def make(robot: LiveRobot, steps: int, attempt: int, away: int, seed: int) -> tuple[Any, LiveEnv]:
    """A SAC that is not trained yet, and its environment."""
    from stable_baselines3 import SAC

    env = LiveEnv(robot, attempt, away, seed)
    options = {
        "features_extractor_class": encoder(robot),
        "net_arch": [128, 128],
        "share_features_extractor": True,
    }
    model = SAC(
        "CnnPolicy",
        env,
        buffer_size=steps,
        learning_starts=600,
        batch_size=64,
        gamma=0.95,
        policy_kwargs=options,
        seed=seed,
        device="cpu",
    )
    return model, env


def train(model: Any, env: LiveEnv, until: int) -> Record:
    """Until the robot has driven so many steps in all; one gradient step for each of an attempt."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Until(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            return env.driven < until

    began = time.process_time()
    model.learn(10**9, callback=Until(), reset_num_timesteps=False)
    return {"gradient_steps": model._n_updates, "cpu_seconds": round(time.process_time() - began)}
