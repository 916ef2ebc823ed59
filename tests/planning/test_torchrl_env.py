"""torchrl's environment: its own checker, the frames of `ImaginedWorlds`, worlds that end."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from egowm.actions import ActionSpec
from egowm.planning import ImaginedWorlds
from egowm.world_model import WorldModel
from tests.planning.conftest import seeded

pytest.importorskip("torchrl")


@pytest.fixture
def contexts() -> torch.Tensor:
    return torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8, generator=seeded())


def env_of(*args, **kwargs):
    from egowm.planning.torchrl_env import TorchRLEnv

    return TorchRLEnv(ImaginedWorlds(*args, **kwargs))


def test_the_checker_of_torchrl(obedient, contexts):
    from torchrl.envs.utils import check_env_specs

    env = env_of(obedient, contexts, reward=lambda frames: frames.mean((1, 2, 3)), max_steps=2)
    check_env_specs(env, seed=0)
    assert env.action_spec.low[1].tolist() == pytest.approx(obedient.spec.low)
    assert env.action_spec.high[1].tolist() == pytest.approx(obedient.spec.high)
    assert env.batch_locked


@pytest.mark.long
def test_a_rollout_is_that_of_the_worlds(obedient, contexts):
    """Frame by frame and reward by reward, under the seed; another seed gives another one."""
    worlds = ImaginedWorlds(obedient, contexts, reward=lambda frames: frames.mean((1, 2, 3)))
    env = env_of(obedient, contexts, reward=worlds.reward)
    actions = iter(torch.rand(6, 2, 3, generator=seeded(1)).mul(0.1).repeat(2, 1, 1))

    def seen_under(seed: int):
        env.set_seed(seed)
        return env.rollout(2, lambda td: td.set("action", next(actions)))

    made = seen_under(5)
    assert torch.equal(made["pixels"][:, 0], torch.from_numpy(worlds.reset(seed=5)))
    for k, action in enumerate(made["action"].unbind(1)):
        step = worlds.step(action[:, None])
        assert torch.equal(made["next", "pixels"][:, k], torch.from_numpy(step.frames[:, -1]))
        assert made["next", "reward"][:, k, 0].tolist() == pytest.approx(step.reward.tolist())
    assert made["next", "pixels"].float().std(1).max() > 1  # something moves
    other = seen_under(6)
    assert not torch.equal(other["next", "pixels"], made["next", "pixels"])
    for _ in range(2):
        next(actions)  # the same ones again
    again = seen_under(5)
    assert torch.equal(again["action"], made["action"])
    assert torch.equal(again["next", "pixels"], made["next", "pixels"])


def test_the_worlds_that_ended_begin_anew_and_the_others_go_on(obedient, contexts):
    ends = iter([[False, True], *[[False, False]] * 3])
    env = env_of(obedient, contexts, ended=lambda frames: torch.tensor(next(ends)), max_steps=3)
    made = env.rollout(4, break_when_any_done=False)
    assert made["next", "terminated"][..., 0].tolist() == [[False] * 4, [True, *[False] * 3]]
    assert made["next", "truncated"][..., 0].tolist() == [
        [False, False, True, False],
        [False, False, False, True],  # its three steps begin after its end
    ]
    first = contexts[:, 0].permute(0, 2, 3, 1)
    begins = (made["pixels"] == first[:, None]).all(-1).all(-1).all(-1)
    assert begins.tolist() == [[True, False, False, True], [True, True, False, False]]


def test_a_state_is_seen_and_begins_anew(world_model, contexts):
    moves = ActionSpec(("hip",), ("rad",), "joint", "difference", 4.0, (-0.2,), (0.2,))
    posture = ActionSpec(("hip",), ("rad",), "joint", "command", 4.0, (-1.0,), (1.0,))
    model = WorldModel(world_model.backbone, steps=1, chunk=4, spec=moves, state_spec=posture)
    model.configure_model()
    env = env_of(model, contexts, state=torch.tensor([[0.5], [-0.5]]), max_steps=2)
    still = torch.full((2, 1), 0.1)
    made = env.rollout(3, lambda td: td.set("action", still.clone()), break_when_any_done=False)
    found = made["next", "state"][..., 0]
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.7, 0.6], [-0.4, -0.3, -0.4]]))


def test_some_worlds_are_reset_only_where_all_have_begun(obedient, contexts):
    worlds = ImaginedWorlds(obedient, contexts)
    with pytest.raises(ValueError, match=r"Expected reset\(\) first"):
        worlds.reset_some(torch.ones(2, dtype=torch.bool).numpy())
    worlds.reset()
    with pytest.raises(ValueError, match=r"here \(2\), got \(3,\)"):
        worlds.reset_some(torch.ones(3, dtype=torch.bool).numpy())
    with pytest.raises(
        ValueError, match=r"Expected here \(N,\) of bool, got an array \(2,\) of int64"
    ):
        worlds.reset_some(np.array([0, 1]))  # no numbers of worlds


@pytest.mark.long
def test_planning_does_not_import_torchrl():
    code = "import sys, egowm.planning; sys.exit('torchrl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torchrl_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchrl.envs", None)
    monkeypatch.delitem(sys.modules, "egowm.planning.torchrl_env", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'egowm\[torchrl\]'"):
        import egowm.planning.torchrl_env  # noqa: F401
