"""Policies that go to a picture: what they are taught, how they drive, what a world gives them."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.distributions import Normal
from torch.utils.data import default_collate

from egowm.actions import ActionSpec
from egowm.clip import Clip
from egowm.data import Rooms, Window
from egowm.evaluation.simulator import Simulator
from egowm.latent import from_pretrained as open_world
from egowm.planning import MPC, Plan, Space
from egowm.policies import BehaviourCloning, Policy, Reinforce, from_pretrained
from egowm.policies.agent import PolicyAgent, proposals
from egowm.policies.goal_policy import Decision
from egowm.sampling import Rollout, Sampling

SIZE = 8
SPEC = ActionSpec(
    ("step", "side"), ("m", "m"), "body", "difference", 4.0, (-0.1, 0.0), (0.1, 0.0)
)  # the second dimension never varies


def clone(**options: Any) -> BehaviourCloning:
    torch.manual_seed(0)
    policy = BehaviourCloning(**({"depth": 8, "units": 16} | options), size=SIZE, spec=SPEC)
    policy.configure_model()
    return policy


def grey(values: torch.Tensor) -> torch.Tensor:
    """Frames (..., 3, 8, 8) of one brightness each."""
    return values[..., None, None, None].expand(*values.shape, 3, SIZE, SIZE)


def walk(count: int = 16, horizon: int = 6) -> Clip:
    """Robots on a line that is seen as brightness; a clip keeps to one direction."""
    generator = torch.Generator().manual_seed(1)
    way = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)[:, None]
    actions = way * (0.04 + 0.04 * torch.rand(count, horizon, generator=generator))
    places = 0.5 + torch.cat([torch.zeros(count, 1), actions.cumsum(1)], 1)
    told = torch.stack([actions, torch.zeros_like(actions)], -1)
    rest = torch.zeros(count, 0, 2), torch.zeros(count, 0)
    names = [f"{k}" for k in range(count)]
    frames = (grey(places) * 255).round().byte()
    return Clip(frames, told, *rest, [""] * count, [""] * count, names)


def trained(policy: Any, clip: Clip, steps: int, rate: float = 5e-3) -> None:
    optimizer = torch.optim.Adam(policy.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        policy.loss(clip)[0].backward()
        optimizer.step()
    policy.eval()


def test_pairs_are_a_frame_a_later_one_and_the_action_between():
    policy, clip = clone(pairs=40, apart=0.0), walk()
    frames, goals, actions, steps, reached = policy._pairs(clip, torch.Generator().manual_seed(0))
    assert len(frames) == 40 * 16
    assert set(steps.tolist()) == set(range(7))
    assert torch.equal(reached, (steps > 0).float())
    bright = (clip.frames[:, :, 0, 0, 0].float() / 255).tolist()
    for k in range(0, 640, 37):
        clips = [c for c in range(16) if frames[k, 0, 0, 0] in clip.frames[c, :, 0, 0, 0]]
        ways = [(c, n) for c in clips for n in range(7) if n + steps[k] < 7]
        fits = [
            torch.equal(actions[k], clip.actions[c, min(n, 5)])
            for c, n in ways
            if abs(bright[c][n] - frames[k, 0, 0, 0] / 255) < 1e-6
            and abs(bright[c][n + int(steps[k])] - goals[k, 0, 0, 0] / 255) < 1e-6
        ]
        assert any(fits)


def test_goals_out_of_reach_count_one_step_more_than_the_clip():
    policy, clip = clone(pairs=40, apart=0.5), walk()
    _, _, _, steps, reached = policy._pairs(clip, torch.Generator().manual_seed(0))
    assert 0.4 < (steps == 7).float().mean() < 0.5  # those passed at distance 0 are none
    assert not reached[steps == 7].any()


@pytest.mark.long
def test_a_clone_goes_the_way_of_its_recordings_and_stops_there():
    policy, clip = clone(pairs=8), walk()
    trained(policy, clip, 400)
    assert isinstance(policy, Policy)
    places, goals = torch.full((3,), 0.5), torch.tensor([0.7, 0.3, 0.5])
    memory = policy.begin(grey(goals))
    first = policy.act(memory, grey(places))[1]
    assert first[0, 0] > 0.03
    assert first[1, 0] < -0.03
    assert first[2].tolist() == [0.0, 0.0]  # it is there
    assert first.abs().max() <= 0.1
    drawn = [policy.act(memory, grey(places), torch.Generator().manual_seed(k))[1] for k in (1, 1)]
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], first)
    assert (drawn[0][:, 1] == 0).all()


def test_advantages_in_closed_form(monkeypatch):
    policy = Reinforce("rooms", "nowhere", samples=2, discount=0.5, depth=8, size=SIZE, spec=SPEC)
    rewards = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 4.0], [2.0, 0.0]])
    # returns: (2, 2), (0, 0), (2, 4), (2, 0); less the other future of the clip:
    differences = torch.tensor([[2.0, 2.0], [-2.0, -2.0], [0.0, 4.0], [0.0, -4.0]])
    torch.testing.assert_close(policy.advantages(rewards), differences / differences.std())


@dataclass
class Line:
    """A world of brightness: an action adds to it. Answers what Reinforce asks of `Dynamics`."""

    obeys: float = 1.0
    spec, state_spec, makes_frames, num_context, frames_at_once = SPEC, None, True, 1, 1
    device, name = torch.device("cpu"), "a line"

    def spec_of(self, source: str | None) -> ActionSpec:
        return SPEC

    def check_size(self, height: int, width: int) -> None: ...

    def stepper_of(self, clip: Clip, how: Sampling, generator: Any) -> "Line":
        return self

    stepper = stepper_of

    def begin(self, context: torch.Tensor) -> torch.Tensor:
        return context[:, -1, 0, 0, 0]

    def advance(self, before, actions, state, texts) -> tuple[torch.Tensor, Rollout]:
        after = (before + self.obeys * actions[:, 0, 0]).clamp(0, 1)
        return after, Rollout(grey(after)[:, None], grey(after)[:, None], 0)


class Judge(BehaviourCloning):
    """Knows how many steps are left, and drives at random."""

    def decide(self, frames, goals):
        apart = (frames - goals)[:, 0, 0, 0].abs() / 0.06
        zero = torch.zeros(len(frames), 2)
        return Decision(Normal(zero, zero + 1), apart)


def improved(obeys: float) -> float:
    """Mean progress, in the true world, of a policy that learned in one that obeys so well."""
    torch.manual_seed(3)
    judge = Judge(depth=8, units=16, size=SIZE, spec=SPEC)
    judge.configure_model()
    policy = Reinforce("x", "x", samples=4, stop_at=0, size=SIZE, units=16, spec=SPEC)
    policy.use(Line(obeys), judge)
    policy.configure_model()
    trained(policy, walk(), 60)
    policy._outside = (Line(), judge)
    return policy.losses(walk(), torch.Generator().manual_seed(0))[1]["progress"].item()


@pytest.mark.long
def test_reinforce_learns_from_a_world_that_obeys_and_nothing_from_one_that_does_not():
    learned, idle = improved(1.0), improved(0.0)
    assert learned > 0.25  # of at most 0.8 on average: goals are 2 to 6 steps away, of 6
    assert learned > idle + 0.2


def test_a_world_without_frames_is_refused():
    policy, line = Reinforce("x", "x", size=SIZE, depth=8, spec=SPEC), Line()
    with pytest.raises(ValueError, match="Expected a world and a clone"):
        policy.imagine(walk(), None)
    line.makes_frames = False
    with pytest.raises(ValueError, match="a line makes no frames"):
        policy.use(line, clone())


def test_the_simulator_steps_clips_as_it_rolls_them_out(tmp_path):
    rooms = {"episodes_train": 1, "episodes_val": 1, "episodes_test": 2, "num_frames": 6}
    data = Rooms(str(tmp_path), Window(1, 4, 1, 16, 16), **rooms)
    clips = data.windows("test", tiled=True)
    clip, how = Clip(*default_collate([clips[0], clips[1]])), Sampling()
    stepper = Simulator(data).stepper_of(clip, how, None)
    state, seen = stepper.begin(clip.frames[:, :1]), []
    for k in range(4):
        state, made = stepper.advance(state, clip.actions[:, k : k + 1], None, [""])
        seen.append(made.frames)
    assert torch.equal(torch.cat(seen, 1), Simulator(data).rollout_of(clip).frames)


def test_exports_load_as_what_they_are(tmp_path):
    policy = clone()
    policy.save_pretrained(tmp_path / "clone")
    later = Reinforce("rooms", str(tmp_path / "clone"), size=SIZE, units=16, spec=SPEC)
    later.use(Line(), BehaviourCloning.from_pretrained(tmp_path / "clone"))
    later.configure_model()
    later.save_pretrained(tmp_path / "later")
    seen, goals = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE)
    for name, kind in (("clone", BehaviourCloning), ("later", Reinforce)):
        found = from_pretrained(tmp_path / name)
        assert type(found) is kind
        torch.testing.assert_close(
            found.act(found.begin(goals), seen)[1], policy.act(policy.begin(goals), seen)[1]
        )
    with pytest.raises(FileNotFoundError, match=r"Expected an export \(world_model.json\)"):
        open_world(tmp_path / "clone")
    with pytest.raises(FileNotFoundError, match=r"Expected an export \(policy.json\)"):
        from_pretrained("rooms")
    with pytest.raises(ValueError, match="expected an export of Reinforce"):
        Reinforce.from_pretrained(tmp_path / "clone")


def test_a_checkpoint_brings_the_shape_of_the_clone(tmp_path):
    """Which the recipe does not know."""
    policy = Reinforce("x", "x", size=SIZE, spec=SPEC)
    policy.use(Line(), clone())
    policy.configure_model()
    checkpoint = {"state_dict": policy.state_dict()}
    policy.on_save_checkpoint(checkpoint)
    again = Reinforce("x", "x", size=SIZE)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert (again.depth, again.units) == (8, 16)
    with pytest.raises(ValueError, match="differ in names"):
        PolicyAgent(again)


def test_proposals_are_what_the_policy_does_in_the_model():
    policy = clone(pairs=8)
    trained(policy, walk(), 120)
    propose = proposals(policy, Line(), horizon=5, samples=32, seed=2)
    found = propose(grey(torch.tensor([0.5])), grey(torch.tensor([0.75]))[0])
    assert found.shape == (32, 5, 2)
    ends = 0.5 + found[..., 0].sum(1)
    assert abs(ends.mean() - 0.75) < 0.08
    assert ends.std() > 0.003
    again = proposals(policy, Line(), horizon=5, samples=32, seed=2)
    assert torch.equal(again(grey(torch.tensor([0.5])), grey(torch.tensor([0.75]))[0]), found)
    blind = Line()
    blind.state_spec = SPEC
    with pytest.raises(ValueError, match="embeds a state"):
        proposals(policy, blind, horizon=5, samples=32)


def test_a_search_begins_around_what_is_proposed():
    spaces, tried = [], []

    def planner(cost, space, *, generator, initial):
        spaces.append(space)
        tried.append(initial)
        return Plan(space.mean, 0.0, 1, 0.0, space.mean[None])

    given = torch.tensor([[[0.2], [0.4]], [[0.4], [9.0]]])
    space = Space(torch.zeros(2, 1), std=0.5, low=-1.0, high=1.0)
    agent = MPC(planner, lambda seen: None, space, propose=lambda seen: given)
    agent.act(0)
    agent.act(0)
    torch.testing.assert_close(spaces[0].mean, torch.tensor([[0.3], [0.7]]))
    torch.testing.assert_close(spaces[0].std, torch.tensor([[0.1], [0.3]]))
    assert torch.equal(tried[0], given.clamp(max=1.0))
    assert torch.equal(tried[1][:2], tried[0])  # then the plan before, moved on
    assert len(tried[1]) == 3
    alike = MPC(planner, lambda seen: None, space, propose=lambda seen: given[:1])
    alike.act(0)
    assert spaces[-1].std.flatten().tolist() == pytest.approx([0.05, 0.05])
    bad = MPC(planner, lambda seen: None, space, propose=lambda seen: given[:, :1])
    with pytest.raises(ValueError, match="what propose gives"):
        bad.act(0)
