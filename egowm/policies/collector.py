"""Collecting with the newest policy there is, while another process learns it."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from egowm.actions import ActionSpec
from egowm.checks import check_whole
from egowm.evaluation.navigation import off
from egowm.limits import load_json
from egowm.module_export import POLICY
from egowm.pixels import picture
from egowm.policies.dreamer import Dreamer
from egowm.policies.live_robot import LiveRobot
from egowm.policies.policy import Policy
from egowm.policies.replay_buffer import ReplayEpisode, ReplayWriter

log = logging.getLogger(__name__)
HELD = 8  # steps, at most, for which a random action is kept up
TURNING = 3, 13  # steps from and to before, of a turn where it was stopped


class Driven(NamedTuple):
    """What came of an episode.

    steps: of the buffer, with this one. arrived: after how many steps; None where it did not.
    nearest: metres from the goal. rewards: their sum. by: what drove.
    """

    steps: int
    arrived: int | None
    nearest: float
    rewards: float
    by: str


class NewestPolicy:
    """A `Dreamer`'s export, loaded again whenever it was replaced; None before there is one.

    A damaged one is passed over with a warning; one of another class or robot is refused.
    """

    def __init__(self, folder: Path | None, robot: LiveRobot) -> None:
        self.folder, self.robot, self.seen = folder, robot, 0
        self.policy: Policy | None = None
        if folder is not None and not (folder / POLICY.name).is_file():
            log.info("No policy in %s yet: random actions drive.", folder)

    def __call__(self) -> Policy | None:
        file = self.folder and self.folder / POLICY.name
        if not file or not file.is_file() or file.stat().st_mtime_ns == self.seen:
            return self.policy
        seen = file.stat().st_mtime_ns
        try:
            kind = load_json(file).get(POLICY.word)
            found = Dreamer.from_pretrained(file.parent) if kind == Dreamer.__name__ else None
        except (AttributeError, ValueError, OSError) as error:  # it may be replaced at this moment
            log.warning("%s: the policy of before drives on.", error)
            return self.policy
        if found is None:
            raise ValueError(f"{file}: expected the export of a Dreamer, got {kind!r}.")
        self._check(found, file.parent)
        self.policy, self.seen = found, seen
        return self.policy

    def _check(self, found: Dreamer, folder: Path) -> None:
        """Refuse a policy of another robot."""
        found.check_size(*self.robot.size)
        mine, its = self.robot.spec, found.spec_of(None)
        mine.compare(its)
        if (mine.low, mine.high) != (its.low, its.high):
            raise ValueError(
                f"{folder} acts within {its.low} to {its.high}, this robot within {mine.low} to "
                f"{mine.high}: give the --turn that it was learned with."
            )


class RandomActions:
    """Actions drawn evenly, each kept up for 1 to 8 steps; what stops the robot makes it turn, one
    way for 3 to 12 steps."""

    def __init__(self, spec: ActionSpec, rng: np.random.Generator) -> None:
        self.low, self.high, self.rng = np.array(spec.low), np.array(spec.high), rng
        self.held, self.action = 0, np.zeros(len(spec.low))

    def __call__(self, blocked: bool) -> np.ndarray:
        """The next; blocked: whether the last one did not move the robot."""
        if blocked and self.action[0]:
            turn = self.rng.choice([self.low[2], self.high[2]])
            self.action, self.held = np.array([0.0, 0.0, turn]), int(self.rng.integers(*TURNING))
        elif not self.held:
            self.action = self.rng.uniform(self.low, self.high)
            self.held = int(self.rng.integers(1, HELD + 1))
        self.held -= 1
        return self.action


class Collector:
    """Drives a robot episode by episode into a buffer: an attempt, which ends where the robot
    arrives or after `attempt` steps, then `away` random steps, so that the next one begins
    elsewhere.

    rate: steps a second, 0 for as fast as it goes. gains: the light and the step of the buffer from
    which on it shines. Random numbers follow from seed and the steps in the buffer.
    """

    def __init__(
        self,
        robot: LiveRobot,
        writer: ReplayWriter,
        newest: Callable[[], Policy | None],
        attempt: int = 40,
        away: int = 24,
        rate: float = 0.0,
        gain: tuple[float, int] = (1.0, 0),
        seed: int = 0,
    ) -> None:
        check_whole("attempt", attempt, 1, 100_000)
        check_whole("away", away, 1, 100_000)
        self.robot, self.writer, self.newest = robot, writer, newest
        self.attempt, self.away, self.rate, self.gain, self.seed = attempt, away, rate, gain, seed
        self._due = 0.0

    def episode(self) -> Driven:
        """Drive one and write it; where it is interrupted, what there is of it."""
        start = self.writer.steps
        self.robot.gain = self.gain[0] if start >= self.gain[1] else 1.0
        self.rng = np.random.default_rng([self.seed, start])
        self.noise = torch.Generator().manual_seed(int(self.rng.integers(2**63)))
        self.frames, self.told = [self.robot.look()], list[tuple[np.ndarray, float, float]]()
        self.metres = [off(self.robot.pose, self.robot.goal)[0]]
        policy = self.newest()
        arrived = None
        try:
            arrived = self._attempt(policy)
            self._random(self.away, until_there=False)
        finally:
            if self.told and len(self.frames) > 1:
                self._write()
        rewards = sum(reward for _, reward, _ in self.told[: arrived or self.attempt])
        by = "random actions" if policy is None else "the policy"
        return Driven(self.writer.steps, arrived, min(self.metres), rewards, by)

    def _attempt(self, policy: Policy | None) -> int | None:
        if policy is None:
            return self._random(self.attempt, until_there=True)
        memory = policy.begin(picture(self.robot.look(self.robot.goal))[None])
        for step in range(1, self.attempt + 1):
            memory, actions = policy.act(memory, picture(self.frames[-1])[None], self.noise)
            if self._step(actions[0].double().numpy()):
                return step
        return None

    def _random(self, steps: int, until_there: bool) -> int | None:
        actions = RandomActions(self.robot.spec, self.rng)
        for step in range(1, steps + 1):
            if self._step(actions(self.robot.blocked)) and until_there:
                return step
        return None

    def _step(self, action: np.ndarray) -> bool:
        """Whether the robot is there."""
        if self.rate:
            now = time.monotonic()
            self._due = max(self._due + 1 / self.rate, now)
            time.sleep(self._due - now)
        told = self.robot.move(action)
        frame, metres = self.robot.look(), off(self.robot.pose, self.robot.goal)[0]
        self.told.append((action, told.reward, told.goes_on))
        self.frames.append(frame)
        self.metres.append(metres)
        return not told.goes_on

    def _write(self) -> None:
        steps = min(len(self.told), len(self.frames) - 1)  # an interruption may come in between
        told = zip(*self.told[:steps], strict=True)
        actions, *rest = (np.array(x, np.float32) for x in told)
        self.writer.add(ReplayEpisode(np.stack(self.frames[: steps + 1]), actions, *rest))
