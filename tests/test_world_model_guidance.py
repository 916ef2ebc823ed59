"""Guidance on the action and on several things, action dropout, and actions of any width."""

import pytest
import torch
from torch import Tensor, nn

from egowm.actions import ActionSpec
from egowm.backbones.svd import SVD
from egowm.backbones.texts import Texts
from egowm.data import Clip
from egowm.sampling import Sampling
from egowm.world_model import WorldModel


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(world_model: WorldModel, spec: ActionSpec, **options) -> WorldModel:
    """On the same backbone, with embeddings that show."""
    model = WorldModel(world_model.backbone, steps=3, chunk=4, spec=spec, **options)
    model.configure_model()
    nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3, generator=seeded(1))
    if model.drop_action:
        nn.init.normal_(model.null_embedding, generator=seeded(2))
    return model.eval()


@pytest.fixture
def model(world_model, spec) -> WorldModel:
    return build(world_model, spec, drop_action=0.1)


@pytest.fixture
def context() -> Tensor:
    return torch.randint(0, 256, (1, 1, 3, 16, 16), generator=seeded()).byte()


@pytest.fixture
def actions(spec) -> Tensor:
    return spec.denormalise(torch.rand(2, 4, 3, generator=seeded()) * 2 - 1)


def estimate(model: WorldModel, context: Tensor, actions: Tensor, **options) -> Tensor:
    """One step ends in the denoised estimate itself."""
    how = Sampling(steps=1, **options)
    return model.rollout(context, actions, how, generator=seeded()).latents


def without_actions(model: WorldModel, context: Tensor, actions: Tensor) -> Tensor:
    """The estimate under an embedding that is the null one whatever the actions."""
    weight, bias = model.action_embedding.linear_2.weight, model.action_embedding.linear_2.bias
    kept = weight.clone(), bias.clone()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(model.null_embedding)
        found = estimate(model, context, actions)
        weight.copy_(kept[0])
        bias.copy_(kept[1])
    return found


@pytest.mark.parametrize("guidance", [0.0, 2.0, 3.5])
def test_guidance_on_the_action_combines_two_estimates(model, context, actions, guidance):
    cond, null = estimate(model, context, actions), without_actions(model, context, actions)
    found = estimate(model, context, actions, guidance=guidance, guide_on="action")
    torch.testing.assert_close(found, null + guidance * (cond - null), atol=1e-4, rtol=1e-4)
    assert (cond - null).abs().max() > 0.05


def test_guidance_on_the_image_and_the_action_at_once(model, context, actions, monkeypatch):
    """One null branch that goes without both."""
    found = estimate(model, context, actions, guidance=2.0, guide_on=("image", "action"))
    cond, condition = estimate(model, context, actions), model.backbone.condition

    def dropped(*args):
        made = condition(*args)
        return made.without_image(torch.ones(len(made.latents), dtype=torch.bool))

    monkeypatch.setattr(model.backbone, "condition", dropped)
    null = without_actions(model, context, actions)
    torch.testing.assert_close(found, 2 * cond - null, atol=1e-4, rtol=1e-4)
    single = estimate(model, context, actions, guidance=2.0, guide_on="action")
    assert (single - found).abs().max() > 0.05


def test_guidance_of_one_is_off(model, context, actions, monkeypatch):
    plain, calls, forward = estimate(model, context, actions), [], model.backbone.forward
    monkeypatch.setattr(
        model.backbone, "forward", lambda x, *rest: (calls.append(len(x)), forward(x, *rest))[1]
    )
    found = estimate(model, context, actions, guidance=1.0, guide_on="action")
    assert torch.equal(found, plain)
    estimate(model, context, actions, guidance=1.5, guide_on="action")
    assert calls == [2, 4]


def test_a_model_that_knows_no_null_action_refuses_to_guide_on_it(obedient, context, actions):
    with pytest.raises(ValueError, match=r"no null embedding: train it with --model\.drop_action"):
        estimate(obedient, context, actions, guidance=2.0, guide_on="action")


@pytest.mark.long
@pytest.mark.parametrize("asked", ["depth", "text", ("action", "text"), ()])
def test_unknown_guides_are_refused_with_the_choices(model, context, actions, asked):
    known = "SVD can be guided on image, action; got guide_on="
    words = "guide_on image, action or text" if asked == "depth" else known
    with pytest.raises(ValueError, match=words) as e:
        estimate(model, context, actions, guidance=2.0, guide_on=asked)
    assert repr(asked) in str(e.value)


# Action dropout in training -----------------------------------------------------------------------


def clip(spec: ActionSpec, count: int = 2) -> Clip:
    frames = torch.randint(0, 256, (count, 5, 3, 16, 16), generator=seeded()).byte()
    actions = spec.denormalise(torch.rand(count, 4, spec.width, generator=seeded(1)) * 2 - 1)
    return Clip(frames, actions, actions[:, :0], torch.zeros(count, 0), *[[""] * count] * 3)


def test_dropped_actions_do_not_matter(model, spec):
    model.drop_action = 1.0
    batch = clip(spec)
    losses = [model.loss(c, seeded(3))[0] for c in (batch, batch._replace(actions=-batch.actions))]
    assert torch.equal(*losses)
    model.drop_action = 1e-9
    kept = [model.loss(c, seeded(3))[0] for c in (batch, batch._replace(actions=-batch.actions))]
    assert (kept[0] - kept[1]).abs() > 1e-3
    losses[0].backward()
    assert (model.null_embedding.grad != 0).all()
    assert not any(p.grad.any() for p in model.action_embedding.parameters())
    grown = [p.grad is not None and bool(p.grad.any()) for p in model.backbone.network.parameters()]
    assert sum(grown) > 0.8 * len(grown)


def test_each_sample_is_dropped_by_itself(model):
    values, drop = torch.rand(3, 4, 3), torch.tensor([False, True, False])
    found, plain = model.embed(values, drop=drop), model.embed(values)
    assert torch.equal(found[[0, 2]], plain[[0, 2]])
    assert torch.equal(found[1], model.null_embedding.expand(4, -1))


@pytest.mark.long
def test_the_share_that_is_dropped(model, spec, monkeypatch):
    model.drop_action, seen, embed = 0.3, [], model.embed

    def watched(values, state, drop):
        seen.append(drop)
        return embed(values[:1], state, drop[:1])

    monkeypatch.setattr(model, "embed", watched)
    monkeypatch.setattr("egowm.world_model.denoising_loss", lambda *args: (torch.zeros(()), {}))
    model.loss(clip(spec, 120), seeded(5))
    assert seen[0].shape == (120,)
    assert seen[0].float().mean().item() == pytest.approx(0.3, abs=0.1)


# Width --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 3, 25, 64])
def test_actions_of_any_width(world_model, context, width):
    """Loss, gradient and rollout; also the last dimension shows."""
    names, ones = tuple(f"a{k}" for k in range(width)), (1.0,) * width
    low = tuple(-x for x in ones)
    spec = ActionSpec(names, ("",) * width, "joint", "difference", 4.0, low, ones)
    model = build(world_model, spec)
    assert model.action_embedding.linear_1.weight.shape[1] == 32 * width
    loss = model.loss(clip(spec), seeded())[0]
    loss.backward()
    gradient = model.action_embedding.linear_1.weight.grad.unflatten(1, (width, 32))
    assert loss.isfinite()
    assert (gradient.abs().sum((0, 2)) > 0).all()
    actions = clip(spec).actions
    changed = actions.clone()
    changed[:, :, -1] *= -1
    videos = [
        model.rollout(context, a, Sampling(steps=2), generator=seeded()).frames
        for a in (actions, changed)
    ]
    assert videos[0].shape == (2, 4, 3, 16, 16)
    assert (videos[0] - videos[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match=rf"\(\.\.\., T, {width}\)"):
        model.rollout(context, torch.zeros(1, 4, width + 1))


# Texts --------------------------------------------------------------------------------------------


class Told(SVD):
    """SVD that says it takes texts, and keeps what it was told."""

    droppable = ("image", "text")

    def condition(
        self,
        context,
        noise_strength,
        generator=None,
        known=None,
        text=("",),
        num_frames=0,
        codec=None,
    ):
        self.__dict__.setdefault("told", []).append(list(text))
        return super().condition(context, noise_strength, generator, known, text, num_frames, codec)


def take_texts(model: WorldModel) -> None:
    backbone = model.backbone
    backbone.__class__ = Told
    backbone.codec.texts = Texts(backbone.folder, lambda folder, new: pytest.fail("no encoder"))


def test_texts_are_dropped_by_their_share_and_predicted_with(model, spec):
    take_texts(model)
    batch = clip(spec)._replace(text=["left", "right"])
    for drop, expected in ((0.0, ["left", "right"]), (1.0, ["", ""])):
        model.drop_text = drop
        model.loss(batch, seeded())
        assert model.backbone.told.pop() == expected
    model.loss(clip(spec), seeded())
    assert model.backbone.told.pop() == [""]
    model.predict_step(batch, 0)
    assert model.backbone.told.pop() == ["left", "right"]


def test_as_many_texts_as_contexts(model, context, actions):
    take_texts(model)
    model.rollout(context.expand(2, -1, -1, -1, -1), actions, text=["left", "right"])
    assert model.backbone.told.pop() == ["left", "right"]
    with pytest.raises(
        ValueError, match=r"Expected one text, or one for each context \(1\), got 2"
    ):
        model.rollout(context, actions, text=["left", "right"])
