"""Histograms and fitted curves have the same normalisation."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from jamtools.errors import InputError
from jamtools.exponents.curves import fitted_curve, fitted_density, log_histogram
from jamtools.exponents.powerlaw import fit_power_law
from tests.support.planted_tails import rng

#: The fit of one given model; how the data choose a model is tested in test_selection.py.
fit = partial(fit_power_law, order=2, share=0.8)


def test_the_fitted_density_integrates_to_the_share_fitted() -> None:
    x = rng(22).gamma(0.7, size=3000)
    for lower_cut in (0.0, 0.01):
        result = fit(x, lower_cut=lower_cut, n_gof=0)
        end = math.log(result.upper_cut)
        start = math.log(lower_cut) if lower_cut else end - 100
        mass = integrate.quad(
            lambda y, result=result: math.exp(y) * float(fitted_density(math.exp(y), result)),
            start,
            end,
            limit=400,
        )
        assert mass[0] == pytest.approx(result.n / result.n_total, rel=1e-6)
        assert (fitted_density([0.5 * lower_cut, 1.001 * result.upper_cut, -1.0], result) == 0).all()


def test_the_histogram_and_the_fitted_density_agree_within_counting_errors() -> None:
    x = rng(23).gamma(1.423, size=20000)
    result = fit(x, n_gof=0)
    histogram = log_histogram(x, 10)
    edges, counts, density = histogram.edges, histogram.counts, histogram.density
    middle = np.sqrt(edges[1:] * edges[:-1])
    counted = (counts >= 25) & (edges[1:] < result.upper_cut)
    pull = (density[counted] / fitted_density(middle[counted], result) - 1) * np.sqrt(counts[counted])
    assert counted.sum() > 15 and np.abs(pull).max() < 5


@given(st.lists(st.floats(1e-200, 1e100), min_size=1, max_size=40), st.integers(1, 20))
@settings(deadline=None)
def test_a_histogram_holds_every_value(values: list[float], per_decade: int) -> None:
    histogram = log_histogram(values, per_decade)
    edges, counts, density = histogram.edges, histogram.counts, histogram.density
    assert counts.sum() == len(values) and edges[-1] == max(values) and edges[0] <= min(values)
    assert (density * np.diff(edges)).sum() == pytest.approx(1)
    np.testing.assert_allclose(np.diff(np.log10(edges)), 1 / per_decade, rtol=1e-9)


def test_the_curve_covers_the_range_fitted() -> None:
    x = rng(30).gamma(1.4, size=500)
    result = fit(x, lower_cut=0.05, n_gof=0)
    curve = fitted_curve(x, result)
    assert curve.x[0] == pytest.approx(x[x > 0.05].min()) and curve.x[-1] == pytest.approx(result.upper_cut)
    assert (curve.density > 0).all()


def test_a_histogram_needs_at_least_one_bin_per_decade() -> None:
    with pytest.raises(InputError, match="bins_per_decade is 0"):
        log_histogram([1.0, 2.0], 0)
