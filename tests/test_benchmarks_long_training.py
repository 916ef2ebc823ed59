"""The long training in the background: exact shortcuts, own contexts, and where it goes on."""

import pytest
import torch

from benchmarks.experiment import long_training
from egowm.backbones import SVD
from egowm.clip import Clip


@pytest.fixture
def model(tiny_prior, spec):
    torch.manual_seed(0)
    backbone = SVD(str(tiny_prior), noise_strength=0.0, noise_mean=None)
    model = long_training.OwnContexts(backbone)
    model.spec = spec
    model.configure_model()
    return model


def clip(spec, horizon: int) -> Clip:
    frames = torch.randint(0, 255, (2, 1 + horizon, 3, 16, 16), dtype=torch.uint8)
    actions = 0.1 * torch.randn(2, horizon, spec.width)
    none = torch.zeros(2, 0)
    return Clip(frames, actions, none, none, ["", ""], ["a", "a"], ["a_0", "b_0"])


def test_a_middle_tap_gives_what_the_whole_kernel_gives():
    plain = torch.nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0))
    for frames in (1, 3):
        x = torch.randn(2, 4, frames, 5, 5)
        expected = plain(x)
        tapped = torch.nn.Sequential(plain)
        long_training.use_middle_taps(tapped)
        torch.testing.assert_close(tapped(x), expected)
        del plain.forward


def test_a_context_of_its_own_is_a_rollout_of_it(model, spec):
    """Its last frame is what the model shows after as many steps of one sampling step each."""
    torch.manual_seed(1)
    given = clip(spec, 3)
    frames = given.frames[:, :1].float() / 127.5 - 1
    with torch.no_grad():
        torch.manual_seed(2)
        past = model._imagined(long_training.Chunk(frames), given.actions[:, :2])
        torch.manual_seed(2)
        how = long_training.Sampling(steps=1, chain="latents_only")
        made = model.rollout(given.frames[:, :1], given.actions[:, :2], how)
    torch.testing.assert_close(past.frames[:, 0], made.frames[:, -1] * 2 - 1, atol=1e-5, rtol=0)


def test_the_loss_trains_under_every_depth(model, spec):
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        loss, _ = model.loss(clip(spec, 3), generator)
        assert torch.isfinite(loss)
        loss.backward()
    assert model.action_embedding.linear_2.weight.grad.abs().max() > 0


def test_a_new_folder_counts_its_own_steps(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(long_training, "_call", lambda folder, command: asked.append(command))
    long_training.stretch(tmp_path, 6000, 2000)
    long_training.stretch(tmp_path, 8000, 2000)
    steps = [c[c.index("--trainer.max_steps") + 1] for c in asked if "fit" in c]
    assert steps == ["2000", "4000"]


def test_the_rate_falls_between_the_steps_that_are_asked(tmp_path, model, monkeypatch):
    asked = []
    monkeypatch.setattr(long_training, "_call", lambda folder, command: asked.append(command))
    (tmp_path / "begun_at_step").write_text("1000")
    long_training.stretch(tmp_path, 6000, 2000, (6000, 8000))
    fit = next(command for command in asked if "fit" in command)
    assert fit[fit.index("--model.init_args.fall") + 1] == "[5000, 7000]"
    model.fall = (5000, 7000)
    rates = [model._rate(step) for step in (0, 99, 5000, 6000, 7000, 9000)]
    assert rates == [0.01, 1.0, 1.0, 0.5, 0.0, 0.0]
