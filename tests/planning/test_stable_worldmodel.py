"""egowm's planners and models in stable-worldmodel's own policy and solvers."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_worldmodel.policy import PlanConfig, WorldModelPolicy
from stable_worldmodel.solver.cem import CEMSolver
from stable_worldmodel.solver.solver import Solver

from egowm.planning import cem, goal_cost
from egowm.planning.stable_worldmodel import GoalModel, PlannerSolver
from egowm.sampling import Sampling
from tests.planning.conftest import seeded


class Points:
    """A model of points: actions must sum up to the goal."""

    def get_cost(self, info_dict, action_candidates):
        goal = torch.as_tensor(info_dict["goal"])
        assert goal.shape == (*action_candidates.shape[:2], 2)
        return (action_candidates.sum(2) - goal).square().sum(-1)


class Envs:
    """Two environments with actions of two numbers, as a vector environment names them."""

    num_envs = 2
    single_action_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (2, 2))


GOALS = torch.tensor([[0.5, -0.5], [0.2, 0.9]])


def test_a_solver_of_theirs():
    planner = partial(cem, samples=64, elites=8, iterations=20)
    solver = PlannerSolver(Points(), planner, std=0.5)
    space = spaces.Box(-1, 1, (2, 1))
    solver.configure(action_space=space, n_envs=2, config=PlanConfig(3, 1, action_block=2))
    assert isinstance(solver, Solver)  # it is asked for once its sizes are known
    assert (solver.horizon, solver.action_dim, solver.n_envs) == (3, 2, 2)
    for goals in (GOALS, GOALS.numpy()):
        made = solver({"goal": goals, "name": ["a", "b"]}, torch.zeros(2, 1, 2))
        assert made["actions"].shape == (2, 3, 2)
        torch.testing.assert_close(made["actions"].sum(1), GOALS, atol=1e-2, rtol=0)


def test_in_their_policy():
    """Two actions of a plan are carried out; the next plan begins with the rest of it."""
    policy, alone = (
        PlannerSolver(
            Points(), partial(cem, samples=64, elites=8, iterations=20), std=0.5, low=-1, high=1
        )
        for _ in range(2)
    )
    config = PlanConfig(4, 2)
    policy = WorldModelPolicy(policy, config)
    policy.set_env(Envs())
    alone.configure(action_space=Envs.action_space, n_envs=2, config=config)
    left, rest = GOALS.clone(), None
    for _ in range(3):
        plan = alone.solve({"goal": left}, rest)["actions"]
        torch.testing.assert_close(plan.sum(1), left, atol=2e-2, rtol=0)
        for step in range(2):
            action = policy.get_action({"goal": left.numpy()})
            torch.testing.assert_close(torch.from_numpy(action), plan[:, step])
        left, rest = left - plan[:, :2].sum(1), plan[:, 2:]


@pytest.mark.parametrize("by", ["latents", "pixels"])
def test_a_model_for_their_solvers(obedient, by):
    """Costs are goal_cost's, for frames in both layouts; their CEM lowers them."""
    frames = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8, generator=seeded())
    goals = frames.flip(0)
    candidates = torch.randn(2, 3, 2, 3, generator=seeded()) * 0.1
    model = GoalModel(obedient, Sampling(steps=1), by=by)

    def infos(layout):
        return {
            "pixels": layout(frames)[:, None].expand(2, 3, *layout(frames).shape[1:]),
            "goal": layout(goals)[:, None].expand(2, 3, *layout(goals).shape[1:]),
        }

    found = model.get_cost(infos(lambda x: x), candidates)
    assert found.shape == (2, 3)
    assert found.std() > 0
    expected = [
        goal_cost(obedient, frames[k : k + 1], goals[k, 0], Sampling(steps=1), by=by)(candidates[k])
        for k in range(2)
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    last = model.get_cost(infos(lambda x: x.permute(0, 1, 3, 4, 2)), candidates)
    torch.testing.assert_close(last, found)
    seen = Recorded(model)
    solver = CEMSolver(seen, num_samples=8, n_steps=3, topk=2, var_scale=0.1)
    space = spaces.Box(-1, 1, (2, 3))
    solver.configure(action_space=space, n_envs=2, config=PlanConfig(2, 1))
    made = solver.solve({"pixels": frames, "goal": goals})
    assert made["actions"].shape == (2, 2, 3)
    still = model.get_cost(infos(lambda x: x), torch.zeros(2, 1, 2, 3))
    for number in range(2):  # one environment after the other, three rounds each
        first, *_, last = seen.costs[3 * number : 3 * number + 3]
        torch.testing.assert_close(first[0, 0], still[number, 0])  # its first sample is the mean
        assert made["costs"][number] == pytest.approx(last[0].sort().values[:2].mean().item())


class Recorded:
    """Keeps the costs that a model answers."""

    def __init__(self, model):
        self.model, self.costs = model, []

    def get_cost(self, info_dict, action_candidates):
        self.costs.append(self.model.get_cost(info_dict, action_candidates))
        return self.costs[-1]


def test_what_their_model_is_not_told(obedient):
    model = GoalModel(obedient)
    with pytest.raises(ValueError, match="pixels and goal in info_dict, goal is missing"):
        model.get_cost({"pixels": np.zeros((1, 1, 1, 16, 16, 3))}, torch.zeros(1, 1, 1, 3))
    infos = dict.fromkeys(("pixels", "goal"), np.zeros((1, 1, 1, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="whole actions of 3 numbers, got 4"):
        model.get_cost(infos, torch.zeros(1, 1, 1, 4))
