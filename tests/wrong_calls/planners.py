"""Right calls of planners, spaces, costs and imagined worlds."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from egowm.planning import (
    MPC,
    Budget,
    ImaginedWorlds,
    Plan,
    Space,
    cem,
    goal_cost,
    gradient,
    icem,
    mppi,
    random_shooting,
    sharded,
    shifted,
    straight_line,
)
from egowm.planning import costs as terms
from egowm.planning.features import Structure, perceptual
from egowm.planning.goal import goal_latents
from egowm.planning.icem import coloured
from egowm.planning.stable_worldmodel import GoalModel, PlannerSolver
from egowm.planning.straight_line import line_actions
from egowm.sampling import Rollout, Sampling
from egowm.scs.trackers.simple import CopyTracker
from tests.wrong_calls.call import Call
from tests.wrong_calls.models import ONE_STEP, SPEC, Models, drawn

FEW = partial(cem, samples=4, elites=2, iterations=1)


def bowl(actions: Tensor) -> Tensor:
    """Least at 0.3, (N, T, A) to (N,)."""
    return (actions - 0.3).square().sum((1, 2))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def calls(models: Models) -> Iterator[Call]:
    yield from _spaces()
    yield from _planners()
    yield from _goals(models)
    yield from _terms()
    yield from _worlds(models)
    yield from _of_another_toolkit(models)


def _spaces() -> Iterator[Call]:
    low, high = torch.full((2,), -1.0), torch.full((2,), 1.0)
    space = {"mean": torch.zeros(3, 2), "std": 0.5, "low": low, "high": high}
    numbers = tuple(f"{name}: *" for name in ("std", "low", "high"))
    broad = tuple(f"{name}: a *" for name in ("std", "low", "high"))
    yield Call(
        "Space", Space, space, _is_space, (*broad, "* inf", "* -inf", "* one *inf"), passes=True
    )
    each = {**space, "std": torch.full((3, 2), 0.5), "high": 1.0, "low": -1.0}
    yield Call(
        "Space of tensors", Space, each, _is_space, (*broad, *numbers[1:], "* -inf"), passes=True
    )
    yield Call("Space.of", Space.of, {"spec": SPEC, "horizon": 4, "margin": 1.0}, _is_space)
    bounded = Space(torch.zeros(3, 2), 0.5, -1.0, 1.0).bounded
    yield Call("Space.bounded", bounded, {"actions": drawn(4, 3, 2)}, _same_shape, passes=True)


def _is_space(right: dict[str, Any], made: Any) -> bool:
    """All of the mean's shape; bounds may be infinite."""
    same = all(part.shape == made.mean.shape for part in (made.std, made.low, made.high))
    return same and bool((made.low <= made.high).all())


def _same_shape(right: dict[str, Any], made: Any) -> bool:
    return made.shape == right["actions"].shape


def _planners() -> Iterator[Call]:
    space = Space(torch.zeros(3, 2), 0.5, -1.0, 1.0)
    right: dict[str, Any] = {"cost": bowl, "space": space, "samples": 8, "iterations": 2}
    tried = {"generator": seeded(), "initial": drawn(2, 3, 2)}
    fine = ("generator: None", "initial: None", "iterations: None")
    functions: dict[Callable[..., Plan], dict[str, Any]] = {
        random_shooting: {},
        cem: {"elites": 3, "momentum": 0.1, "min_std": 0.01},
        icem: {"elites": 3, "beta": 1.0, "decay": 1.25, "kept": 0.3, "momentum": 0.1},
        mppi: {"temperature": 0.1, "decay": 0.8},
        gradient: {"rate": 0.1},
    }
    for planner, more in functions.items():
        yield Call(planner.__name__, planner, {**right, **more, **tried}, _is_plan, fine)
    end = Space(torch.zeros(1, 3), 0.5)
    line = {"horizon": 4, "elites": 3, "turn": "last", "generator": seeded()}
    yield Call("straight_line", straight_line, {**right, "space": end, **line}, _is_line, fine)
    yield Call("line_actions", line_actions, {"ends": drawn(2, 1, 3), "horizon": 4, "turn": "last"},
               passes=True)  # fmt: skip
    yield Call("coloured", coloured, {"white": drawn(2, 4, 3), "beta": 1.0}, _as_white, passes=True)
    yield Call("shifted", shifted, {"actions": drawn(4, 2), "steps": 1}, _same_shape, passes=True)
    budget = {"iterations": 3, "seconds": 1.0, "progress": False}
    yield Call("Budget", Budget, budget, passes=True, fine=("iterations: None", "seconds: None"))
    agent: dict[str, Any] = {"planner": FEW, "cost_of": lambda seen: bowl, "space": space}

    def act(observation: float = 0.0, **given: Any) -> Tensor:
        return MPC(**given).act(observation)

    agent |= {"every": 1, "generator": seeded()}
    yield Call("MPC.act", act, agent, lambda right, made: made.shape == (2,),
               (*fine, "*: that gives NaN"))  # fmt: skip


def _is_plan(right: dict[str, Any], made: Any) -> bool:
    return made.actions.shape == right["space"].mean.shape and made.evaluations > 0


def _is_line(right: dict[str, Any], made: Any) -> bool:
    return made.actions.shape == (right["horizon"], 3)


def _as_white(right: dict[str, Any], made: Any) -> bool:
    return made.shape == right["white"].shape


def _goals(models: Models) -> Iterator[Call]:
    picture = np.full((8, 8, 3), 128, np.uint8)
    right: dict[str, Any] = {
        "model": models.plain, "context": drawn(1, 1, 3, 8, 8), "goal": drawn(3, 8, 8),
        "how": ONE_STEP, "by": "latents", "text": "", "generator": seeded(),
    }  # fmt: skip
    actions = drawn(2, 4, 3) * 0.1

    def cost(actions: Tensor = actions, **given: Any) -> Tensor:
        return goal_cost(**given)(actions)

    yield Call("goal_cost", cost, right, _a_cost_each, ("generator: None",))
    bodily = {**right, "model": models.bodily, "state": drawn(1, 3), "source": None}
    yield Call("goal_cost with a state", cost, bodily, _a_cost_each, ("generator: None",))
    seen = {**right, "context": picture, "goal": picture, "by": "pixels"}
    yield Call("goal_cost of pictures", cost, seen, _a_cost_each, ("generator: None",))
    yield Call("GoalCost()", goal_cost(**right), {"actions": actions}, _a_cost_each)
    both = sharded(goal_cost(**right), ["cpu", "cpu"])
    yield Call("ShardedCost()", both, {"actions": actions}, _a_cost_each)
    yield Call("goal_latents", goal_latents, {"model": models.plain, "frame": drawn(3, 8, 8)})
    search: dict[str, Any] = {"cost": goal_cost(**right), "space": Space.of(SPEC, 4), "samples": 4}
    yield Call("cem on a goal", cem, {**search, "elites": 2, "iterations": 1}, _is_plan)


def _a_cost_each(right: dict[str, Any], made: Any) -> bool:
    return made.shape == (len(right.get("actions", "ab")),)


def _terms() -> Iterator[Call]:
    """Each term, made from right and wrong parts, applied to right and wrong futures."""
    rollout = Rollout(drawn(2, 4, 3, 8, 8), drawn(2, 4, 3, 4, 4), 0)
    future = {"rollout": rollout, "actions": drawn(2, 4, 3) * 0.1}
    frame, network = drawn(3, 8, 8), nn.Sequential(nn.Conv2d(3, 4, 3)).requires_grad_(False)
    extract = lambda frames: frames.flatten(1)  # noqa: E731
    distance = lambda made, wanted: (made - wanted).square().mean(1)  # noqa: E731
    masks = np.zeros((1, 8, 8), bool)
    masks[:, 2:6, 2:6] = True
    parts: dict[Callable[..., Any], dict[str, Any]] = {
        terms.Pixels: {"goal": frame, "pool": 2},
        terms.Latents: {"goal": drawn(3, 4, 4)},
        terms.Features: {"goal": frame, "extract": extract, "distance": distance},
        terms.Frames: {"function": lambda frames: frames.mean((1, 2, 3, 4)), "needs": "all"},
        terms.Magnitude: {"scale": torch.tensor([0.3, 0.1, 0.1])},
        terms.Smoothness: {"scale": 0.3},
        perceptual: {"goal": frame, "network": network, "layers": ["0"]},
        Structure: {"goal": frame, "masks": masks, "tracker": CopyTracker()},
    }
    for term, right in parts.items():

        def made(
            rollout: Any = rollout, actions: Any = future["actions"], term: Any = term, **given: Any
        ) -> Tensor:
            costs: Tensor = term(**given)(rollout, actions)
            return costs

        name = term.__name__
        fine = ("scale: a *", "scale: true", "*: that gives NaN")  # a planner refuses the cost
        yield Call(name, made, right, _a_cost_each, fine, passes=True)
        used = partial(made, **right)
        unused = "rollout: *" if name in ("Magnitude", "Smoothness") else "actions: *"
        other = "frames" if name == "Latents" else "latents"
        fine = (unused, "rollout: num_outside: *", f"rollout: {other}: *")
        yield Call(f"{name}()", used, future, fine=fine, passes=True)
    pair = (1.0, terms.Magnitude())
    yield Call(
        "Weighted",
        lambda part, **given: terms.Weighted(part, (0.1, terms.Smoothness()))(**given),
        {"part": pair, **future},
        fine=("rollout: *",),
        passes=True,
    )


def _worlds(models: Models) -> Iterator[Call]:
    right: dict[str, Any] = {
        "model": models.bodily, "contexts": drawn(2, 1, 3, 8, 8), "how": ONE_STEP,
        "reward": lambda frames: frames.mean((1, 2, 3)),
        "ended": lambda frames: frames[:, 0, 0, 0] > 2,
        "max_steps": 4, "state": drawn(2, 3), "source": None,
    }  # fmt: skip

    def stepped(actions: Any = drawn(2, 1, 3) * 0.1, seed: Any = 0, **given: Any) -> Any:
        worlds = ImaginedWorlds(**given)
        worlds.reset(seed)
        worlds.step(actions)
        return worlds.step(actions)

    fine = ("reward: None", "ended: None", "max_steps: None")
    yield Call("ImaginedWorlds", stepped, right, _a_step_each, fine)
    given = {"actions": drawn(2, 1, 3) * 0.1, "seed": 3}
    yield Call("ImaginedWorlds.step", partial(stepped, **right), given, fine=("seed: None",))

    def begun(here: Any) -> Any:
        worlds = ImaginedWorlds(models.plain, drawn(2, 1, 3, 8, 8), ONE_STEP)
        worlds.reset()
        return worlds.reset_some(here)

    yield Call("ImaginedWorlds.reset_some", begun, {"here": np.array([True, False])})
    if find_spec("torchrl") is not None:
        from egowm.planning import TorchRLEnv

        worlds = ImaginedWorlds(models.plain, drawn(2, 1, 3, 8, 8), ONE_STEP)
        yield Call("TorchRLEnv", TorchRLEnv, {"worlds": worlds})

    def gym(actions: Any, seed: Any) -> Any:
        from egowm.planning import WorldModelEnv

        env = WorldModelEnv(ImaginedWorlds(models.plain, drawn(2, 1, 3, 8, 8), ONE_STEP))
        env.reset(seed=seed)
        return env.step(actions)

    given = {"actions": (drawn(2, 3) * 0.1).numpy(), "seed": 3}
    yield Call("WorldModelEnv.step", gym, given, fine=("seed: None",))


def _a_step_each(right: dict[str, Any], made: Any) -> bool:
    return made.frames.shape[:2] == (2, 1) and made.reward.shape == (2,)


class Sums:
    """A model of another toolkit: the actions should sum up to the goal."""

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        return (action_candidates.sum(2) - 1).square().sum(-1)


def _of_another_toolkit(models: Models) -> Iterator[Call]:
    right: dict[str, Any] = {
        "model": Sums(), "planner": FEW, "std": 0.5, "low": -1.0, "high": 1.0, "seed": 0,
    }  # fmt: skip

    def solved(info_dict: Any, init_action: Any = None, horizon: Any = 3, **given: Any) -> Any:
        class Config:
            action_block = 1

        class Box:
            shape = (2, 2)

        Config.horizon = horizon
        solver = PlannerSolver(**given)
        solver.configure(action_space=Box(), n_envs=2, config=Config())
        return solver.solve(info_dict, init_action)

    def actions_of_all(right: dict[str, Any], made: Any) -> bool:
        return made["actions"].shape == (2, 3, 2)

    infos = {"goal": drawn(2, 2)}
    fine = ("std: a *", "low: a *", "high: a *", "* inf", "* -inf", "planner: that gives NaN")
    yield Call("PlannerSolver", partial(solved, infos), right, actions_of_all, fine)
    begun = {"info_dict": infos, "init_action": torch.zeros(2, 1, 2), "horizon": 3}
    yield Call("PlannerSolver.solve", partial(solved, **right), begun,
               fine=("init_action: None", "info_dict: a mapping"))  # fmt: skip
    seen = {"pixels": drawn(2, 4, 1, 3, 8, 8), "goal": drawn(2, 4, 1, 3, 8, 8)}
    asked = {"info_dict": seen, "action_candidates": drawn(2, 4, 2, 3) * 0.1}
    settings = {"model": models.plain, "how": Sampling(steps=1), "by": "latents", "seed": 0}

    def cost(info_dict: Any = seen, action_candidates: Any = asked["action_candidates"],
             **given: Any) -> Tensor:  # fmt: skip
        return GoalModel(**given).get_cost(info_dict, action_candidates)

    yield Call("GoalModel", cost, settings)
    yield Call("GoalModel.get_cost", partial(cost, **settings), asked,
               lambda right, made: made.shape == right["action_candidates"].shape[:2])  # fmt: skip
