"""The finite-size cut, and the exponent of an infinite system from those of several: planted trends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from jamtools.errors import InputError
from jamtools.exponents.finite_size import OMEGA, cut, extrapolate


def test_the_cut_is_ten_times_the_smallest_gap_to_be_expected() -> None:
    """The smallest of N draws of the density (1−γ) x^−γ on (0, 1) is x with N x^(1−γ) = 1."""
    N, gamma = 500, 0.41269
    smallest = optimize.brentq(lambda x: N * x ** (1 - gamma) - 1, 1e-12, 1, xtol=1e-16)
    assert cut(1.0, N) == pytest.approx(10 * smallest, rel=1e-9)
    assert cut(0.3, N) == pytest.approx(3 * smallest, rel=1e-9)
    assert cut(1.0, 100, gamma=0.0) == pytest.approx(0.1)


@pytest.mark.parametrize("omega", [0.3, 0.5, 1.0])
def test_an_exact_trend_is_recovered(omega: float) -> None:
    N = np.array([100, 200, 400, 800, 1600])
    found = extrapolate(N, 0.41 - 1.5 * N**-omega, np.full(5, 1e-6))
    assert found.exponent == pytest.approx(0.41, abs=1e-3)  # the grid of ω is 0.0125 wide
    assert found.omega == pytest.approx(omega, abs=0.01)
    assert found.amplitude == pytest.approx(-1.5, rel=0.05)


def test_the_interval_is_that_of_the_profile_likelihood() -> None:
    """By brute force: the γ∞ at which the least χ² over b and ω is z² above the least of all."""
    N, gamma, error = (
        np.array([100.0, 300.0, 900.0, 2000.0]),
        np.array([0.21, 0.3, 0.33, 0.36]),
        np.full(4, 0.02),
    )
    found = extrapolate(N, gamma, error)

    def least(limit: float) -> float:
        def at(omega: float) -> float:
            x = N**-omega
            b = ((gamma - limit) @ x) / (x @ x)
            return float((((gamma - limit - b * x) / error) ** 2).sum())

        return min(at(omega) for omega in np.linspace(*OMEGA, 400))

    lowest = min(least(limit) for limit in np.linspace(0.3, 0.9, 400))
    limit = lowest + stats.norm.ppf(0.975) ** 2
    low, high = (optimize.brentq(lambda g: least(g) - limit, *ends) for ends in ((0.2, 0.38), (0.38, 3.0)))
    assert found.interval == pytest.approx((low, high), abs=2e-3)


def test_intervals_cover_the_planted_limit() -> None:
    """At nominal 95%; a trend with ω inside the limits is covered at least that often, for ω is free."""
    rng, N, replicas = np.random.default_rng(0), np.array([100, 200, 400, 800]), 300
    covered = 0
    for _ in range(replicas):
        noisy = 0.41 - 0.9 * N**-0.5 + 0.02 * rng.standard_normal(4)
        low, high = extrapolate(N, noisy, np.full(4, 0.02)).interval
        covered += low <= 0.41 <= high
    assert covered >= stats.binom.ppf(1e-3, replicas, 0.95)


def test_two_sizes_leave_every_power_possible() -> None:
    found = extrapolate([100, 1600], [0.2, 0.3], [0.001, 0.001])
    limits = [(0.3 - 0.2 * r) / (1 - r) for r in (16**-0.25, 1 / 16)]  # linear in N^−ω at the two ends of ω
    assert found.interval == pytest.approx(tuple(sorted(limits)), abs=0.02)
    assert found.p_fit is None and found.p_constant < 1e-9


def test_the_trend_tests_are_uniform_where_there_is_none() -> None:
    rng = np.random.default_rng(1)
    p = [
        extrapolate([100, 200, 400], 0.3 + 0.05 * rng.standard_normal(3), np.full(3, 0.05)).p_constant
        for _ in range(200)
    ]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("N", [[100, 100], [79, 80, 150]])
def test_sizes_too_near_each_other_are_refused(N: list[int]) -> None:
    with pytest.raises(InputError, match=f"N from {N[0]} to {N[-1]}, expected a factor of 2"):
        extrapolate(N, np.full(len(N), 0.3), np.full(len(N), 0.1))


def test_of_two_sizes_the_limit_is_that_of_the_middle_power_whatever_the_errors() -> None:
    found = [extrapolate([100, 400], [0.2, 0.3], [error, error]) for error in (0.1, 0.11, 0.13, 0.2)]
    assert {one.omega for one in found} == {0.5}
    assert [one.exponent for one in found] == pytest.approx([0.4] * 4)  # N^-½ halves: as far again


def test_no_limit_is_above_one() -> None:
    assert extrapolate([100, 200], [0.3, 0.9], [0.1, 0.1]).interval[1] == 1.0
