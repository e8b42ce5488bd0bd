"""Problem: the tensors of a run, its parts, and its loss and gradient against the independent network."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support import oracle
from tests.support.cusps import made_run

ARCH = Architecture(4, 5, 2)


def problem(P: int = 30, outputs: int = 1) -> tuple[torch.Tensor, Problem]:
    """theta of order one and a hinge problem with some patterns unsatisfied."""
    arch = replace(ARCH, outputs=outputs)
    x, y = oracle.sphere(P, arch.d, outputs=outputs)
    return oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, P, outputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_problem_of_a_run_has_its_patterns_network_and_loss(dtype):
    data, theta = oracle.dataset(20, 4), oracle.random_theta(ARCH)
    run = made_run(ARCH, theta, data, epsilon=0.5)
    made = Problem.of(run, data, dtype=dtype)
    assert made.arch == ARCH and made.loss == Loss("hinge", 0.5, 20)
    assert made.x.dtype == made.y.dtype == made.tensor(run.theta).dtype == dtype
    assert made.y.shape == (20, 1) and (made.y[:, 0].numpy() == data.y).all()
    assert torch.equal(made.tensor(run.theta), theta.to(dtype))


def test_labels_given_as_a_vector_become_a_column():
    _, given = problem()
    assert torch.equal(replace(given, y=given.y[:, 0]).y, given.y)


def test_a_problem_cannot_be_changed():
    _, given = problem()
    with pytest.raises(FrozenInstanceError):
        given.x = given.x + 1


@pytest.mark.parametrize("outputs", [1, 3])
def test_loss_gaps_and_gradient_equal_those_of_the_independent_network(outputs):
    theta, given = problem(outputs=outputs)
    value = lambda t: oracle.hinge(oracle.f(given.arch, t, given.x), given.y)
    evaluation = given.evaluate(theta)
    f = oracle.f(given.arch, theta, given.x)
    assert evaluation.value == given.value(theta) == pytest.approx(float(value(theta)), rel=1e-13)
    assert torch.allclose(evaluation.gaps, 0.5 - given.y * f, atol=1e-13)
    assert torch.allclose(evaluation.gradient, torch.func.grad(value)(theta), atol=1e-13)
    assert evaluation.n_unsatisfied == int((evaluation.gaps > 0).sum()) > 0


def test_all_methods_for_the_loss_and_the_gradient_give_the_same_bytes():
    theta, given = problem()
    evaluation = given.evaluate(theta)
    value, gradient = given.value_and_gradient(theta)
    largest, again = given.largest_gap_and_gradient(theta)
    plain, gaps, misclassified = given.loss_gaps_and_errors(theta)
    assert value == plain == evaluation.value
    assert torch.equal(gradient, evaluation.gradient) and torch.equal(again, gradient)
    assert largest == given.largest_gap(theta) == evaluation.gaps.max().item()
    assert torch.equal(gaps, evaluation.gaps) and torch.equal(misclassified, evaluation.misclassified)


def test_the_parts_of_a_problem_add_up_to_its_loss_and_gradient():
    theta, given = problem()
    parts = [given.take(torch.arange(start, 30, 3)) for start in range(3)]
    assert sum(part.value(theta) for part in parts) == pytest.approx(given.value(theta), rel=1e-14)
    total = sum(part.value_and_gradient(theta)[1] for part in parts)
    assert torch.allclose(total, given.value_and_gradient(theta)[1], atol=1e-15)


def test_the_mean_of_the_gradients_of_all_batches_is_the_gradient():
    theta, given = problem()
    batches = torch.from_numpy(np.random.default_rng(0).permutation(30)).split(10)
    mean = torch.stack([given.batch_gradient(theta, batch) for batch in batches]).mean(0)
    assert torch.allclose(mean, given.value_and_gradient(theta)[1], atol=1e-15)


def test_a_gap_that_is_not_a_number_counts_as_unsatisfied():
    theta, given = problem()
    assert given.evaluate(theta * torch.nan).n_unsatisfied == 30


def test_the_forward_pass_of_a_problem_needs_independent_patterns():
    theta, given = problem()
    coupled = replace(given, arch=replace(given.arch, batch_norm=True))
    with pytest.raises(InputError, match="batch normalisation"):
        coupled.forward(theta)
