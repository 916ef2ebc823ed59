"""How noise is added and taken away: EDM and flow matching, one sampler, one loss.

Symbols are those of Karras et al. 2022 (arXiv 2206.00364): the network sees c_in * noisy and the
time c_noise, and the estimate of the clean latents is c_skip * noisy + c_out * output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class SharedNoise:
    """One generator whose numbers all samples of a batch share: common random numbers, under which
    candidates differ by what they do and not by luck."""

    generator: torch.Generator

    def fresh(self) -> "SharedNoise":
        """Another that draws the same numbers from here on."""
        return SharedNoise(self.generator.clone_state())


Generator = torch.Generator | Sequence[torch.Generator] | SharedNoise | None


def randn(shape: Sequence[int], generator: Generator, device: torch.device) -> Tensor:
    """Normal noise; a sequence of generators draws sample by sample along the first axis, and
    `SharedNoise` draws once for all of them."""
    if isinstance(generator, SharedNoise):
        return randn(shape[1:], generator.generator, device).expand(*shape)
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(
                f"Expected one generator for each of {shape[0]}, got {len(generator)}."
            )
        return torch.stack([randn(shape[1:], g, device) for g in generator])
    source = generator.device if generator is not None else device
    return torch.randn(*shape, generator=generator, device=source).to(device)


def expand(sigma: Tensor, like: Tensor) -> Tensor:
    """Levels (B,) with as many axes as `like` (B, ...)."""
    return sigma.reshape(-1, *[1] * (like.ndim - 1)).to(like)


class Process(Protocol):
    """Noise levels sigma (B,), what they do to clean latents, and what a network's output means.

    `noisy` and latents are (B, ...). In every process (noisy - clean) / sigma is the slope of the
    probability flow, so `euler` serves them all.
    """

    def draw(
        self, count: int, device: torch.device, generator: torch.Generator | None
    ) -> Tensor: ...  # training noise levels (count,)

    def add(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor: ...

    def scale_input(self, noisy: Tensor, sigma: Tensor) -> Tensor: ...

    def time(self, sigma: Tensor) -> Tensor: ...  # what the network is told, (B,)

    def denoised(self, output: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor: ...

    def weight(self, sigma: Tensor) -> Tensor: ...  # of squared errors of the clean latents

    def sigmas(self, steps: int) -> Tensor: ...  # the sampler's (steps + 1,)

    def initial(self, noise: Tensor, sigma: float) -> Tensor: ...  # start at the first level

    def is_high(self, sigma: Tensor) -> Tensor: ...  # levels where actions decide most

    @property
    def high_levels(self) -> tuple[float, ...]: ...  # some of these, for comparisons


@runtime_checkable
class Ancestral(Protocol):
    """A process that draws noise at each step, of a spread that the network estimates as well."""

    def split(self, estimate: Tensor) -> tuple[Tensor, Tensor]: ...  # clean latents and spread

    def bound(self, clean: Tensor, spread: Tensor, latents: Tensor, sigma: Tensor) -> Tensor: ...

    def sample(
        self,
        denoise: Callable[[Tensor, Tensor], Tensor],
        noisy: Tensor,
        sigmas: Tensor,
        generator: Generator,
    ) -> Tensor: ...  # in place of `euler`


@dataclass(frozen=True)
class EDM:
    """EDM: noisy = x + sigma n.

    mean, std: of ln sigma in training. sigma_min, sigma_max, rho: of the sampler's noise levels
    (equation 5). sigma_data: standard deviation of the clean latents. out_sign: of c_out; -1 is
    v-prediction (SVD), 1 is EDM's own (Cosmos Predict1). schedule: the sampler's noise levels for a
    number of steps, in place of equation 5. starts_as_noise: the sampler's start has the power of
    its first level alone, without that of data. SVD: (0.7, 1.6) as SVD_Xtend draws, sampler from
    700 to 0.002.
    """

    mean: float = 0.7
    std: float = 1.6
    sigma_min: float = 0.002
    sigma_max: float = 700.0
    rho: float = 7.0
    sigma_data: float = 1.0
    out_sign: float = -1.0
    schedule: Callable[[int], Tensor] | None = None
    starts_as_noise: bool = False

    def draw(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Training noise levels (count,), log-normal."""
        return (self.mean + self.std * randn((count,), generator, device)).exp()

    def add(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """x + sigma n."""
        return latents + expand(sigma, latents) * noise

    def scale_input(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """c_in * noisy, what the network sees."""
        return noisy / (expand(sigma, noisy) ** 2 + self.sigma_data**2).sqrt()

    def time(self, sigma: Tensor) -> Tensor:
        """c_noise = ln(sigma) / 4, the network's time variable."""
        return 0.25 * sigma.log()

    def denoised(self, output: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The clean latents that a network output means."""
        s, d = expand(sigma, noisy), self.sigma_data
        c_out = self.out_sign * s * d / (s**2 + d**2).sqrt()
        return d**2 / (s**2 + d**2) * noisy + c_out * output

    def weight(self, sigma: Tensor) -> Tensor:
        """Loss weight on the clean latents, (1 + sigma^2) / sigma^2 for sigma_data 1: weight 1 on
        the output."""
        d = self.sigma_data
        return (d**2 + sigma**2) / (sigma * d) ** 2

    def sigmas(self, steps: int) -> Tensor:
        """Noise levels (steps + 1,) from the highest down; equation 5 ends in 0."""
        if steps < 1:
            raise ValueError(f"Expected at least 1 sampling step, got {steps}.")
        if self.schedule is not None:
            return self.schedule(steps)
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        levels = (high + ramp * (low - high)) ** self.rho
        return torch.cat([levels, levels.new_zeros(1)]).float()

    def initial(self, noise: Tensor, sigma: float) -> Tensor:
        """Unit noise to the start of the sampler; SVD's scheduler starts at this power."""
        return noise * (sigma if self.starts_as_noise else (sigma**2 + 1) ** 0.5)

    def is_high(self, sigma: Tensor) -> Tensor:
        """Where the noise hides the frame."""
        return sigma > 5

    @property
    def high_levels(self) -> tuple[float, ...]:
        """Sigma 5, 20 and 80."""
        return 5.0, 20.0, 80.0


@dataclass(frozen=True)
class EDMFlow(EDM):
    """Rectified flow written in EDM's sigma, as Cosmos Predict2: noisy = x + sigma n is
    (1 + sigma) times the flow's sample at t = sigma / (1 + sigma), and the output is the velocity
    n - x. mean, std: of ln sigma in training; (0, 1) draws t logit-normal(0, 1).
    """

    mean: float = 0.0
    std: float = 1.0
    sigma_max: float = 80.0
    starts_as_noise: bool = True

    def scale_input(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """noisy / (1 + sigma)."""
        return noisy / (1 + expand(sigma, noisy))

    def time(self, sigma: Tensor) -> Tensor:
        """t = sigma / (1 + sigma)."""
        return sigma / (1 + sigma)

    def denoised(self, output: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """(1 - t) noisy - t v."""
        t = self.time(expand(sigma, noisy))
        return (1 - t) * noisy - t * output

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight 1 on the velocity: 1 / t^2 on the clean latents."""
        return 1 / self.time(sigma) ** 2

    @property
    def high_levels(self) -> tuple[float, ...]:
        """Where t is 0.8 and 0.95."""
        return 4.0, 19.0


@dataclass(frozen=True)
class FlowMatching:
    """Rectified flow (Lipman et al. 2023, arXiv 2210.02747): noisy = (1 - sigma) x + sigma n, and
    the network predicts the velocity n - x.

    schedule: the sampler's noise levels for a number of steps (the stock scheduler's). shift: of
    the training levels, logit-normal(mean, std) and then s t / (1 + (s - 1) t). time_scale: the
    network's time is sigma times it.
    """

    schedule: Callable[[int], Tensor]
    shift: float = 1.0
    time_scale: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def draw(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Training noise levels (count,) in (0, 1)."""
        t = (self.mean + self.std * randn((count,), generator, device)).sigmoid()
        return self.shift * t / (1 + (self.shift - 1) * t)

    def add(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """(1 - sigma) x + sigma n."""
        s = expand(sigma, latents)
        return (1 - s) * latents + s * noise

    def scale_input(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The network sees the noisy latents as they are."""
        return noisy

    def time(self, sigma: Tensor) -> Tensor:
        """sigma * time_scale."""
        return sigma * self.time_scale

    def denoised(self, output: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """noisy - sigma v."""
        return noisy - expand(sigma, noisy) * output

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight 1 on the velocity: 1 / sigma^2 on the clean latents."""
        return 1 / sigma**2

    def sigmas(self, steps: int) -> Tensor:
        """Noise levels (steps + 1,), ending in 0."""
        if steps < 1:
            raise ValueError(f"Expected at least 1 sampling step, got {steps}.")
        return self.schedule(steps)

    def initial(self, noise: Tensor, sigma: float) -> Tensor:
        """The noise itself."""
        return noise

    def is_high(self, sigma: Tensor) -> Tensor:
        """Where the noise hides the frame."""
        return sigma > 0.8

    @property
    def high_levels(self) -> tuple[float, ...]:
        """0.8 and 0.95."""
        return 0.8, 0.95


@dataclass(frozen=True)
class WholeTimes(FlowMatching):
    """Flow matching whose network is told whole times, as schedulers with integer timesteps do."""

    def time(self, sigma: Tensor) -> Tensor:
        """sigma * time_scale, rounded down."""
        return (sigma * self.time_scale).floor()


def euler(denoise: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, sigmas: Tensor) -> Tensor:
    """Euler steps along the probability flow (Karras et al. 2022, algorithm 1, first order).

    denoise: (noisy (B, ...), sigma (B,)) -> clean estimate (B, ...).
    """
    for sigma, below in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        level = torch.full((len(noisy),), sigma, device=noisy.device)
        slope = (noisy - denoise(noisy, level)) / sigma
        noisy = noisy + (below - sigma) * slope
    return noisy


def pseudo_huber(squared: Tensor, c: float) -> Tensor:
    """sqrt(x^2 + c^2) - c of squared errors x^2, without the difference of two roots, which would
    round small errors away (arXiv 2310.14189)."""
    return squared / ((squared + c**2).sqrt() + c)


def denoising_loss(
    process: Process,
    estimate: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    generator: torch.Generator | None = None,
    given: int = 0,
    level: float | None = None,
    huber: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The training loss (Karras et al. 2022, equation 8) on clean `latents` (B, t, ...).

    estimate: (noisy, sigma) -> clean estimate. given: latent frames at the start that the network
    knows and that do not count. level: one noise level for all, in place of drawing them. huber:
    constant c of the pseudo-Huber loss 2 c (sqrt(x^2 + c^2) - c) of each error x of the network's
    output, in place of its square, which it equals for small errors. Logs the loss at high noise.
    """
    sigma = process.draw(len(latents), latents.device, generator)
    if level is not None:  # after drawing, so that the noise is the same at every level
        sigma = torch.full_like(sigma, level)
    noise = randn(latents.shape, generator, latents.device)
    noisy = process.add(latents, noise, sigma)
    made = estimate(noisy, sigma)
    clean, spread = process.split(made) if isinstance(process, Ancestral) else (made, None)
    error = (clean - latents)[:, given:].square()
    error = expand(process.weight(sigma), error) * error  # of the network's output
    if huber is not None:
        error = 2 * huber * pseudo_huber(error, huber)
    each = error.flatten(1).mean(1)
    if isinstance(process, Ancestral) and spread is not None:
        each = each + process.bound(clean, spread, latents, sigma)
    high = process.is_high(sigma)
    logs = {}
    if high.any():
        logs["loss_high_noise"] = torch.where(high, each, 0.0).sum() / high.sum()
    return each.mean(), {name: value.detach() for name, value in logs.items()}
