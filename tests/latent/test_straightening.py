"""Straightness, VICReg's terms and extrapolation against numbers worked out by hand."""

import math

import pytest
import torch

from egowm.latent import (
    covariance_loss,
    extrapolate,
    straightening_loss,
    straightness,
    straightness_gap,
    variance_loss,
)


def circle(degrees: float, count: int = 6) -> torch.Tensor:
    """(1, count, 2): successive steps turn by so much."""
    angles = torch.arange(count) * math.radians(degrees)
    return torch.stack([angles.cos(), angles.sin()], -1)[None]


@pytest.mark.parametrize("degrees", [10.0, 60.0, 90.0, 135.0])
def test_a_circle_is_as_straight_as_the_cosine_of_its_step(degrees):
    expected = math.cos(math.radians(degrees))
    assert straightness(circle(degrees)).item() == pytest.approx(expected, abs=1e-5)
    assert straightening_loss(circle(degrees)).item() == pytest.approx(1 - expected, abs=1e-5)
    scaled = 1e-2 * circle(degrees) + 3.0
    assert straightness(scaled).item() == pytest.approx(expected, abs=1e-3)  # scale-free


def test_steps_without_a_length_are_left_out():
    """Of the pairs of steps, only the last two have a length: a right angle."""
    path = torch.tensor([[[0.0, 0.0]] * 3 + [[1.0, 0.0], [1.0, 1.0]]])
    assert straightness(path).item() == 0.0
    still = torch.zeros(2, 5, 3, requires_grad=True)
    assert straightness(still.detach()).isnan()
    loss = straightening_loss(still)
    loss.backward()
    assert loss.item() == 0
    assert not still.grad.any()
    path.requires_grad_()
    straightening_loss(path).backward()
    assert path.grad.isfinite().all()
    assert path.grad.any()


def test_descent_straightens():
    path = circle(90.0).clone().requires_grad_()
    optimizer = torch.optim.SGD([path], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        straightening_loss(path).backward()
        optimizer.step()
    assert straightness(path.detach()).item() > 0.7


def test_variance_and_covariance():
    values = torch.tensor([[1.0, 2.0, 5.0], [-1.0, -2.0, 5.0], [1.0, -2.0, 5.0], [-1.0, 2.0, 5.0]])
    deviations = (math.sqrt(4 / 3 + 1e-4), math.sqrt(16 / 3 + 1e-4), 1e-2)
    expected = sum(max(0.0, 1 - x) for x in deviations) / 3
    assert variance_loss(values).item() == pytest.approx(expected, abs=1e-6)
    assert covariance_loss(values).item() == 0.0
    values[:, 2] = values[:, 0] * 3  # Cov_13 = 3 Var_1 = 4, twice, over 3 dimensions
    assert covariance_loss(values).item() == pytest.approx(2 * 4.0**2 / 3, rel=1e-6)


def test_extrapolation_is_exact_on_a_line_and_off_by_the_acceleration():
    t = torch.arange(5.0)
    line, parabola = (2 * t + 1)[None, :, None], (0.5 * 3 * t**2)[None, :, None]
    assert torch.equal(extrapolate(line)[:, :-1], line[:, 2:])
    assert torch.equal(parabola[:, 2:] - extrapolate(parabola)[:, :-1], torch.full((1, 3, 1), 3.0))


def test_the_gap_is_a_difference():
    assert straightness_gap(circle(60.0), circle(90.0)) == pytest.approx(0.5, abs=1e-5)


def test_what_is_too_short_is_refused():
    with pytest.raises(ValueError, match=r"T of at least 3, got \(1, 2, 4\)"):
        straightness(torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match=r"latents \(N, D\)"):
        variance_loss(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="at least 2 latents"):
        covariance_loss(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"T of at least 2, got \(4,\)"):
        extrapolate(torch.zeros(4))


def test_what_is_not_a_number_is_not_straight():
    path = torch.arange(5.0)[None, :, None].clone()
    path[0, 2] = torch.nan
    assert straightness(path).isnan()
    assert straightening_loss(path).isnan()
