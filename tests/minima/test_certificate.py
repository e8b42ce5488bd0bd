"""Certificates of minima that are known by hand or planted, and of points that are no minima but look like one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import jamtools.minima.certificate
import jamtools.minima.first_order
from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient
from jamtools.errors import InputError
from jamtools.minima.certificate import Certificate, certify
from jamtools.minima.second_order import Curvature, Lagrangian
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from jamtools.records import CONTACT_TOLERANCE
from tests.support import oracle
from tests.support.one_neuron import minimum, saddle
from tests.support.planted import BOTH, Point, stationary, true_loss

LAYER_1 = [(1, 0, 0), (1, 1, 1), (1, 2, 2)]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.fixture(scope="module")
def deep() -> tuple[Point, np.ndarray]:
    return stationary(305, BOTH, 2)


# --- minima -------------------------------------------------------------------------------------------------


def test_one_neuron_on_a_cusp_is_certified_with_its_multiplier():
    """By hand, λ = ½ and P ∂L/∂f = 4 (tests/support/one_neuron.py)."""
    certificate = certify(*minimum())
    assert certificate.certified and certificate.kind == "jammed" and certificate.obstacle is None
    assert certificate.cusps.tolist() == [[0, 1, 0]] and certificate.cusps.dtype == np.int64
    assert certificate.multipliers == pytest.approx([0.5]) and certificate.forces == pytest.approx([4 / 7])
    assert (
        certificate.n_unsatisfied,
        certificate.n_cusps,
        certificate.n_negative,
        certificate.n_at_bound,
    ) == (7, 1, 0, 0)
    assert certificate.gradient < 1e-14 and certificate.loss == pytest.approx(true_loss(minimum()))


def test_patterns_with_the_same_x_and_opposite_labels_are_one_kink():
    """At the cusp x = 0, f = 1: two more patterns of label 1 with P ∂L/∂f = -2 and one of label -1 with 4 change no sum.

    Alone the cusps of label 1 would be concave.
    """
    theta, problem = minimum()
    more = torch.tensor([[1.0], [1.0], [-1.0]], dtype=torch.float64)
    x, y = torch.cat([problem.x, torch.zeros(3, 1).double()]), torch.cat([problem.y, more])
    certificate = certify(theta, replace(problem, x=x, y=y, loss=replace(problem.loss, P=10)))
    assert certificate.certified and certificate.obstacle is None
    assert certificate.cusps[:, 0].tolist() == [0, 7, 8, 9]
    assert certificate.multipliers == pytest.approx([0.5] * 4)
    assert certificate.forces == pytest.approx([4 / 10] * 4)


@pytest.mark.parametrize("seed", [3, 10])
def test_a_planted_minimum_on_cusps_of_one_layer_is_certified_with_its_multipliers(seed):
    point, planted = stationary(seed, LAYER_1, 1)
    assert_planted(certify(*point), planted)


def assert_planted(certificate: Certificate, planted: np.ndarray) -> None:
    assert certificate.obstacle is None and certificate.certified
    assert certificate.n_cusps == len(planted) and certificate.multipliers == pytest.approx(planted, abs=1e-9)
    assert certificate.gradient < 1e-11 * certificate.scale, "the planted data are as exact as that"
    assert (certificate.forces > 0).all() and certificate.smallest_force > 1
    assert certificate.cusp_distance < 1e-12 < 1e-3 < certificate.next_distance
    assert certificate.n_trials > 20 and abs(certificate.lowest_change) <= certificate.trial_error
    assert certificate.newton_length < 1e-9 and certificate.newton_gain < certificate.trial_error
    assert certificate.next_residual < 4 * certificate.residual_rounding


def test_a_planted_minimum_with_cusps_of_one_pattern_in_both_layers_is_certified(deep):
    point, planted = deep
    certificate = certify(*point)
    assert_planted(certificate, planted)
    patterns = {layer: set(certificate.cusps[certificate.cusps[:, 1] == layer, 0]) for layer in (1, 2)}
    assert len(patterns[1] & patterns[2]) == 6, "the copies of pattern 0"
    assert certificate.n_zero == certificate.n_flat == 1, (
        "a neuron that is always on moves against the biases above it"
    )


def test_a_network_that_made_the_labels_is_certified_as_satisfied():
    arch, theta = Architecture(4, 5, 2), oracle.random_theta(Architecture(4, 5, 2))
    x, _ = oracle.sphere(50, 4)
    f = oracle.f(arch, theta, x)
    loss = Loss("hinge", 0.9 * float(f.abs().min()), 50)
    certificate = certify(theta, Problem(x, torch.sign(f), arch, loss))
    assert (certificate.kind, certificate.certified, certificate.n_unsatisfied, certificate.loss) == (
        "satisfied",
        True,
        0,
        0.0,
    )
    assert certificate.n_trials is None and certificate.cusps.shape == (0, 3)


@pytest.mark.parametrize(("part", "kind"), [(0.5, "satisfied"), (2.0, "jammed")])
def test_a_gap_is_satisfied_up_to_the_contact_tolerance(part, kind):
    """f is the bias c of the output, and Δ = ε - c."""
    arch, loss = Architecture(1, 1, 1), Loss("hinge", 0.5, 1)
    theta = column(0, 0, 0, 0.5 - part * CONTACT_TOLERANCE * 0.5)[:, 0]
    certificate = certify(theta, Problem(column(1.0), column(1.0), arch, loss))
    assert (
        certificate.kind == kind
        and certificate.n_unsatisfied == int(part > 1)
        and certificate.n_contacts == int(part < 1)
    )


def test_a_smooth_minimum_found_by_hand_is_certified():
    """f = a tanh(w x + b) + c at x = 0 with both labels: f = 0 gives the least L = ε²/2, along flat directions."""
    arch, loss = Architecture(1, 1, 1, "tanh"), Loss("hinge", 0.5, 2)
    problem = Problem(column(0, 0), column(1, -1), arch, loss)
    certificate = certify(column(0.3, 0.0, 0.7, 0.0)[:, 0], problem)
    assert certificate.certified and certificate.loss == pytest.approx(0.125)
    assert (certificate.n_cusps, certificate.n_zero, certificate.n_flat) == (0, 3, 3)
    certificate = certify(column(0.3, 0.0, 0.7, 1e-3)[:, 0], problem)
    assert not certificate.certified and "the smallest subgradient is" in certificate.obstacle


def test_a_gap_that_is_zero_to_round_off_adds_no_curvature():
    """There is one more pattern, one last digit below x = 2, where f = 1 + ρ(x) = ε."""
    theta, seven = minimum()
    x, y = torch.cat([seven.x, column(2 - 4e-16)]), torch.cat([seven.y, column(1)])
    certificate = certify(theta, Problem(x, y, seven.arch, replace(seven.loss, P=8)))
    assert certificate.certified and (
        certificate.n_undecided,
        certificate.n_contacts,
        certificate.n_unsatisfied,
    ) == (1, 1, 7)
    bare = certify(*minimum())
    assert certificate.smallest_curvature == pytest.approx(bare.smallest_curvature, rel=1e-9)


# --- points that only look like minima ------------------------------------------------------------------------


def test_a_saddle_on_a_cusp_is_not_certified_and_its_negative_directions_are_counted():
    certificate = certify(*saddle())
    assert not certificate.certified and certificate.n_negative == 1
    assert certificate.obstacle.startswith("1 negative direction of the Lagrangian, -")
    assert certificate.gradient < 1e-14 * certificate.scale


def test_a_concave_cusp_is_not_certified():
    """At w = b = 0, a = 1 the subdifferential contains zero, and L falls with |w|."""
    arch, loss = Architecture(1, 1, 1), Loss("hinge", 0.5, 4)
    x, y = column(1, -1, 0.5, -0.5), column(1, 1, -1, -1)
    certificate = certify(column(0, 0, 1, 0)[:, 0], Problem(x, y, arch, loss))
    assert not certificate.certified and certificate.gradient < 1e-15
    assert certificate.obstacle == "2 concave cusps, the largest force -1.2e-01"


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "linear", "relu"])
def test_a_network_whose_parameters_all_vanish_is_not_certified(activation, depth):
    """f = c = 0 with equally many labels of either sign: ∇L = 0, and for depth ≥ 2 so are all second derivatives in W."""
    arch, (x, _) = Architecture(4, 3, depth, activation), oracle.sphere(20, 4)
    y = column(*[1, -1] * 10)
    theta = torch.zeros(arch.n_parameters, dtype=torch.float64)
    certificate = certify(theta, Problem(x, y, arch, Loss("hinge", 0.5, 20)))
    assert not certificate.certified and certificate.obstacle is not None
    assert certificate.gradient < 1e-15
    if depth > 1 and activation != "relu":
        assert "of no curvature to round-off, which second order does not decide" in certificate.obstacle


def test_a_saddle_of_a_linear_network_is_not_certified():
    """f = a (w x + b) + c at a = w = b = c = 0 with labels along x: a and w lower L together."""
    arch, loss = Architecture(1, 1, 1, "linear"), Loss("hinge", 0.5, 2)
    certificate = certify(column(0, 0, 0, 0)[:, 0], Problem(column(1, -1), column(1, -1), arch, loss))
    assert (
        certificate.obstacle.startswith("1 negative direction of the Lagrangian")
        and not certificate.certified
    )


def blind(cusps: CuspGradient, smallest: SmallestSubgradient) -> Lagrangian:
    """A Lagrangian with positive curvature, which does not depend on the point."""
    space = Curvature(1, 0, 0, 1.0, 1.0)
    return Lagrangian(space, space, 0, 0, 0)


@pytest.mark.parametrize(
    "point", [saddle(), stationary(440, BOTH, 2)[0]], ids=["by hand", "-1e-4 of the largest curvature"]
)
def test_descent_trials_find_a_saddle_that_second_order_overlooks(point, monkeypatch):
    assert certify(*point).n_negative == 1
    monkeypatch.setattr(jamtools.minima.certificate, "lagrangian", blind)
    certificate = certify(*point)
    assert not certificate.certified and certificate.obstacle.startswith("a trial found a loss lower by")
    assert certificate.lowest_change < -certificate.trial_error < 0


def test_a_point_near_a_minimum_is_not_certified():
    theta, problem = minimum()
    certificate = certify(theta + 1e-6, problem)
    assert not certificate.certified and certificate.n_cusps == 0 and "of its terms" in certificate.obstacle


def test_certify_refuses_other_losses_and_does_not_certify_what_is_not_finite_or_too_large(monkeypatch):
    theta, problem = minimum()
    certificate = certify(theta * torch.nan, problem)
    assert (certificate.kind, certificate.certified, certificate.obstacle) == (
        "diverged",
        False,
        "its parameters are not finite",
    )
    with pytest.raises(InputError, match="cross-entropy"):
        certify(theta, replace(problem, loss=Loss("cross-entropy", 0.0, 7)))
    with pytest.raises(InputError, match="batch normalisation"):
        certify(theta, replace(problem, arch=replace(problem.arch, batch_norm=True)))
    monkeypatch.setattr(jamtools.minima.second_order, "CURVATURE_MAX_PARAMETERS", 3)
    certificate = certify(theta, problem)
    assert not certificate.certified and "4 parameters, 5 matrices of" in certificate.obstacle


# --- invariance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2.0**-40, 0.37, 1e12])
def test_a_certificate_does_not_depend_on_the_scale_of_a_neuron(deep, factor):
    theta, problem = deep[0]
    before = certify(theta, problem)
    scaled = theta.clone()
    layers = layers_of(scaled, problem.arch)
    layers[0][0][1] *= factor
    layers[0][1][1] *= factor
    layers[1][0][:, 1] /= factor
    after = certify(scaled, problem)
    assert after.certified and (after.cusps == before.cusps).all()
    assert after.multipliers == pytest.approx(before.multipliers, abs=1e-9)
    moved = (before.cusps[:, 1] == 1) & (before.cusps[:, 2] == 1)
    assert moved.any() and after.forces == pytest.approx(before.forces / np.where(moved, factor, 1.0))


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_a_certificate_does_not_depend_on_the_scale_of_the_loss(factor):
    theta, problem = minimum()
    for tensor in layers_of(theta, problem.arch)[-1]:
        tensor *= factor
    loss = replace(problem.loss, epsilon=factor * problem.loss.epsilon)
    certificate = certify(theta, replace(problem, loss=loss))
    assert certificate.certified and certificate.multipliers == pytest.approx([0.5])


@pytest.mark.parametrize("seed", range(2))
def test_a_certificate_places_its_cusps_once(seed, monkeypatch):
    """The cusps with their gradients are the expensive part of a point; every condition shares them."""
    made = []
    original = CuspGradient.__init__

    def counted(self, *args, **options):
        made.append(args)
        original(self, *args, **options)

    monkeypatch.setattr(CuspGradient, "__init__", counted)
    theta, problem = minimum()
    assert certify(theta, problem, seed).certified
    assert len(made) == 1
