"""Newton's step against high precision, at descents to infinity, and at minima where it has no further to go."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
import torch

from jamtools.minima.certificate import certify
from jamtools.minima.first_order import BalancedPoint
from jamtools.minima.newton_step import arrival
from jamtools.minima.state import state_of
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support.one_neuron import column, minimum

#: Three inputs, each with three labels +1 and one −1 or the reverse. L is least where f is −u, u, u, with u = ε/2.
INPUTS, SIGNS, EPSILON = (-1.0, 1.0, 2.0), (-1.0, 1.0, 1.0), 1.0
U = EPSILON / 2

#: That least value: ¾ of the patterns have Δ = ε - u, and ¼ have Δ = ε + u.
INFIMUM = 0.5 * (0.75 * (EPSILON - U) ** 2 + 0.25 * (EPSILON + U) ** 2)


def runaway(w: float) -> tuple[torch.Tensor, Problem]:
    """f = u tanh(w x), which is stationary at w → ∞ alone: there f(1) = f(2) = u, and L is the infimum."""
    x = column(*np.repeat(INPUTS, 4))
    y = column(*(sign * label for sign in SIGNS for label in (1, 1, 1, -1)))
    problem = Problem(x, y, Architecture(1, 1, 1, "tanh"), Loss("hinge", EPSILON, len(x)))
    return column(w, 0.0, U, 0.0)[:, 0], problem


def exact_loss(w, b, a, c):
    """L of `runaway` in the arithmetic of mpmath; every pattern has Δ > 0."""
    total = mpmath.mpf(0)
    for x, sign in zip(INPUTS, SIGNS):
        f = a * mpmath.tanh(w * x + b) + c
        total += 3 * (EPSILON - sign * f) ** 2 + (EPSILON + sign * f) ** 2
    return total / 24


def test_the_step_and_its_gain_equal_those_of_fifty_digits():
    """At w = 2, away from a minimum: ½ gᵀ|H|⁻¹g and ‖|H|⁻¹g‖ in units of each layer.

    Lengths are those of the gauge in which x, of rms √2, has an rms near 1: w is multiplied by 1 or 2 there.
    """
    theta, problem = runaway(2.0)
    with mpmath.workdps(50):
        point = [mpmath.mpf(float(value)) for value in theta]
        n = range(4)
        order = lambda *which: tuple(which.count(i) for i in n)
        g = mpmath.matrix([mpmath.diff(exact_loss, point, order(i)) for i in n])
        H = mpmath.matrix(4, 4)
        for i, j in itertools.product(n, n):
            H[i, j] = mpmath.diff(exact_loss, point, order(i, j))
        values, vectors = mpmath.eigsy(H)
        along = vectors.T * g
        assert min(values) > 0, "the modulus of a negative eigenvalue would depend on the units"
        step = vectors * mpmath.matrix([along[i] / values[i] for i in n])
        gain = sum(along[i] ** 2 / values[i] for i in n) / 2 / exact_loss(*point)
    place = BalancedPoint.of(theta, problem)
    scale = float(place.theta[0] / theta[0])
    assert scale in (1.0, 2.0)
    sizes = [
        mpmath.hypot(factor * v[i], v[i + 1]) for v in (step, point) for i, factor in ((0, scale), (2, 1.0))
    ]
    lengths = [sizes[0] / sizes[2], sizes[1] / sizes[3]]
    found = arrival(place.cusps(1e-3), place.errors)
    assert found.gain == pytest.approx(float(gain), rel=1e-9)
    assert found.length == pytest.approx(float(max(lengths)), rel=1e-9)


@pytest.mark.parametrize("w", [3.0, 5.0, 8.0, 12.0, 16.0, 18.0, 25.0, 1e3])
def test_a_neuron_on_its_way_to_infinity_is_at_no_minimum(w):
    """L falls towards the infimum like e^{-4w}, and g and the curvature with it; at w = 18 they are below round-off."""
    theta, problem = runaway(w)
    certificate = certify(theta, problem)
    assert not certificate.certified and certificate.kind == "jammed"
    assert certificate.loss == pytest.approx(INFIMUM, rel=2 * np.exp(-2 * w))


@pytest.mark.parametrize("w", [8.0, 12.0, 18.0, 25.0, 1e3])
def test_the_limit_of_a_runaway_is_the_infimum(w):
    """The loss with sign(w x) in the place of tanh(w x) is the infimum by hand."""
    theta, problem = runaway(w)
    found = state_of(theta, problem, problem.evaluate(theta), certify(theta, problem))
    assert (found.status, found.n_saturated) == ("escaping", 1)
    assert found.limit_loss == pytest.approx(INFIMUM, rel=1e-15)


def test_a_neuron_on_its_way_that_is_not_saturated_is_no_runaway():
    theta, problem = runaway(2.0)
    found = state_of(theta, problem, problem.evaluate(theta), certify(theta, problem))
    assert (found.status, found.n_saturated, found.limit_loss) == ("budget", 0, None)


def test_at_a_minimum_the_step_is_round_off():
    theta, problem = minimum()
    place = BalancedPoint.of(theta, problem)
    cusps = place.cusps(1e-3)
    found = arrival(cusps, place.errors[cusps.patterns])
    assert found.length < 1e-14 and found.gain < 1e-28
    assert found.residual < 4 * found.rounding < 1e-13
    assert found.obstacle(1e-15) is None


def test_beside_a_minimum_the_step_is_not_round_off():
    """10⁻⁵ away in the bias of the output, along which the curvature is that of a parabola: the step leads back."""
    theta, problem = minimum()
    moved = theta.clone()
    moved[3] += 1e-5
    place = BalancedPoint.of(moved, problem)
    cusps = place.cusps(1e-3)
    found = arrival(cusps, place.errors[cusps.patterns])
    assert 1e-6 < found.length < 1e-4 and found.next_residual < 1e-8
    assert "Newton's step is" in found.obstacle(1e-15)
