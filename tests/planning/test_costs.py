"""Terms of a cost, and the cost of candidates by what a world model imagines."""

import gc
import weakref

import numpy as np
import pytest
import torch

from egowm.planning import Space, cem, goal_cost, gradient
from egowm.planning.costs import (
    Frames,
    Latents,
    Magnitude,
    OnTheWay,
    Pixels,
    Smoothness,
    Weighted,
)
from egowm.planning.features import Structure, encoder, perceptual
from egowm.planning.goal import goal_latents
from egowm.sampling import Rollout, Sampling
from egowm.scs.trackers.palette import PaletteTracker
from tests.planning.conftest import seeded


def made(frames=None, latents=None) -> Rollout:
    return Rollout(frames, latents, 0)


@pytest.fixture
def context() -> torch.Tensor:
    return torch.rand(1, 1, 3, 16, 16, generator=seeded(2))


class Recorder:
    """Stands in for a world model: frames are all as bright as the sum of the actions."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches, self.alive, self.asked = [], [], []

    def rollout(self, context, actions, how, *, generator, **options):
        gc.collect(0)
        self.batches.append((len(actions), sum(ref() is not None for ref in self.alive)))
        self.asked.append((how.decode, how.gradient, generator.generator.get_state().tolist()[:8]))
        level = actions.sum((1, 2)).clamp(0, 1)[:, None, None, None, None]
        frames = level.expand(-1, 1, 3, 4, 4).contiguous()
        self.alive.append(weakref.ref(frames))
        return Rollout(frames, frames, 0)


# Terms --------------------------------------------------------------------------------------------


def test_pixels():
    goal, frames = torch.zeros(3, 4, 4), torch.zeros(2, 3, 3, 4, 4)
    frames[1, -1, :, 0, 0] = 1.0
    frames[:, 0] = 0.7  # only the last frame counts
    assert Pixels(goal)(made(frames), None).tolist() == pytest.approx([0, 1 / 16])
    assert Pixels(goal, pool=4)(made(frames), None).tolist() == pytest.approx([0, 1 / 256])
    with pytest.raises(ValueError, match=r"shape \(3, 4, 4\), .* got \(3, 8, 8\)"):
        Pixels(torch.zeros(3, 8, 8))(made(frames), None)
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]"):
        Pixels(torch.full((3, 4, 4), 255.0))(made(frames), None)


def test_latents_and_own_functions():
    latents = torch.arange(2.0)[:, None, None, None, None].expand(2, 3, 4, 2, 2)
    assert Latents(torch.zeros(4, 2, 2))(made(latents=latents), None).tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"goal latents \(4, 2, 2\), got \(4, 8, 8\)"):
        Latents(torch.zeros(4, 8, 8))(made(latents=latents), None)
    dark = Frames(lambda frames: frames.mean((1, 2, 3, 4)))
    assert dark.needs == "all"
    assert dark(made(torch.ones(2, 3, 3, 4, 4)), None).tolist() == [1, 1]


def test_terms_of_the_actions():
    actions = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[2.0, 5.0], [2.0, 5.0]]])
    scale = torch.tensor([2.0, 0.0])  # the second dimension does not count
    assert Magnitude(scale)(None, actions).tolist() == pytest.approx([(0.25 + 2.25) / 4, 0.5])
    assert Smoothness(scale)(None, actions).tolist() == pytest.approx([0.5, 0.0])
    assert Smoothness()(None, actions[:, :1]).tolist() == [0, 0]


def test_a_weighted_sum_needs_the_most_of_its_terms():
    actions, goal = torch.ones(2, 3, 1), torch.zeros(3, 4, 4)
    both = Weighted((2.0, Magnitude()), (0.5, Pixels(goal)))
    assert both.needs == "last"
    assert both(made(torch.ones(2, 1, 3, 4, 4)), actions).tolist() == [2.5, 2.5]
    assert Weighted((1.0, Magnitude()), (1.0, Latents(goal))).needs == "none"
    with pytest.raises(ValueError, match="at least one pair"):
        Weighted()


def test_structure_is_one_minus_scs():
    goal = torch.full((3, 16, 16), 0.5)
    goal[:, 4:12, 4:12] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    masks = np.zeros((1, 16, 16), bool)
    masks[0, 4:12, 4:12] = True
    moved = goal.roll(4, 2)
    term = Structure(goal, masks, PaletteTracker())
    frames = torch.stack([goal, moved, torch.full_like(goal, 0.5)])[:, None]
    assert term(made(frames), None).tolist() == pytest.approx([0, 1 - 1 / 3, 1], abs=0.02)
    with pytest.raises(ValueError, match=r"masks \(O, 16, 16\) that are not empty"):
        Structure(goal, np.zeros_like(masks), PaletteTracker())


def test_perceptual_features():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)]
    network = torch.nn.Sequential(*layers)
    goal = torch.rand(3, 8, 8)
    term = perceptual(goal, network, ["0", "2"])
    frames = torch.stack([goal, 1 - goal]).requires_grad_()
    costs = term(made(frames[:, None]), None)
    assert costs[0].item() == pytest.approx(0, abs=1e-6)
    assert costs[1].item() > 0.1
    expected = 0.0
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.stack([goal, 1 - goal]) - mean[:, None, None]) / std[:, None, None]
    for layer in network:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            unit = x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()
            expected += (unit[0] - unit[1]).square().sum(0).mean().item()
    assert costs[1].item() == pytest.approx(expected, rel=1e-4)
    assert torch.autograd.grad(costs.sum(), frames)[0].abs().sum() > 0
    with pytest.raises(ValueError, match=r"names of the network's modules, got \['x'\]"):
        perceptual(goal, network, ["x"])


def test_dino_patches(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(tmp_path)
    goal = torch.rand(3, 8, 8)
    term = encoder(goal, tmp_path, size=28)
    assert term.extract(goal[None]).shape == (1, 2, 2, 16)
    costs = term(made(torch.stack([goal, 1 - goal])[:, None]), None)
    assert costs[0] == pytest.approx(0, abs=1e-5)
    assert costs[1] > 1e-3
    with pytest.raises(ValueError, match="multiple of 14, got 30"):
        encoder(goal, tmp_path, size=30)


@pytest.mark.parametrize("part", ["config.json", "model.safetensors"])
def test_a_file_of_dino_that_is_missing_is_named(part, tmp_path, monkeypatch, online):
    from transformers import Dinov2Config, Dinov2Model

    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^models/dino is no folder here, and the local"):
        encoder(torch.zeros(3, 8, 8), "models/dino")
    config = Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    Dinov2Model(config).save_pretrained("models/dino")
    (tmp_path / "models/dino" / part).unlink()
    with pytest.raises(FileNotFoundError, match=f"^Expected models/dino/{part}, found none"):
        encoder(torch.zeros(3, 8, 8), "models/dino")


# The cost of candidates ---------------------------------------------------------------------------


def test_ten_thousand_candidates_in_micro_batches():
    """One micro-batch of frames is alive at a time, and the noise is that of every other one."""
    model = Recorder()
    cost = goal_cost(
        model,
        torch.zeros(1, 1, 3, 4, 4),
        torch.full((3, 4, 4), 0.5),
        Sampling(micro_batch=64),
        by="pixels",
    )
    actions = torch.rand(10_000, 2, 1, generator=seeded())
    costs = cost(actions)
    torch.testing.assert_close(costs, (actions.sum((1, 2)).clamp(0, 1) - 0.5).square())
    assert [count for count, _ in model.batches] == [64] * 156 + [16]
    assert {alive for _, alive in model.batches} == {0}
    assert {str(asked) for asked in model.asked} == {str(("last", False, model.asked[0][2]))}
    assert cost.candidates == 10_000


def test_a_micro_batch_that_does_not_fit_is_halved(caplog):
    class Small(Recorder):
        def rollout(self, context, actions, how, **options):
            if len(actions) > 12:
                raise torch.OutOfMemoryError
            return super().rollout(context, actions, how, **options)

    goal = torch.full((3, 4, 4), 0.5)
    actions = torch.rand(50, 2, 1, generator=seeded())
    wanted = goal_cost(Recorder(), torch.zeros(1, 1, 3, 4, 4), goal, by="pixels")(actions)
    model = Small()
    cost = goal_cost(model, torch.zeros(1, 1, 3, 4, 4), goal, Sampling(micro_batch=40), by="pixels")
    assert torch.equal(cost(actions), wanted)
    assert [count for count, _ in model.batches] == [10] * 5
    assert cost.micro_batch == 10
    assert cost.candidates == 50
    assert "20 candidates do not fit: now 10 at once" in caplog.text

    def none(*arguments, **options):
        raise torch.OutOfMemoryError

    model.rollout = none
    with pytest.raises(torch.OutOfMemoryError):
        cost(actions)
    assert cost.micro_batch == 1


@pytest.mark.long
def test_a_cost_in_bfloat16_and_by_a_window(obedient, context, spec):
    actions = spec.denormalise(torch.rand(6, 4, 3, generator=seeded()) * 2 - 1)
    goal = torch.rand(3, 16, 16, generator=seeded(5))
    exact = goal_cost(obedient, context, goal, by="pixels")(actions)
    for how in (Sampling(dtype=torch.bfloat16), Sampling(decode="last", decode_window=3)):
        near = goal_cost(obedient, context, goal, how, by="pixels")(actions)
        assert (near != exact).any()
        torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05 * exact.std().item())
    with pytest.raises(ValueError, match=r"decode_window .* with decode none"):
        goal_cost(obedient, context, goal, Sampling(decode="last", decode_window=3))


@pytest.mark.long
def test_a_cost_is_a_function_of_the_actions(obedient, context, spec):
    actions = spec.denormalise(torch.rand(3, 4, 3, generator=seeded()) * 2 - 1)
    goal = torch.rand(3, 16, 16, generator=seeded(5))
    for by in ("latents", "pixels"):
        cost = goal_cost(
            obedient, context, goal, Sampling(micro_batch=2), by=by, generator=seeded(1)
        )
        first, again, alone = cost(actions), cost(actions.flip(0)).flip(0), cost(actions[2:])
        assert first.std() > 1e-4
        torch.testing.assert_close(first, again, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(first[2:], alone, atol=1e-4, rtol=1e-4)
    assert goal_latents(obedient, goal).shape == (4, 8, 8)
    made = obedient.rollout(context, actions[:1], generator=[seeded(1)])
    expected = (made.frames[:, -1] - goal).square().mean()
    assert first[0].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.long
def test_a_plan_through_the_model_s_gradient(obedient, context, spec):
    goal = torch.rand(3, 16, 16, generator=seeded(5))
    cost = goal_cost(obedient, context, goal, Sampling(steps=1))
    mean, std = torch.zeros(4, 3), torch.tensor(spec.high) / 2
    plan = gradient(cost, Space(mean, std, -1, 1), iterations=4, rate=0.02)
    assert plan.cost < float(cost(mean[None])[0])
    sampled = cem(cost, Space(mean, std), samples=4, elites=2, iterations=2, generator=seeded())
    assert sampled.actions.shape == (4, 3)
    assert cost.candidates == 4 + 1 + 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"context": torch.zeros(2, 1, 3, 4, 4)}, r"context \(1, K, 3, H, W\), or .* got \(2, 1"),
        ({"goal": torch.zeros(3, 8, 8)}, r"goal of the context's frame size \(3, 4, 4\)"),
        ({"goal": torch.full((3, 4, 4), 2.0)}, r"float goal in \[0, 1\]"),
        ({"by": "masks"}, "by latents or pixels, got 'masks'"),
    ],
)
def test_a_wrong_goal_is_refused(change, words):
    asked = {"context": torch.zeros(1, 1, 3, 4, 4), "goal": torch.zeros(3, 4, 4), "by": "pixels"}
    with pytest.raises(ValueError, match=words):
        goal_cost(Recorder(), **(asked | change))


def test_on_the_way_is_the_least_over_frames_or_latents():
    """Grey levels 0.2, 0.9, 0.5 against 1: the least square is 0.01, of the second frame."""
    levels = torch.tensor([0.2, 0.9, 0.5])[None, :, None, None, None].expand(2, 3, 3, 4, 4)
    actions = torch.zeros(2, 3, 1)
    cost = OnTheWay(Pixels(torch.ones(3, 4, 4), pool=2))
    assert cost.needs == "all"
    each = cost.each(made(levels, levels), actions)
    assert torch.allclose(each, torch.tensor([0.64, 0.01, 0.25]).expand(2, 3))
    assert torch.allclose(cost(made(levels, levels), actions), torch.tensor([0.01, 0.01]))
    cost = OnTheWay(Latents(torch.ones(3, 4, 4)))
    assert cost.needs == "none"
    nothing = torch.zeros(2, 0, 3, 4, 4)
    assert torch.allclose(cost(made(nothing, levels), actions), torch.tensor([0.01, 0.01]))


@pytest.mark.parametrize("term", [Smoothness(), Frames(lambda frames: frames.sum((1, 2, 3, 4)))])
def test_on_the_way_takes_terms_of_one_frame(term):
    with pytest.raises(ValueError, match="Expected a term of one frame"):
        OnTheWay(term)
