"""The EDM process in the form SVD uses (Karras et al. 2022, arXiv 2206.00364), and its sampler.

Symbols are the paper's: `noisy` = x + sigma * n, the network sees c_in * noisy and the time
c_noise, and the estimate of the clean latents is c_skip * noisy + c_out * output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Generator = torch.Generator | Sequence[torch.Generator] | None


def randn(shape: Sequence[int], generator: Generator, device: torch.device) -> Tensor:
    """Normal noise; a sequence of generators draws sample by sample along the first axis."""
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(
                f"Expected one generator for each of {shape[0]}, got {len(generator)}."
            )
        return torch.stack([randn(shape[1:], g, device) for g in generator])
    source = generator.device if generator is not None else device
    return torch.randn(*shape, generator=generator, device=source).to(device)


def _expand(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.reshape(-1, *[1] * (like.ndim - 1)).to(like)


@dataclass(frozen=True)
class EDM:
    """EDM with sigma_data 1 and v-prediction.

    mean, std: of ln sigma in training. sigma_min, sigma_max, rho: of the sampler's noise levels
    (equation 5). SVD: (0.7, 1.6) as SVD_Xtend draws, sampler from 700 to 0.002.
    """

    mean: float = 0.7
    std: float = 1.6
    sigma_min: float = 0.002
    sigma_max: float = 700.0
    rho: float = 7.0

    def draw(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Training noise levels (count,), log-normal."""
        return (self.mean + self.std * randn((count,), generator, device)).exp()

    def scale_input(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """c_in * noisy, what the network sees."""
        return noisy / (_expand(sigma, noisy) ** 2 + 1).sqrt()

    def time(self, sigma: Tensor) -> Tensor:
        """c_noise = ln(sigma) / 4, the network's time variable."""
        return 0.25 * sigma.log()

    def denoised(self, output: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The clean latents that a network output means (v-prediction)."""
        s = _expand(sigma, noisy)
        return noisy / (s**2 + 1) - s / (s**2 + 1).sqrt() * output

    def weight(self, sigma: Tensor) -> Tensor:
        """Loss weight on the clean latents, (1 + sigma^2) / sigma^2: weight 1 on the output."""
        return (1 + sigma**2) / sigma**2

    def sigmas(self, steps: int) -> Tensor:
        """Noise levels (steps + 1,) from sigma_max down, ending in 0 (equation 5)."""
        if steps < 1:
            raise ValueError(f"Expected at least 1 sampling step, got {steps}.")
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        levels = (high + ramp * (low - high)) ** self.rho
        return torch.cat([levels, levels.new_zeros(1)]).float()

    def initial(self, noise: Tensor) -> Tensor:
        """Unit noise to the start of the sampler; the stock scheduler starts at this power."""
        return noise * (self.sigma_max**2 + 1) ** 0.5


def euler(denoise: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, sigmas: Tensor) -> Tensor:
    """Euler steps along the probability flow (Karras et al. 2022, algorithm 1, first order).

    denoise: (noisy (B, ...), sigma (B,)) -> clean estimate (B, ...).
    """
    for sigma, below in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        level = torch.full((len(noisy),), sigma, device=noisy.device)
        slope = (noisy - denoise(noisy, level)) / sigma
        noisy = noisy + (below - sigma) * slope
    return noisy


def denoising_loss(
    process: EDM,
    estimate: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """EDM's training loss (Karras et al. 2022, equation 8) on clean `latents` (B, ...).

    estimate: (noisy, sigma) -> clean estimate. Logs the loss at low and at high noise.
    """
    sigma = process.draw(len(latents), latents.device, generator)
    noise = randn(latents.shape, generator, latents.device)
    noisy = latents + _expand(sigma, latents) * noise
    squared = (estimate(noisy, sigma) - latents).square().flatten(1).mean(1)
    each = process.weight(sigma) * squared
    high = sigma > 5
    logs = {"loss_high_noise": each[high].mean()} if high.any() else {}
    return each.mean(), {name: value.detach() for name, value in logs.items()}
