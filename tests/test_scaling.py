"""The fit of N*(P) on planted power laws."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.scaling import fit


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
