"""What frozen features say: linear and attention probes, neighbours' votes, their spread.

A probe is fitted in one part of the data, its strength is chosen in a second, and it is judged in a
third, in scenes that neither of them has.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from egowm.checks import (
    MOST_SEED,
    check_alike,
    check_between,
    check_float,
    check_shape,
    checked,
)

RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
MOST = 10**6
LARGEST = 1e15  # of a feature or a target: the squares of larger ones overflow


class Parts(NamedTuple):
    """One quantity in three parts of the data, its first axis the examples of each.

    train: fits the probe. val: chooses its strength. test: judges it.

    >>> Parts(*torch.zeros(3, 10, 4)).train.shape
    torch.Size([10, 4])
    """

    train: Tensor
    val: Tensor
    test: Tensor


class Probed(NamedTuple):
    """How well a probe reads a target in "test".

    r2: share of the target's variance that is explained, over all its values together; 1 is
    perfect, 0 no better than the mean of "train". error: mean distance (the norm over the target's
    last axis), in the target's unit.

    >>> Probed(r2=0.5, error=0.2).r2
    0.5
    """

    r2: float
    error: float


@checked
def linear_probe(features: Parts, targets: Parts, ridges: Sequence[float] = RIDGES) -> Probed:
    """Ridge regression from standardised features, in closed form.

    Args:
        features: (M, F), or (M, ...) whose later axes are taken together.
        targets: (M, G) in any unit: depths in metres, a translation, an angle.
        ridges: Strengths of the penalty, of which the best in "val" is taken.

    Raises:
        ValueError: Parts of different sizes.

    >>> x = torch.arange(12.0)[:, None]
    >>> found = linear_probe(Parts(x, x, x), Parts(2 * x, 2 * x, 2 * x), ridges=(1e-6,))
    >>> round(found.r2, 3), round(found.error, 3)
    (1.0, 0.0)
    """
    _check(features, targets)
    known, seen, asked = (x.flatten(1).double() for x in features)
    mean, std = known.mean(0), known.std(0, correction=0)
    known, seen, asked = ((x - mean) / std.clamp(min=1e-6) for x in (known, seen, asked))
    truth = Parts(*(y.double() for y in targets))
    centre = truth.train.mean(0)
    wide = known.shape[1] > len(known)  # then the system of the examples is the smaller one
    gram = known @ known.mT if wide else known.mT @ known
    wanted = truth.train - centre if wide else known.mT @ (truth.train - centre)
    best, chosen = -float("inf"), centre.new_zeros(known.shape[1], len(centre))
    for ridge in ridges:
        check_between("ridges", ridge, 1e-12, 1e12)
        found = torch.linalg.solve(gram + ridge * torch.eye(len(gram)).to(gram), wanted)
        weights = known.mT @ found if wide else found
        if (r2 := _judge(seen @ weights + centre, truth.val, centre).r2) > best:
            best, chosen = r2, weights
    return _judge(asked @ chosen + centre, truth.test, centre)


@checked
def attention_probe(
    patches: Parts,
    targets: Parts,
    width: int = 64,
    heads: int = 4,
    steps: int = 400,
    batch: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Probed:
    """One attention block on frozen patches: a learned query looks at all of them, a layer reads
    the target from what it found. The weights that were best in "val" are judged.

    Args:
        patches: (M, P, D); for a pair of frames the patches of both, one after the other.
        targets: (M, G) in any unit.
        width: Channels of the block, a multiple of the heads.
        heads: Its attention heads.
        steps: Optimizer steps, at least 1.
        batch: Examples a step.
        learning_rate: AdamW's.
        seed: Of its weights and of the order of the examples.

    Raises:
        ValueError: Parts of different sizes.

    >>> x, y = Parts(*torch.zeros(3, 2, 4, 8)), Parts(*torch.zeros(3, 2, 1))
    >>> round(attention_probe(x, y, width=8, steps=1).error, 3)
    0.0
    """
    _check(patches, targets)
    check_shape("patches", patches.train, "M P D")
    check_between("steps", steps, 1, MOST)
    check_between("batch", batch, 1, MOST)
    check_between("width", width, 1, 8192)
    check_between("heads", heads, 1, width)
    check_between("learning_rate", learning_rate, 0, 1)
    check_between("seed", seed, -MOST_SEED, MOST_SEED)
    if width % heads:
        raise ValueError(f"Expected a width that is a multiple of the heads, got {width}, {heads}.")
    patches, targets = (Parts(*(x.float() for x in parts)) for parts in (patches, targets))
    state = torch.Generator().manual_seed(seed)
    mean, std = patches.train.mean((0, 1)), patches.train.std((0, 1), correction=0)
    given = Parts(*((x - mean) / std.clamp(min=1e-6) for x in patches))
    centre, scale = targets.train.mean(0), targets.train.std(0, correction=0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        count, depth = given.train.shape[1:]
        probe = _Attention(count, depth, width, heads, targets.train.shape[1]).to(given.train)
    optimizer = torch.optim.AdamW(probe.parameters(), learning_rate, weight_decay=0.01)
    best, chosen = -float("inf"), probe.state_dict()
    for step in range(steps):
        here = torch.randint(len(given.train), (batch,), generator=state)
        made = probe(given.train[here])
        loss = (made - (targets.train[here] - centre) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 10) == 0 or step + 1 == steps:
            found = _judge(_read(probe, given.val) * scale + centre, targets.val, centre).r2
            if found > best:
                best, chosen = found, deepcopy(probe.state_dict())
    probe.load_state_dict(chosen)
    return _judge(_read(probe, given.test) * scale + centre, targets.test, centre)


@checked
def nearest_neighbours(
    known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor, count: int = 5
) -> float:
    """Share of frames whose label (such as the room that they show) most of their nearest
    neighbours have, by cosine; of labels with as many votes, the nearest neighbour's counts.

    Args:
        known: Features (M, F) whose labels are known.
        labels: (M,), whole numbers.
        asked: Features (N, F).
        truth: (N,), their labels.
        count: Neighbours that vote, at least 1.

    >>> known, labels = torch.eye(2), torch.tensor([0, 1])
    >>> nearest_neighbours(known, labels, torch.tensor([[0.9, 0.1], [0.8, 0.1]]), labels, count=1)
    0.5
    """
    check_shape("known", known, "M F")
    check_shape("labels", labels, "M", M=len(known))
    check_shape("asked", asked, "N F", F=known.shape[1])
    check_shape("truth", truth, "N", N=len(asked))
    check_between("count", count, 1, len(known))
    if not (known.isfinite().all() and asked.isfinite().all()):
        raise ValueError("Expected finite features, got NaN or infinity.")
    unit = nn.functional.normalize
    likeness = unit(asked.double(), dim=1) @ unit(known.double(), dim=1).mT
    voters = labels[likeness.topk(count, dim=1).indices]  # (N, count), the nearest first
    votes = (voters[:, :, None] == voters[:, None]).sum(2)
    winner = voters.gather(1, votes.argmax(1, keepdim=True))[:, 0]
    return float((winner == truth).double().mean())


@checked
def spread(embeddings: Tensor) -> float:
    """How much embeddings differ: the standard deviation of unit vectors, averaged over their
    channels, times the root of the number of channels (SimSiam, arXiv 2011.10566).

    Args:
        embeddings: (N, D), of different frames, N at least 2.

    Raises:
        ValueError: Fewer than 2 embeddings.

    >>> spread(torch.ones(4, 8)), round(spread(torch.eye(2)), 3)
    (0.0, 1.0)
    """
    check_shape("embeddings", embeddings, "N D")
    if len(embeddings) < 2:
        raise ValueError(f"Expected at least 2 embeddings, got {len(embeddings)}.")
    unit = nn.functional.normalize(embeddings.float(), dim=1)
    return float(unit.std(0).mean() * embeddings.shape[1] ** 0.5)


class _Attention(nn.Module):
    """Patches (M, P, D) to a target (M, G), by one block of cross-attention."""

    def __init__(self, count: int, depth: int, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.enter = nn.Linear(depth, width)
        self.places = nn.Parameter(0.02 * torch.randn(1, count, width))
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.leave = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, out)
        )

    def forward(self, patches: Tensor) -> Tensor:
        seen = self.norms[0](self.enter(patches) + self.places)
        query = self.query.expand(len(patches), -1, -1)
        found = query + self.attention(query, seen, seen, need_weights=False)[0]
        made: Tensor = self.leave(self.norms[1](found[:, 0]))
        return made


@torch.no_grad()
def _read(probe: nn.Module, patches: Tensor) -> Tensor:
    return torch.cat([probe(part) for part in patches.split(256)])


def _judge(made: Tensor, truth: Tensor, centre: Tensor) -> Probed:
    off = made - truth
    r2 = 1 - off.square().sum() / (truth - centre).square().sum().clamp(min=1e-12)
    return Probed(float(r2), float(off.norm(dim=1).mean()))


def check_moderate(name: str, values: Tensor) -> None:
    """Refuse numbers whose squares are not finite.

    Args:
        name: For the error.
        values: Of any shape.
    """
    if not (values.double().abs() <= LARGEST).all():
        raise ValueError(
            f"Expected finite numbers up to {LARGEST:g} in {name}, got NaN, infinity or larger "
            f"ones."
        )


def _check(features: Parts, targets: Parts) -> None:
    """Refuse parts whose examples or channels do not belong together."""
    check_shape("targets.train", targets.train, "M G")
    for name, found, wanted in zip(Parts._fields, features, targets, strict=True):
        if found.ndim and not len(found):
            raise ValueError(f"Expected examples in features.{name}, got none.")
        check_shape(f"features.{name}", found, "... F")
        check_float(f"features.{name}", found)
        check_shape(f"targets.{name}", wanted, "M G", M=len(found), G=targets.train.shape[-1])
        check_alike(f"an example of features.{name}", found[0], "one of train", features.train[0])
        check_moderate(f"features.{name}", found)
        check_moderate(f"targets.{name}", wanted)
