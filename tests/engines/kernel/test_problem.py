"""The gradient of the compiled kernel, compared with the gradient of torch."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.engines.kernel.problem import KernelProblem
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support import oracle
from tests.support.compiled import gradient, problem

EPS = np.finfo(float).eps
#: (d, h, L, C): widths that are multiples of the block of four, that leave a remainder, and that are smaller than a block.
SHAPES = [(4, 8, 2, 1), (5, 7, 3, 1), (2, 3, 1, 1), (3, 6, 5, 1), (9, 4, 2, 3), (1, 1, 1, 2)]


def assert_same_gradient(patterns, theta):
    expected_max_gap, expected = patterns.largest_gap_and_gradient(theta)
    max_gap, g = gradient(patterns, theta)
    assert max_gap == pytest.approx(expected_max_gap, rel=1e-13, abs=1e-14)
    # P terms of depth L + 1, each a product of a few factors, so P·eps of the largest sum is a safe bound
    tolerance = max(10, len(patterns.x)) * EPS * max(1e-3, expected.abs().max().item())
    assert np.abs(g - expected.numpy()).max() <= tolerance


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_the_kernel_equals_the_gradient_of_torch(shape, activation):
    assert_same_gradient(*problem(shape, activation, 150))


@pytest.mark.parametrize("arch", oracle.BARE, ids=str)
def test_the_gradient_is_exact_without_hidden_layers_and_without_biases(arch):
    x, y = oracle.sphere(150, arch.d, outputs=arch.outputs)
    assert_same_gradient(
        Problem(x, y, arch, Loss("hinge", 0.5, 150, arch.outputs)), oracle.random_theta(arch)
    )


@pytest.mark.parametrize("P", [1, 63, 64, 65, 1024, 1025, 3000])
def test_the_gradient_of_the_kernel_is_exact_for_any_number_of_patterns(P):
    assert_same_gradient(*problem((5, 7, 2, 1), "relu", P))


@pytest.mark.parametrize("epsilon", [-1.0, -0.3, 0.0, 0.3, 5.0])
def test_the_gradient_of_the_kernel_is_exact_for_few_and_for_many_unsatisfied_patterns(epsilon):
    """Few unsatisfied patterns are gathered from several tiles. With many, the whole tile takes the backward pass."""
    assert_same_gradient(*problem((5, 7, 3, 1), "relu", 2000, epsilon=epsilon))


def test_the_gradient_of_the_cross_entropy_equals_the_gradient_of_torch():
    assert_same_gradient(*problem((5, 7, 2, 1), "tanh", 300, name="cross-entropy"))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("where", [0, -1])
def test_a_nan_in_any_parameter_makes_the_largest_gap_nan(activation, where):
    patterns, theta = problem((5, 7, 2, 1), activation, 200)
    theta[where] = float("nan")
    assert np.isnan(gradient(patterns, theta)[0])


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_bytes_of_the_gradient_do_not_depend_on_the_number_of_threads(threads):
    case = problem((5, 7, 3, 1), "relu", 5000)
    (max_gap, g), (other_max_gap, other) = gradient(*case), gradient(*case, threads)
    assert (max_gap, g.tobytes()) == (other_max_gap, other.tobytes())


def test_value_and_gradient_equal_those_of_torch():
    patterns, theta = problem((5, 7, 3, 1), "relu", 500)
    value, g = KernelProblem(patterns, theta.numpy()).value_and_gradient(theta.numpy())
    expected, expected_g = patterns.value_and_gradient(theta)
    assert value == pytest.approx(expected, rel=1e-13)
    assert np.abs(g - expected_g.numpy()).max() <= 500 * EPS * expected_g.abs().max().item()
