"""Goodness of fit and the bootstrap over runs against direct computation, known densities and nominal rates."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from jamtools.exponents import resampling, tilted
from jamtools.exponents.powerlaw import fit_power_law
from tests.support.planted_tails import binomial_limits, rng

Array = np.ndarray[Any, np.dtype[np.float64]]

#: The fit of one given model; how the data choose a model is tested in test_selection.py.
fit = partial(fit_power_law, order=2, share=0.8)


@pytest.mark.statistical
def test_copies_within_runs_widen_the_interval_by_the_root_of_their_number() -> None:
    """Four copies of each value in one run: the design effect is 4, and only the interval over runs covers."""
    replicas, generator = 40, rng(13)
    results = []
    for seed in range(replicas):
        x = generator.gamma(1.423, size=(60, 20))
        values, runs = np.repeat(x.ravel(), 4), np.repeat(np.arange(60), 80)
        results.append(fit(values, clusters=runs, n_gof=0, n_bootstrap=100, seed=seed))
    low, high = binomial_limits(replicas, 0.95)
    assert low <= sum(f.interval[0] <= 0.423 <= f.interval[1] for f in results)
    assert sum(f.profile_interval[0] <= 0.423 <= f.profile_interval[1] for f in results) < low
    # a variance from 100 replicas of 60 runs: relative error √(2/100 + 2/60) ≈ 0.23 each
    assert np.mean([f.design_effect for f in results]) == pytest.approx(4, rel=0.2)
    assert all(f.interval == f.bootstrap_interval for f in results)


@pytest.mark.statistical
def test_copies_within_runs_do_not_turn_a_flat_tail_into_a_power_law() -> None:
    replicas, generator = 40, rng(14)
    runs, p = np.repeat(np.arange(60), 80), []
    for _ in range(replicas):
        x = np.repeat(np.abs(generator.normal(size=1200)), 4)
        p.append(fit(x, clusters=runs, n_gof=0, n_bootstrap=50).p_null)
    assert sum(value <= 0.05 for value in p) <= binomial_limits(replicas, 0.05)[1]


@pytest.mark.statistical
def test_the_interval_covers_the_exponent_of_runs_with_different_scales() -> None:
    replicas, generator, covered, effects = 60, rng(15), 0, []
    runs = np.repeat(np.arange(20), 150)
    for seed in range(replicas):
        scales = np.exp(0.5 * generator.normal(size=20))
        result = fit(
            scales[runs] * generator.gamma(0.8, size=3000), clusters=runs, n_gof=0, n_bootstrap=100, seed=seed
        )
        covered += result.interval[0] <= -0.2 <= result.interval[1]
        effects.append(result.design_effect)
        assert result.bootstrap_interval is not None and result.n_clusters == 20
    assert binomial_limits(replicas, 0.95)[0] <= covered
    assert np.mean(effects) > 1.05


def test_the_bootstrap_from_sums_per_run_equals_refits_to_all_values() -> None:
    """Brute force: the same runs are drawn, their values below the cut concatenated, and fitted with that cut."""
    generator = rng(16)
    x, runs = np.sort(generator.gamma(1.3, size=600)), generator.integers(10, size=600)
    lowest = tilted.select_window(x, 0.8, 0.0)
    maximum = tilted.fit_window(lowest, 2)
    result, obstacle = resampling.bootstrap_exponents(lowest, maximum, runs[: lowest.n], 10, 20, rng(17))
    draws, refitted = rng(17), []
    for _ in range(20):
        drawn = draws.integers(10, size=10)
        values = np.concatenate([lowest.statistics[0][runs[: lowest.n] == run] for run in drawn])
        mean = np.array([values.mean(), np.exp(values).mean(), np.exp(2 * values).mean()])
        best = optimize.minimize(
            lambda eta, mean=mean: tilted.moments(eta, 0.0)[0] - eta @ mean,
            maximum.eta,
            method="BFGS",
            options={"gtol": 1e-9},
        )
        refitted.append(best.x[0])
    assert obstacle == ""
    np.testing.assert_allclose(result, refitted, atol=1e-4)


@pytest.mark.parametrize(("runs", "replicas"), [(1, 200), (7, 200), (20, 0)])
def test_with_too_few_runs_or_replicas_a_note_says_that_there_is_no_bootstrap(
    runs: int, replicas: int
) -> None:
    x = rng(18).gamma(1.3, size=400)
    result = fit(x, clusters=np.arange(400) % runs, n_bootstrap=replicas, n_gof=0)
    assert result.bootstrap_interval is None and result.interval == result.profile_interval
    assert f"{runs} runs" in result.note and result.n_clusters == runs


@pytest.mark.statistical
def test_the_p_value_of_the_goodness_of_fit_is_uniform_where_the_model_holds() -> None:
    replicas, generator = 150, rng(19)
    p = [fit(generator.gamma(1.3, size=500), n_gof=39, seed=seed).p_fit or 0 for seed in range(replicas)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("k", [1.0, 1.05, 1.1])
def test_the_goodness_of_fit_from_counts_equals_the_one_from_samples_of_values(k: float) -> None:
    """Anderson & Darling's sum over the same grid, with samples by inversion and refits in closed form, at order 0."""
    generator, n, replicas = rng(20), 300, 2000
    x = generator.beta(1.0, k, size=n)
    grid, rate = np.linspace(0, 1, resampling.GOODNESS_CELLS + 1)[1:-1], -1 / np.log(x / x.max()).mean()

    def distance(u: Array) -> float:
        f = grid ** (-1 / np.log(u).mean() / rate)  # the refitted distribution at v = u^rate
        observed = np.searchsorted(np.sort(u**rate), grid, side="right") / n
        return float(((observed - f) ** 2 / (f * (1 - f))) @ np.diff(f, prepend=0))

    samples = generator.random((replicas, n - 1)) ** (1 / rate)  # the largest value is the cut
    expected = np.mean([distance(np.append(row, 1.0)) >= distance(x / x.max()) for row in samples])
    result = fit(x, order=0, share=1.0, n_gof=replicas).p_fit
    assert result is not None and 0.01 < expected < 0.99
    assert abs(result - expected) <= 4 * math.sqrt(2 * expected * (1 - expected) / replicas)


def test_the_goodness_of_fit_rejects_a_density_with_two_distant_scales() -> None:
    x = rng(21).gamma(1.423, size=3000) * np.where(np.arange(3000) % 2, 1, 0.1)
    assert fit(x).p_fit == pytest.approx(1 / 101)
