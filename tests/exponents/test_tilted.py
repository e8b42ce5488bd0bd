"""Moments and maximum of tilted power laws against quadrature by scipy, closed forms and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, optimize, special

from jamtools.errors import InputError
from jamtools.exponents import tilted
from jamtools.exponents.powerlaw import fit_power_law
from jamtools.exponents.tilted import fit_window, influence, select_window
from tests.support.planted_tails import rng

EPS = np.finfo(float).eps

#: η and u₀: light and steep tilts of either sign, t near -1, t large, a narrow window.
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

#: The fit of one given model; how the data choose a model is tested in test_selection.py.
fit = partial(fit_power_law, order=2, share=0.8)


def expectation(of: Callable[[float], float], eta: list[float], u0: float) -> float:
    """∫ of(log u) u^t exp(c₁u + …) du over (u₀, 1] by scipy, in y = log u and panel by panel."""

    def integrand(y: float) -> float:
        u = math.exp(y)
        return of(y) * math.exp((1 + eta[0]) * y + sum(c * u**k for k, c in enumerate(eta[1:], 1)))

    end = -math.log(u0) if u0 else 45 / (1 + eta[0]) + 5
    edges = [0.0, *(e for e in np.geomspace(0.02, 5000, 40) if e < end), end]
    return sum(integrate.quad(integrand, -b, -a, epsabs=1e-14, epsrel=1e-10)[0] for a, b in pairwise(edges))


@pytest.mark.parametrize(("eta", "u0"), PARAMETERS)
def test_moments_equal_those_of_adaptive_quadrature(eta: list[float], u0: float) -> None:
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
    # scipy's covariance is a difference of second moments and inherits their error
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


@pytest.mark.parametrize("t", [-0.6, 0.3])
def test_a_doubly_truncated_power_law_solves_its_likelihood_equation(t: float) -> None:
    """With a = 1+t: E[log u] = −1/a − u₀^a log u₀ / (1 − u₀^a)."""
    x = rng(1).random(4000) ** (1 / (1 + t))
    result = fit(x, order=0, share=1.0, lower_cut=0.05, n_gof=0)
    window = x[x > 0.05]
    u0, m = 0.05 / x.max(), float(np.log(window / x.max()).mean())
    a = optimize.brentq(lambda a: -1 / a - u0**a * math.log(u0) / (1 - u0**a) - m, 1e-3, 9)
    assert result.exponent == pytest.approx(a - 1, abs=1e-9)
    assert (result.n, result.n_total, result.lower_cut) == (window.size, 4000, 0.05)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lower_cut", [0.0, 0.05])
def test_at_the_maximum_the_expected_statistics_equal_the_observed_ones(order: int, lower_cut: float) -> None:
    """The likelihood equations E[T] = ⟨T⟩, with the expectations by scipy."""
    x = rng(2).gamma(1.423, size=2000)
    result = fit(x, order=order, lower_cut=lower_cut, n_gof=0)
    u = x[(x > lower_cut) & (x <= result.upper_cut)] / result.upper_cut
    eta = [result.exponent, *(c * result.upper_cut**k for k, c in enumerate(result.coefficients, 1))]
    u0 = lower_cut / result.upper_cut
    z = expectation(lambda y: 1.0, eta, u0)
    assert expectation(lambda y: y, eta, u0) / z == pytest.approx(np.log(u).mean(), rel=1e-8)
    for k in range(1, order + 1):
        assert expectation(lambda y, k=k: math.exp(k * y), eta, u0) / z == pytest.approx(
            (u**k).mean(), rel=1e-8
        )


def test_the_influence_of_a_value_on_a_power_law_without_tilt_has_its_closed_form() -> None:
    """t̂ = −1 − 1/⟨log u⟩, whose derivative with respect to one log u is 1/(n⟨log u⟩²) = (1+t̂)²/n."""
    x = np.sort(rng(0).random(300) ** 0.7)
    window = select_window(x, 1.0, 0.0)
    log_u = np.log(x / x[-1])
    t = -1 - 1 / log_u.mean()
    np.testing.assert_allclose(
        influence(window, fit_window(window, 0)), (log_u - log_u.mean()) * (1 + t) ** 2 / 300, rtol=1e-8
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_influence_of_a_value_is_the_change_of_the_exponent_without_it(order: int) -> None:
    """t̂ − t̂₍₋ᵢ₎ = ψ_i (1 + O(1/n)), by refits to the other values with the cut fixed."""
    x = np.sort(rng(1).gamma(1.3, size=2000))
    window = select_window(x, 0.8, 0.0)
    maximum = fit_window(window, order)
    psi = influence(window, maximum)
    left = range(0, window.n, 100)
    without = []
    for i in left:
        mean = np.delete(window.statistics[: order + 1], i, axis=1).mean(axis=1)
        without.append(tilted.newton_maximum(mean, 0.0, maximum.eta).eta[0])
    np.testing.assert_allclose(maximum.eta[0] - np.array(without), psi[left], rtol=0.2, atol=0.01 * psi.std())


def test_the_share_counts_the_values_above_the_lower_cut() -> None:
    x = np.arange(1.0, 201.0)
    window = select_window(x, 0.5, 20.0)
    assert (window.first, window.n, window.cut) == (20, 90, 110.0)
    assert window.u0 == 20.0 / 110.0
    assert x[window.within].tolist() == list(range(21, 111))


def test_equal_values_determine_no_tilt() -> None:
    with pytest.raises(InputError, match="60 values that are all equal"):
        fit_window(select_window(np.full(60, 0.3), 1.0, 0.0), 2)


def test_a_maximum_below_minus_one_is_moved_to_the_edge() -> None:
    u = np.sort(1 / (1000 - 999 * rng(4).random(2000)))  # p ∝ u^−2 on (1e-3, 1)
    maximum = fit_window(select_window(u, 1.0, 1e-3), 0)
    assert maximum.converged and maximum.eta[0] == -1
