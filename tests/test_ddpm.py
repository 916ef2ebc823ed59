"""DDPM in EDM's sigma: diffusers' own loop, the bound in closed form, what training draws."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from egowm.backbones.cdit import PAPER, StockLevels, _Levels
from egowm.ddpm import DDPM, log_variances
from egowm.diffusion import denoising_loss

WEIGHT = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)) * 0.4


def scheduler():
    from diffusers import DDPMScheduler

    return DDPMScheduler(**PAPER)


@pytest.fixture(scope="module")
def process() -> DDPM:
    levels = _Levels(scheduler())
    every = tuple(levels.every.tolist())
    return DDPM(schedule=StockLevels(levels, Path()), levels=every)


def network(sample: Tensor, step: Tensor) -> Tensor:
    """Noise and spread (B, 2c, h, w) of samples (B, c, h, w) at a training step."""
    mixed = torch.einsum("oc,bchw->bohw", WEIGHT, sample)
    return (mixed + step.reshape(-1, 1, 1, 1) / 1000).tanh()


@pytest.mark.parametrize("steps", [2, 7, 250])
def test_sampling_is_diffusers_own_loop(process, steps):
    stock, generator = scheduler(), torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 3, 3, generator=generator)
    stock.set_timesteps(steps)
    seen, told = [], []
    for step in stock.timesteps:
        seen.append(int(step))
        sample = stock.step(network(sample, step), step, sample, generator=generator).prev_sample

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        step = process.time(sigma)
        told.append(int(step[0]))
        output = network(process.scale_input(noisy, sigma)[:, 0], step)
        return process.denoised(output[:, None], noisy, sigma)

    generator, sigmas = torch.Generator().manual_seed(0), process.sigmas(steps)
    noise = torch.randn(2, 1, 4, 3, 3, generator=generator)
    start = process.initial(noise, float(sigmas[0]))
    found = process.sample(denoise, start, sigmas, generator)
    assert told == seen
    assert len(seen) == steps
    assert (seen[0], seen[-1]) == (999, 0)
    assert (found[:, 0] - sample).abs().max() < 1e-4 * sample.std()
    assert process.sigmas(1).tolist() == [process.levels[-1], 0]


def test_the_levels_are_the_paper_s(process):
    """1000 linear betas from 0.0001 to 0.02."""
    known = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    levels = torch.tensor(process.levels, dtype=torch.float64)
    torch.testing.assert_close(levels, ((1 - known) / known).sqrt(), rtol=1e-3, atol=1e-5)


def test_the_bound_is_the_divergence_of_the_paper_s_posteriors(process):
    """In the paper's own coefficients of beta and alpha, by torch's divergence of two normals."""
    generator = torch.Generator().manual_seed(0)
    latents, clean, spread = torch.randn(3, 3, 1, 4, 2, 2, generator=generator)
    spread = spread.tanh()
    steps = torch.tensor([1, 40, 999])
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    known = (1 - beta).cumprod(0)
    a, b, before = (
        x[:, None, None, None, None] for x in (known[steps], beta[steps], known[steps - 1])
    )
    least, largest = (b * (1 - before) / (1 - a)).log(), b.log()
    pull = before.sqrt() * b / (1 - a)
    normal = torch.distributions.Normal
    deviation = (0.5 * (least + (1 + spread) / 2 * (largest - least))).exp()
    true, made = normal(pull * latents, (0.5 * least).exp()), normal(pull * clean, deviation)
    expected = torch.distributions.kl_divergence(true, made).flatten(1).mean(1)
    sigma = torch.tensor(process.levels)[steps]
    found = process.bound(clean, spread, latents, sigma)
    torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=1e-4)
    assert (
        process.bound(clean, spread, latents, torch.tensor(process.levels)[[0, 0, 0]]).eq(0).all()
    )


def test_the_loss_of_a_network_that_knows(process):
    """The noise: 0. Its spread: least at the bottom of its range, where the bound is 0, too."""
    latents = torch.randn(4, 1, 2, 3, 3)

    def estimate(noisy: Tensor, sigma: Tensor, spread: float = -1.0) -> Tensor:
        return torch.cat([latents, torch.full_like(latents, spread)], 2)

    generator = torch.Generator().manual_seed(0)
    assert denoising_loss(process, estimate, latents, generator)[0] < 1e-6
    low, wide = process.levels[1], lambda noisy, sigma: estimate(noisy, sigma, 1.0)
    assert denoising_loss(process, wide, latents, generator, level=low)[0] > 0.01


def test_the_spread_is_taught_and_does_not_pull_the_clean_latents(process):
    latents, clean = torch.randn(2, 4, 1, 2, 3, 3)
    clean, spread = clean.requires_grad_(), torch.zeros_like(clean, requires_grad=True)
    process.bound(clean, spread, latents, process.draw(4, clean.device, None)).sum().backward()
    assert clean.grad is None
    assert spread.grad.abs().max() > 0


def test_all_training_steps_are_drawn(process):
    drawn = process.draw(20_000, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert torch.equal(torch.tensor(process.levels)[process.time(drawn)], drawn)
    counts = process.time(drawn).bincount(minlength=1000)
    assert 0 < counts.min() <= counts.max() < 50
    least, largest = log_variances(
        torch.tensor(process.levels[1:]), torch.tensor(process.levels[:-1])
    )
    assert (least < largest).all()
