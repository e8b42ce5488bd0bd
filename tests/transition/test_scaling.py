"""The fit of N*(P) on planted power laws."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.transition.scaling import fit


def point(P, n, spread=1.1, **fields):
    return {
        "kind": "nstar",
        "P": P,
        "n_star": n,
        "interval": [n / spread, n * spread],
        "loss": "hinge",
        "success": "satisfied",
        "depth": 3,
        **fields,
    }


def test_a_planted_power_law_is_recovered():
    found = fit([point(P, 0.4 * P**0.9) for P in (100, 300, 1000, 3000)])
    assert found["slope"] == pytest.approx(0.9, abs=1e-12)
    assert found["prefactor"] == pytest.approx(0.4, rel=1e-10)
    assert found["slope_interval"][0] < 0.9 < found["slope_interval"][1]


def test_p_over_n_of_a_proportional_law():
    found = fit([point(P, P / 2.8) for P in (100, 1000)])
    assert found["P_over_N"] == pytest.approx(2.8)
    assert found["P_over_N_interval"][0] < 2.8 < found["P_over_N_interval"][1]


def test_weighted_slope_equals_numpy_s():
    rng = np.random.default_rng(0)
    P = np.geomspace(100, 3000, 6)
    n = P * np.exp(0.05 * rng.standard_normal(6))
    spread = rng.uniform(1.05, 1.5, 6)
    exact = np.polyfit(np.log(P), np.log(n), 1, w=1 / np.log(spread))
    assert fit([point(*item) for item in zip(P, n, spread)])["slope"] == pytest.approx(exact[0], rel=1e-10)


def test_the_slope_s_interval_covers():
    """Scatter as large as the intervals say: 95% within 200 tries is 190 ± 3.1."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        noisy = [
            point(P, P / 2.8 * np.exp(0.1 * rng.standard_normal()), np.exp(0.1))
            for P in np.geomspace(100, 3000, 8)
        ]
        low, high = fit(noisy)["slope_interval"]
        hits += low < 1 < high
    assert hits >= 190 - 4 * 3.1


def test_one_point_has_no_slope_and_missing_n_star_is_counted():
    found = fit([point(100, 40), {**point(200, 1), "n_star": None, "interval": [None, None]}])
    assert found["slope"] is None
    assert (found["n_points"], found["n_without"]) == (1, 1)
    assert found["P_over_N"] == pytest.approx(2.5)


@pytest.mark.parametrize("name", ["loss", "success", "optimizer"])
def test_different_quantities_are_not_mixed(name):
    with pytest.raises(InputError, match="different quantities"):
        fit([point(100, 40, **{name: "a"}), point(200, 80, **{name: "b"})])


def test_finished_trials_are_not_mixed_with_unfinished_ones_and_older_searches_are_of_these():
    with pytest.raises(InputError, match="of certify False and True"):
        fit([point(100, 40, certify=True), point(200, 80, certify=False)])
    with pytest.raises(InputError, match="of certify False and True"):
        fit([point(100, 40, certify=True), point(200, 80)])
    assert fit([point(100, 40, certify=False), point(200, 80)])["certify"] is False
    assert fit([point(100, 40, certify=True), point(200, 80, certify=True)])["certify"] is True


def test_other_objects_are_refused():
    with pytest.raises(InputError, match="got gaps"):
        fit([{"kind": "gaps"}])
    with pytest.raises(InputError, match="found an N"):
        fit([{**point(100, 40), "n_star": None}])


@pytest.mark.parametrize(
    "wrong",
    [{"P": "800"}, {"P": None}, {"n_star": float("inf")}, {"interval": 3}, {"interval": ["a", 2]}],
    ids=str,
)
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(InputError, match="no number"):
        fit([{**point(100, 40), **wrong}])


def test_points_at_one_p_have_no_slope():
    assert fit([point(300, 100), point(300, 107), point(300, 95)])["slope"] is None


def scattered(rng, depths, n_of, error=0.1):
    """Four P a depth, log N* with the scatter that the intervals say."""
    return [
        point(P, n_of(P, L) * np.exp(error * rng.standard_normal()), np.exp(error), depth=L)
        for L in depths
        for P in (100, 200, 500, 1000)
    ]


def test_depths_of_one_line_are_told_apart_as_often_as_chance_does():
    """p of the likelihood ratio is uniform where one line holds for all; the division by scatter only raises it."""
    rng = np.random.default_rng(2)
    p = [fit(scattered(rng, (2, 3, 5), lambda P, L: P / 2.8))["depth"]["p_value"] for _ in range(300)]
    low = sum(value <= 0.1 for value in p)
    assert 0 < low <= 30 + 4 * np.sqrt(27)  # binomial


def test_depths_that_differ_are_told_apart():
    rng = np.random.default_rng(3)
    found = fit(scattered(rng, (2, 5), lambda P, L: P / 2.8 * (2 if L == 5 else 1)))["depth"]
    assert found["p_value"] < 0.05 and found["degrees"] == 2
    assert found["P_over_N"]["2"] == pytest.approx(2.8, rel=0.2)
    assert found["P_over_N"]["5"] == pytest.approx(1.4, rel=0.2)


def test_the_statistic_is_the_difference_of_two_fits_by_numpy():
    rng = np.random.default_rng(4)
    points = scattered(rng, (2, 3), lambda P, L: P / 3, error=0.3)
    for one in points:
        one["interval"] = [one["n_star"] / 2, one["n_star"] * 2]  # more than the scatter: nothing is divided
    x, y = (np.log([one[name] for one in points]) for name in ("P", "n_star"))
    sigma, depth = np.log(2), np.array([one["depth"] for one in points])

    def chi2(keep):
        return np.polyfit(x[keep], y[keep], 1, full=True)[1][0] / sigma**2

    expected = chi2(depth > 0) - chi2(depth == 2) - chi2(depth == 3)
    assert fit(points)["depth"]["statistic"] == pytest.approx(expected, rel=1e-8)


def test_depths_of_one_p_each_are_compared_by_their_height():
    points = [point(300, 100, depth=2), point(300, 101, depth=3), point(300, 150, depth=5)]
    found = fit(points)["depth"]
    assert found["degrees"] == 2 and found["p_value"] < 1e-2


def test_one_depth_has_nothing_to_be_compared_with():
    assert fit([point(100, 40), point(200, 80)])["depth"] is None


def test_p_over_n_is_held_against_both_lines_in_standard_errors():
    """A mean of four points with standard errors log 1.1 each."""
    found = fit([point(P, P / 2) for P in (100, 200, 300, 400)])
    error = np.log(1.1) / 2
    assert found["against"]["N* = P"] == pytest.approx(np.log(2) / error)
    assert found["against"]["N* = 4P"] == pytest.approx(np.log(8) / error)


def test_the_slope_and_the_test_of_depth_keep_their_level_where_points_scatter_more_than_they_say():
    """Scatter three times the errors, five P a depth: 5% of 300 is 15 ± 3.8, and 95% of them 285."""
    rng = np.random.default_rng(5)
    told, hits, differ = np.exp(0.05), 0, 0
    for _ in range(300):
        points = [
            point(P, P / 2.8 * np.exp(0.15 * rng.standard_normal()), told, depth=L)
            for L in (2, 3)
            for P in (100, 200, 400, 800, 1600)
        ]
        low, high = fit(points[:5])["slope_interval"]
        hits += low < 1 < high
        differ += fit(points)["depth"]["p_value"] < 0.05
    assert hits >= 285 - 4 * 3.8
    assert differ <= 15 + 4 * 3.8


def test_an_n_star_with_an_open_end_is_counted_but_has_no_weight():
    known = [point(100, 40), point(200, 80)]
    odd = {**point(400, 9000), "interval": [8000, None]}
    found, without = fit([*known, odd]), fit(known)
    assert found["n_open"] == 1 and found["n_points"] == 2 and found["slope"] == without["slope"]
    alone = fit([odd])
    assert alone["n_open"] == alone["n_points"] == 1
    low, high = alone["P_over_N_interval"]
    assert high / low == pytest.approx(np.exp(2 * 1.96), rel=1e-3), "a factor of e is all that is said of it"


@pytest.mark.parametrize("wrong", [{"P": 0}, {"n_star": 0}, {"interval": [40, 40]}, {"interval": [50, 30]}, {"median": -1.0},
                                   {"median": "x"}, {"interval": [1, 2, 3]}], ids=str)  # fmt: skip
def test_what_has_no_logarithm_is_refused(wrong):
    with pytest.raises(InputError, match="no number"):
        fit([{**point(100, 40), **wrong}])


def test_medians_are_fitted_where_they_are_told_and_n_star_where_not():
    fine = [
        {**point(P, 99), "median": P / 2.5, "median_interval": [P / 2.6, P / 2.4], "level": 0.95}
        for P in (100, 400)
    ]
    assert fit(fine)["P_over_N"] == pytest.approx(2.5)
    assert fit(fine)["slope"] == pytest.approx(1)


def test_the_order_of_files_changes_no_digit():
    rng = np.random.default_rng(6)
    points = scattered(rng, (2, 3, 5), lambda P, L: P / 2.8)
    assert fit(points) == fit(points[::-1]) == fit([points[i] for i in rng.permutation(len(points))])


def test_searches_of_other_activations_are_not_mixed():
    with pytest.raises(InputError, match="activation relu and tanh"):
        fit([point(100, 40, activation="relu"), point(200, 80, activation="tanh")])
    assert fit([point(100, 40, activation="relu"), point(200, 80)])["n_points"] == 2, "one says nothing of it"
