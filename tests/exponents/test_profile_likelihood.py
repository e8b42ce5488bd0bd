"""Profile-likelihood intervals and p-values against closed forms and their nominal rates."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import optimize, stats

from jamtools.exponents.powerlaw import fit_power_law
from tests.support.planted_tails import binomial_limits, rng

#: The fit of one given model; how the data choose a model is tested in test_selection.py.
fit = partial(fit_power_law, order=2, share=0.8)


@pytest.mark.parametrize("t", [-0.95, -0.41, 0.0, 0.423, 6.0])
def test_a_power_law_without_tilt_has_the_known_maximum_interval_and_p_value(t: float) -> None:
    """ℓ(t)/n = log(1+t) + t⟨log u⟩: t̂ = −1 − 1/⟨log u⟩, standard error (1+t̂)/√n, and the χ²₁ quantiles by bisection."""
    x = 3.7 * rng(0).random(400) ** (1 / (1 + t))
    m = float(np.log(x / x.max()).mean())
    result = fit(x, order=0, share=1.0, n_gof=0)
    best = -1 - 1 / m

    def loss(trial: float) -> float:
        return 2 * x.size * (math.log1p(best) + best * m - math.log1p(trial) - trial * m)

    limit = stats.chi2.ppf(0.95, 1)
    low = optimize.bisect(lambda v: loss(v) - limit, -1 + 0.5 * (1 + best), best)
    high = optimize.bisect(lambda v: loss(v) - limit, best, best + (1 + best))
    assert result.exponent == pytest.approx(best, rel=1e-12)
    assert result.standard_error == pytest.approx((1 + best) / math.sqrt(x.size), rel=1e-9)
    assert result.interval == pytest.approx((low, high), abs=1e-5 * result.standard_error)
    assert result.p_null == pytest.approx(stats.chi2.sf(loss(0.0), 1), rel=1e-6, abs=1e-12)
    assert result.log_likelihood == pytest.approx(
        x.size * (math.log1p(best) + best * m - math.log(x.max())), rel=1e-10
    )
    assert (result.n, result.n_total, result.upper_cut, result.coefficients) == (400, 400, x.max(), ())


@pytest.mark.statistical
def test_the_p_value_of_a_flat_tail_falls_below_a_fifth_in_a_fifth_of_the_samples() -> None:
    replicas, generator = 100, rng(10)
    p = [fit(np.abs(generator.normal(size=1000)), n_gof=0).p_null for _ in range(replicas)]
    low, high = binomial_limits(replicas, 0.2)
    assert low <= sum(value <= 0.2 for value in p) <= high
