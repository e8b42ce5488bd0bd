"""Initial parameters: their distributions, and their dependence on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.passes import layers_of


@pytest.mark.parametrize(("out", "fan_in"), [(10, 10), (4, 9), (25, 10)])
def test_orthogonal_weights_are_haar_blocks(out, fan_in):
    arch = Architecture(fan_in, out, 1)
    weight, bias = layers_of(torch.from_numpy(initial_parameters(arch, "orthogonal", 3)), arch)[0]
    for block in weight.split(fan_in):
        assert torch.allclose(block @ block.T, torch.eye(len(block), dtype=torch.float64), atol=1e-14)
    assert (bias == 0).all()


def test_torch_initialisation_has_torch_s_bounds():
    arch = Architecture(16, 400, 1)
    ours = layers_of(torch.from_numpy(initial_parameters(arch, "torch", 0)), arch)[0]
    theirs = torch.nn.Linear(16, 400)
    for mine, reference in zip(ours, theirs.parameters()):
        assert mine.abs().max() <= 0.25  # 1/√16
        # the largest of n uniform draws is within 10/n of the bound, except with probability e^-10
        assert abs(mine.abs().max() - reference.abs().max()) < 2.5 / min(mine.numel(), reference.numel())
    # variance of U(-σ, σ) is σ²/3; its standard error over n draws is below σ²/√n
    assert abs(ours[0].var().item() - 1 / 48) < 4 / 16 / np.sqrt(6400)


def test_initial_parameters_depend_on_the_seed_alone():
    arch = Architecture(4, 5, 2)
    for init in ("orthogonal", "torch", "normal"):
        assert np.array_equal(initial_parameters(arch, init, 1), initial_parameters(arch, init, 1))
        assert not np.array_equal(initial_parameters(arch, init, 1), initial_parameters(arch, init, 2))


@pytest.mark.parametrize("init", ["orthogonal", "torch", "normal"])
def test_a_network_without_biases_starts_with_the_weights_of_one_with_them(init):
    arch = Architecture(4, 5, 2)
    bare = Architecture(4, 5, 2, bias=False)
    ours, theirs = (layers_of(torch.from_numpy(initial_parameters(a, init, 3)), a) for a in (bare, arch))
    assert all(torch.equal(mine[0], other[0]) for mine, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("init", ["orthogonal", "torch", "normal"])
def test_a_perceptron_of_fixed_norm_starts_on_its_sphere(init):
    theta = initial_parameters(Architecture(6, 6, 0, norm=2.0, bias=False), init, 3)
    assert theta.shape == (6,) and np.linalg.norm(theta) == pytest.approx(2.0, rel=1e-15)
