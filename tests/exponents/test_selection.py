"""What share and what order the data choose: influence by leaving out, planted crossovers, the rule on made-up ladders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jamtools.errors import InputError
from jamtools.exponents import selection, tilted
from jamtools.exponents.powerlaw import fit
from jamtools.exponents.references import THETA, Found, judge
from jamtools.exponents.tilted import Window, estimate, influence, select

Rng = np.random.Generator


def rng(seed: int) -> Rng:
    return np.random.default_rng(seed)


# How far a value pulls


def test_the_pull_of_a_value_on_a_bare_power_law_is_known() -> None:
    """t̂ = −1 − 1/⟨log u⟩, whose derivative by one log u is 1/(n⟨log u⟩²) = (1+t̂)²/n."""
    x = np.sort(rng(0).random(300) ** 0.7)
    window = select(x, 1.0, 0.0)
    log_u = np.log(x / x[-1])
    t = -1 - 1 / log_u.mean()
    np.testing.assert_allclose(
        influence(window, estimate(window, 0)), (log_u - log_u.mean()) * (1 + t) ** 2 / 300, rtol=1e-8
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_pull_of_a_value_is_what_leaving_it_out_does(order: int) -> None:
    """t̂ − t̂₍₋ᵢ₎ = ψ_i (1 + O(1/n)), by refits to the other values with the cut held."""
    x = np.sort(rng(1).gamma(1.3, size=2000))
    window = select(x, 0.8, 0.0)
    top = estimate(window, order)
    psi = influence(window, top)
    left = range(0, window.n, 100)
    without = []
    for i in left:
        mean = np.delete(window.statistics[: order + 1], i, axis=1).mean(axis=1)
        without.append(tilted.climb(mean, 0.0, top.eta).eta[0])
    np.testing.assert_allclose(top.eta[0] - np.array(without), psi[left], rtol=0.2, atol=0.01 * psi.std())


def test_what_chance_moves_the_exponent_by_from_one_fit_to_the_next_is_what_samples_show() -> None:
    """σ_jk against the scatter of t̂_k − t̂_j over 300 samples; a standard deviation of 300 has an error of 1/√600."""
    generator, moves, said = rng(2), [], []
    for _ in range(300):
        rungs = selection.ladder(np.sort(generator.gamma(1.3, size=2000)), None, (2,), (0.8, 0.4), 0.0)
        moves.append(rungs[1].exponent - rungs[0].exponent)
        said.append(selection.spread(rungs[1].psi - rungs[0].psi))
    assert np.mean(said) == pytest.approx(np.std(moves), rel=4 / math.sqrt(600))


def test_the_pull_of_a_run_is_the_sum_over_its_values() -> None:
    x, runs = np.sort(rng(3).gamma(1.3, size=900)), rng(4).integers(30, size=900)
    alone = selection.ladder(x, None, (2, 3), (0.8, 0.4), 0.0)
    together = selection.ladder(x, runs, (2, 3), (0.8, 0.4), 0.0)
    for one, all_ in zip(alone, together):
        np.testing.assert_allclose(all_.psi, [one.psi[runs == run].sum() for run in range(30)], atol=1e-12)


# The rule


def rung(exponent: float, *psi: float) -> selection.Rung:
    """A fit that says so; its ψ over four values is given."""
    window = Window(0, 0.0, 1.0, np.zeros((4, 4)), np.zeros(4))
    top = tilted.Maximum(np.array([exponent, 0.0, 0.0]), 0.0, np.eye(3), True)
    return selection.Rung(2, 0.8, window, top, np.array(psi))


#: Four ladders whose fits differ by chance of √(4/3): ψ of ±½ against 0 has Σψ² = 1.
QUIET, LOUD = (0.0, 0.0, 0.0, 0.0), (0.5, -0.5, 0.5, -0.5)
SIGMA = math.sqrt(4 / 3)


def test_a_fit_that_the_next_three_do_not_contradict_is_taken_and_reaches_to_the_farthest_of_them() -> None:
    found = selection.choose([rung(0.0, *QUIET), rung(1.0, *LOUD), rung(-0.5, *LOUD), rung(0.2, *LOUD)])
    assert found == selection.Choice(0, 0.5, 1.0, True)


@pytest.mark.parametrize("late", [1, 2, 3])
def test_a_fit_that_one_of_the_next_three_contradicts_is_left(late: int) -> None:
    rungs = [rung(0.0, *QUIET), *(rung(0.0, *LOUD) for _ in range(3)), rung(0.0, *QUIET)]
    rungs[late] = rung(1.01 * selection.KAPPA * SIGMA, *LOUD)
    assert selection.choose(rungs).taken > 0
    rungs[late] = rung(0.99 * selection.KAPPA * SIGMA, *LOUD)
    assert selection.choose(rungs).taken == 0


def test_a_fit_beyond_the_next_three_has_no_say() -> None:
    rungs = [rung(0.0, *QUIET), *(rung(0.0, *LOUD) for _ in range(3)), rung(99.0, *LOUD)]
    assert selection.choose(rungs).taken == 0


def test_the_last_fit_is_not_settled_and_reaches_back_to_the_one_before() -> None:
    found = selection.choose([rung(0.0, *QUIET), rung(9.0, *LOUD), rung(30.0, *QUIET)])
    assert (found.taken, found.settled) == (2, False)
    assert (found.below, found.above) == (21.0, 0.0)


# The ladder


def test_what_is_given_is_kept_and_what_is_not_is_chosen() -> None:
    x = rng(5).gamma(1.3, size=3000)
    fits = {
        (order, share): fit(x, order=order, share=share, n_gof=0)
        for order in (None, 1)
        for share in (None, 0.5)
    }
    tried = {
        given: {(trial.order, trial.share) for trial in found.stability} for given, found in fits.items()
    }
    assert tried[None, None] == {(k, s) for k in selection.ORDERS for s in selection.SHARES}
    assert tried[1, None] == {(1, s) for s in selection.SHARES}
    assert tried[None, 0.5] == {(k, 0.5) for k in selection.ORDERS}
    assert tried[1, 0.5] == {(1, 0.5)}
    assert [fits[given].settled is None for given in tried] == [False, False, False, True]
    for found in fits.values():
        chosen = next(t for t in found.stability if (t.order, t.share) == (found.order, found.share))
        assert (chosen.exponent, chosen.n, chosen.upper_cut) == (found.exponent, found.n, found.upper_cut)


def test_shares_with_too_few_values_are_left_out() -> None:
    x = rng(6).gamma(0.5, size=200)  # 0.2 of it are 40
    assert {trial.share for trial in fit(x, n_gof=0).stability} == {0.8, 0.4}


@pytest.mark.parametrize("n", [50, 55, 62, 63])
def test_fifty_values_are_enough(n: int) -> None:
    found = fit(rng(6).gamma(0.5, size=n), n_gof=0)
    assert found.n == max(50, math.ceil(0.8 * n)) and found.settled is not None


def test_less_are_refused_with_the_number_that_it_takes() -> None:
    x = rng(6).gamma(0.5, size=49)
    with pytest.raises(InputError, match="49 of 49 values .* expected at least 50, for which it takes 50"):
        fit(x)
    with pytest.raises(InputError, match="25 of 49 values .* expected at least 50, for which it takes 100"):
        fit(x, share=0.5)


@pytest.mark.parametrize("runs", [1, 3, 7])
def test_runs_too_few_to_resample_choose_as_independent_values_do(runs: int) -> None:
    x = heavy(10_000, 0.42, rng(16))
    alone, together = fit(x, n_gof=0), fit(x, clusters=np.arange(10_000) % runs, n_gof=0)
    assert together.stability == alone.stability and together.interval == alone.interval
    assert f"{runs} runs" in together.note


def test_an_order_that_values_do_not_determine_leaves_the_others() -> None:
    """Three different values determine t and two terms at most."""
    x = np.repeat([0.2, 0.5, 0.7, 1.0], [60, 40, 50, 60])
    found = fit(x, share=1.0, n_gof=0)
    assert {trial.order for trial in found.stability} == {2}
    assert "only 4 of 210 values differ" in found.note


def test_the_interval_holds_what_the_taken_fit_says_and_where_the_others_lie() -> None:
    found = fit(rng(7).gamma(1.3, size=3000), n_gof=0)
    below, above = found.reach
    assert found.interval == pytest.approx(
        (found.profile_interval[0] - below, found.profile_interval[1] + above)
    )
    place = [(t.order, t.share) for t in found.stability].index((found.order, found.share))
    others = [t.exponent for t in found.stability[place + 1 : place + 1 + selection.AHEAD]]
    assert found.interval[0] <= min(others) and max(others) <= found.interval[1]


@pytest.mark.parametrize(("level", "runs"), [(0.5, None), (0.95, None), (0.99, None), (0.5, 15), (0.95, 15)])
def test_zero_is_excluded_by_its_p_value_where_it_is_by_the_interval(level: float, runs: int | None) -> None:
    """Where the interval of any level ends at 0, p is the level's complement, but for the bootstrap's noise."""
    generator, seen = rng(8), set()
    for _ in range(40):
        x = generator.gamma(1.15, size=3000)
        found = fit(x, level=level, n_gof=0, clusters=None if runs is None else np.arange(3000) % runs)
        low, high = found.interval
        slack = 0.1 if runs is None else 0.6  # quantiles of 200 replicas, of 15 runs
        assert (
            found.p_null > (1 - level) * (1 - slack)
            if low <= 0 <= high
            else found.p_null < (1 - level) * (1 + slack)
        )
        seen.add(low <= 0 <= high)
    assert seen == {True, False}


def test_the_p_value_is_one_where_the_less_biased_fits_reach_to_zero() -> None:
    found = [fit(rng(seed).gamma(1.05, size=1000), n_gof=0) for seed in range(30)]
    reached = [one for one in found if one.reach[0 if one.exponent > 0 else 1] >= abs(one.exponent)]
    assert reached and all(one.p_null == pytest.approx(1) for one in reached)


@pytest.mark.parametrize("scale", [1e-60, 3.7, 1e60])
def test_the_scale_of_the_values_changes_nothing(scale: float) -> None:
    x = rng(9).gamma(1.3, size=2000)
    one, two = fit(x), fit(scale * x)
    assert (one.order, one.share, one.settled) == (two.order, two.share, two.settled)
    numbers = [
        [f.exponent, *f.interval, f.p_null, f.p_fit, *(t.exponent for t in f.stability)] for f in (one, two)
    ]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-7)


def test_the_order_of_the_values_and_the_names_of_the_runs_change_nothing() -> None:
    x, runs = np.round(rng(10).gamma(1.3, size=2000), 3) + 0.001, rng(11).integers(12, size=2000)
    shuffled = rng(12).permutation(2000)
    assert fit(x, clusters=runs) == fit(x[shuffled], clusters=7 * runs[shuffled] - 90)


# Planted crossovers


def heavy(n: int, t: float, generator: Rng) -> Any:
    """x^t / (1+x²)²."""
    b = generator.beta((1 + t) / 2, (3 - t) / 2, size=n)
    return np.sqrt(b / (1 - b))


def two_scales(n: int, t: float, generator: Rng) -> Any:
    return generator.gamma(1 + t, size=n) * np.where(generator.random(n) < 0.5, 0.1, 1.0)


@pytest.mark.parametrize("t", [-0.2, 0.42])
@pytest.mark.parametrize("draw", [heavy, two_scales])
def test_intervals_cover_heavy_crossovers_where_one_model_does_not(
    t: float, draw: Callable[[int, float, Rng], Any]
) -> None:
    """At 10⁴ values: covered at least as often as 85 times of 100 make likely; the bias below 0.06 and its own error."""
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


def test_fits_too_vague_to_say_anything_have_no_say_but_the_first_is_kept() -> None:
    found = fit(rng(6).gamma(3.0, size=400), n_gof=0)
    errors = [trial.standard_error for trial in found.stability]
    assert errors[0] > selection.VAGUE and max([0.0, *errors[1:]]) <= selection.VAGUE
    assert found.settled is False and "more numbers may help" in judged(found)


def judged(found: Any) -> str:
    known = (found.exponent, found.interval, found.level, found.standard_error, found.reach, found.n_total)
    return judge(Found(*known, settled=found.settled), THETA)["verdict"]


def test_the_model_of_an_easy_crossover_is_kept_and_costs_about_twice_its_interval() -> None:
    generator, replicas, wider, kept = rng(14), 60, [], 0
    for _ in range(replicas):
        x = generator.gamma(1.42, size=10_000)
        found, known = fit(x, n_gof=0), fit(x, order=2, share=0.8, n_gof=0)
        wider.append((found.interval[1] - found.interval[0]) / (known.interval[1] - known.interval[0]))
        kept += (found.order, found.share) == (2, 0.8)
    assert kept >= replicas / 2 and np.mean(wider) < 2.5


def test_a_million_values_of_a_hundred_runs_take_seconds() -> None:
    generator = rng(15)
    x, runs = generator.gamma(1.423, size=10**6), generator.integers(100, size=10**6)
    start = time.perf_counter()
    found = fit(x, clusters=runs)
    assert time.perf_counter() - start < 5
    assert abs(found.exponent - 0.423) < 4 * found.standard_error < 0.05
