import numpy as np
import pytest

from egowm.scs.bootstrap import interval, num_independent, two_level


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


def test_two_levels_agree_with_the_variances_of_runs_and_clips():
    """Runs vary by 3, clips by 10; both methods see the same clips, which cancels in part."""
    rng = np.random.default_rng(3)
    clips, own = rng.normal(50, 10, 400), rng.normal(0, 4, (2, 8, 400))
    a = clips + own[0] + rng.normal(0, 3, 8)[:, None]
    b = clips + own[1] + rng.normal(0, 3, 8)[:, None] + 5
    low, high = two_level(a, b)
    runs = np.var(a.mean(1)) / 8 + np.var(b.mean(1)) / 8
    noise = np.var(b.mean(0) - a.mean(0)) / 400
    half = 1.96 * np.sqrt(runs + noise)
    middle = b.mean() - a.mean()
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.25)
    # One bootstrap over clips alone claims far more.
    narrow_low, narrow_high = interval(b.mean(0) - a.mean(0))
    assert (high - low) / (narrow_high - narrow_low) > 3


def test_two_levels_need_3_runs_and_10_clips():
    values = np.random.default_rng(4).normal(50, 10, (3, 12))
    assert two_level(values, values + 1) is not None
    assert two_level(values[:2], values) is None
    assert two_level(values[:, :9], values[:, :9]) is None
    gone = values.copy()
    gone[1, :3] = np.nan  # undefined in one run: left out of all
    assert two_level(gone, values) is None
    assert two_level(values, values, groups=["a", "b", "c"] * 4) is None
    with pytest.raises(ValueError, match="runs on the same clips"):
        two_level(values, values[:, :10])
