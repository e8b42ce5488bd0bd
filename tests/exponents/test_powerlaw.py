"""Exponents of lower tails against closed forms, quadrature by scipy, planted densities and brute-force refits."""

import doctest
import json
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from jamtools.errors import InputError
from jamtools.exponents import powerlaw, resampling, tilted

#: One model, as given: how the data choose it is test_choice.py's.
fit = partial(powerlaw.fit, order=2, share=0.8)

Array = np.ndarray[Any, np.dtype[np.float64]]
EPS = np.finfo(float).eps

#: Natural parameters and lower end: light and steep tilts of either sign, t near -1, t large, a narrow window.
PARAMETERS = [
    ([0.423, -2.0, 0.5], 0.0),
    ([-0.9, 3.0, -4.0], 0.0),
    ([-0.99, -5.0, 2.0], 0.0),
    ([5.0, -20.0, 3.0], 0.0),
    ([0.2, -100.0, 20.0], 0.0),
    ([0.3, 60.0, -80.0], 0.0),
    ([0.3, 10.0, -40.0, 30.0], 0.0),
    ([-0.2, 2.0, 1.0], 1e-6),
    ([-1.0, 2.0, -3.0], 1e-3),
    ([2.0, 3.0, 4.0], 0.9),
    ([0.5], 0.0),
]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def binomial_limits(trials: int, p: float) -> tuple[float, float]:
    """Counts that a right method leaves once in a thousand on either side."""
    return stats.binom.ppf(1e-3, trials, p), stats.binom.ppf(1 - 1e-3, trials, p)


def expectation(of: Callable[[float], float], eta: list[float], u0: float) -> float:
    """∫ of(log u) u^t exp(c₁u + …) du over (u₀, 1] by scipy, in y = log u and panel by panel."""

    def integrand(y: float) -> float:
        u = math.exp(y)
        return of(y) * math.exp((1 + eta[0]) * y + sum(c * u**k for k, c in enumerate(eta[1:], 1)))

    end = -math.log(u0) if u0 else 45 / (1 + eta[0]) + 5
    edges = [0.0, *(e for e in np.geomspace(0.02, 5000, 40) if e < end), end]
    return sum(integrate.quad(integrand, -b, -a, epsabs=1e-14, epsrel=1e-10)[0] for a, b in pairwise(edges))


# The likelihood


@pytest.mark.parametrize(("eta", "u0"), PARAMETERS)
def test_moments_are_those_of_adaptive_quadrature(eta: list[float], u0: float) -> None:
    log_z, mean, covariance = tilted.moments(np.array(eta), u0)
    functions: list[Callable[[float], float]] = [
        lambda y: y,
        math.exp,
        lambda y: math.exp(2 * y),
        lambda y: math.exp(3 * y),
    ]
    functions = functions[: len(eta)]
    z = expectation(lambda y: 1.0, eta, u0)
    means = [expectation(f, eta, u0) / z for f in functions]
    seconds = [
        [expectation(lambda y, f=f, g=g: f(y) * g(y), eta, u0) / z for f in functions] for g in functions
    ]
    assert log_z == pytest.approx(math.log(z), abs=1e-9)
    np.testing.assert_allclose(mean, means, rtol=1e-9)
    # the oracle's covariance is a difference: its error is that of the second moments
    np.testing.assert_allclose(
        covariance, np.array(seconds) - np.outer(means, means), atol=1e-9 * np.max(np.abs(seconds))
    )


@pytest.mark.parametrize("t", [-0.999, -0.5, 0.0, 0.423, 3.0])
@pytest.mark.parametrize("b", [0.1, 2.0, 300.0])
def test_an_exponential_tilt_normalises_to_an_incomplete_gamma_function(t: float, b: float) -> None:
    """∫₀¹ u^t e^(−bu) du = γ(1+t, b) / b^(1+t)."""
    log_z = tilted.moments(np.array([t, -b]), 0.0)[0]
    exact = math.log(special.gammainc(1 + t, b)) + special.gammaln(1 + t) - (1 + t) * math.log(b)
    assert log_z == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("eta", "u0"), PARAMETERS)
def test_derivatives_of_the_normalisation_are_the_moments(eta: list[float], u0: float) -> None:
    """Central differences with step h: h²/6 of the third derivative, and ε/h; at h = ε^(1/3)·scale both are ~ε^(2/3)."""
    centre = np.array(eta)
    log_z, mean, covariance = tilted.moments(centre, u0)
    for k in range(centre.size):
        h = EPS ** (1 / 3) / math.sqrt(covariance[k, k])  # changes log Z by ε^(1/3) standard deviations
        h = min(h, (1 + eta[0]) / 100) if not u0 else h
        step = h * np.eye(centre.size)[k]
        up, down = tilted.moments(centre + step, u0), tilted.moments(centre - step, u0)
        noise = 20 * EPS * (1 + abs(log_z)) / h
        spread = np.sqrt(np.diag(covariance))
        assert (up[0] - down[0]) / (2 * h) == pytest.approx(
            mean[k], abs=noise + 10 * EPS ** (2 / 3) * spread[k]
        )
        noise = 20 * EPS * np.abs(mean) / h
        error = np.abs((up[1] - down[1]) / (2 * h) - covariance[k])
        assert (error <= noise + 1e3 * EPS ** (2 / 3) * spread * spread[k]).all()


# The maximum


@pytest.mark.parametrize("t", [-0.95, -0.41, 0.0, 0.423, 6.0])
def test_a_bare_power_law_has_the_known_maximum_and_intervals(t: float) -> None:
    """ℓ(t)/n = log(1+t) + t⟨log u⟩: t̂ = −1 − 1/⟨log u⟩, standard error (1+t̂)/√n, χ²₁ quantiles by bisection."""
    x = 3.7 * rng(0).random(400) ** (1 / (1 + t))
    m = float(np.log(x / x.max()).mean())
    found = fit(x, order=0, share=1.0, n_gof=0)
    best = -1 - 1 / m

    def loss(trial: float) -> float:
        return 2 * x.size * (math.log1p(best) + best * m - math.log1p(trial) - trial * m)

    limit = stats.chi2.ppf(0.95, 1)
    low = optimize.bisect(lambda v: loss(v) - limit, -1 + 0.5 * (1 + best), best)
    high = optimize.bisect(lambda v: loss(v) - limit, best, best + (1 + best))
    assert found.exponent == pytest.approx(best, rel=1e-12)
    assert found.standard_error == pytest.approx((1 + best) / math.sqrt(x.size), rel=1e-9)
    assert found.interval == pytest.approx((low, high), abs=1e-5 * found.standard_error)
    assert found.p_null == pytest.approx(stats.chi2.sf(loss(0.0), 1), rel=1e-6, abs=1e-12)
    assert found.log_likelihood == pytest.approx(
        x.size * (math.log1p(best) + best * m - math.log(x.max())), rel=1e-10
    )
    assert (found.n, found.n_total, found.upper_cut, found.coefficients) == (400, 400, x.max(), ())


@pytest.mark.parametrize("t", [-0.6, 0.3])
def test_a_doubly_truncated_power_law_solves_the_known_equation(t: float) -> None:
    """With a = 1+t: E[log u] = −1/a − u₀^a log u₀ / (1 − u₀^a)."""
    x = rng(1).random(4000) ** (1 / (1 + t))
    found = fit(x, order=0, share=1.0, lower_cut=0.05, n_gof=0)
    window = x[x > 0.05]
    u0, m = 0.05 / x.max(), float(np.log(window / x.max()).mean())
    a = optimize.brentq(lambda a: -1 / a - u0**a * math.log(u0) / (1 - u0**a) - m, 1e-3, 9)
    assert found.exponent == pytest.approx(a - 1, abs=1e-9)
    assert (found.n, found.n_total, found.lower_cut) == (tilted.size, 4000, 0.05)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lower_cut", [0.0, 0.05])
def test_at_the_maximum_the_expected_statistics_are_the_observed_ones(order: int, lower_cut: float) -> None:
    """The score of an exponential family, its expectations by scipy."""
    x = rng(2).gamma(1.423, size=2000)
    found = fit(x, order=order, lower_cut=lower_cut, n_gof=0)
    u = x[(x > lower_cut) & (x <= found.upper_cut)] / found.upper_cut
    eta = [found.exponent, *(c * found.upper_cut**k for k, c in enumerate(found.coefficients, 1))]
    u0 = lower_cut / found.upper_cut
    z = expectation(lambda y: 1.0, eta, u0)
    assert expectation(lambda y: y, eta, u0) / z == pytest.approx(np.log(u).mean(), rel=1e-8)
    for k in range(1, order + 1):
        assert expectation(lambda y, k=k: math.exp(k * y), eta, u0) / z == pytest.approx(
            (u**k).mean(), rel=1e-8
        )


def test_a_higher_order_never_fits_worse() -> None:
    x = rng(3).gamma(1.2, size=500)
    likelihoods = [fit(x, order=order, n_gof=0).log_likelihood for order in range(4)]
    assert likelihoods == sorted(likelihoods)


def test_the_share_is_of_the_values_above_the_lower_cut_and_ties_at_the_cut_stay_in() -> None:
    x = np.repeat(np.arange(1.0, 101.0), 2)
    found = fit(rng(0).permutation(x), share=0.5, lower_cut=20.0, n_gof=0)
    assert (found.upper_cut, found.n) == (60.0, 80)
    assert fit(x, share=0.505, n_gof=0).n == 102  # the 101st value and its twin


def test_values_steeper_than_the_domain_end_on_its_edge_and_say_so() -> None:
    u = rng(4).random(2000)
    x = 1 / (1000 - 999 * u)  # p ∝ x^−2 on (1e-3, 1)
    found = fit(x, order=0, share=1.0, lower_cut=1e-3, n_gof=20)
    assert found.exponent == -1 and found.interval[0] == -1 and found.p_fit is None
    assert "edge" in found.note


# Invariance


@given(st.floats(-90, 90), st.sampled_from([0.0, 0.03]))
@settings(max_examples=15, deadline=None)
def test_the_scale_of_the_values_changes_nothing(decades: float, lower_cut: float) -> None:
    x, scale = rng(5).gamma(1.3, size=300), 10.0**decades
    one = fit(x, n_gof=20, lower_cut=lower_cut)
    two = fit(x * scale, n_gof=20, lower_cut=lower_cut * scale)
    same = [[f.exponent, *f.interval, f.p_null, f.decades, f.p_fit] for f in (one, two)]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-8)
    assert two.upper_cut == pytest.approx(one.upper_cut * scale)
    assert two.coefficients[0] * scale == pytest.approx(one.coefficients[0], rel=1e-8)


def test_the_order_of_the_values_changes_nothing() -> None:
    x, runs = np.round(rng(6).gamma(1.3, size=2000), 2) + 0.01, rng(7).integers(12, size=2000)
    shuffled = rng(8).permutation(2000)
    assert fit(x, clusters=runs) == fit(x[shuffled], clusters=runs[shuffled])


def test_the_names_of_the_runs_do_not_matter_and_the_seed_does() -> None:
    x, runs = rng(6).gamma(1.3, size=1000), rng(7).integers(12, size=1000)
    one, two = fit(x, clusters=runs, n_gof=0), fit(x, clusters=10 * runs - 55, n_gof=0)
    assert one == two
    assert one.bootstrap_interval != fit(x, clusters=runs, n_gof=0, seed=1).bootstrap_interval


# Planted exponents


@pytest.mark.parametrize(
    ("t", "power"),
    [
        pytest.param(0.423, 1, id="x^0.423 exp(-x)"),
        pytest.param(0.2, 2, id="x^0.2 exp(-x^2)"),
        pytest.param(-0.2, 1, id="x^-0.2 exp(-x)"),
    ],
)
def test_planted_exponents_come_back_and_95_percent_intervals_cover(t: float, power: int) -> None:
    """The families hold both densities: the mean is off by no more than its own error, the coverage by binomial luck."""
    replicas, generator = 100, rng(9)
    x = generator.gamma((1 + t) / power, size=(replicas, 3000)) ** (1 / power)
    found = [fit(row, n_gof=0) for row in x]
    exponents = np.array([f.exponent for f in found])
    assert abs(exponents.mean() - t) <= 4 * exponents.std() / math.sqrt(replicas)
    assert np.mean([f.standard_error for f in found]) == pytest.approx(
        exponents.std(), rel=4 / math.sqrt(2 * replicas)
    )
    covered = sum(f.interval[0] <= t <= f.interval[1] for f in found)
    assert binomial_limits(replicas, 0.95)[0] <= covered
    assert all(f.converged and f.note == "" for f in found)


def test_a_flat_tail_is_called_a_power_law_as_often_as_promised() -> None:
    replicas, generator = 100, rng(10)
    p = [fit(np.abs(generator.normal(size=1000)), n_gof=0).p_null for _ in range(replicas)]
    low, high = binomial_limits(replicas, 0.2)
    assert low <= sum(value <= 0.2 for value in p) <= high


def test_noise_below_a_lower_cut_is_left_out() -> None:
    """x^0.423 e^−x with a tenth of the values moved below 0.02: far off without the cut, right with it."""
    generator = rng(11)
    x = np.concatenate([generator.gamma(1.423, size=20000), 0.02 * generator.random(2000)])
    with_cut, without = fit(x, lower_cut=0.02, n_gof=0), fit(x, n_gof=0)
    assert abs(with_cut.exponent - 0.423) <= 4 * with_cut.standard_error
    assert abs(without.exponent - 0.423) > 10 * without.standard_error


def test_a_heavy_crossover_is_biased_as_the_module_warns_and_half_the_share_removes_most_of_it() -> None:
    b = rng(12).beta(0.71, 1.29, size=(20, 10000))
    x = np.sqrt(b / (1 - b))  # p ∝ x^0.42 / (1 + x²)²
    bias = {
        share: np.mean([fit(row, share=share, n_gof=0).exponent for row in x]) - 0.42 for share in (0.8, 0.4)
    }
    assert 0.05 < bias[0.8] < 0.15
    assert abs(bias[0.4]) < bias[0.8] / 2


# Runs that differ


def test_copies_within_runs_widen_the_interval_by_the_root_of_their_number() -> None:
    """Four copies of each value, one run each: the design effect is 4, and only the runs' interval covers."""
    replicas, generator = 40, rng(13)
    found = []
    for seed in range(replicas):
        x = generator.gamma(1.423, size=(60, 20))
        values, runs = np.repeat(x.ravel(), 4), np.repeat(np.arange(60), 80)
        found.append(fit(values, clusters=runs, n_gof=0, n_bootstrap=100, seed=seed))
    low, high = binomial_limits(replicas, 0.95)
    assert low <= sum(f.interval[0] <= 0.423 <= f.interval[1] for f in found)
    assert sum(f.profile_interval[0] <= 0.423 <= f.profile_interval[1] for f in found) < low
    # a variance from 100 replicas of 60 runs: relative error √(2/100 + 2/60) ≈ 0.23 each
    assert np.mean([f.design_effect for f in found]) == pytest.approx(4, rel=0.2)
    assert all(f.interval == f.bootstrap_interval for f in found)


def test_copies_within_runs_do_not_make_a_power_law_of_a_flat_tail() -> None:
    replicas, generator = 40, rng(14)
    runs, p = np.repeat(np.arange(60), 80), []
    for _ in range(replicas):
        x = np.repeat(np.abs(generator.normal(size=1200)), 4)
        p.append(fit(x, clusters=runs, n_gof=0, n_bootstrap=50).p_null)
    assert sum(value <= 0.05 for value in p) <= binomial_limits(replicas, 0.05)[1]


def test_runs_with_a_scale_of_their_own_are_covered() -> None:
    replicas, generator, covered, effects = 60, rng(15), 0, []
    runs = np.repeat(np.arange(20), 150)
    for seed in range(replicas):
        scales = np.exp(0.5 * generator.normal(size=20))
        found = fit(
            scales[runs] * generator.gamma(0.8, size=3000), clusters=runs, n_gof=0, n_bootstrap=100, seed=seed
        )
        covered += found.interval[0] <= -0.2 <= found.interval[1]
        effects.append(found.design_effect)
        assert found.bootstrap_interval is not None and found.n_clusters == 20
    assert binomial_limits(replicas, 0.95)[0] <= covered
    assert np.mean(effects) > 1.05


def test_the_bootstrap_is_that_of_whole_refits() -> None:
    """Brute force: draw runs, concatenate their values below the cut, fit with that cut; the same draws, the same t."""
    generator = rng(16)
    x, runs = np.sort(generator.gamma(1.3, size=600)), generator.integers(10, size=600)
    lowest = tilted.select(x, 0.8, 0.0)
    top = tilted.estimate(lowest, 2)
    found, said = resampling.resample(lowest, top, runs[: lowest.n], 10, 20, rng(17))
    draws, again = rng(17), []
    for _ in range(20):
        drawn = draws.integers(10, size=10)
        values = np.concatenate([lowest.statistics[0][runs[: lowest.n] == run] for run in drawn])
        mean = np.array([values.mean(), np.exp(values).mean(), np.exp(2 * values).mean()])
        best = optimize.minimize(
            lambda eta, mean=mean: tilted.moments(eta, 0.0)[0] - eta @ mean,
            top.eta,
            method="BFGS",
            options={"gtol": 1e-9},
        )
        again.append(best.x[0])
    assert said == ""
    np.testing.assert_allclose(found, again, atol=1e-4)


@pytest.mark.parametrize(("runs", "replicas"), [(1, 200), (7, 200), (20, 0)])
def test_without_runs_or_replicas_enough_there_is_no_bootstrap_and_that_is_said(
    runs: int, replicas: int
) -> None:
    x = rng(18).gamma(1.3, size=400)
    found = fit(x, clusters=np.arange(400) % runs, n_bootstrap=replicas, n_gof=0)
    assert found.bootstrap_interval is None and found.interval == found.profile_interval
    assert f"{runs} runs" in found.note and found.n_clusters == runs


# Goodness of fit


def test_the_goodness_of_fit_is_uniform_where_the_family_holds() -> None:
    replicas, generator = 150, rng(19)
    p = [fit(generator.gamma(1.3, size=500), n_gof=39, seed=seed).p_fit or 0 for seed in range(replicas)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("k", [1.0, 1.05, 1.1])
def test_the_goodness_of_fit_is_that_of_samples_drawn_one_by_one(k: float) -> None:
    """Anderson & Darling's sum over the same grid, with samples by inversion and refits in closed form: order 0."""
    generator, n, replicas = rng(20), 300, 2000
    x = generator.beta(1.0, k, size=n)
    grid, rate = np.linspace(0, 1, resampling.CELLS + 1)[1:-1], -1 / np.log(x / x.max()).mean()

    def distance(u: Array) -> float:
        f = grid ** (-1 / np.log(u).mean() / rate)  # the refitted distribution at v = u^rate
        seen = np.searchsorted(np.sort(u**rate), grid, side="right") / n
        return float(((seen - f) ** 2 / (f * (1 - f))) @ np.diff(f, prepend=0))

    samples = generator.random((replicas, n - 1)) ** (1 / rate)  # the largest value is the cut
    expected = np.mean([distance(np.append(row, 1.0)) >= distance(x / x.max()) for row in samples])
    found = fit(x, order=0, share=1.0, n_gof=replicas).p_fit
    assert found is not None and 0.01 < expected < 0.99
    assert abs(found - expected) <= 4 * math.sqrt(2 * expected * (1 - expected) / replicas)


def test_two_scales_far_apart_are_rejected() -> None:
    x = rng(21).gamma(1.423, size=3000) * np.where(np.arange(3000) % 2, 1, 0.1)
    assert fit(x).p_fit == pytest.approx(1 / 101)


# Curves


def test_the_fitted_density_integrates_to_the_share_fitted() -> None:
    x = rng(22).gamma(0.7, size=3000)
    for lower_cut in (0.0, 0.01):
        found = fit(x, lower_cut=lower_cut, n_gof=0)
        end = math.log(found.upper_cut)
        start = math.log(lower_cut) if lower_cut else end - 100
        mass = integrate.quad(
            lambda y, found=found: math.exp(y) * float(powerlaw.density(math.exp(y), found)),
            start,
            end,
            limit=400,
        )
        assert mass[0] == pytest.approx(found.n / found.n_total, rel=1e-6)
        assert (powerlaw.density([0.5 * lower_cut, 1.001 * found.upper_cut, -1.0], found) == 0).all()


def test_the_histogram_and_the_fitted_density_agree_within_counting_errors() -> None:
    x = rng(23).gamma(1.423, size=20000)
    found = fit(x, n_gof=0)
    edges, counts, density = powerlaw.log_histogram(x, 10)
    middle = np.sqrt(edges[1:] * edges[:-1])
    use = (counts >= 25) & (edges[1:] < found.upper_cut)
    pull = (density[use] / powerlaw.density(middle[use], found) - 1) * np.sqrt(counts[use])
    assert use.sum() > 15 and np.abs(pull).max() < 5


@given(st.lists(st.floats(1e-200, 1e100), min_size=1, max_size=40), st.integers(1, 20))
@settings(deadline=None)
def test_a_histogram_holds_every_value(values: list[float], per_decade: int) -> None:
    edges, counts, density = powerlaw.log_histogram(values, per_decade)
    assert counts.sum() == len(values) and edges[-1] == max(values) and edges[0] <= min(values)
    assert (density * np.diff(edges)).sum() == pytest.approx(1)
    np.testing.assert_allclose(np.diff(np.log10(edges)), 1 / per_decade, rtol=1e-9)


def test_the_record_is_plain_json() -> None:
    found = fit(rng(24).gamma(1.3, size=2000), clusters=np.arange(2000) % 10)
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert again["exponent"] == found.exponent and again["interval"] == list(found.interval)
    assert again["bootstrap_interval"] == list(found.bootstrap_interval or ())
    u = np.sort(rng(24).gamma(1.3, size=2000))
    assert found.decades == pytest.approx(math.log10(found.upper_cut / u[9]))


# What is refused, and what is not


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
def test_what_cannot_be_fitted_is_refused(values: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(values, **options)


@given(
    st.lists(st.floats(1e-4, 1.0), min_size=63, max_size=90),
    st.integers(0, 3),
    st.sampled_from([0.8, 1.0]),
    st.sampled_from([0.0, 1e-3]),
)
@settings(max_examples=60, deadline=None)
def test_any_values_give_a_sound_answer_or_a_refusal(
    values: list[float], order: int, share: float, cut: float
) -> None:
    try:
        found = fit(values, order=order, share=share, lower_cut=cut, n_gof=0)
    except InputError:
        return
    assert -1 <= found.interval[0] <= found.exponent <= found.interval[1]
    assert found.standard_error > 0 and 50 <= found.n <= len(values)
    assert math.isnan(found.p_null) or 0 <= found.p_null <= 1


def test_the_example_in_the_documentation_holds() -> None:
    assert doctest.testmod(powerlaw) == (0, 1)


def test_a_million_values_take_seconds() -> None:
    generator = rng(26)
    x, runs = generator.gamma(1.423, size=10**6), generator.integers(100, size=10**6)
    start = time.perf_counter()
    found = fit(x, clusters=runs)
    assert time.perf_counter() - start < 5  # 0.3 s on two cores
    assert abs(found.exponent - 0.423) < 4 * found.standard_error < 0.03
