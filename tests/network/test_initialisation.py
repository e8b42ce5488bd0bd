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
