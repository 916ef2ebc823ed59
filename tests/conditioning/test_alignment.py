"""Which actions a latent frame takes, with actions whose values are 10 x step + dimension."""

import pytest
import torch

from egowm.conditioning.alignment import align, aligned_width

STEPS = 10.0 * torch.arange(6)[:, None] + torch.arange(2)  # (T = 6, A = 2)
ACTIONS = torch.stack([STEPS, 100 + STEPS])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("concatenate", [[0, 1, 10, 11], [20, 21, 30, 31], [40, 41, 50, 51]]),
        ("sum", [[5, 6], [25, 26], [45, 46]]),
        ("last", [[10, 11], [30, 31], [50, 51]]),
    ],
)
def test_each_latent_takes_the_actions_of_its_frames(how, expected):
    found = align(ACTIONS, 2, how)
    assert found.shape == (2, 3, aligned_width(2, 2, how))
    assert found[0].tolist() == expected
    assert torch.equal(found[1], 100 + found[0])


@pytest.mark.parametrize("stride", [3, 6])
def test_longer_strides(stride):
    groups = ACTIONS.unflatten(1, (-1, stride))
    assert torch.equal(align(ACTIONS, stride, "concatenate"), groups.flatten(2))
    torch.testing.assert_close(align(ACTIONS, stride, "sum"), groups.sum(2) / stride)
    assert torch.equal(align(ACTIONS, stride, "last"), ACTIONS[:, stride - 1 :: stride])


@pytest.mark.parametrize("how", ["concatenate", "sum", "last"])
def test_without_stride_every_mode_is_the_actions(how):
    assert torch.equal(align(ACTIONS, 1, how), ACTIONS)
    assert aligned_width(2, 1, how) == 2


def test_width():
    widths = {how: aligned_width(25, 4, how) for how in ("concatenate", "sum", "last")}
    assert widths == {"concatenate": 100, "sum": 25, "last": 25}


def test_the_sum_stays_in_the_range_of_one_action():
    assert align(torch.ones(1, 8, 3), 4, "sum").tolist() == [[[1.0] * 3] * 2]


def test_incomplete_groups_and_other_modes_are_refused():
    with pytest.raises(ValueError, match=r"a multiple of 4 actions .* stride.*, got 6"):
        align(ACTIONS, 4, "sum")
    with pytest.raises(ValueError, match="how concatenate, sum or last, got 'mean'"):
        align(ACTIONS, 2, "mean")
