"""The test of a drift: constructed fits, its null distribution, true power laws and log-normal values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jamtools.exponents import drift, selection, tilted
from jamtools.exponents.tilted import Window
from tests.support.planted_tails import binomial_limits, heavy_crossover, rng

SHARES = (0.8, 0.4, 0.2, 0.1)

#: Independent values: each fit has its own, with a scatter of 0.1.
N_VALUES = 400


def made_up_fits(*exponents: float, error: float = 0.1) -> list[selection.CandidateFit]:
    """Fits of order 2 to falling shares, whose exponents are independent and have one standard error."""
    fits = []
    for number, exponent in enumerate(exponents):
        psi = np.zeros(N_VALUES)
        own = slice(100 * number, 100 * number + 100)
        psi[own] = error / 10 * np.resize([1.0, -1.0], 100)
        maximum = tilted.Maximum(np.array([exponent, 0.0, 0.0]), 0.0, np.eye(3) * 1e6, True)
        window = Window(0, 0.0, 1.0, np.zeros((4, N_VALUES)), np.zeros(4))
        fits.append(selection.CandidateFit(2, SHARES[number], window, maximum, psi))
    return fits


def test_the_p_value_is_that_of_the_weighted_steps():
    exponents = (0.0, 0.3, 0.6, 1.0)
    found = drift.find_drift(made_up_fits(*exponents))
    tau, sigma = np.log1p(exponents), 0.1 / (1 + np.array(exponents))
    weights = math.log(2) / (sigma[1:] ** 2 + sigma[:-1] ** 2)
    s = weights @ np.diff(tau)
    coefficients = np.append(0, weights) - np.append(weights, 0)  # of each τ in S
    error = math.sqrt((coefficients**2 @ sigma**2) * N_VALUES / (N_VALUES - 1))
    assert (found.start, found.end) == (0.0, 1.0)
    assert found.p_value == pytest.approx(2 * stats.t.sf(s / error, N_VALUES - 1), rel=1e-6)
    assert found.drifts


def test_exponents_that_move_once_and_then_stay_do_not_drift():
    """As those of a power law with a heavy crossover."""
    found = drift.find_drift(made_up_fits(0.0, 1.0, 1.0, 1.0))
    assert (found.p_value, found.drifts) == (1.0, False)
    back = drift.find_drift(made_up_fits(0.0, 1.0, 0.9, 0.8))
    assert not back.drifts


def test_a_drift_may_go_down():
    assert drift.find_drift(made_up_fits(1.0, 0.7, 0.4, 0.1)).drifts


def test_fewer_than_three_precise_fits_have_no_test():
    assert drift.find_drift(made_up_fits(0.0, 1.0)) is None
    assert drift.find_drift(made_up_fits(0.0, 1.0, 5.0, 6.0, error=2.0)) is None, (
        "only 2/6 and 2/7 are precise"
    )


def test_the_first_share_has_its_highest_order_and_the_others_their_lowest():
    fits = selection.candidate_fits(np.sort(rng(1).gamma(1.4, size=2000)), None, (2, 3), (0.8, 0.4, 0.2), 0.0)
    exponent = {(fit.share, fit.order): fit.exponent for fit in fits}
    found = drift.find_drift(fits)
    assert (found.start, found.end) == (exponent[0.8, 3], exponent[0.2, 2])


# --- planted densities -----------------------------------------------------------------------------------


def results_on(samples: list[Any], runs: Any = None) -> list[drift.DriftTest]:
    """The test on each sample, with the shares and orders of `fit_power_law`."""
    found = []
    for x in samples:
        order = np.argsort(x)
        of_runs = None if runs is None else runs[order]
        fits = selection.candidate_fits(x[order], of_runs, selection.CANDIDATE_ORDERS, SHARES, 0.0)
        result = drift.find_drift(fits)
        assert result is not None
        found.append(result)
    return found


@pytest.mark.statistical
def test_the_slope_of_nested_fits_has_the_predicted_scatter():
    """z over 80 samples of x^0.42 e^-x has mean 0 and standard deviation 1, each within four of its errors."""
    slopes, generator = [], rng(2)
    for _ in range(80):
        x = np.sort(generator.gamma(1.42, size=3000))
        fits = [
            selection.candidate_fits(x, None, (order,), (share,), 0.0)[0]
            for order, share in ((3, 0.8), (2, 0.4), (2, 0.2), (2, 0.1))
        ]
        slopes.append(drift._slope(fits))
    assert abs(np.mean(slopes)) < 4 / math.sqrt(80)
    assert np.std(slopes) == pytest.approx(1, abs=4 / math.sqrt(160))


@pytest.mark.statistical
@pytest.mark.parametrize("density", ["light", "uniform", "heavy", "runs"])
def test_true_power_laws_drift_no_more_often_than_the_level(density):
    generator, trials = rng(3), 40
    draw = {
        "light": lambda: generator.gamma(1.42, size=3000),
        "uniform": lambda: generator.random(3000),
        "heavy": lambda: heavy_crossover(3000, 0.42, generator),
        "runs": lambda: generator.gamma(1.42, size=3000),
    }[density]
    runs = np.arange(3000) % 12 if density == "runs" else None
    alarms = sum(found.drifts for found in results_on([draw() for _ in range(trials)], runs))
    assert alarms <= binomial_limits(trials, drift.DRIFT_LEVEL)[1]


@pytest.mark.statistical
@pytest.mark.parametrize(("sigma", "n"), [(2.0, 3000), (1.0, 30_000), (2.0, 30_000)])
def test_a_log_normal_drifts(sigma, n):
    """Measured over 60 to 100 samples: 0.95 or more of them drift, upwards."""
    generator, trials = rng(4), 20
    found = results_on([np.exp(sigma * generator.standard_normal(n)) for _ in range(trials)])
    assert sum(test.drifts for test in found) >= binomial_limits(trials, 0.95)[0]
    assert all(test.end > test.start for test in found if test.drifts)
