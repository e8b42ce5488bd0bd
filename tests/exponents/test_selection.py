"""The choice of share and order by the data: known crossovers, and the rule for constructed fits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jamtools.errors import InputError
from jamtools.exponents import selection, tilted
from jamtools.exponents.powerlaw import PowerLaw
from jamtools.exponents.powerlaw import fit_power_law as fit
from jamtools.exponents.references import THETA_REFERENCES, MeasuredExponent, compare_with_references
from jamtools.exponents.tilted import Window
from tests.support.planted_tails import heavy_crossover, rng, two_scales

Rng = np.random.Generator


@pytest.mark.statistical
def test_the_predicted_scatter_between_two_fits_equals_the_scatter_over_samples() -> None:
    """σ_jk against the scatter of t̂_k − t̂_j over 300 samples, which has a relative error of 1/√600."""
    generator, moves, predicted = rng(2), [], []
    for _ in range(300):
        fits = selection.candidate_fits(np.sort(generator.gamma(1.3, size=2000)), None, (2,), (0.8, 0.4), 0.0)
        moves.append(fits[1].exponent - fits[0].exponent)
        predicted.append(selection.influence_error(fits[1].psi - fits[0].psi))
    assert np.mean(predicted) == pytest.approx(np.std(moves), rel=4 / math.sqrt(600))


def test_the_influence_of_a_run_is_the_sum_over_its_values() -> None:
    x, runs = np.sort(rng(3).gamma(1.3, size=900)), rng(4).integers(30, size=900)
    alone = selection.candidate_fits(x, None, (2, 3), (0.8, 0.4), 0.0)
    together = selection.candidate_fits(x, runs, (2, 3), (0.8, 0.4), 0.0)
    for by_value, by_run in zip(alone, together):
        np.testing.assert_allclose(
            by_run.psi, [by_value.psi[runs == run].sum() for run in range(30)], atol=1e-12
        )


# --- the rule ------------------------------------------------------------------------------------------


def made_up_fit(exponent: float, *psi: float) -> selection.CandidateFit:
    """A fit with this exponent and this ψ over four values."""
    window = Window(0, 0.0, 1.0, np.zeros((4, 4)), np.zeros(4))
    maximum = tilted.Maximum(np.array([exponent, 0.0, 0.0]), 0.0, np.eye(3), True)
    return selection.CandidateFit(2, 0.8, window, maximum, np.array(psi))


#: ψ of two fits over m = 4 values. The difference of their exponents has the standard deviation √(Σψ² m/(m−1)) = SIGMA.
QUIET, LOUD = (0.0, 0.0, 0.0, 0.0), (0.5, -0.5, 0.5, -0.5)
SIGMA = math.sqrt(4 / 3)


def test_a_fit_that_the_next_three_do_not_contradict_is_chosen_and_its_reach_is_their_largest_distance() -> (
    None
):
    result = selection.choose_fit(
        [
            made_up_fit(0.0, *QUIET),
            made_up_fit(1.0, *LOUD),
            made_up_fit(-0.5, *LOUD),
            made_up_fit(0.2, *LOUD),
        ]
    )
    assert result == selection.Choice(0, 0.5, 1.0, True)


@pytest.mark.parametrize("late", [1, 2, 3])
def test_a_fit_that_one_of_the_next_three_contradicts_is_not_chosen(late: int) -> None:
    fits = [made_up_fit(0.0, *QUIET), *(made_up_fit(0.0, *LOUD) for _ in range(3)), made_up_fit(0.0, *QUIET)]
    fits[late] = made_up_fit(1.01 * selection.LEPSKI_KAPPA * SIGMA, *LOUD)
    assert selection.choose_fit(fits).taken > 0
    fits[late] = made_up_fit(0.99 * selection.LEPSKI_KAPPA * SIGMA, *LOUD)
    assert selection.choose_fit(fits).taken == 0


def test_a_fit_after_the_next_three_does_not_affect_the_choice() -> None:
    fits = [made_up_fit(0.0, *QUIET), *(made_up_fit(0.0, *LOUD) for _ in range(3)), made_up_fit(99.0, *LOUD)]
    assert selection.choose_fit(fits).taken == 0


def test_a_fit_far_from_the_one_before_at_the_same_share_is_passed_over() -> None:
    """QUIET does not scatter: its distance from LOUD is SIGMA. The fits after it agree with each other and with it."""
    limit, fits = selection.GROSS_CONTRADICTION * SIGMA, [made_up_fit(0.0, *QUIET) for _ in range(6)]
    for factor, taken in ((0.99, 1), (1.01, 2)):
        fits[1:] = [made_up_fit(factor * limit, *LOUD) for _ in range(5)]
        assert selection.choose_fit(fits).taken == taken
    other = replace(fits[1], share=0.4)
    assert selection.choose_fit([fits[0], other, *fits[2:]]).taken == 1, "another share"


def test_the_last_fit_is_not_settled_and_its_reach_is_the_distance_of_the_fit_before() -> None:
    result = selection.choose_fit(
        [made_up_fit(0.0, *QUIET), made_up_fit(9.0, *LOUD), made_up_fit(30.0, *QUIET)]
    )
    assert (result.taken, result.settled) == (2, False)
    assert (result.below, result.above) == (21.0, 0.0)


# --- the candidates ------------------------------------------------------------------------------------


def test_a_given_order_or_share_is_kept_and_the_other_is_chosen() -> None:
    x = rng(5).gamma(1.3, size=3000)
    fits = {
        (order, share): fit(x, order=order, share=share, n_gof=0)
        for order in (None, 1)
        for share in (None, 0.5)
    }
    tried = {
        given: {(trial.order, trial.share) for trial in result.stability} for given, result in fits.items()
    }
    assert tried[None, None] == {
        (k, s) for k in selection.CANDIDATE_ORDERS for s in selection.CANDIDATE_SHARES
    }
    assert tried[1, None] == {(1, s) for s in selection.CANDIDATE_SHARES}
    assert tried[None, 0.5] == {(k, 0.5) for k in selection.CANDIDATE_ORDERS}
    assert tried[1, 0.5] == {(1, 0.5)}
    assert [fits[given].settled is None for given in tried] == [False, False, False, True]
    for result in fits.values():
        chosen = next(t for t in result.stability if (t.order, t.share) == (result.order, result.share))
        assert (chosen.exponent, chosen.n, chosen.upper_cut) == (result.exponent, result.n, result.upper_cut)


def test_shares_with_too_few_values_are_left_out() -> None:
    x = rng(6).gamma(0.5, size=200)  # 40 values in a share of 0.2
    assert {trial.share for trial in fit(x, n_gof=0).stability} == {0.8, 0.4}


@pytest.mark.parametrize("n", [50, 55, 62, 63])
def test_fifty_values_are_enough(n: int) -> None:
    result = fit(rng(6).gamma(0.5, size=n), n_gof=0)
    assert result.n == max(50, math.ceil(0.8 * n)) and result.settled is not None


def test_fewer_than_fifty_values_are_refused_with_the_number_needed() -> None:
    x = rng(6).gamma(0.5, size=49)
    with pytest.raises(InputError, match="49 of 49 values .* expected at least 50, for which it takes 50"):
        fit(x)
    with pytest.raises(InputError, match="25 of 49 values .* expected at least 50, for which it takes 100"):
        fit(x, share=0.5)


@pytest.mark.parametrize("runs", [1, 3, 7])
def test_with_too_few_runs_to_resample_the_choice_takes_values_as_independent(runs: int) -> None:
    x = heavy_crossover(10_000, 0.42, rng(16))
    alone, together = fit(x, n_gof=0), fit(x, clusters=np.arange(10_000) % runs, n_gof=0)
    assert together.stability == alone.stability and together.interval == alone.interval
    assert f"{runs} runs" in together.note


def test_an_order_that_the_values_do_not_determine_is_left_out() -> None:
    """Four different values determine at most t and two terms of the tilt."""
    x = np.repeat([0.2, 0.5, 0.7, 1.0], [60, 40, 50, 60])
    result = fit(x, share=1.0, n_gof=0)
    assert {trial.order for trial in result.stability} == {2}
    assert "only 4 of 210 values differ" in result.note


def test_the_interval_contains_the_exponents_of_the_next_three_fits() -> None:
    result = fit(rng(8).gamma(1.3, size=3000), n_gof=0)
    assert result.drift is None
    below, above = result.reach
    assert result.interval == pytest.approx(
        (result.profile_interval[0] - below, result.profile_interval[1] + above)
    )
    taken = [(t.order, t.share) for t in result.stability].index((result.order, result.share))
    others = [t.exponent for t in result.stability[taken + 1 : taken + 1 + selection.N_FITS_COMPARED]]
    assert result.interval[0] <= min(others) and max(others) <= result.interval[1]


@pytest.mark.statistical
@pytest.mark.parametrize(("level", "runs"), [(0.5, None), (0.95, None), (0.99, None), (0.5, 15), (0.95, 15)])
def test_the_p_value_excludes_zero_exactly_where_the_interval_does(level: float, runs: int | None) -> None:
    """Where the interval at a level ends at 0, p is 1 - level, within the noise of the bootstrap."""
    generator, contains_zero = rng(8), set()
    for _ in range(40):
        x = generator.gamma(1.15, size=3000)
        result = fit(x, level=level, n_gof=0, clusters=None if runs is None else np.arange(3000) % runs)
        if result.drift:  # there is no p-value
            continue
        low, high = result.interval
        slack = 0.1 if runs is None else 0.6  # quantiles of 200 replicas, of 15 runs
        assert (
            result.p_null > (1 - level) * (1 - slack)
            if low <= 0 <= high
            else result.p_null < (1 - level) * (1 + slack)
        )
        contains_zero.add(low <= 0 <= high)
    assert contains_zero == {True, False}


def test_the_p_value_is_one_where_the_less_biased_fits_reach_zero() -> None:
    fits = [fit(rng(seed).gamma(1.05, size=1000), n_gof=0) for seed in range(30)]
    reached = [f for f in fits if not f.drift and f.reach[0 if f.exponent > 0 else 1] >= abs(f.exponent)]
    assert reached and all(f.p_null == pytest.approx(1) for f in reached)


@pytest.mark.parametrize("scale", [1e-60, 3.7, 1e60])
def test_the_scale_of_the_values_does_not_change_the_choice(scale: float) -> None:
    x = rng(9).gamma(1.3, size=2000)
    original, scaled = fit(x), fit(scale * x)
    assert (original.order, original.share, original.settled) == (scaled.order, scaled.share, scaled.settled)
    numbers = [
        [f.exponent, *f.interval, f.p_null, f.p_fit, *(t.exponent for t in f.stability)]
        for f in (original, scaled)
    ]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-7)


def test_neither_the_order_of_the_values_nor_the_names_of_the_runs_change_the_choice() -> None:
    x, runs = np.round(rng(10).gamma(1.3, size=2000), 3) + 0.001, rng(11).integers(12, size=2000)
    shuffled = rng(12).permutation(2000)
    assert fit(x, clusters=runs) == fit(x[shuffled], clusters=7 * runs[shuffled] - 90)


def test_imprecise_fits_are_left_out_except_the_first() -> None:
    result = fit(rng(6).gamma(3.0, size=400), n_gof=0)
    errors = [trial.standard_error for trial in result.stability]
    assert (
        errors[0] > selection.MAX_INFORMATIVE_ERROR
        and max([0.0, *errors[1:]]) <= selection.MAX_INFORMATIVE_ERROR
    )
    assert result.settled is False and "more numbers may help" in verdict_on(result)


def verdict_on(result: PowerLaw) -> str:
    numbers = (
        result.exponent,
        result.interval,
        result.level,
        result.standard_error,
        result.reach,
        result.n_total,
    )
    return compare_with_references(
        MeasuredExponent(*numbers, settled=result.settled), THETA_REFERENCES
    ).verdict


# --- planted crossovers --------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("t", [-0.2, 0.42])
@pytest.mark.parametrize("draw", [heavy_crossover, two_scales])
def test_intervals_cover_heavy_crossovers_that_a_single_model_misses(
    t: float, draw: Callable[[int, float, Rng], Any]
) -> None:
    """At 10⁴ values the coverage is at least 0.85 and the bias below 0.06, both within their statistical errors."""
    replicas, generator = 60, rng(13)
    samples = [draw(10_000, t, generator) for _ in range(replicas)]
    chosen = [fit(x, n_gof=0) for x in samples]
    covered = sum(f.interval[0] <= t <= f.interval[1] for f in chosen)
    exponents = np.array([f.exponent for f in chosen])
    assert covered >= stats.binom.ppf(1e-3, replicas, 0.85)
    assert abs(exponents.mean() - t) <= 0.06 + 3 * exponents.std() / math.sqrt(replicas)
    if t > 0:
        rigid = [fit(x, order=2, share=0.8, n_gof=0) for x in samples]
        assert sum(f.interval[0] <= t <= f.interval[1] for f in rigid) < covered - 10


@pytest.mark.statistical
def test_an_easy_crossover_keeps_its_model_at_about_twice_the_interval() -> None:
    generator, replicas, wider, kept = rng(14), 60, [], 0
    for _ in range(replicas):
        x = generator.gamma(1.42, size=10_000)
        result, known = fit(x, n_gof=0), fit(x, order=2, share=0.8, n_gof=0)
        if result.drift:  # a false alarm, once in a hundred samples
            continue
        wider.append((result.interval[1] - result.interval[0]) / (known.interval[1] - known.interval[0]))
        kept += (result.order, result.share) == (2, 0.8)
    assert kept >= replicas / 2 and np.mean(wider) < 2.5


def test_a_million_values_of_a_hundred_runs_are_fitted_within_seconds() -> None:
    generator = rng(15)
    x, runs = generator.gamma(1.423, size=10**6), generator.integers(100, size=10**6)
    start = time.perf_counter()
    result = fit(x, clusters=runs)
    assert time.perf_counter() - start < 5
    assert abs(result.exponent - 0.423) < 4 * result.standard_error < 0.05
