"""Worlds in a model: the logic without gymnasium, and the environment where gymnasium is."""

import sys

import numpy as np
import pytest
import torch

import egowm.planning
from egowm.planning import ImaginedWorlds
from tests.planning.conftest import seeded


@pytest.fixture
def contexts() -> torch.Tensor:
    return torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8, generator=seeded())


def test_steps_are_the_rollout(obedient, contexts):
    """In chunks of one frame, from latent to latent, under one generator."""
    worlds = ImaginedWorlds(obedient, contexts)
    first = worlds.reset(seed=3)
    assert np.array_equal(first, contexts[:, 0].numpy().transpose(0, 2, 3, 1))
    actions = torch.rand(2, 3, 3, generator=seeded(1)) * 0.1
    seen = [worlds.step(actions[:, k : k + 1]) for k in range(3)]
    obedient.chunk = 1
    whole = obedient.rollout(contexts, actions, generator=seeded(3)).frames
    for k, step in enumerate(seen):
        assert step.frames.shape == (2, 1, 16, 16, 3)
        expected = (whole[:, k] * 255).round().byte().numpy().transpose(0, 2, 3, 1)
        assert np.abs(step.frames[:, 0].astype(int) - expected).max() <= 1
        assert not (step.terminated | step.truncated).any()
    again = worlds.reset(seed=3)
    assert np.array_equal(again, first)
    assert np.array_equal(worlds.step(actions[:, :1]).frames, seen[0].frames)


def test_rewards_ends_and_beginning_anew(obedient, contexts):
    ends = iter([[False, True], [False, False], [False, False], [False, False]])
    worlds = ImaginedWorlds(
        obedient,
        contexts,
        reward=lambda frames: frames.mean((1, 2, 3)) + 1,
        ended=lambda frames: torch.tensor(next(ends)),
        max_steps=3,
    )
    first, still = worlds.reset(seed=0), np.zeros((2, 1, 3))
    steps = [worlds.step(still) for _ in range(4)]
    assert [step.terminated.tolist() for step in steps] == [[False, True], *[[False, False]] * 3]
    assert [step.truncated.tolist() for step in steps] == [
        [False, False],
        [False, False],
        [True, False],  # the second one has taken one step since it began anew
        [False, False],
    ]
    assert steps[1].reward[1] == 0
    assert steps[1].reward[0] >= 1
    assert np.array_equal(steps[1].frames[1, 0], first[1])
    assert np.array_equal(steps[3].frames[0, 0], first[0])
    assert steps[2].frames[1].std() > 0


def test_what_makes_no_step_is_refused(obedient, contexts):
    worlds = ImaginedWorlds(obedient, contexts)
    with pytest.raises(ValueError, match=r"reset\(\) before the first step"):
        worlds.step(np.zeros((2, 1, 3)))
    worlds.reset()
    with pytest.raises(ValueError, match=r"actions \(2, 1, 3\), got \(2, 3\)"):
        worlds.step(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="is not a finite number"):
        worlds.step(np.full((2, 1, 3), np.nan))
    with pytest.raises(ValueError, match=r"contexts \(N, K, 3, H, W\)"):
        ImaginedWorlds(obedient, contexts[0])
    with pytest.raises(ValueError, match="a state"):
        ImaginedWorlds(obedient, contexts, state=torch.zeros(2, 4))
    wrong = ImaginedWorlds(obedient, contexts, reward=lambda frames: frames.mean())
    wrong.reset()
    with pytest.raises(ValueError, match=r"for each world, \(2,\), got \(\)"):
        wrong.step(np.zeros((2, 1, 3)))


def test_without_gymnasium_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "egowm.planning.env", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'egowm\[planning\]'"):
        _ = egowm.planning.WorldModelEnv
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = egowm.planning.Nothing


def test_the_environment(obedient, contexts):
    env = egowm.planning.WorldModelEnv(ImaginedWorlds(obedient, contexts, max_steps=2))
    seen, infos = env.reset(seed=1)
    assert env.observation_space.contains(seen)
    assert infos == {}
    env.action_space.seed(0)
    for k in range(2):
        seen, reward, terminated, truncated, infos = env.step(env.action_space.sample())
        assert env.observation_space.contains(seen)
        assert reward.shape == terminated.shape == (2,)
        assert truncated.tolist() == [k == 1] * 2
        assert infos["frames"].shape == (2, 1, 16, 16, 3)
