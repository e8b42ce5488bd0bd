"""Saddles that no second-order test sees are refused; degenerate minima and split neurons get no false certificate."""

from __future__ import annotations

import functools
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.minima.certificate import Certificate, certify
from jamtools.network.architecture import Architecture
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from jamtools.training.ensemble import train
from tests.support.adversary import Network, attack
from tests.support.jammed import newton, problem_of
from tests.support.saddles import Saddle, chain, exact_loss, fold, moments, neuron, power, scaled, split

#: Chains of order 3 to 8 whose weights all vanish; of order 3 and 4 with other weights above; and moments.
CHAINS = [
    (activation, depth, depth + 1) for activation in ("tanh", "linear", "relu") for depth in range(2, 8)
]
CHAINS += [("tanh", 4, 3), ("relu", 5, 4)]
MOMENTS = range(2, 8)

#: ‖g‖ relative to its terms up to which a point counts as stationary.
STATIONARY = 1e-8


def assert_refused(certificate: Certificate) -> None:
    assert certificate.kind == "jammed" and not certificate.certified and certificate.obstacle


def assert_saddle(saddle: Saddle, order: int) -> None:
    """L falls with this power by extended precision, and the certificate refuses the point for its second order."""
    assert power(saddle) == pytest.approx(order, abs=1e-3)
    certificate = certify(saddle.theta, saddle.problem)
    assert_refused(certificate)
    assert certificate.gradient <= STATIONARY * certificate.scale
    assert "of no curvature to round-off" in certificate.obstacle


@pytest.mark.parametrize("case", CHAINS, ids=lambda case: "-".join(map(str, case)))
def test_a_product_of_vanishing_weights_is_a_saddle_of_their_number_and_is_refused(case):
    assert_saddle(chain(*case), case[-1])


@pytest.mark.parametrize("m", MOMENTS)
def test_labels_whose_lower_moments_cancel_make_a_saddle_that_is_refused(m):
    """From m = 4 on the loss rises to every side on straight lines, like t⁴ at least."""
    saddle = moments(m, width=2)
    assert_saddle(saddle, max(m + 1, 2 * m - 2))
    if m > 3:
        straight = replace(saddle, powers=torch.ones_like(saddle.powers))
        with pytest.raises(AssertionError, match="does not fall"):
            power(straight)


@pytest.mark.parametrize("order", [3, 4])
def test_a_direction_whose_curvatures_cancel_exactly_is_refused(order):
    """H0 and Hp cancel at a full rank of ∇f: no direction is flat."""
    saddle = fold(order)
    assert_saddle(saddle, order)
    assert certify(saddle.theta, saddle.problem).n_flat == 0


@pytest.mark.parametrize("scale", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize(("inputs", "margin"), [(1.0, 1.0), (1e-6, 1e3), (1e6, 1e-9)])
def test_a_saddle_is_refused_at_every_scale_of_its_weights_inputs_and_margin(scale, inputs, margin):
    for saddle in (
        chain("tanh", 3, 3, width=2, scale=scale),
        chain("relu", 4, 4, width=2, scale=scale),
        chain("linear", 3, 4, width=3),
        moments(2, bias=0.3),
        fold(3),
    ):
        moved = scaled(saddle, inputs, margin)
        assert power(moved) == pytest.approx(saddle.order, abs=1e-3)
        assert_refused(certify(moved.theta, moved.problem))


@pytest.mark.parametrize("factors", [(1.0, 1e-6), (1.0, 1e-20), (1e-20, 1.0)])
def test_a_small_component_of_the_inputs_adds_no_flat_direction(factors):
    """The rank of ∇f counts the weights on a component of any size; one without curvature is not flat."""
    saddle = scaled(fold(4), torch.tensor(factors, dtype=torch.float64), 1.0)
    certificate = certify(saddle.theta, saddle.problem)
    assert_refused(certificate)
    assert (certificate.n_zero, certificate.n_flat) == (1, 0)


def displacements(saddle: Saddle, r: float) -> list[torch.Tensor]:
    """Along the path to both sides, and at random in the weights that vanish, all of a size r."""
    path = saddle.v * r ** saddle.powers.double()
    random = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, len(path)))
    return [path, -path, torch.where(saddle.v != 0, r * random, 0.0)]


@pytest.mark.parametrize(
    "saddle",
    [chain(*case) for case in CHAINS if case[1] in (2, 4)] + [moments(m) for m in (2, 3)],
    ids=lambda saddle: f"{saddle.problem.arch.activation}-{saddle.problem.arch.depth}-{saddle.order}",
)
def test_no_point_beside_a_saddle_is_certified_though_its_gradient_is_below_the_tolerance(saddle):
    """Ten times as far along the path the loss is lower, by extended precision."""
    small = []
    for r in (1e-9, 1e-7, 1e-6, 1e-5, 1e-4):
        for displacement in displacements(saddle, r):
            theta = saddle.beside(displacement)
            certificate = certify(theta, saddle.problem)
            assert_refused(certificate)
            small.append(certificate.gradient <= STATIONARY * certificate.scale)
            with mpmath.workdps(120):
                lower = exact_loss(saddle.at(10 * mpmath.mpf(r)), saddle.problem)
                # the bias of the output, which is rounded, adds the square of its error
                assert lower < exact_loss(saddle.levelled(theta.tolist()), saddle.problem)
    assert np.mean(small) > 0.3


@pytest.mark.parametrize(
    ("r", "why"),
    [(1e-9, "a trial found"), (1e-7, "a trial found"), (1e-6, "residual"), (1e-5, "Newton's step is")],
)
def test_on_the_slope_of_a_cubic_saddle_the_curvature_is_positive_and_the_point_is_refused(r, why):
    """L = L₀ - A t³ at t = -r: g ~ r² is below its tolerance, and the curvature 6 A r is above round-off."""
    saddle = fold(3)
    theta = saddle.theta - r * saddle.v
    certificate = certify(theta, saddle.problem)
    assert_refused(certificate)
    assert (certificate.n_negative, certificate.n_zero) == (0, 0) and certificate.smallest_curvature > 0
    assert certificate.gradient <= STATIONARY * certificate.scale and why in certificate.obstacle
    with mpmath.workdps(50):
        lower = exact_loss(saddle.at(10 * mpmath.mpf(r)), saddle.problem)
        assert lower < exact_loss(theta.tolist(), saddle.problem)


@pytest.mark.parametrize("activation", ["tanh", "linear", "relu"])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_minimum_and_a_saddle_of_one_order_look_alike_and_neither_is_certified(activation, k):
    """With both labels at each x, L = L₀ + ½⟨x²⟩ (Π w)² is least where a weight vanishes, of order 2k."""
    least = chain(activation, 3, k, both=True)
    with mpmath.workdps(120):
        rises = [
            exact_loss(replace(least, v=side * least.v).at(1e-3), least.problem)
            - exact_loss(least.theta.tolist(), least.problem)
            for side in (-1, 1)
        ]
    assert min(rises) > 0
    certificate = certify(least.theta, least.problem)
    assert certificate.n_negative == 0 and "of no curvature to round-off" in certificate.obstacle
    if k > 2:
        assert_saddle(chain(activation, 3, k), k)


# --- narrow minima ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "curvature", "zeros"), [(3, 1e-6, 0), (3, 1e-5, 20), (4, 1e-6, 0), (4, 1e-4, 20), (4, 1e-2, 0)]
)
def test_a_minimum_that_is_almost_a_saddle_is_refused_or_nothing_lower_lies_within_its_radius(
    order, curvature, zeros
):
    """The basin is as narrow as the curvature (order 3) or its root (4). Inputs that are zero add flat directions."""
    point = fold(order, curvature, zeros)
    certificate = certify(point.theta, point.problem)
    if curvature == 1e-2:
        assert certificate.certified
    if not certificate.certified:
        assert "a trial found a loss lower" in certificate.obstacle
        return
    size = float(point.theta.norm())
    with mpmath.workdps(50):
        start = exact_loss(point.theta.tolist(), point.problem)
        for side in (-1, 1):
            for part in (0.1, 0.5, 1.0):
                there = replace(point, v=side * point.v).at(part * certificate.radius * size)
                fall = (start - exact_loss(there, point.problem)) / start
                assert fall <= certificate.trial_error


# --- split neurons ----------------------------------------------------------------------------------------------


def test_the_neuron_to_split_is_at_a_certified_minimum():
    """f = tanh(x) with Σ s ρ = Σ s x ρ' = 0, and both curvatures of a split positive; certified with one more input."""
    x, s = neuron()
    slope = 1 / np.cosh(x) ** 2
    assert abs((s * np.tanh(x)).sum()) < 1e-13 > abs((s * x * slope).sum())
    curved = -2 * np.tanh(x) * slope * s
    assert curved.sum() > 0 < (curved * x * x).sum()
    wide = fold(4, 0.5)
    assert certify(wide.theta, wide.problem).certified


@pytest.mark.parametrize("a", [-0.5, -1e-3, -1e-6, -1e-9, 0.0, 1.0, 1 + 1e-6, 1.2, 3.0])
def test_a_split_neuron_outside_its_valley_is_a_saddle_and_is_refused(a):
    saddle = split(a)
    t = 2.0**-20 * min(1.0, abs(a * (1 - a)) or 1.0)
    assert power(saddle, t) == pytest.approx(saddle.order, abs=1e-2)
    assert_refused(certify(saddle.theta, saddle.problem))


@pytest.mark.parametrize("a", [0.5, 0.1, 1e-4, 1e-9])
def test_a_split_neuron_inside_its_valley_has_no_lower_loss_within_a_radius(a):
    """0 < a < 1: a valley of equal minima, which ends in saddles at a = 0. Here the rank of ∇f is greater nearby."""
    valley = split(a)
    certificate = certify(valley.theta, valley.problem)
    assert certificate.n_negative == 0
    if certificate.certified:
        assert_not_refuted(valley.theta, valley.problem, certificate)
    else:
        assert "of no curvature to round-off" in certificate.obstacle


def assert_not_refuted(theta: torch.Tensor, problem: Problem, certificate: Certificate) -> None:
    arch = problem.arch
    network = Network(
        problem.x.numpy(), problem.y.numpy(), arch.width, arch.depth, arch.activation, problem.loss.epsilon
    )
    at, error = network.balanced(theta.numpy()), max(certificate.trial_error, 1e-14)
    assert attack(network, at, certificate.radius, 18, 0, error) is None


@functools.cache
def relu_minimum() -> tuple[torch.Tensor, Problem, np.ndarray]:
    """theta of a certified minimum with L > 0 of one hidden layer of ReLU, its problem, and its cusps [n, 3]."""
    data = random_sphere(60, 3, 2)
    run = train(data, Architecture(3, 3, 1), newton(), 2)
    assert run.info["certified"] and run.info["final_loss"] > 0
    return torch.from_numpy(run.theta), problem_of(data, Architecture(3, 3, 1)), run.certificate["cusps"]


def relu_split(n: int, a: float) -> tuple[torch.Tensor, Problem]:
    """`relu_minimum` with its neuron n split: a times its weight to the output, and a new, last neuron with the rest."""
    theta, problem, _ = relu_minimum()
    arch = replace(problem.arch, width=problem.arch.width + 1)
    (w, b), (out, c) = layers_of(theta, problem.arch)
    last = (1 - a) * out[:, n : n + 1]
    out = out.clone()
    out[:, n] *= a
    parts = [torch.cat([w, w[n : n + 1]]), torch.cat([b, b[n : n + 1]]), torch.cat([out, last], 1), c]
    return torch.cat([part.flatten() for part in parts]), replace(problem, arch=arch)


@pytest.mark.parametrize("a", [-0.5, -1e-3, 0.0, 1.0, 1.5])
def test_a_split_relu_neuron_on_cusps_is_refused_unless_both_parts_pull_to_them(a):
    """The force of a cusp is split like the weight: one part is negative, so that L falls along its normal."""
    pattern, _, n = relu_minimum()[2][0]
    assert_refused(certify(*relu_split(n, a)))
    beside = {0.0: -1e-3, 1.0: 1.001}.get(
        a, a
    )  # at 0 and 1 the points next to it on the line of equal loss are saddles
    theta, problem = relu_split(n, beside)
    place = n if beside < 0 else problem.arch.width - 1
    with mpmath.workdps(50):
        start = exact_loss(theta.tolist(), problem)
        for side in (-1, 1):
            moved = theta.clone()
            (w, b), _ = layers_of(moved, problem.arch)
            w[place] += side * 1e-6 * problem.x[pattern]
            b[place] += side * 1e-6
            assert exact_loss(moved.tolist(), problem) < start


@pytest.mark.parametrize(("n", "a"), [(0, 0.5), (1, 0.9), (2, 1e-3), (1, 1e-3)])
def test_a_split_relu_neuron_whose_parts_pull_to_their_cusps_is_not_refuted(n, a):
    theta, problem = relu_split(n, a)
    certificate = certify(theta, problem)
    assert certificate.loss == pytest.approx(problem.value(relu_split(n, 1.0)[0]), rel=1e-12)
    if certificate.certified:
        assert_not_refuted(theta, problem, certificate)
    else:
        assert certificate.n_negative in (0, None)
