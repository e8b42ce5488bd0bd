"""The finite-size cut, and the exponent of an infinite system from planted trends."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from jamtools.cli.common.remedies import in_shell_words
from jamtools.errors import InputError, Remedy
from jamtools.exponents.finite_size import (
    SIZE_EXPONENT_RANGE,
    SizeFit,
    extrapolate,
    finite_size_cut,
    size_dependence,
)
from jamtools.exponents.powerlaw import fit_power_law


def test_the_cut_is_ten_times_the_smallest_gap_expected() -> None:
    """The smallest of N draws of the density (1−γ) x^−γ on (0, 1) is x with N x^(1−γ) = 1."""
    N, gamma = 500, 0.41269
    smallest = optimize.brentq(lambda x: N * x ** (1 - gamma) - 1, 1e-12, 1, xtol=1e-16)
    assert finite_size_cut(1.0, N) == pytest.approx(10 * smallest, rel=1e-9)
    assert finite_size_cut(0.3, N) == pytest.approx(3 * smallest, rel=1e-9)
    assert finite_size_cut(1.0, 100, gamma=0.0) == pytest.approx(0.1)


@pytest.mark.parametrize("omega", [0.3, 0.5, 1.0])
def test_an_exact_trend_is_recovered(omega: float) -> None:
    N = np.array([100, 200, 400, 800, 1600])
    result = extrapolate(N, 0.41 - 1.5 * N**-omega, np.full(5, 1e-6))
    assert result.exponent == pytest.approx(0.41, abs=1e-3)  # the grid of ω is 0.0125 wide
    assert result.omega == pytest.approx(omega, abs=0.01)
    assert result.amplitude == pytest.approx(-1.5, rel=0.05)


def test_the_interval_is_that_of_the_profile_likelihood() -> None:
    """Direct search: the γ∞ at which the smallest χ² over b and ω is z² above the overall minimum."""
    N, gamma, error = (
        np.array([100.0, 300.0, 900.0, 2000.0]),
        np.array([0.21, 0.3, 0.33, 0.36]),
        np.full(4, 0.02),
    )
    result = extrapolate(N, gamma, error)

    def least(limit: float) -> float:
        def at(omega: float) -> float:
            x = N**-omega
            b = ((gamma - limit) @ x) / (x @ x)
            return float((((gamma - limit - b * x) / error) ** 2).sum())

        return min(at(omega) for omega in np.linspace(*SIZE_EXPONENT_RANGE, 400))

    lowest = min(least(limit) for limit in np.linspace(0.3, 0.9, 400))
    limit = lowest + stats.norm.ppf(0.975) ** 2
    low, high = (optimize.brentq(lambda g: least(g) - limit, *ends) for ends in ((0.2, 0.38), (0.38, 3.0)))
    assert result.interval == pytest.approx((low, high), abs=2e-3)


@pytest.mark.statistical
def test_intervals_cover_the_planted_limit() -> None:
    """Nominal 95% intervals cover the limit of a trend at least that often, since ω is fitted too."""
    rng, N, replicas = np.random.default_rng(0), np.array([100, 200, 400, 800]), 300
    covered = 0
    for _ in range(replicas):
        noisy = 0.41 - 0.9 * N**-0.5 + 0.02 * rng.standard_normal(4)
        low, high = extrapolate(N, noisy, np.full(4, 0.02)).interval
        covered += low <= 0.41 <= high
    assert covered >= stats.binom.ppf(1e-3, replicas, 0.95)


def test_two_sizes_allow_every_power_of_the_trend() -> None:
    result = extrapolate([100, 1600], [0.2, 0.3], [0.001, 0.001])
    limits = [(0.3 - 0.2 * r) / (1 - r) for r in (16**-0.25, 1 / 16)]  # linear in N^−ω at the two ends of ω
    assert result.interval == pytest.approx(tuple(sorted(limits)), abs=0.02)
    assert result.p_fit is None and result.p_constant < 1e-9


@pytest.mark.statistical
def test_the_p_value_of_a_constant_exponent_is_uniform_without_a_trend() -> None:
    rng = np.random.default_rng(1)
    p = [
        extrapolate([100, 200, 400], 0.3 + 0.05 * rng.standard_normal(3), np.full(3, 0.05)).p_constant
        for _ in range(200)
    ]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("N", [[100, 100], [79, 80, 150]])
def test_sizes_within_a_factor_of_two_are_refused(N: list[int]) -> None:
    with pytest.raises(InputError, match=f"N from {N[0]} to {N[-1]}, expected a factor of 2"):
        extrapolate(N, np.full(len(N), 0.3), np.full(len(N), 0.1))


def test_the_limit_of_two_sizes_is_that_of_the_middle_power_for_any_errors() -> None:
    result = [extrapolate([100, 400], [0.2, 0.3], [error, error]) for error in (0.1, 0.11, 0.13, 0.2)]
    assert {trend.omega for trend in result} == {0.5}
    assert [trend.exponent for trend in result] == pytest.approx(
        [0.4] * 4
    )  # N^-½ halves from 100 to 400, so that the remaining step equals the first


def test_the_limit_does_not_exceed_one() -> None:
    assert extrapolate([100, 200], [0.3, 0.9], [0.1, 0.1]).interval[1] == 1.0


# --- fits of several sizes ------------------------------------------------------------------------------


def fit_of(gamma: float, seed: int, n: int = 2000):
    """A fit of γ to n gaps of density x^-γ e^-x."""
    values = np.random.default_rng(seed).gamma(1 - gamma, size=n)
    return fit_power_law(values, order=1, share=0.8, n_gof=0).negated()


def test_the_limit_is_extrapolated_from_the_sizes_that_have_a_fit() -> None:
    refusal = InputError("12 of 16 values")
    fits = [SizeFit(50, 3, 16, None, refusal), *(SizeFit(N, 4, 2000, fit_of(0.3, N)) for N in (100, 400))]
    result = size_dependence(fits, 0.95)
    assert result.limit is not None and result.limit.n_sizes == 2
    record = json.loads(json.dumps(result.as_dict()))
    assert record["sizes"][0] == {
        "N": 50, "n_runs": 3, "exponent": None, "interval": None, "n": 16, "refused": "12 of 16 values"
    }  # fmt: skip
    assert record["sizes"][1]["exponent"] == fits[1].fit.exponent
    assert [known["value"] for known in record["extrapolated"]["references"]] == [0.41269, 0.2, 0.16, 0.25]


def test_a_size_whose_exponent_drifts_does_not_enter_the_limit() -> None:
    """It has no γ: the exponent of its fit describes the gaps of one share."""
    fits = [SizeFit(N, 4, 2000, fit_of(0.3, N)) for N in (100, 400, 1600)]
    drifting = replace(fits[0].fit, exponent=-2.0, drift=(1.0, -2.0), interval=(-math.inf, 1.0))
    result = size_dependence([replace(fits[0], fit=drifting), *fits[1:]], 0.95)
    assert result.limit == size_dependence(fits[1:], 0.95).limit
    row = json.loads(json.dumps(result.as_dict()))["sizes"][0]
    assert (row["drift"], row["interval"]) == ([1.0, -2.0], [None, 1.0])


def test_a_limit_needs_two_sizes_with_a_fit() -> None:
    fits = [SizeFit(50, 3, 16, None, InputError("12 of 16 values")), SizeFit(100, 4, 2000, fit_of(0.3, 1))]
    result = size_dependence(fits, 0.95)
    assert not result.sizes_differ
    assert result.as_dict()["extrapolated"] == {
        "exponent": None, "interval": None, "refused": "1 of 2 sizes have an exponent, expected two"
    }  # fmt: skip


def test_the_refusal_of_a_size_is_put_into_the_words_of_the_caller() -> None:
    size = SizeFit(50, 3, 16, None, InputError("got runs that still descend", Remedy.FINISH_DESCENT))
    assert size.as_dict()["refused"].endswith("or pass lower_cut")
    assert size.as_dict(in_shell_words)["refused"].endswith("or give --lower-cut")
