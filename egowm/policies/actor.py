"""What chooses actions from the features of a state: within ranges, or from a table."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from egowm.actions import ActionSpec
from egowm.checks import check_shape
from egowm.diffusion import Generator, randn

LEAST_STD, BOUND = 0.1, 5.0  # of the normal distribution; of its mean, before the tanh


class Actor(nn.Module):
    """A distribution over actions: the tanh of a normal one, or one over `choices`.

    What it chooses is an action (N, A) before the tanh, or the number (N,) of a choice.

    width: D, of the features. units: of its layers. spec: what actions mean, with ranges. choices:
    rows of physical units, or None.
    """

    table: Tensor  # (C, A), normalised
    ranged: Tensor  # (A,), 1 where a dimension has a range, else 0

    def __init__(
        self,
        width: int,
        units: int,
        spec: ActionSpec,
        choices: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.is_table = choices is not None
        rows = torch.tensor(choices if choices is not None else [[0.0] * spec.width])
        check_shape("choices", rows, "C A", A=spec.width)
        if self.is_table:
            spec.check(rows, strict=True)
        ranged = torch.tensor([float(a < b) for a, b in zip(spec.low, spec.high, strict=True)])
        self.register_buffer("table", spec.normalise(rows), persistent=False)
        self.register_buffer("ranged", ranged, persistent=False)
        self.layers = layers(width, units, len(rows) if self.is_table else 2 * spec.width)

    def normal(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (..., A) of actions before the tanh that bounds them."""
        mean, std = self.layers(features).chunk(2, -1)
        return BOUND * torch.tanh(mean / BOUND), F.softplus(std) + LEAST_STD

    def chosen(self, features: Tensor, generator: Generator, likely: bool = False) -> Tensor:
        """A sample at features (N, D), or the likeliest."""
        if not self.is_table:
            mean, std = self.normal(features)
            return mean if likely else mean + std * randn(mean.shape, generator, mean.device)
        chances = self.layers(features).softmax(-1)
        if likely:
            return chances.argmax(-1)
        draw = torch.special.ndtr(randn((len(chances), 1), generator, chances.device))
        return (chances.cumsum(-1) < draw).sum(-1).clamp(max=chances.shape[-1] - 1)

    def actions(self, chosen: Tensor) -> Tensor:
        """The normalised actions (..., A)."""
        return self.table[chosen] if self.is_table else torch.tanh(chosen) * self.ranged

    def log_chances(self, features: Tensor, chosen: Tensor) -> Tensor:
        """Of numbers of choices (...) at features (..., D)."""
        found: Tensor = Categorical(logits=self.layers(features)).log_prob(chosen)  # type: ignore
        return found

    def entropies(self, features: Tensor, chosen: Tensor) -> Tensor:
        """Nats (...) at features (..., D); those of a bounded normal are told from its samples."""
        if self.is_table:
            return Categorical(logits=self.layers(features)).entropy()
        _, std = self.normal(features)
        slope = 2 * (torch.log(torch.tensor(2.0)) - chosen - F.softplus(-2 * chosen))
        nats = 0.5 * torch.log(2 * torch.pi * torch.e * std.square()) + slope
        return (nats * self.ranged).sum(-1)


def layers(width: int, units: int, out: int) -> nn.Sequential:
    """Two hidden layers with normalisation, and a linear one that starts near zero."""
    hidden = [nn.Linear(width, units), nn.LayerNorm(units), nn.ELU()]
    hidden += [nn.Linear(units, units), nn.LayerNorm(units), nn.ELU()]
    last = nn.Linear(units, out)
    nn.init.normal_(last.weight, std=1e-2)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)
