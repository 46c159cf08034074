"""Statistics over seeds."""

import math

import numpy as np
import pytest
import scipy.stats
from examples import CELL, FLOAT, row

from experiments.report import estimate, paired_differences
from experiments.report.estimates import mean_and_deviation


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [97.25, 96.5], [0.1] * 7])
def test_mean_and_deviation_agree_with_numpy(values):
    found = mean_and_deviation(iter(values))
    np.testing.assert_allclose(found, (np.mean(values), np.std(values, ddof=1)), atol=1e-12)


def test_deviation_by_hand():
    assert mean_and_deviation([2.0, 4.0, 9.0]) == (5.0, pytest.approx(math.sqrt(13)))


def test_a_single_value_has_no_deviation():
    assert mean_and_deviation([5.0]) == (5.0, 0.0)


def test_no_values_have_no_mean():
    assert all(math.isnan(v) for v in mean_and_deviation([]))


def test_an_interval_by_hand():
    # s = sqrt(2), n = 5, and the table's t for 4 degrees of freedom is 2.776.
    mean, half, count = estimate([1.0, 3.0, 3.0, 3.0, 5.0])
    assert (mean, count) == (3.0, 5)
    assert half == pytest.approx(2.776 * math.sqrt(2 / 5), abs=1e-3)


@pytest.mark.parametrize("count", [2, 3, 10, 100])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_an_interval_agrees_with_scipy(count, confidence):
    values = np.random.default_rng(count).normal(90, 3, count)
    mean, half, _ = estimate(values, confidence)
    expected = scipy.stats.t.interval(confidence, count - 1, np.mean(values),
                                      scipy.stats.sem(values))
    np.testing.assert_allclose((mean - half, mean + half), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (None, None, 0)), ([None, math.nan], (None, None, 0)), ([4.0], (4.0, None, 1)),
     ([None, 4.0, math.nan], (4.0, None, 1)), ([2.0, 2.0], (2.0, 0.0, 2)),
     ([1.0, math.inf], (math.inf, None, 2))],
)
def test_intervals_of_too_little(values, expected):
    assert estimate(values) == expected


def test_differences_pair_seeds():
    ours = [row(CELL, 0, 10.0), row(CELL, 1, 20.0), row(CELL, 2, None), row(CELL, 5, 1.0)]
    theirs = [row(FLOAT, 1, 5.0), row(FLOAT, 0, 1.0), row(FLOAT, 2, 7.0), row(FLOAT, 3, 0.0)]
    assert paired_differences(ours, theirs, "test_accuracy") == [9.0, 15.0]
    assert paired_differences(ours, [], "test_accuracy") == []
    assert paired_differences(
        [row(CELL)], [row(FLOAT, 0, None)], "test_accuracy"
    ) == []
