"""The recurrent state-space model of DreamerV2, with which DayDreamer learns on robots."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egowm.actions import ActionSpec
from egowm.checks import check_between, checked
from egowm.clip import Clip
from egowm.diffusion import Generator, randn
from egowm.latent.base import LatentDynamics
from egowm.network.convolutions import check_halvings, dense, doublings, halvings
from egowm.pixels import to_unit


class Belief(NamedTuple):
    """The state of N futures: deterministic (N, D), stochastic (N, G * C), one-hot in G groups."""

    deterministic: Tensor
    stochastic: Tensor


class Signals(NamedTuple):
    """What a robot was told besides frames.

    Args:
        reward: (B, T).
        goes_on: (B, T), 0 where the episode ended, else 1.

    >>> Signals(torch.zeros(1, 8), torch.ones(1, 8)).goes_on.shape
    torch.Size([1, 8])
    """

    reward: Tensor
    goes_on: Tensor


@checked
def balanced_kl(
    posterior: Tensor, prior: Tensor, balance: float = 0.8, free: float = 0.0
) -> Tensor:
    """`a KL(sg(q) || p) + (1 - a) KL(q || sg(p))`, a scalar in nats: DreamerV2, algorithm 2.

    The prior moves towards the posterior faster than the posterior towards the prior.

    Args:
        posterior: Logits (..., G, C) of G categoricals.
        prior: The same.
        balance: a, in [0, 1].
        free: Nats below which a divergence is not reduced further.

    >>> even, sure = torch.zeros(1, 1, 2), torch.tensor([[[40.0, 0.0]]])
    >>> round(balanced_kl(sure, even).item(), 4)  # ln 2
    0.6931
    """
    check_between("balance", balance, 0, 1)
    check_between("free", free, 0, 1e6)
    forward = _kl(posterior.detach(), prior).mean().clamp(min=free)
    backward = _kl(posterior, prior.detach()).mean().clamp(min=free)
    return balance * forward + (1 - balance) * backward


def _kl(q: Tensor, p: Tensor) -> Tensor:
    """KL(q || p) of logits (..., G, C), summed over the groups."""
    log_q, log_p = q.log_softmax(-1), p.log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum((-2, -1))


class RSSM(LatentDynamics):
    """A recurrent state-space model with discrete latents (DreamerV2, arXiv 2010.02193; DayDreamer,
    arXiv 2206.14176): encoder, GRU, prior and posterior over categoricals, decoder.

    Steps between context frames take no action: a rollout is not told it.

    Args:
        deterministic: Width of the GRU's state.
        categoricals: Groups G of the stochastic state.
        classes: Classes C of each.
        depth: Channels of the encoder's first layer; each further layer has twice as many.
        units: Width of the layers between.
        size: H and W of the frames, 8 times a power of two.
        context: Frames K that a rollout starts from.
        kl_weight: Of the KL term beside the reconstruction, which is summed over pixels.
        balance: Share of the KL term that moves the prior, in [0, 1].
        free: Free nats of the KL term.
        reward: Predict a reward; takes `Signals`, which recordings without rewards do not have.
        goes_on: Predict whether an episode goes on; takes `Signals`, too.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        spec: Meaning of each action; null takes it from the data.

    >>> spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
    >>> small = {"deterministic": 16, "categoricals": 4, "classes": 4, "depth": 2, "units": 16}
    >>> model = RSSM(**small, size=8, spec=spec)
    >>> model.configure_model()
    >>> made = model.rollout(torch.zeros(1, 1, 3, 8, 8), torch.zeros(2, 5, 1))
    >>> made.frames.shape, made.latents.shape
    (torch.Size([2, 5, 3, 8, 8]), torch.Size([2, 5, 32, 1, 1]))
    """

    @checked
    def __init__(
        self,
        deterministic: int = 256,
        categoricals: int = 32,
        classes: int = 32,
        depth: int = 16,
        units: int = 256,
        size: int = 64,
        context: int = 1,
        kl_weight: float = 0.1,
        balance: float = 0.8,
        free: float = 0.0,
        reward: bool = False,
        goes_on: bool = False,
        learning_rate: float = 6e-4,
        warmup: int = 100,
        spec: ActionSpec | None = None,
    ) -> None:
        check_halvings(size)
        super().__init__(size, context, learning_rate, warmup, spec)
        if not 0 <= balance <= 1 or min(kl_weight, free) < 0:
            raise ValueError(
                f"Expected balance in [0, 1], kl_weight and free of 0 or more, got {balance:g}, "
                f"{kl_weight:g} and {free:g}."
            )
        if min(deterministic, categoricals, classes - 1, depth, units) < 1:
            raise ValueError("Expected widths of at least 1, and at least 2 classes.")
        self.deterministic, self.categoricals, self.classes = deterministic, categoricals, classes
        self.depth, self.units, self.kl_weight = depth, units, kl_weight
        self.balance, self.free, self.reward, self.goes_on = balance, free, reward, goes_on

    def build(self, width: int) -> None:
        levels = self.size.bit_length() - 3  # down to 4x4
        channels = [self.depth << k for k in range(levels)]
        stochastic = self.categoricals * self.classes
        features, flat = self.deterministic + stochastic, channels[-1] * 16
        self.encoder = nn.Sequential(*halvings([3, *channels]), nn.Flatten())
        self.enter = dense(stochastic + width + 1, self.units, self.units)  # and: is it known
        self.gru = nn.GRUCell(self.units, self.deterministic)
        self.prior = dense(self.deterministic, self.units, stochastic)
        self.posterior = dense(self.deterministic + flat, self.units, stochastic)
        self.decoder = nn.Sequential(
            nn.Linear(features, flat),
            nn.Unflatten(1, (channels[-1], 4, 4)),
            *doublings([*channels[::-1], 3]),
        )
        if self.reward:
            self.reward_head = dense(features, self.units, 1)
        if self.goes_on:
            self.goes_on_head = dense(features, self.units, 1)

    # One step -------------------------------------------------------------------------------------

    def embed(self, frames: Tensor) -> Tensor:
        return self.encoder(frames - 0.5)[:, :, None, None]

    def advanced(self, before: Belief, action: Tensor | None) -> Tensor:
        """The deterministic state (N, D) after normalised actions (N, A), or unknown ones."""
        width = self.spec_of(None).width
        if action is None:
            told = before.stochastic.new_zeros(len(before.stochastic), width + 1)
        else:
            told = torch.cat([action, torch.ones_like(action[:, :1])], 1)
        entered = self.enter(torch.cat([before.stochastic, told], 1))
        return self.gru(entered, before.deterministic)

    def prior_of(self, deterministic: Tensor) -> Tensor:
        """Logits (N, G, C) of p(z | h)."""
        return self.prior(deterministic).unflatten(1, (self.categoricals, self.classes))

    def posterior_of(self, deterministic: Tensor, embedded: Tensor) -> Tensor:
        """Logits (N, G, C) of q(z | h, x)."""
        joint = torch.cat([deterministic, embedded.flatten(1)], 1)
        return self.posterior(joint).unflatten(1, (self.categoricals, self.classes))

    def drawn(self, logits: Tensor, generator: Generator) -> Tensor:
        """One-hot samples (N, G * C), with the gradient of the probabilities (straight-through).

        By the inverse of the cumulative distribution, so that one number decides a categorical.
        """
        probabilities = logits.float().softmax(-1)
        normal = randn((*logits.shape[:2], 1), generator, logits.device)
        below = (probabilities.cumsum(-1) < torch.special.ndtr(normal)).sum(-1)
        one_hot = F.one_hot(below.clamp(max=self.classes - 1), self.classes).to(probabilities)
        return (one_hot + probabilities - probabilities.detach()).flatten(1)

    def start(self, count: int) -> Belief:
        """Before anything is seen."""
        parameter = self.gru.weight_hh
        stochastic = parameter.new_zeros(count, self.categoricals * self.classes)
        return Belief(parameter.new_zeros(count, self.deterministic), stochastic)

    def begin(self, embedded: Tensor, generator: Generator) -> Belief:
        belief = self.start(len(embedded))
        for number, seen in enumerate(embedded.unbind(1)):
            state = self.advanced(belief, None) if number else belief.deterministic
            belief = Belief(state, self.drawn(self.posterior_of(state, seen), generator))
        return belief

    def step(self, before: Belief, actions: Tensor, generator: Generator) -> Belief:
        state = self.advanced(before, actions)
        return Belief(state, self.drawn(self.prior_of(state), generator))

    def latent(self, state: Belief) -> Tensor:
        return torch.cat(state, 1)[:, :, None, None]

    def encode_goal(self, frame: Tensor) -> Tensor:
        raise ValueError(
            "RSSM's latents hold the way that led there, which a picture of the goal does not "
            'have: compare futures with it by="pixels" (egowm plan --by pixels).'
        )

    def decode(self, latents: Tensor) -> Tensor:
        return (self.decoder(latents.flatten(1)) + 0.5).clamp(0, 1)

    def rewards(self, latents: Tensor) -> Tensor:
        """Predicted rewards (N, T) of a rollout's latents (N, T, D, 1, 1)."""
        if not self.reward:
            raise ValueError("This model predicts no reward: train it with --model.reward true.")
        return self.reward_head(latents.flatten(2))[..., 0]

    # Loss -----------------------------------------------------------------------------------------

    def observed(
        self, embedded: Tensor, actions: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, L, D + G * C) of embedded frames (B, L, ...), and logits of posterior and
        prior (B, L, G, C); normalised actions (B, T, A) lead to the last T frames."""
        unknown = embedded.shape[1] - actions.shape[1]
        belief, features, posteriors, priors = self.start(len(embedded)), [], [], []
        for number, seen in enumerate(embedded.unbind(1)):
            action = None if number < unknown else actions[:, number - unknown]
            state = self.advanced(belief, action) if number else belief.deterministic
            posterior = self.posterior_of(state, seen)
            belief = Belief(state, self.drawn(posterior, generator))
            features.append(torch.cat(belief, 1))
            posteriors.append(posterior)
            priors.append(self.prior_of(state))
        return torch.stack(features, 1), torch.stack(posteriors, 1), torch.stack(priors, 1)

    def losses(
        self, clip: Clip, generator: torch.Generator | None, signals: Signals | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if signals is None and (self.reward or self.goes_on):
            raise ValueError(
                "This model predicts rewards or ends, and the clips have none: leave "
                "--model.reward and --model.goes_on false, or pass signals."
            )
        total, logs, features = self.seen(clip, generator)
        if signals is not None:
            total = total + self.told(features[:, -clip.actions.shape[1] :], signals)
        return total, logs

    def seen(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss of a clip's frames, logs, and the features (B, K + T, D + G * C) at each."""
        frames = to_unit(clip.frames[:, -self.context - clip.actions.shape[1] :])
        told = self.spec_of(self.source_of(clip)).normalise(clip.actions)
        embedded = self.embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        features, posterior, prior = self.observed(embedded, told, generator)
        shown = self.decoder(features.flatten(0, 1)) + 0.5
        squared = (shown - frames.flatten(0, 1)).square()
        kl = balanced_kl(posterior, prior, self.balance, self.free)
        total = 0.5 * squared.flatten(1).sum(1).mean() + self.kl_weight * kl
        return total, {"squared_error": squared.mean().detach(), "kl": kl.detach()}, features

    def told(self, features: Tensor, signals: Signals) -> Tensor:
        """Loss of the heads at features (B, T, D + G * C): unit-variance Gaussian and Bernoulli."""
        found = features.new_zeros(())
        if self.reward:
            difference = self.reward_head(features)[..., 0] - signals.reward
            found = found + 0.5 * difference.square().mean()
        if self.goes_on:
            logits = self.goes_on_head(features)[..., 0]
            found = found + F.binary_cross_entropy_with_logits(logits, signals.goes_on)
        return found

    @torch.no_grad()
    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """Mean squared error of the frames that are imagined from the context alone."""
        made = self.rollout_of(clip, generator=torch.Generator().manual_seed(seed)).frames
        truth = to_unit(clip.frames[:, -clip.actions.shape[1] :].to(made.device))
        return (made - truth).square().mean()
