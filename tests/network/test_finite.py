"""Weights without NaN and infinity, and weights that a smaller type cannot hold."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from egowm.network.finite import check_finite, check_rounded, is_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(dtype, value):
    weight = torch.linspace(-3, 3, 12, dtype=dtype).reshape(3, 4)
    assert is_finite(weight)
    for place in range(12):
        broken = weight.clone()
        broken.view(-1)[place] = value
        assert not is_finite(broken)


def test_what_has_no_such_values_or_none_at_all():
    """float8, whole numbers, an empty tensor, and tensors that only have a shape."""
    assert is_finite(torch.ones(3).to(torch.float8_e4m3fn))
    assert not is_finite(torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn))
    assert is_finite(torch.ones(2, dtype=torch.int64))
    assert is_finite(torch.empty(0))
    assert is_finite(torch.empty(2, device="meta"))
    with FakeTensorMode():
        assert is_finite(torch.ones(2))


def test_the_messages():
    weights = {"a": torch.tensor([1.0, float("nan")]), "b": torch.tensor([float("inf")])}
    with pytest.raises(ValueError, match=r"^x: of 2 values in a, NaN or infinite: 1 \(so are some"):
        check_finite(weights, "x")
    exact = {"a": torch.tensor([1.0, -1e6])}
    half = {"a": exact["a"].half()}
    with pytest.raises(ValueError, match=r"^x: float16 cannot hold a, whose .* is 1e\+06"):
        check_rounded(half, exact.__getitem__, "x", "Do y.")
    check_rounded(exact, exact.__getitem__, "x", "Do y.")
