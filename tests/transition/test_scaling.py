"""The fit of N*(P) on planted power laws."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.transition.scaling import fit_scaling
from tests.support.searches import scaling_point, scattered_points


def test_a_planted_power_law_is_recovered():
    fit = fit_scaling([scaling_point(P, 0.4 * P**0.9) for P in (100, 300, 1000, 3000)])
    assert fit["slope"] == pytest.approx(0.9, abs=1e-12)
    assert fit["prefactor"] == pytest.approx(0.4, rel=1e-10)
    assert fit["slope_interval"][0] < 0.9 < fit["slope_interval"][1]


def test_the_ratio_of_a_proportional_law_is_recovered():
    fit = fit_scaling([scaling_point(P, P / 2.8) for P in (100, 1000)])
    assert fit["P_over_N"] == pytest.approx(2.8)
    assert fit["P_over_N_interval"][0] < 2.8 < fit["P_over_N_interval"][1]


def test_the_slope_is_that_of_a_weighted_fit_by_numpy():
    rng = np.random.default_rng(0)
    P = np.geomspace(100, 3000, 6)
    n = P * np.exp(0.05 * rng.standard_normal(6))
    spread = rng.uniform(1.05, 1.5, 6)
    expected = np.polyfit(np.log(P), np.log(n), 1, w=1 / np.log(spread))
    fit = fit_scaling([scaling_point(*point) for point in zip(P, n, spread)])
    assert fit["slope"] == pytest.approx(expected[0], rel=1e-10)


@pytest.mark.statistical
def test_the_interval_of_the_slope_covers_at_its_level():
    """The scatter is as large as the errors: 95% of 200 tries is 190 ± 3.1."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        points = scattered_points(rng, [3], lambda P, L: P / 2.8, at=np.geomspace(100, 3000, 8))
        low, high = fit_scaling(points)["slope_interval"]
        hits += low < 1 < high
    assert hits >= 190 - 4 * 3.1


@pytest.mark.statistical
def test_the_slope_and_the_test_of_depth_keep_their_level_where_points_scatter_more_than_their_errors():
    """The scatter is three times the errors, with five P for each depth: 5% of 300 is 15 ± 3.8, and 95% is 285."""
    rng = np.random.default_rng(5)
    hits = differ = 0
    for _ in range(300):
        points = scattered_points(
            rng, (2, 3), lambda P, L: P / 2.8, error=0.05, scatter=0.15, at=(100, 200, 400, 800, 1600)
        )
        low, high = fit_scaling(points[:5])["slope_interval"]
        hits += low < 1 < high
        differ += fit_scaling(points)["depth"]["p_value"] < 0.05
    assert hits >= 285 - 4 * 3.8
    assert differ <= 15 + 4 * 3.8


def test_one_point_gives_a_ratio_and_no_slope():
    fit = fit_scaling([scaling_point(100, 40)])
    assert fit["slope"] is None and fit["n_points"] == 1
    assert fit["P_over_N"] == pytest.approx(2.5)


def test_searches_without_an_n_star_are_counted():
    fit = fit_scaling([scaling_point(100, 40), scaling_point(200, None)])
    assert (fit["n_points"], fit["n_without"]) == (1, 1)


def test_points_at_one_p_have_no_slope():
    assert fit_scaling([scaling_point(300, n) for n in (100, 107, 95)])["slope"] is None


def test_a_fit_is_refused_if_no_search_found_an_n_star():
    with pytest.raises(InputError, match="found an N"):
        fit_scaling([scaling_point(100, None)])


def test_the_ratio_is_compared_with_both_lines_in_standard_errors():
    """The mean of four points with standard errors log 1.1 each."""
    fit = fit_scaling([scaling_point(P, P / 2) for P in (100, 200, 300, 400)])
    error = np.log(1.1) / 2
    assert fit["against"]["N* = P"] == pytest.approx(np.log(2) / error)
    assert fit["against"]["N* = 4P"] == pytest.approx(np.log(8) / error)


def test_an_n_star_with_an_open_end_is_counted_and_has_no_weight():
    closed = [scaling_point(100, 40), scaling_point(200, 80)]
    fit, without = (
        fit_scaling([*closed, {**scaling_point(400, 9000), "interval": [8000, None]}]),
        fit_scaling(closed),
    )
    assert fit["n_open"] == 1 and fit["n_points"] == 2 and fit["slope"] == without["slope"]


def test_if_all_intervals_have_open_ends_the_error_is_a_factor_e():
    fit = fit_scaling([{**scaling_point(400, 9000), "interval": [8000, None]}])
    assert fit["n_open"] == fit["n_points"] == 1
    low, high = fit["P_over_N_interval"]
    assert high / low == pytest.approx(np.exp(2 * 1.96), rel=1e-3)


def test_medians_are_fitted_where_the_searches_have_them():
    finer = [
        {**scaling_point(P, 99), "median": P / 2.5, "median_interval": [P / 2.6, P / 2.4], "level": 0.95}
        for P in (100, 400)
    ]
    assert fit_scaling(finer)["P_over_N"] == pytest.approx(2.5)
    assert fit_scaling(finer)["slope"] == pytest.approx(1)


def test_the_order_of_the_files_changes_no_digit():
    rng = np.random.default_rng(6)
    points = scattered_points(rng, (2, 3, 5), lambda P, L: P / 2.8)
    shuffled = [points[i] for i in rng.permutation(len(points))]
    assert fit_scaling(points) == fit_scaling(points[::-1]) == fit_scaling(shuffled)
