"""Dreamer: returns in closed form and against torchrl's, what it learns, runs that go on."""

import json

import pytest
import torch
import yaml
from lightning import Trainer

from egowm.actions import ActionSpec
from egowm.commands import main as cli
from egowm.latent.rssm import balanced_kl
from egowm.policies import Dreamer, Policy, Replay, lambda_returns
from egowm.training.checkpoints import read_checkpoint
from tests.policies.conftest import RATES, SMALL, TOY, dreamer


def test_returns_in_closed_form():
    rewards, values = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])
    ends = torch.tensor([1.0, 0.0, 1.0])
    # from behind: 3 + .9 30; 2, as it ends there; 1 + .9 (.8 10 + .2 2)
    found = lambda_returns(rewards, ends, values, discount=0.9, lambda_=0.2)
    torch.testing.assert_close(found, torch.tensor([1 + 0.9 * 8.4, 2.0, 30.0]))
    one_step = lambda_returns(rewards, ends, values, 0.9, 0.0)
    torch.testing.assert_close(one_step, rewards + 0.9 * ends * values)
    endless = lambda_returns(rewards, torch.ones(3), values, 0.5, 1.0)
    torch.testing.assert_close(endless[0], torch.tensor(1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 30))


def test_returns_are_those_of_torchrl():
    functional = pytest.importorskip("torchrl.objectives.value.functional")
    rewards, values = torch.randn(4, 15), torch.randn(4, 15)
    ended = torch.rand(4, 15) < 0.2
    ours = lambda_returns(rewards, (~ended).float(), values, 0.95, 0.9)
    parts = (values[..., None], rewards[..., None], ended[..., None])
    theirs = functional.td_lambda_return_estimate(0.95, 0.9, *parts)
    torch.testing.assert_close(ours, theirs[..., 0])


def test_balanced_kl_is_that_of_torchrl():
    objectives = pytest.importorskip("torchrl.objectives")
    given = torch.randn(2, 2, 3, 4, 5)  # theirs is the mean over 4 groups, ours their sum
    pairs = [[x.clone().requires_grad_() for x in given] for _ in range(2)]
    ours = balanced_kl(*pairs[0], balance=0.8)
    theirs = 4 * objectives.categorical_kl_balanced(*pairs[1], alpha=0.8, free_bits=0.0)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    for mine, other in zip(*pairs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def toy_return(model: Dreamer) -> float:
    """The share of bright frames that its likeliest actions lead to, in 12 steps of the toy."""
    torch.manual_seed(0)
    memory, frames, bright = model.begin(torch.zeros(4, 3, 8, 8)), torch.zeros(4, 3, 8, 8), 0.0
    for _ in range(12):
        memory, actions = model.act(memory, frames)
        frames = (actions[:, 0] > 0).float()[:, None, None, None].expand(4, 3, 8, 8) * 200 / 255
        bright += float((actions > 0).float().mean()) / 12
    return bright


def learned(model: Dreamer, replay, steps: int, folder) -> Dreamer:
    data = Replay(str(replay), horizon=6, batch_size=8, min_steps=6)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        accelerator="cpu",
        **quiet,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model


@pytest.mark.parametrize(
    "choices",
    [None, pytest.param([[1.0], [-1.0], [-0.5], [-2.0]], marks=pytest.mark.long)],
)
def test_it_learns_what_is_rewarded(choices, toy_replay, tmp_path):
    torch.manual_seed(1)
    model = dreamer(choices=choices, horizon=4, entropy=1e-3, target_every=10)
    with torch.no_grad():  # at first it prefers what is not rewarded
        model.actor.layers[-1].bias[0] = -1.0
    assert toy_return(model) == 0.0
    learned(model, toy_replay, 60, tmp_path)
    assert toy_return(model.eval()) == 1.0


def test_each_part_learns_from_its_own_loss(toy_replay):
    model, data = dreamer(horizon=3), Replay(str(toy_replay), 6, 8, min_steps=6)
    world, _, features = model.world_loss(*data.batch(0))
    actor, critic, logs = model.behaviour_losses(features.flatten(0, 1))
    for loss, part in ((world, model.world), (actor, model.actor), (critic, model.critic)):
        found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        assert all(gradient.any() for gradient in found[:-2])
    others = [*model.world.parameters(), *model.actor.parameters()]
    found = torch.autograd.grad(critic, others, allow_unused=True, retain_graph=True)
    assert found == (None,) * len(others)
    assert not any(weight.requires_grad for weight in model.slow_critic.parameters())
    assert logs["return"].isfinite()


def test_the_entropy_of_a_bounded_normal(toy_replay):
    """Against the integral of -p log p over [-1, 1], from the density of tanh(x)."""
    model = dreamer()
    features = torch.zeros(1, 32)
    with torch.no_grad():
        model.actor.layers[-1].bias.copy_(torch.tensor([0.4, 0.3]))
        mean, std = (value.item() for value in model.actor.normal(features))
        samples = model.actor.chosen(features.expand(200_000, -1), torch.Generator().manual_seed(0))
        ours = model.actor.entropies(features.expand(200_000, -1), samples).mean().item()
    places = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1]
    normal = torch.distributions.Normal(mean, std)
    log_density = normal.log_prob(places.atanh()) - torch.log1p(-places.square())
    exact = -(log_density.exp() * log_density).mean().item() * 2
    assert ours == pytest.approx(exact, abs=5e-3)


def test_a_dimension_without_a_range_stays_where_it_is():
    spec = ActionSpec(("x", "y"), ("m", "m"), "body", "difference", 4.0, (0.0, 0.5), (1.0, 0.5))
    model = Dreamer(**SMALL, spec=spec)
    model.configure_model()
    noise, memory = torch.Generator().manual_seed(0), model.begin(torch.zeros(5, 3, 8, 8))
    _, actions = model.act(memory, torch.zeros(5, 3, 8, 8), noise)
    assert (actions[:, 1] == 0.5).all()
    assert actions[:, 0].unique().numel() == 5


def test_acting_is_what_was_learned_from():
    """The beliefs of `act`, step after step, are those of the world model's `observed`."""
    model, frames = dreamer(), torch.rand(2, 5, 3, 8, 8)
    model.world.drawn = lambda logits, generator: logits.softmax(-1).flatten(1)
    memory, actions, beliefs = model.begin(frames[:, 0]), [], []
    for frame in frames.unbind(1):
        memory, action = model.act(memory, frame, torch.Generator().manual_seed(0))
        actions.append(action)
        beliefs.append(torch.cat(memory.belief, 1))
    told = TOY.normalise(torch.stack(actions[:-1], 1))
    embedded = model.world.embed(frames.flatten(0, 1)).unflatten(0, (2, 5))
    features = model.world.observed(embedded, told, None)[0]
    torch.testing.assert_close(features, torch.stack(beliefs, 1))


def recipe(folder, replay) -> str:
    model = {"class_path": "egowm.policies.Dreamer", "init_args": SMALL | RATES | {"horizon": 3}}
    model["init_args"] |= {"target_every": 3}
    data = {"root": str(replay), "horizon": 6, "batch_size": 4, "min_steps": 100}
    export = {"class_path": "egowm.policies.PolicyExport", "init_args": {"every": 4}}
    trainer = {
        "default_root_dir": str(folder / "run"), "accelerator": "cpu", "devices": 1,
        "limit_val_batches": 0, "max_steps": 8, "callbacks": [export], "logger": False,
        "enable_progress_bar": False,
    }  # fmt: skip
    tree = {"seed_everything": 1, "model": model, "save_every": 4, "trainer": trainer}
    tree["data"] = {"class_path": "egowm.policies.Replay", "init_args": data}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
    return str(folder / "recipe.yaml")


@pytest.mark.long
def test_a_resumed_run_is_the_same_to_the_bit(toy_replay, tmp_path):
    fit = ["fit", "-c", recipe(tmp_path, toy_replay)]
    assert cli.main(fit) == 0
    whole = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert whole["global_step"] == 8
    policy = Dreamer.from_pretrained(tmp_path / "run/policy")
    for name, weight in policy.state_dict().items():
        assert torch.equal(weight, whole["state_dict"][name]), name
    again = [*fit, "--trainer.default_root_dir", str(tmp_path / "again")]
    assert cli.main([*again, "--trainer.max_steps", "4"]) == 0
    assert cli.main([*again, "--ckpt_path", "last"]) == 0
    resumed = read_checkpoint(tmp_path / "again/checkpoints/last.ckpt")
    assert resumed["global_step"] == 8
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name


def test_exports_come_back(tmp_path):
    for choices in (None, [[1.0], [-1.0]]):
        model = dreamer(choices=choices).eval()
        model.save_pretrained(tmp_path / "export")
        back = Dreamer.from_pretrained(tmp_path / "export")
        assert (back.spec, back.choices) == (TOY, choices)
        frames = torch.rand(3, 3, 8, 8)
        found = [
            policy.act(policy.begin(frames), frames, torch.Generator().manual_seed(2))[1]
            for policy in (model, back)
        ]
        assert torch.equal(*found)
        assert isinstance(back, Policy)
    written = json.loads((tmp_path / "export/policy.json").read_text())
    assert written["policy"] == "Dreamer"


def test_wrong_input_is_told(toy_replay, spec):
    model = dreamer()
    with pytest.raises(ValueError, match="built for frames of 8x8, got 16x16"):
        model.act(model.begin(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"frames \(1, 3, H, W\), got \(2, 3, 8, 8\)"):
        model.act(model.begin(torch.zeros(1, 3, 8, 8)), torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="learns from rewards"):
        model.loss(Replay(str(toy_replay), 6, 8, min_steps=6).batch(0).clip)
    with pytest.raises(ValueError, match=r"choices \(C, 1\), got \(1, 2\)"):
        dreamer(choices=[[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"beyond 1\.5 times the training range"):
        dreamer(choices=[[9.0]])
    with pytest.raises(ValueError, match="discount from 0 to 1, got 2"):
        Dreamer(discount=2.0)
    with pytest.raises(ValueError, match=r"goes_on \(2,\)|as rewards|like rewards|rewards"):
        lambda_returns(torch.zeros(3), torch.zeros(2), torch.zeros(3))
