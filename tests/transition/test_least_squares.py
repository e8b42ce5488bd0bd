"""Weighted means and slopes with their errors, from the points' own errors or from their scatter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from jamtools.transition.least_squares import Estimate, chi_squared, weighted_mean, weighted_slope


def test_the_error_of_a_mean_of_points_with_little_scatter_is_that_of_their_errors():
    mean = weighted_mean(np.array([1.0, 1.1, 0.9]), np.full(3, 0.6))
    assert mean.value == pytest.approx(1.0)
    assert mean.error == pytest.approx(0.6 / np.sqrt(3))
    assert mean.degrees is None


def test_the_error_of_a_mean_of_points_with_much_scatter_is_that_of_the_scatter():
    y = np.array([1.0, 2.0, 4.0, 5.0])
    mean = weighted_mean(y, np.full(4, 0.1))
    assert mean.error == pytest.approx(y.std(ddof=1) / 2)
    assert mean.degrees == 3


def test_a_slope_and_its_error_are_those_of_numpy():
    x, y, sigma = (
        np.array([0.0, 1.0, 2.0, 4.0]),
        np.array([0.1, 0.9, 2.2, 3.9]),
        np.array([0.2, 0.3, 0.2, 0.4]),
    )
    (expected, _), covariance = np.polyfit(x, y, 1, w=1 / sigma, cov="unscaled")
    slope = weighted_slope(x, y, sigma)
    assert slope.value == pytest.approx(expected)
    assert slope.error == pytest.approx(np.sqrt(covariance[0, 0]))


def test_intervals_have_the_normal_quantile_for_known_errors():
    low, high = Estimate(2.0, 0.5, None).interval(0.9)
    assert (low, high) == pytest.approx(norm(2.0, 0.5).interval(0.9))


def test_intervals_have_the_quantile_of_student_for_errors_from_the_scatter():
    low, high = Estimate(2.0, 0.5, 3).interval(0.9)
    assert (low, high) == pytest.approx(t(3, 2.0, 0.5).interval(0.9))


def test_the_rank_of_a_design_with_equal_columns_is_one():
    y, sigma = np.array([1.0, 3.0]), np.array([0.5, 0.5])
    chi2, rank = chi_squared(np.ones((2, 2)), y, sigma)
    assert rank == 1
    assert chi2 == pytest.approx(2 * (1 / 0.5) ** 2)
