"""Dead patterns: those at which every neuron of some layer is off."""

import numpy as np
import pytest
import torch

from jamtools.network.architecture import Architecture
from jamtools.network.dead import dead_by_layer
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem


def problem(arch: Architecture, P: int = 40, seed: int = 0) -> Problem:
    """Normal patterns with random labels."""
    rng = np.random.default_rng(seed)
    x, y = torch.tensor(rng.normal(size=(P, arch.d))), torch.tensor(rng.choice([-1.0, 1.0], size=P))
    return Problem(x, y, arch, Loss("hinge", 0.5, P))


def mostly_off(arch: Architecture, seed: int) -> torch.Tensor:
    """Normal parameters; all of them lowered, so that many layers are off at many patterns."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=arch.n_parameters) - 0.3)


def pre_activations(theta: np.ndarray, x: np.ndarray, arch: Architecture) -> list[np.ndarray]:
    """z [P, h] of each hidden layer, by numpy."""
    z, a, start = [], x, 0
    for out, fan_in in [(arch.width, arch.d)] + [(arch.width, arch.width)] * (arch.depth - 1):
        weight = theta[start : start + out * fan_in].reshape(out, fan_in)
        bias = theta[start + out * fan_in : start + out * (fan_in + 1)]
        start += out * (fan_in + 1)
        z.append(a @ weight.T + bias)
        a = np.maximum(z[-1], 0)
    return z


@pytest.mark.parametrize("seed", range(5))
def test_a_pattern_is_dead_in_a_layer_where_no_pre_activation_is_positive(seed):
    arch = Architecture(4, 3, 3)
    given, theta = problem(arch), mostly_off(arch, seed)
    expected = np.stack([(z <= 0).all(1) for z in pre_activations(theta.numpy(), given.x.numpy(), arch)])
    assert (dead_by_layer(theta, given).numpy() == expected).all()


def test_the_output_does_not_depend_on_a_dead_pattern_and_is_the_same_for_all_that_are_dead_in_one_layer():
    """∂f/∂x = 0 by torch.autograd, and f is one constant for each highest dead layer."""
    arch = Architecture(4, 3, 3)
    n_checked = 0
    for seed in range(20):
        given, theta = problem(arch), mostly_off(arch, seed)
        by_layer = dead_by_layer(theta, given)
        x = given.x.clone().requires_grad_()
        a, start = x, 0
        for j, (out, fan_in) in enumerate(arch.shapes):
            weight = theta[start : start + out * fan_in].view(out, fan_in)
            a = a @ weight.T + theta[start + out * fan_in : start + out * (fan_in + 1)]
            a = a if j == arch.depth else torch.relu(a)
            start += out * (fan_in + 1)
        slope = torch.autograd.grad(a.sum(), x)[0]
        assert (slope[by_layer.any(0)] == 0).all()
        for layer in by_layer:
            f = a[:, 0][layer]
            assert (f == f[:1]).all()
            n_checked += len(f)
    assert n_checked > 100


def test_a_saturated_layer_of_tanh_is_dead_where_its_slope_rounds_to_zero():
    arch = Architecture(1, 1, 1, "tanh")
    given = Problem(
        torch.tensor([[1.0], [30.0]]).double(), torch.ones(2).double(), arch, Loss("hinge", 0.5, 2)
    )
    theta = torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
    assert dead_by_layer(theta, given).tolist() == [[False, True]]


def test_no_pattern_of_a_linear_network_is_dead():
    arch = Architecture(3, 2, 2, "linear")
    assert not dead_by_layer(torch.zeros(arch.n_parameters).double(), problem(arch)).any()


def test_with_batch_normalisation_the_normalised_pre_activations_decide():
    """A shift of -100 at unit gain turns every neuron off."""
    arch = Architecture(3, 2, 1, batch_norm=True)
    given = problem(arch)
    on = torch.ones(arch.n_parameters).double()
    off = on.clone()
    off[3 * 2 + 2 + 2 : 3 * 2 + 2 + 4] = -100
    assert dead_by_layer(off, given).all()
    assert not dead_by_layer(on, given).all()
