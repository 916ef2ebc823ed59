import numpy as np
import pytest

from egowm.scs.bootstrap import interval, num_independent


def test_interval_of_a_mean_agrees_with_the_normal_one():
    values = np.random.default_rng(0).normal(50, 10, 400)
    low, high = interval(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1)


def test_interval_is_reproducible_and_leaves_nan_out():
    values = np.random.default_rng(1).uniform(0, 100, 30)
    assert interval(values) == interval(values)
    assert interval(np.append(values, np.nan)) == interval(values)
    assert interval(values, seed=1) != interval(values)


def test_fewer_than_10_give_none():
    values = np.arange(10.0)
    assert interval(values) is not None
    assert interval(values[:9]) is None
    assert interval(np.append(values[:9], np.nan)) is None
    assert interval(np.arange(100.0), groups=[str(k % 9) for k in range(100)]) is None
    assert num_independent(np.append(values, np.nan)) == 10
    assert num_independent(values, ["a"] * 5 + ["b"] * 5) == 2


def test_constant_values_have_no_width():
    assert interval(np.full(12, 7.0)) == (7, 7)


def test_clips_of_one_trajectory_are_not_independent():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(50, 10, 40), 10)  # ten equal clips from each of 40 recordings
    groups = [str(k // 10) for k in range(400)]
    low, high = interval(values)
    wide_low, wide_high = interval(values, groups)
    assert (wide_high - wide_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.1)


def test_groups_must_fit():
    with pytest.raises(ValueError, match="one group per value"):
        interval(np.arange(12.0), ["a"])
