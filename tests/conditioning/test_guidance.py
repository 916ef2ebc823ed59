"""The one convention of guidance."""

from typing import get_args

import pytest
import torch

from egowm.conditioning.guidance import Guide, guided


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.0, 2.0), (1.0, 5.0), (2.0, 8.0), (3.5, 12.5), (-1.0, -1.0)]
)
def test_null_plus_g_times_the_difference(scale, expected):
    found = guided(torch.full((1, 2), 2.0), torch.full((1, 2), 5.0), scale)
    assert found.tolist() == [[expected, expected]]


def test_guidance_changes_nothing_where_the_branches_agree():
    estimate = torch.randn(2, 3)
    assert torch.equal(guided(estimate, estimate, 7.0), estimate)


def test_cosmos_scale_is_one_less():
    """Its pipelines write cond + w (cond - null)."""
    null, cond = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(guided(null, cond, 1 + 6.0), cond + 6.0 * (cond - null))


def test_the_branches_that_there_are():
    assert get_args(Guide) == ("image", "action", "text")
