"""Denoising diffusion by ancestral steps whose spread the network learns.

Ho et al. 2020 (arXiv 2006.11239), Nichol and Dhariwal 2021 (arXiv 2102.09672). Written in EDM's
sigma = sqrt((1 - a) / a), where a is the paper's product of alphas: noisy = x + sigma n is
1 / sqrt(a) times the paper's sample, so a posterior depends on two levels alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from egowm.diffusion import EDM, Generator, expand, randn


def log_variances(sigma: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest log variance of a step from level sigma to `below`, for data that are
    known and for data that are white noise."""
    step = sigma**2 - below**2
    return (step * below**2 / sigma**2).log(), (step * (1 + below**2) / (1 + sigma**2)).log()


@dataclass(frozen=True)
class DDPM(EDM):
    """DDPM whose network predicts the noise and a spread v: the log variance of a step is
    (1 + v) / 2 of the way from its least to its largest.

    An estimate is (B, t, 2c, h, w): the clean latents, then v. levels: sigma of each training step,
    rising; schedule: those of the sampler.
    """

    levels: tuple[float, ...] = field(default=(), repr=False)

    def draw(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Training noise levels (count,), all steps equally often."""
        source = generator.device if generator is not None else device
        steps = torch.randint(len(self.levels), (count,), generator=generator, device=source)
        return self._levels(device)[steps.to(device)]

    def time(self, sigma: Tensor) -> Tensor:
        """The nearest training step."""
        return (self._levels(sigma.device) - sigma[:, None]).abs().argmin(1)

    def denoised(self, output: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """noisy - sigma times the noise, and the spread as it is."""
        noise, spread = output.chunk(2, 2)
        return torch.cat([noisy - expand(sigma, noisy) * noise, spread], 2)

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight 1 on the noise: 1 / sigma^2 on the clean latents."""
        return 1 / sigma**2

    def split(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """The clean latents and the spread."""
        clean, spread = estimate.chunk(2, 2)
        return clean, spread

    def bound(self, clean: Tensor, spread: Tensor, latents: Tensor, sigma: Tensor) -> Tensor:
        """What teaches the spread, (B,): the divergence of a step from the true one, in nats per
        value (the hybrid loss: 0.001 for the sum over 1000 steps). The last step draws nothing."""
        levels, step = self._levels(sigma.device), self.time(sigma)
        later = step.clamp(min=1)
        here, below = expand(levels[later], latents), expand(levels[later - 1], latents)
        least, largest = log_variances(here, below)
        log_variance = least + (1 + spread) / 2 * (largest - least)
        apart = (1 - (below / here) ** 2) * (latents - clean.detach())
        excess = log_variance - least
        divergence = 0.5 * (excess + (-excess).exp() - 1 + apart**2 * (-log_variance).exp())
        return torch.where(step > 0, divergence.flatten(1).mean(1), 0.0)

    def sample(
        self,
        denoise: Callable[[Tensor, Tensor], Tensor],
        noisy: Tensor,
        sigmas: Tensor,
        generator: Generator,
    ) -> Tensor:
        """Ancestral steps (Ho et al., algorithm 2) down the levels, each with fresh noise."""
        for sigma, below in zip(sigmas[:-1].double(), sigmas[1:].double(), strict=True):
            level = torch.full((len(noisy),), float(sigma), device=noisy.device)
            clean, spread = self.split(denoise(noisy, level))
            noisy = clean + float(below / sigma) ** 2 * (noisy - clean)
            if below > 0:
                least, largest = (float(x) for x in log_variances(sigma, below))
                deviation = (0.5 * (least + (1 + spread) / 2 * (largest - least))).exp()
                noisy = noisy + deviation * randn(noisy.shape, generator, noisy.device)
        return noisy

    def _levels(self, device: torch.device) -> Tensor:
        return torch.tensor(self.levels, device=device)
