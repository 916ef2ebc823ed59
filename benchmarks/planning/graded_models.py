"""World models of the rooms from good to deliberately bad, all made from the committed exports.

Trained ones as they are; others between two of them, by the mean of their weights; others with
noise added to their weights; and one misled about its actions. The best of them is the model that
shipped when they were measured (`EARLIER`). Nothing is trained here, so every model can be made
again from its name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.experiment.arms import EARLIER, EXPORTS
from benchmarks.measure import ROOT
from benchmarks.planning.arrivals import QUICK
from egowm.backbones import SVD
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

NOISE_SEED = 0
FOLDERS = {**EXPORTS, "earlier": EARLIER}
TRAINED_ON = "trained on, 33,550 steps"
TURNS_THE_OTHER_WAY = (1.0, 1.0, -1.0)  # factors of (dx, dy, dyaw), normalised


@dataclass(frozen=True)
class Graded:
    """One model of the comparison.

    Args:
        name: of its row.
        kind: "trained", "between two", "noise" or "misled": what was done to it.
        make: loads and alters it.
        steps: of sampling.
    """

    name: str
    kind: str
    make: Callable[[], WorldModel]
    steps: int = 1

    @property
    def how(self) -> Sampling:
        """The quick way to imagine."""
        return replace(QUICK, steps=self.steps)


def exported(arm: str) -> WorldModel:
    """A committed export."""
    return WorldModel.from_pretrained(FOLDERS[arm])


def untrained() -> nn.Module:
    """The network that P+ began as: the prior's, which knows no actions."""
    backbone = SVD(str(ROOT / "priors/rooms-svd"))
    backbone.load()
    return backbone.network


@torch.no_grad()
def between(arm: str, other: nn.Module, share: float) -> WorldModel:
    """An export whose weights are moved by `share` of the way to those of another network.

    Weights that the other one lacks, as those of the action embedding, stay.
    """
    model = exported(arm)
    there = dict(other.named_parameters())
    network = model if isinstance(other, WorldModel) else model.backbone.network
    for name, weight in network.named_parameters():
        if name in there:
            weight.lerp_(there[name].to(weight), share)
    return model


@torch.no_grad()
def noisy(share: float) -> WorldModel:
    """The earlier model with Gaussian noise on all weights: `share` of a tensor's deviation."""
    model, generator = exported("earlier"), torch.Generator().manual_seed(NOISE_SEED)
    for weight in model.backbone.network.parameters():
        if weight.numel() > 1:
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(noise * float(weight.std()) * share)
    return model


def misled(*factors: float) -> WorldModel:
    """The earlier model, which gets its actions times a factor for each dimension."""
    model, by = exported("earlier"), torch.tensor(factors)

    def change(module: nn.Module, given: Any) -> tuple[Tensor]:
        return (given[0] * by.to(given[0]),)

    model.action_embedding.register_forward_pre_hook(change)
    return model


GRADED = (
    Graded(TRAINED_ON, "trained", lambda: exported("earlier")),
    Graded("from the prior (long)", "trained", lambda: exported("P+")),
    Graded("from scratch (long)", "trained", lambda: exported("S+")),
    Graded("weights doubly noisy", "noise", lambda: noisy(0.2)),
    Graded("turns the other way", "misled", lambda: misled(*TURNS_THE_OTHER_WAY)),
    Graded("half of the way from the prior", "between two",
           lambda: between("P+", untrained(), 0.5)),
    Graded("actions not seen", "misled", lambda: misled(0.0, 0.0, 0.0)),
    Graded("noisy weights", "noise", lambda: noisy(0.1)),
    Graded("actions halved", "misled", lambda: misled(0.5, 0.5, 0.5)),
    Graded("slightly noisy weights", "noise", lambda: noisy(0.05)),
    Graded("half of the way to 33,550 steps", "between two",
           lambda: between("P+", exported("earlier"), 0.5)),
    Graded("turns not seen", "misled", lambda: misled(1.0, 1.0, 0.0)),
    Graded("from scratch to the prior, half", "between two",
           lambda: between("S+", exported("P+"), 0.5)),
    Graded("metres not seen", "misled", lambda: misled(0.0, 0.0, 1.0)),
)  # fmt: skip
