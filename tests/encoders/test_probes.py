"""Probes: closed forms, what can be read and what cannot, wrong parts."""

import pytest
import torch

from egowm.encoders import Parts, attention_probe, linear_probe, nearest_neighbours


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parts(count: int, width: int, seed: int = 0) -> Parts:
    return Parts(*(drawn(count, width, seed=seed + k) for k in range(3)))


@pytest.mark.parametrize("width", [5, 60])
def test_ridge_is_that_of_least_squares_on_more_rows(width):
    """A penalty r is r rows of sqrt(r) I with target 0; with more features than examples, too."""
    features = parts(40, width)
    targets = Parts(*(drawn(40, 2, seed=9 + k) + x[:, :2] for k, x in enumerate(features)))
    found = linear_probe(features, targets, ridges=(3.0,))
    x, y = features.train.double(), targets.train.double()
    mean, std, centre = x.mean(0), x.std(0, correction=0), y.mean(0)
    rows = torch.cat([(x - mean) / std, 3.0**0.5 * torch.eye(width).double()])
    wanted = torch.cat([y - centre, torch.zeros(width, 2).double()])
    weights = torch.linalg.lstsq(rows, wanted).solution
    off = (features.test.double() - mean) / std @ weights + centre - targets.test
    r2 = 1 - off.square().sum() / (targets.test - centre).square().sum()
    assert found.r2 == pytest.approx(r2.item(), abs=1e-9)
    assert found.error == pytest.approx(off.norm(dim=1).mean().item(), abs=1e-9)


def test_the_ridge_is_chosen_in_val():
    """Noise alone: the strongest penalty is best there, and the mean is what is left."""
    features, targets = parts(30, 25), parts(30, 1, seed=50)
    strong = linear_probe(features, targets, ridges=(1e9,))
    assert linear_probe(features, targets, ridges=(1e-3, 1e9)) == strong
    assert strong.r2 == pytest.approx(0, abs=0.05)


@pytest.mark.long
def test_attention_finds_what_a_linear_probe_cannot():
    """The target is the value of the one patch that is marked, wherever it lies."""

    def example(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        values = drawn(256, 9, seed=seed)
        where = torch.randint(9, (256,), generator=torch.Generator().manual_seed(seed))
        marks = torch.nn.functional.one_hot(where, 9).float()
        patches = torch.stack([values * marks + drawn(256, 9, seed=seed + 7) * (1 - marks), marks])
        return patches.permute(1, 2, 0), values.gather(1, where[:, None])

    patches, targets = (Parts(*x) for x in zip(*map(example, (0, 1, 2)), strict=True))
    found = attention_probe(patches, targets, width=16, heads=2, steps=300, learning_rate=5e-3)
    assert found.r2 > 0.8
    assert linear_probe(patches, targets).r2 < 0.3
    again = attention_probe(patches, targets, width=16, heads=2, steps=5)
    assert again == attention_probe(patches, targets, width=16, heads=2, steps=5)


def test_neighbours_vote_and_the_nearest_breaks_a_tie():
    known = torch.tensor([[1.0, 0.0], [0.9, 0.4], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([7, 8, 8, 8])
    asked = torch.tensor([[1.0, 0.05], [0.0, 5.0]])
    assert nearest_neighbours(known, labels, asked, torch.tensor([7, 8]), count=1) == 1.0
    assert nearest_neighbours(known, labels, asked, torch.tensor([7, 8]), count=2) == 1.0
    assert nearest_neighbours(known, labels, asked, torch.tensor([7, 8]), count=3) == 0.5


def test_parts_that_do_not_belong_together_are_refused():
    features, targets = parts(6, 3), parts(6, 1)
    with pytest.raises(ValueError, match=r"Expected targets\.val \(6, 1\), got \(5, 1\)"):
        linear_probe(features, targets._replace(val=targets.val[:5]))
    with pytest.raises(ValueError, match=r"an example of features\.test of the shape of one of"):
        linear_probe(features._replace(test=drawn(6, 4)), targets)
    with pytest.raises(ValueError, match=r"in targets\.train, got NaN, infinity or larger"):
        linear_probe(features, targets._replace(train=targets.train / 0))
    with pytest.raises(ValueError, match=r"Expected patches \(M, P, D\)"):
        attention_probe(features, targets)
    with pytest.raises(ValueError, match="Expected count from 1 to 6"):
        nearest_neighbours(features.train, torch.zeros(6), features.val, torch.zeros(6), count=7)


@pytest.mark.long
def test_a_part_without_examples_is_told():
    empty = Parts(drawn(4, 3), drawn(0, 3), drawn(2, 3))
    with pytest.raises(ValueError, match=r"Expected examples in features.val, got none"):
        linear_probe(empty, empty)
