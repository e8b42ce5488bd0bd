"""Exponents of lower tails: planted densities, invariances, and refusals."""

from __future__ import annotations

import doctest
import json
import math
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jamtools.errors import InputError
from jamtools.exponents import powerlaw
from jamtools.exponents.powerlaw import fit_power_law
from tests.support.planted_tails import binomial_limits, rng

#: The fit of one given model; how the data choose a model is tested in test_selection.py.
fit = partial(fit_power_law, order=2, share=0.8)


# --- what is fitted ------------------------------------------------------------------------------------


def test_a_higher_order_never_lowers_the_likelihood() -> None:
    x = rng(3).gamma(1.2, size=500)
    likelihoods = [fit(x, order=order, n_gof=0).log_likelihood for order in range(4)]
    assert likelihoods == sorted(likelihoods)


def test_values_equal_to_the_upper_cut_are_all_fitted() -> None:
    x = np.repeat(np.arange(1.0, 101.0), 2)
    result = fit(rng(0).permutation(x), share=0.5, lower_cut=20.0, n_gof=0)
    assert (result.upper_cut, result.n) == (60.0, 80)
    assert fit(x, share=0.505, n_gof=0).n == 102  # the 101st value and the value equal to it


def test_a_tail_with_an_exponent_below_minus_one_is_fitted_at_minus_one_with_a_note() -> None:
    u = rng(4).random(2000)
    x = 1 / (1000 - 999 * u)  # p ∝ x^−2 on (1e-3, 1)
    result = fit(x, order=0, share=1.0, lower_cut=1e-3, n_gof=20)
    assert result.exponent == -1 and result.interval[0] == -1 and result.p_fit is None
    assert "edge" in result.note


# --- invariance ----------------------------------------------------------------------------------------


@given(st.floats(-90, 90), st.sampled_from([0.0, 0.03]))
@settings(max_examples=15, deadline=None)
def test_the_scale_of_the_values_scales_the_fit_and_keeps_its_exponent(
    decades: float, lower_cut: float
) -> None:
    x, scale = rng(5).gamma(1.3, size=300), 10.0**decades
    original = fit(x, n_gof=20, lower_cut=lower_cut)
    scaled = fit(x * scale, n_gof=20, lower_cut=lower_cut * scale)
    same = [[f.exponent, *f.interval, f.p_null, f.decades, f.p_fit] for f in (original, scaled)]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-8)
    assert scaled.upper_cut == pytest.approx(original.upper_cut * scale)
    assert scaled.coefficients[0] * scale == pytest.approx(original.coefficients[0], rel=1e-8)


def test_the_fit_does_not_depend_on_the_order_of_the_values() -> None:
    x, runs = np.round(rng(6).gamma(1.3, size=2000), 2) + 0.01, rng(7).integers(12, size=2000)
    shuffled = rng(8).permutation(2000)
    assert fit(x, clusters=runs) == fit(x[shuffled], clusters=runs[shuffled])


def test_the_bootstrap_depends_on_the_seed_but_not_on_the_names_of_the_runs() -> None:
    x, runs = rng(6).gamma(1.3, size=1000), rng(7).integers(12, size=1000)
    original, renamed = fit(x, clusters=runs, n_gof=0), fit(x, clusters=10 * runs - 55, n_gof=0)
    assert original == renamed
    assert original.bootstrap_interval != fit(x, clusters=runs, n_gof=0, seed=1).bootstrap_interval


# --- planted exponents ---------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("t", "power"),
    [
        pytest.param(0.423, 1, id="x^0.423 exp(-x)"),
        pytest.param(0.2, 2, id="x^0.2 exp(-x^2)"),
        pytest.param(-0.2, 1, id="x^-0.2 exp(-x)"),
    ],
)
def test_planted_exponents_are_recovered_and_95_percent_intervals_cover_them(t: float, power: int) -> None:
    """The model contains these densities: the mean is within four of its errors, the coverage within binomial scatter."""
    replicas, generator = 100, rng(9)
    x = generator.gamma((1 + t) / power, size=(replicas, 3000)) ** (1 / power)
    result = [fit(row, n_gof=0) for row in x]
    exponents = np.array([f.exponent for f in result])
    assert abs(exponents.mean() - t) <= 4 * exponents.std() / math.sqrt(replicas)
    assert np.mean([f.standard_error for f in result]) == pytest.approx(
        exponents.std(), rel=4 / math.sqrt(2 * replicas)
    )
    covered = sum(f.interval[0] <= t <= f.interval[1] for f in result)
    assert binomial_limits(replicas, 0.95)[0] <= covered
    assert all(f.converged and f.note == "" for f in result)


def test_a_lower_cut_leaves_out_the_noise_below_it() -> None:
    """x^0.423 e^−x with a tenth of the values moved below 0.02: the fit is right only with the lower cut."""
    generator = rng(11)
    x = np.concatenate([generator.gamma(1.423, size=20000), 0.02 * generator.random(2000)])
    with_cut, without = fit(x, lower_cut=0.02, n_gof=0), fit(x, n_gof=0)
    assert abs(with_cut.exponent - 0.423) <= 4 * with_cut.standard_error
    assert abs(without.exponent - 0.423) > 10 * without.standard_error


@pytest.mark.statistical
def test_half_the_share_removes_most_of_the_bias_of_a_heavy_crossover() -> None:
    b = rng(12).beta(0.71, 1.29, size=(20, 10000))
    x = np.sqrt(b / (1 - b))  # p ∝ x^0.42 / (1 + x²)²
    bias = {
        share: np.mean([fit(row, share=share, n_gof=0).exponent for row in x]) - 0.42 for share in (0.8, 0.4)
    }
    assert 0.05 < bias[0.8] < 0.15
    assert abs(bias[0.4]) < bias[0.8] / 2


# --- the record ----------------------------------------------------------------------------------------


def test_the_record_is_plain_json() -> None:
    result = fit(rng(24).gamma(1.3, size=2000), clusters=np.arange(2000) % 10)
    read = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert read["exponent"] == result.exponent and read["interval"] == list(result.interval)
    assert read["bootstrap_interval"] == list(result.bootstrap_interval or ())
    u = np.sort(rng(24).gamma(1.3, size=2000))
    assert result.decades == pytest.approx(math.log10(result.upper_cut / u[9]))


# --- refusals ------------------------------------------------------------------------------------------


GOOD = rng(25).random(100)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "not empty"),
        (GOOD.reshape(10, 10), {}, r"shape \(10, 10\)"),
        ([0.0, *GOOD], {}, "1 of 101 values"),
        ([-1.0, *GOOD], {}, "1 of 101 values"),
        ([math.nan, *GOOD], {}, "1 of 101 values"),
        ([math.inf, *GOOD], {}, "1 of 101 values"),
        (GOOD[:60], {}, "48 of 60 values .* at least 50"),
        (GOOD, {"lower_cut": 2.0}, "0 of 100 values"),
        (np.full(100, 0.1), {}, "all equal"),
        (np.full(100, 0.1), {"order": 0}, "all equal"),
        (np.repeat([1.0, 2.0], 50), {"share": 1.0}, "many different values"),
        (np.geomspace(1e-318, 1e-5, 100), {"share": 1.0}, "300 decades"),
        (GOOD * 1e150, {}, "300 decades"),
        (GOOD, {"order": 4}, "order is 4"),
        (GOOD, {"order": -1}, "order is -1"),
        (GOOD, {"share": 0.0}, "share is 0"),
        (GOOD, {"share": 1.1}, "share is 1.1"),
        (GOOD, {"share": math.nan}, "share is nan"),
        (GOOD, {"lower_cut": -1.0}, "lower_cut is -1"),
        (GOOD, {"level": 1.0}, "level is 1"),
        (GOOD, {"n_bootstrap": 5}, "n_bootstrap is 5"),
        (GOOD, {"n_gof": -1}, "n_gof is -1"),
        (GOOD, {"seed": -1}, "seed is -1"),
        (GOOD, {"clusters": [1, 2]}, "expected one whole number for each of the 100"),
        (GOOD, {"clusters": GOOD}, "clusters are float64"),
    ],
)
def test_values_and_options_that_cannot_be_fitted_are_refused(
    values: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(values, **options)


@given(
    st.lists(st.floats(1e-4, 1.0), min_size=63, max_size=90),
    st.integers(0, 3),
    st.sampled_from([0.8, 1.0]),
    st.sampled_from([0.0, 1e-3]),
)
@settings(max_examples=60, deadline=None)
def test_any_values_give_a_consistent_fit_or_a_refusal(
    values: list[float], order: int, share: float, cut: float
) -> None:
    try:
        result = fit(values, order=order, share=share, lower_cut=cut, n_gof=0)
    except InputError:
        return
    assert -1 <= result.interval[0] <= result.exponent <= result.interval[1]
    assert result.standard_error > 0 and 50 <= result.n <= len(values)
    assert math.isnan(result.p_null) or 0 <= result.p_null <= 1


def test_the_example_in_the_docstring_is_right() -> None:
    assert doctest.testmod(powerlaw) == (0, 1)


def test_a_million_values_are_fitted_within_five_seconds() -> None:
    generator = rng(26)
    x, runs = generator.gamma(1.423, size=10**6), generator.integers(100, size=10**6)
    start = time.perf_counter()
    result = fit(x, clusters=runs)
    assert time.perf_counter() - start < 5  # 0.3 s on two cores
    assert abs(result.exponent - 0.423) < 4 * result.standard_error < 0.03
