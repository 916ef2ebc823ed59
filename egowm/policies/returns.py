"""Returns of imagined futures, by which actors and critics learn."""

import torch
from torch import Tensor

from egowm.checks import check_alike, check_between, check_shape, checked

LEAST_SPREAD = 1e-2  # of returns: smaller differences are noise


@checked
def lambda_returns(
    rewards: Tensor,
    goes_on: Tensor,
    values: Tensor,
    discount: float = 0.95,
    lambda_: float = 0.95,
) -> Tensor:
    """`V[t] = r[t] + g c[t] ((1 - l) v[t] + l V[t+1])`, of the last step with v alone: DreamerV2,
    equation 4. Gives (..., T), what is to come from before each step on.

    Args:
        rewards: r, (..., T), of each step.
        goes_on: c, (..., T), the chance that the task goes on after it, in [0, 1].
        values: v, (..., T), of the states that the steps lead to.
        discount: g, in [0, 1].
        lambda_: l, in [0, 1]; 0 looks one step ahead, 1 takes the last value alone.

    >>> lambda_returns(torch.ones(2), torch.ones(2), torch.full((2,), 4.0), 0.5, 0.5)
    tensor([2.7500, 3.0000])
    """
    check_alike("goes_on", goes_on, "rewards", rewards)
    check_alike("values", values, "rewards", rewards)
    check_shape("rewards", rewards, "... T")
    check_between("discount", discount, 0, 1)
    check_between("lambda_", lambda_, 0, 1)
    after, found = values[..., -1], []
    for step in reversed(range(rewards.shape[-1])):
        ahead = (1 - lambda_) * values[..., step] + lambda_ * after
        after = rewards[..., step] + discount * goes_on[..., step] * ahead
        found.append(after)
    return torch.stack(found[::-1], -1)


def spread(returns: Tensor) -> Tensor:
    """From the 5th to the 95th percentile, by which the actor's gain is divided, so that its
    entropy weighs the same whatever the rewards' unit: DreamerV3, arXiv 2301.04104."""
    low, high = returns.detach().flatten().quantile(returns.new_tensor([0.05, 0.95]))
    return (high - low).clamp(min=LEAST_SPREAD)
