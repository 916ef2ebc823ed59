"""The embedded humanoid as a world model of its own body: where other actions would have led it."""

from collections.abc import Iterator

import numpy as np

from egowm.actions.humanoid_states import NAMES
from egowm.checks import check_between, check_shape, checked, counted
from egowm.worlds.humanoid import RATE_HZ, Base, Humanoid, check_finite
from egowm.worlds.humanoid_recording import STRIDE

_SPEED, _TURN = NAMES.index("linear_velocity"), NAMES.index("angular_velocity")


@checked
class Replay:
    """A recorded run that can be gone through again under other actions, by kinematics.

    Under its own actions it shows what was recorded, to the bit. Under others the body goes where
    its states lead, and everything else moves as it was recorded: nothing is pushed or lifted anew.

    Args:
        robot: In the hall of the run.
        positions: (N, Q) of everything, as `Humanoid.restore` takes them.
        states: (N, 25) at the same times.
        seconds: From one of them to the next.

    >>> from egowm.worlds.humanoid_recording import record_humanoid
    >>> run = record_humanoid(20_000_000, "navigation", num_frames=3)
    >>> replay = Replay(Humanoid(20_000_000), run.positions, run.states)
    >>> own = np.diff(run.states.astype(float), axis=0)
    >>> [bool((robot.render().rgb == run.frames[k + 1]).all()) for k, robot in
    ...  enumerate(replay.told(own))]
    [True, True]
    >>> [round(robot.base.x, 2) for robot in replay.told(own)]
    [3.43, 3.42]
    """

    def __init__(
        self,
        robot: Humanoid,
        positions: np.ndarray,
        states: np.ndarray,
        seconds: float = STRIDE / RATE_HZ,
    ) -> None:
        check_shape("positions", positions, f"N {robot.model.nq}")
        check_shape("states", states, f"{len(positions)} 25")
        check_between("seconds", seconds, 1e-3, 60.0)
        self.robot, self.seconds = robot, seconds
        self.positions, self.states = positions, np.asarray(states, float)
        robot.restore(positions[0])

    def told(self, actions: np.ndarray) -> Iterator[Humanoid]:
        """The same robot after each action, moved on when the next one is asked for.

        Args:
            actions: (T, 25) differences of states in physical units; T below N.
        """
        check_shape("actions", actions, "T 25")
        if len(actions) >= len(self.positions):
            raise ValueError(
                f"Expected fewer actions than the {counted(len(self.positions), 'moment')} "
                f"recorded, got {len(actions)}."
            )
        check_finite("actions", actions)
        return self._told(np.asarray(actions, float))

    def _told(self, actions: np.ndarray) -> Iterator[Humanoid]:
        self.robot.restore(self.positions[0])
        led = self.states[0] + np.concatenate([np.zeros((1, 25)), np.cumsum(actions, 0)])
        change = led - self.states[: len(led)]
        change[np.abs(change) < 1e-5] = 0  # of sums of differences in float32
        bases = self._bases(led, change)
        for k in range(1, len(led)):
            self.robot.restore(self.positions[k])
            self.robot.shift(change[k], bases[k])
            yield self.robot

    def _bases(self, led: np.ndarray, change: np.ndarray) -> list[Base]:
        """Where the wheels stand: along the recorded path, plus what the change of speed adds."""
        recorded = self.positions[: len(led), :3]
        faster = (change[1:] + change[:-1])[:, [_SPEED, _TURN]] / 2 * self.seconds
        turned = np.concatenate([[0.0], np.cumsum(faster[:, 1])])
        here, bases = recorded[0, :2].copy(), [Base(*recorded[0].tolist())]
        for k in range(1, len(led)):
            angle = (turned[k] + turned[k - 1]) / 2
            heading = (recorded[k, 2] + recorded[k - 1, 2]) / 2 + angle
            c, s = np.cos(angle), np.sin(angle)
            way = np.array([[c, -s], [s, c]]) @ (recorded[k, :2] - recorded[k - 1, :2])
            here = here + way + faster[k - 1, 0] * np.array([np.cos(heading), np.sin(heading)])
            at = recorded[k, :2] if not change[: k + 1, [_SPEED, _TURN]].any() else here
            bases.append(Base(float(at[0]), float(at[1]), float(recorded[k, 2] + turned[k])))
        return bases
