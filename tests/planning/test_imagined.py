"""Worlds in a model: the logic without gymnasium, and the environment where gymnasium is."""

import sys

import numpy as np
import pytest
import torch

import egowm.planning
from egowm.actions import ActionSpec
from egowm.planning import ImaginedWorlds
from egowm.planning.costs import Magnitude, Pixels, Weighted
from egowm.sampling import Sampling
from egowm.world_model import WorldModel
from tests.planning.conftest import seeded


@pytest.fixture
def contexts() -> torch.Tensor:
    return torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8, generator=seeded())


@pytest.mark.parametrize(
    "how",
    [Sampling(), Sampling(steps=1, guidance=2.0, chain="latents_only"), Sampling(strict=True)],
)
def test_steps_are_the_rollout(obedient, contexts, how):
    """In chunks of one frame under one generator, by the same settings."""
    worlds = ImaginedWorlds(obedient, contexts, how)
    first = worlds.reset(seed=3)
    assert np.array_equal(first, contexts[:, 0].numpy().transpose(0, 2, 3, 1))
    actions = torch.rand(2, 3, 3, generator=seeded(1)) * 0.1
    seen = [worlds.step(actions[:, k : k + 1]) for k in range(3)]
    obedient.chunk = 1
    whole = obedient.rollout(contexts, actions, how, generator=seeded(3)).frames
    for k, step in enumerate(seen):
        assert step.frames.shape == (2, 1, 16, 16, 3)
        expected = (whole[:, k] * 255).round().byte().numpy().transpose(0, 2, 3, 1)
        assert np.abs(step.frames[:, 0].astype(int) - expected).max() <= 1
        assert not (step.terminated | step.truncated).any()
    again = worlds.reset(seed=3)
    assert np.array_equal(again, first)
    assert np.array_equal(worlds.step(actions[:, :1]).frames, seen[0].frames)
    if how.strict:
        with pytest.raises(ValueError, match="lie beyond"):
            worlds.step(torch.full((2, 1, 3), 9.0))


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


def test_a_reward_from_a_cost(obedient, contexts):
    """Minus the term, of what a step shows and of its actions; none where a world begins anew."""
    goal = torch.rand(3, 16, 16, generator=seeded(3))
    term = Weighted((1.0, Pixels(goal)), (0.5, Magnitude()))
    worlds = ImaginedWorlds(obedient, contexts, reward=term, max_steps=1)
    worlds.reset(seed=0)
    actions = torch.full((2, 1, 3), 0.05)
    step, after = worlds.step(actions), worlds.step(actions)
    shown = torch.from_numpy(step.frames[:, 0]).permute(0, 3, 1, 2).float() / 255
    expected = -(shown - goal).square().mean((1, 2, 3)) - 0.5 * 0.05**2
    assert step.reward == pytest.approx(expected.numpy(), abs=5e-3)  # pixels are rounded
    assert step.reward[0] != step.reward[1]
    assert after.reward.tolist() == [0, 0]


def test_what_makes_no_step_is_refused(obedient, contexts):
    worlds = ImaginedWorlds(obedient, contexts)
    with pytest.raises(ValueError, match=r"Expected reset\(\) first"):
        worlds.step(np.zeros((2, 1, 3)))
    worlds.reset()
    with pytest.raises(ValueError, match=r"actions \(2, 1, 3\), got \(2, 3\)"):
        worlds.step(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="is not a finite number"):
        worlds.step(np.full((2, 1, 3), np.nan))
    with pytest.raises(ValueError, match=r"contexts \(N, K, 3, H, W\)"):
        ImaginedWorlds(obedient, contexts[0])
    for how in (Sampling(decode="last"), Sampling(micro_batch=1), Sampling(gradient=True)):
        with pytest.raises(ValueError, match="Expected decode all, and neither micro_batch nor"):
            ImaginedWorlds(obedient, contexts, how)
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


def test_a_state_goes_on_with_the_actions(world_model, contexts):
    """What the model is told, and what the environment shows: the first state plus the actions."""
    moves = ActionSpec(("hip",), ("rad",), "joint", "difference", 4.0, (-0.2,), (0.2,))
    posture = ActionSpec(("hip",), ("rad",), "joint", "command", 4.0, (-1.0,), (1.0,))
    model = WorldModel(world_model.backbone, steps=1, chunk=4, spec=moves, state_spec=posture)
    model.configure_model()
    told, embed = [], model.embed
    model.embed = lambda actions, state=None, drop=None: (
        told.append(state) or embed(actions, state, drop)
    )
    first = torch.tensor([[0.5], [-0.5]])
    worlds = ImaginedWorlds(model, contexts, state=first, max_steps=2)
    env = egowm.planning.WorldModelEnv(worlds)
    _, infos = env.reset(seed=0)
    assert infos["state"].tolist() == [[0.5], [-0.5]]
    moved = np.array([[0.1], [0.2]], np.float32)
    states = [env.step(moved)[4]["state"][:, 0].tolist() for _ in range(3)]
    expected = [[0.6, -0.3], [0.7, -0.1], [0.5, -0.5]]  # truncated after two: begun anew
    for found, wanted in zip(states, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)
    seen = [posture.denormalise(state)[:, 0].tolist() for state in told]
    for found, wanted in zip(seen, [[0.5, -0.5], *expected[:2]], strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)


def test_the_checker_of_gymnasium(obedient, contexts):
    """It takes one environment, so it gets the one world of a vector of one."""
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    class Single(gymnasium.Env):
        def __init__(self):
            self.many = egowm.planning.WorldModelEnv(ImaginedWorlds(obedient, contexts[:1]))
            self.observation_space = self.many.single_observation_space
            self.action_space = self.many.single_action_space

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            seen, infos = self.many.reset(seed=seed, options=options)
            return seen[0], infos

        def step(self, action):
            seen, reward, terminated, truncated, infos = self.many.step(action[None])
            return seen[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), infos

    check_env(Single(), skip_render_check=True)


def test_a_wrapper_of_gymnasium(obedient, contexts):
    from gymnasium.wrappers.vector import RecordEpisodeStatistics

    worlds = ImaginedWorlds(
        obedient, contexts, reward=lambda frames: frames.new_ones(len(frames)), max_steps=2
    )
    env = RecordEpisodeStatistics(egowm.planning.WorldModelEnv(worlds))
    env.reset(seed=0)
    still = np.zeros((2, 3), np.float32)
    infos = [env.step(still)[4] for _ in range(2)]
    assert "episode" not in infos[0]
    assert infos[1]["episode"]["l"].tolist() == [2, 2]
    assert infos[1]["episode"]["r"].tolist() == [2.0, 2.0]


def test_render_shows_what_was_seen_last(obedient, contexts):
    """As Gymnasium asks: one frame of each world, also where one has begun anew."""
    worlds = ImaginedWorlds(obedient, contexts.numpy(), max_steps=1)
    env = egowm.planning.WorldModelEnv(worlds)
    with pytest.raises(ValueError, match=r"Expected reset\(\) first"):
        env.render()
    assert env.render_mode in env.metadata["render_modes"]
    assert env.metadata["render_fps"] == 4
    seen = [env.reset(seed=1)[0], *(env.step(np.full((2, 3), 0.1))[0] for _ in range(2))]
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
    for frame, shown in zip(seen[2], env.render(), strict=True):
        assert shown.dtype == np.uint8
        assert np.array_equal(shown, frame)


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
