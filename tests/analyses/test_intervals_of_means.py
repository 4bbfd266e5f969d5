"""The confidence interval of a mean: known values, coverage, and values that are no numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from invreg_analyses.shared.statistics import mean_interval


@pytest.mark.slow
def test_mean_and_standard_deviation_are_the_textbook_ones() -> None:
    found = mean_interval(np.array([1.0, 2.0, 6.0]), 0.95, 2000, key=0)
    assert found.mean == 3.0
    assert found.std == pytest.approx(math.sqrt(7.0))
    assert (found.count, found.missing) == (3, 0)


def test_the_same_key_gives_the_same_interval_and_another_key_another() -> None:
    values = np.random.default_rng(0).normal(size=20)
    first, again, other = (mean_interval(values, 0.95, 2000, key) for key in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert other.low == pytest.approx(first.low, abs=0.1)


def test_large_samples_agree_with_the_normal_interval() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, size=400)
    found = mean_interval(values, 0.9, 20_000, key=5)
    half = 1.6449 * values.std(ddof=1) / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)


@pytest.mark.parametrize("count", [2, 3, 5, 7, 8, 20])
def test_the_interval_covers_the_mean_as_often_as_it_says(count: int) -> None:
    # A plain percentile interval covers about 89 % for eight values; 600 repetitions tell that from 95 %.
    rng = np.random.default_rng(11)
    hits = 0
    for key in range(600):
        found = mean_interval(rng.normal(size=count), 0.95, 1000, key)
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 600 <= 0.985


def test_a_shift_moves_the_interval_and_nothing_else() -> None:
    values = np.random.default_rng(0).normal(size=9)
    plain, moved = mean_interval(values, 0.95, 1000, 0), mean_interval(values + 100, 0.95, 1000, 0)
    assert moved.low - 100 == pytest.approx(plain.low, abs=1e-9)
    assert moved.high - 100 == pytest.approx(plain.high, abs=1e-9)


@pytest.mark.parametrize("count", [7, 9])
def test_equal_values_leave_no_doubt(count: int) -> None:
    found = mean_interval(np.full(count, 0.1), 0.95, 1000, 0)
    assert found.low == found.mean == found.high


def test_one_value_has_no_interval() -> None:
    found = mean_interval(np.array([2.5]), 0.95, 1000, 0)
    assert found.mean == 2.5
    assert all(math.isnan(value) for value in (found.std, found.low, found.high))


def test_few_values_have_the_interval_of_students_distribution() -> None:
    # Quantiles 0.975 for 1 and 2 degrees of freedom: 12.706 and 4.303.
    found = mean_interval(np.array([1.0, 2.0]), 0.95, 1000, 0)
    assert (found.low, found.high) == pytest.approx((1.5 - 12.706 / 2, 1.5 + 12.706 / 2), abs=1e-3)
    found = mean_interval(np.array([1.0, 2.0, 6.0]), 0.95, 1000, 0)
    half = 4.3027 * math.sqrt(7.0 / 3)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), abs=1e-3)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    found = mean_interval(np.array([1.0, math.nan, 3.0, math.inf]), 0.95, 1000, 0)
    assert (found.mean, found.count, found.missing) == (2.0, 2, 2)
    nothing = mean_interval(np.array([math.nan, -math.inf]), 0.95, 1000, 0)
    assert math.isnan(nothing.mean)
    assert (nothing.count, nothing.missing) == (0, 2)
