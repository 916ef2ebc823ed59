"""RSSM and LatentModel: losses against closed forms, gradients, what they learn, exports."""

import json
import math

import pytest
import torch

from egowm.encoder import Encoder
from egowm.latent import RSSM, LatentModel, Signals, balanced_kl, from_pretrained
from egowm.latent.rssm import Belief
from egowm.pixels import psnr, to_unit
from egowm.sampling import Sampling
from egowm.world_model import WorldModel
from tests.latent.conftest import SIZE, latent_model, rssm


def logits(*probabilities: float) -> torch.Tensor:
    """(1, 1, C)."""
    return torch.tensor(probabilities).log()[None, None]


def test_kl_balance_in_closed_form():
    """Of q = (3/4, 1/4) and p = (1/2, 1/2): KL(q||p) = 3/4 ln 3/2 + 1/4 ln 1/2."""
    q, p = logits(0.75, 0.25).requires_grad_(), logits(0.5, 0.5).requires_grad_()
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    loss = balanced_kl(q, p, balance=0.8)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    # d KL / d prior logits = p - q; d KL / d posterior logit 1 = q1 q2 ln 3
    torch.testing.assert_close(p.grad.flatten(), 0.8 * torch.tensor([-0.25, 0.25]))
    slope = 0.75 * 0.25 * math.log(3.0)
    torch.testing.assert_close(q.grad.flatten(), 0.2 * torch.tensor([slope, -slope]))
    assert balanced_kl(q, p, free=1.0).item() == 1.0
    two = torch.cat([q, q], 1), torch.cat([p, p], 1)
    assert balanced_kl(*two).item() == pytest.approx(2 * expected, rel=1e-5)  # groups add up


def test_samples_follow_the_probabilities_and_pass_their_gradient(spec):
    model = rssm(spec, categoricals=1, classes=3)
    wanted = torch.tensor([0.5, 0.3, 0.2])
    many = wanted.log().expand(4000, 1, 3).clone().requires_grad_()
    drawn = model.drawn(many, torch.Generator().manual_seed(0))
    assert set(drawn.detach().round(decimals=4).unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.detach().mean(0), wanted, atol=0.03, rtol=0)
    (drawn * torch.tensor([1.0, 0.0, 0.0])).sum().backward()
    slope = torch.tensor([0.25, -0.15, -0.1])  # of a softmax: p_1 (1[i = 1] - p_i)
    torch.testing.assert_close(many.grad[0, 0], slope, atol=1e-5, rtol=0)


def test_imagined_is_observed_where_the_posterior_is_the_prior(spec, clip):
    model = rssm(spec).eval()
    model.posterior_of = lambda state, seen: model.prior_of(state)
    told = spec.normalise(clip.actions)
    embedded = model.embed(to_unit(clip.frames).flatten(0, 1)).unflatten(0, (2, 5))
    observed, posterior, prior = model.observed(embedded, told, torch.Generator().manual_seed(4))
    made = model.rollout_of(clip, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(observed[:, 1:], made.latents.flatten(2), atol=1e-5, rtol=1e-5)
    assert balanced_kl(posterior, prior).item() == 0.0


def test_every_weight_learns(spec, clip):
    for model in (rssm(spec), latent_model(spec, straightening=0.1)):
        model.loss(clip, torch.Generator().manual_seed(0))[0].backward()
        lacking = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert lacking == []


def test_the_prior_alone_is_moved_where_the_balance_is_one(spec, clip):
    model = rssm(spec, balance=1.0)
    posterior, prior = torch.randn(2, 4, 3, 5, requires_grad=True), torch.randn(2, 4, 3, 5)
    balanced_kl(posterior, prior.requires_grad_(), model.balance).backward()
    assert not posterior.grad.any()
    assert prior.grad.any()


@pytest.mark.long
def test_rssm_learns_one_clip_better_than_copying(spec, clip):
    """Imagined from the first frame alone; under the other clip's actions it is wrong."""
    model = rssm(spec)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    torch.manual_seed(1)
    for _ in range(80):
        optimizer.zero_grad()
        model.loss(clip)[0].backward()
        optimizer.step()
    model.eval()
    truth = to_unit(clip.frames[:, 1:])
    noise = [torch.Generator().manual_seed(k) for k in range(2)]
    made = model.rollout_of(clip, generator=noise).frames
    wrong = model.rollout_of(clip, clip.actions.flip(0), generator=noise).frames
    copy = to_unit(clip.frames[:, :1]).expand_as(truth)
    found = [psnr(x, truth, peak=1.0) for x in (made, copy, wrong)]
    print(found)
    assert found[0] > found[1] + 3
    assert found[0] > found[2] + 3


def test_heads_are_off_without_rewards(spec, clip):
    with pytest.raises(ValueError, match=r"the clips have none: leave --model.reward"):
        rssm(spec, reward=True).loss(clip)
    model = rssm(spec, reward=True, goes_on=True, kl_weight=0.0)
    signals = Signals(torch.full((2, 4), 0.5), torch.ones(2, 4))
    plain = rssm(spec, kl_weight=0.0)
    plain.load_state_dict(model.state_dict(), strict=False)
    seed = torch.Generator().manual_seed
    bare, total = (m.losses(clip, seed(0), s)[0] for m, s in ((plain, None), (model, signals)))
    features = model.observed(
        model.embed(to_unit(clip.frames).flatten(0, 1)).unflatten(0, (2, 5)),
        spec.normalise(clip.actions),
        seed(0),
    )[0][:, 1:]
    error = 0.5 * (model.reward_head(features)[..., 0] - 0.5).square().mean()
    certain = torch.nn.functional.softplus(-model.goes_on_head(features)[..., 0]).mean()
    torch.testing.assert_close(total - bare, error + certain, atol=1e-4, rtol=1e-4)
    made = model.rollout_of(clip)
    assert model.rewards(made.latents).shape == (2, 4)
    with pytest.raises(ValueError, match="predicts no reward"):
        plain.rewards(made.latents)


def test_the_terms_of_the_latent_loss_add_up(spec, clip):
    weights = {"straightening": 0.3, "variance": 0.5, "covariance": 0.2}
    model = latent_model(spec, **weights)
    total, logs = model.loss(clip)
    expected = logs["prediction"] + 0.5 * logs["variance"] + 0.2 * logs["covariance"]
    torch.testing.assert_close(total, expected + 0.3 * (1 - logs["straightness"]))
    model.straightening = 0.0
    torch.testing.assert_close(model.loss(clip)[0], expected)
    model.invariance = 0.7
    real = model.both(clip)[0].flatten(2)
    moved = (real[:, 1:] - real[:, :1]).square().sum(2).mean() / real.shape[2]
    torch.testing.assert_close(model.loss(clip)[0], expected + 0.7 * moved)


def test_an_action_reaches_the_latents_with_a_gradient(spec, clip):
    for model in (rssm(spec), latent_model(spec)):
        actions = clip.actions.clone().requires_grad_()
        how = Sampling(gradient=True)
        model.eval().rollout(clip.frames[:, :1], actions, how).latents[:, -1].sum().backward()
        assert (actions.grad[:, 0, 2] != 0).all()


def test_more_context_is_taken_in(spec, clip):
    model = rssm(spec, context=2)
    longer = clip._replace(actions=clip.actions[:, 1:], past_actions=clip.actions[:, :1])
    assert model.rollout_of(longer).frames.shape == (2, 3, 3, SIZE, SIZE)
    assert model.loss(longer)[0].isfinite()
    with pytest.raises(ValueError, match="starts from 2 frames, the clips give 1"):
        model.loss(clip)
    with pytest.raises(ValueError, match="starts from 2 frames, got a context of 1"):
        model.rollout_of(clip)


def test_exports_come_back(spec, clip, tmp_path):
    for number, model in enumerate((rssm(spec), latent_model(spec, straightening=0.1))):
        folder = tmp_path / str(number)
        model.eval().save_pretrained(folder)
        loaded = from_pretrained(folder)
        assert type(loaded) is type(model)
        assert loaded.spec == spec
        for name, weight in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], weight)
        seed = torch.Generator().manual_seed
        ours, theirs = (m.rollout_of(clip, generator=seed(0)).latents for m in (model, loaded))
        torch.testing.assert_close(ours, theirs)
        with pytest.raises(ValueError, match=r"load it by egowm.latent.from_pretrained"):
            WorldModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="expected an export of RSSM"):
        RSSM.from_pretrained(tmp_path / "1")
    with pytest.raises(ValueError, match="has no frozen encoder: leave the base out"):
        LatentModel.from_pretrained(tmp_path / "1", base="elsewhere")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent": "os.system"}, "expected an export of RSSM or LatentModel"),
        ({"arguments": {"size": 16, "evil": 1}}, "unexpected keyword argument 'evil'"),
        ({"arguments": {"size": 16, "units": 10**6}}, "ask for more than"),
        ({"weights_sha256": "0" * 64}, "expected weights with sha256"),
        ({"format": 7}, "in format 7"),
    ],
)
def test_a_changed_export_is_refused(spec, tmp_path, changes, words):
    rssm(spec).save_pretrained(tmp_path / "export")
    path = tmp_path / "export/world_model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=words):
        from_pretrained(tmp_path / "export")


def test_a_frozen_encoder_stays_as_it_is(spec, clip, tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=16, patch_size=4)).save_pretrained(tmp_path / "d")
    model = latent_model(spec, encoder=str(tmp_path / "d"))
    assert Encoder.from_pretrained(tmp_path / "d", SIZE)(torch.rand(2, 3, SIZE, SIZE)).shape == (
        2,
        16,
        4,
        4,
    )
    model.train()
    assert not model.network.training
    model.loss(clip)[0].backward()
    assert all(p.grad is None for p in model.network.parameters())
    assert not any(name.startswith("network.") for name in model.trained_weights())
    model.eval().save_pretrained(tmp_path / "export")
    loaded = from_pretrained(tmp_path / "export")
    made = [m.rollout_of(clip).latents for m in (model, loaded)]
    torch.testing.assert_close(*made)
    config = json.loads((tmp_path / "d/config.json").read_text())
    torch.manual_seed(9)
    other = Dinov2Model(Dinov2Config(**sizes, image_size=16, patch_size=4))
    other.save_pretrained(tmp_path / "other")
    assert config["hidden_size"] == 16
    with pytest.raises(ValueError, match=r"trained on another encoder .* pass base=FOLDER"):
        from_pretrained(tmp_path / "export", base=str(tmp_path / "other"))
    (tmp_path / "d").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=r"no folder here: say where it is, base=FOLDER"):
        from_pretrained(tmp_path / "export")
    moved = from_pretrained(tmp_path / "export", base=str(tmp_path / "moved"))
    torch.testing.assert_close(moved.rollout_of(clip).latents, made[0])


@pytest.mark.parametrize(("family", "patch", "side"), [("Dinov2", 14, 1), ("IJepa", 7, 2)])
def test_published_encoders_see_frames_at_a_multiple_of_their_patches(
    spec, clip, tmp_path, family, patch, side
):
    """16 pixels become 14; positions are made for 28."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = getattr(transformers, f"{family}Config")(**sizes, image_size=28, patch_size=patch)
    getattr(transformers, f"{family}Model")(config).save_pretrained(tmp_path / "e")
    model = latent_model(spec, encoder=str(tmp_path / "e"))
    assert model.eval().rollout_of(clip).latents.shape[-2:] == (side, side)


def test_what_does_not_fit_is_refused(spec, clip):
    model = rssm(spec).eval()
    with pytest.raises(ValueError, match="built for frames of 16x16, got 32x32"):
        model.rollout(torch.zeros(1, 1, 3, 32, 32), clip.actions)
    with pytest.raises(ValueError, match="neither state nor text"):
        model.rollout(clip.frames[:, :1], clip.actions, text="go")
    first = clip.frames[:, :1]
    for how, words in (
        (Sampling(guidance=2.0), "has no guidance"),
        (Sampling(steps=50), "leave steps, chain and decode_window out"),
        (Sampling(chain="pixels"), "leave steps, chain and decode_window out"),
    ):
        with pytest.raises(ValueError, match=words):
            model.rollout(first, clip.actions, how)
    with pytest.raises(ValueError, match=r"Expected a context \(1 or 2, K, 3, H, W\)"):
        model.rollout(torch.zeros(1, 1, 4, SIZE, SIZE), clip.actions)
    with pytest.raises(ValueError, match="one generator for each of 2, got 3"):
        model.rollout(first, clip.actions, generator=[torch.Generator() for _ in range(3)])
    with pytest.raises(ValueError, match=r"no networks yet: call configure_model\(\)"):
        RSSM(spec=spec, size=SIZE).rollout(first, clip.actions)
    short = clip._replace(frames=clip.frames[:, :2], actions=clip.actions[:, :1])
    latent_model(spec, straightening=0.0).loss(short)
    with pytest.raises(ValueError, match=r"set --data.window.horizon, or --model.straightening 0"):
        latent_model(spec, straightening=0.1).loss(short)
    for options in ({"size": 20}, {"balance": 2.0}, {"classes": 1}):
        with pytest.raises(ValueError, match="Expected"):
            RSSM(**options)
    with pytest.raises(ValueError, match="weights of the terms"):
        LatentModel(variance=-1.0)
    with pytest.raises(ValueError, match="has no ActionSpec yet"):
        RSSM().spec_of(None)
    state = Belief(torch.zeros(2, 24), torch.zeros(2, 20))
    assert model.latent(state).shape == (2, 44, 1, 1)
