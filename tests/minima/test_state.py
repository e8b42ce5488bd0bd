"""The state of a run, at points whose state is known in closed form.

One hidden neuron in one dimension: f(x) = a ρ(w x + b) + c, theta = (w, b, a, c).
"""

import math

import pytest
import torch

from jamtools.minima.certificate import Certificate
from jamtools.minima.state import RunState, is_dead_at_rest, state_of
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem

ARCH = Architecture(1, 1, 1)

#: A neuron that is on at x > 0, and that the output ignores; a neuron that is off at |x| < 2.
ON, OFF = (1.0, 0.0), (1.0, -2.0)


def problem(x: list[float], y: list[float], loss: str = "hinge") -> Problem:
    """Patterns x with labels y, with ε = 1/2 for the hinge loss."""
    patterns = torch.tensor(x, dtype=torch.float64)[:, None]
    epsilon = 0.5 if loss == "hinge" else 0.0
    return Problem(patterns, torch.tensor(y, dtype=torch.float64), ARCH, Loss(loss, epsilon, len(x)))


def state(given: Problem, *theta: float) -> RunState:
    """The state at theta = (w, b, a, c)."""
    point = torch.tensor(theta, dtype=torch.float64)
    return state_of(point, given, given.evaluate(point))


@pytest.mark.parametrize(("gap", "status"), [(4e-11, "satisfied"), (0.0, "satisfied"), (6e-11, "budget")])
def test_a_run_is_satisfied_up_to_a_gap_of_1e10_epsilon(gap, status):
    """f = c, so that Δ = 1/2 - c."""
    found = state(problem([1.0], [1.0]), *ON, 0.0, 0.5 - gap)
    assert found.status == status
    assert found.n_unsatisfied == (status == "budget")
    assert found.n_contacts == (status == "satisfied")


def test_a_run_is_dead_if_no_neuron_is_active_at_its_unsatisfied_patterns():
    """The second pattern is satisfied, so that it may be dead without effect."""
    found = state(problem([1.0, 1.5, 3.0], [1.0, -1.0, 1.0]), *OFF, 1.0, -0.6)
    assert (found.status, found.n_unsatisfied) == ("budget", 2)
    found = state(problem([1.0, 1.5], [1.0, -1.0]), *OFF, 1.0, -0.6)
    assert (found.status, found.n_unsatisfied, found.dead.tolist(), found.dead_by_layer) == (
        "dead",
        1,
        [0],
        (1,),
    )


def test_one_unsatisfied_pattern_that_is_alive_makes_a_run_one_that_is_not_dead():
    found = state(problem([1.0, 3.0], [1.0, 1.0]), *OFF, 0.0, 0.0)
    assert (found.status, found.dead.tolist()) == ("budget", [0])


def test_a_run_at_a_minimum_with_a_positive_loss_is_stationary():
    """Two labels at one pattern: L = ½(½ - f)²/2 + ½(½ + f)²/2 has its minimum at f = 0."""
    found = state(problem([1.0, 1.0], [1.0, -1.0]), *ON, 0.0, 0.0)
    assert found.status == "stationary"
    assert found.share == 0.0


@pytest.mark.parametrize(("c", "status"), [(1e-8, "stationary"), (1e-3, "budget")])
def test_the_smallest_subgradient_decides_beside_a_minimum(c, status):
    """With f = c and ρ = 1: ∇L = (∂a, ∂c) = (c, c), the sum of two terms of norm √2 (½ ∓ c)/2."""
    found = state(problem([1.0, 1.0], [1.0, -1.0]), *ON, 0.0, c)
    assert found.status == status
    assert found.share == pytest.approx(math.sqrt(2) * c / math.sqrt(0.25 + c**2), rel=1e-6)


def test_a_certificate_makes_a_run_stationary_whatever_its_share():
    given, theta = problem([1.0, 1.0], [1.0, -1.0]), torch.tensor([*ON, 0.0, 1e-3], dtype=torch.float64)
    found = state_of(
        theta, given, given.evaluate(theta), Certificate("jammed", True, None, gradient=1.0, scale=2.0)
    )
    assert (found.status, found.share) == ("stationary", 0.5)


def test_without_a_margin_misclassified_patterns_decide_and_the_number_of_unsatisfied_ones_is_unknown():
    given = problem([1.0, 1.5], [1.0, -1.0], "cross-entropy")
    wrong, right = state(given, *ON, 0.0, 1.0), state(given, 1.0, -1.25, -8.0, 1.0)
    assert (wrong.status, wrong.n_unsatisfied, wrong.n_misclassified) == ("budget", None, 1)
    assert (right.status, right.n_unsatisfied, right.n_misclassified) == ("satisfied", None, 0)
    assert state(given, *OFF, 1.0, 1.0).status == "dead"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_whose_parameters_or_gaps_are_not_finite_has_diverged(value):
    assert state(problem([1.0], [1.0]), *ON, value, 0.0).status == "diverged"


def test_a_run_whose_gaps_overflow_has_diverged():
    assert state(problem([1.0], [1.0]), *ON, -1.7e308, -1.7e308).status == "diverged"


def test_a_dead_run_rests_where_its_gradient_vanishes():
    """Both labels are dead at the same constant c: the minimum over c is at c = 0."""
    given = problem([1.0, 1.5], [1.0, -1.0])
    for c, rests in ((0.0, True), (0.1, False)):
        theta = torch.tensor([*OFF, 1.0, c], dtype=torch.float64)
        assert is_dead_at_rest(theta, given, given.evaluate(theta)) is rests
    alive = torch.tensor([*ON, 0.0, 0.0], dtype=torch.float64)
    assert not is_dead_at_rest(alive, given, given.evaluate(alive))


def test_with_several_outputs_the_pairs_of_dead_patterns_are_counted_beside_the_patterns():
    """Two dead patterns; f = 0 at both outputs, so that each has two unsatisfied pairs."""
    arch = Architecture(1, 1, 1, outputs=2)
    x = torch.tensor([[1.0], [1.5]], dtype=torch.float64)
    y = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    given = Problem(x, y, arch, Loss("hinge", 0.5, 2, 2))
    theta = torch.zeros(arch.n_parameters, dtype=torch.float64)
    theta[:2] = torch.tensor(OFF)
    found = state_of(theta, given, given.evaluate(theta))
    assert (found.status, len(found.dead), found.n_unsatisfied, found.n_unsatisfied_dead) == ("dead", 2, 4, 4)
