"""Networks with a chosen cusp, and records of runs with a given theta."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.records import Dataset, Run
from tests.support import artefacts, oracle


def plant(theta: Tensor, arch: Architecture, x: Tensor, layer: int, pattern: int, neuron: int) -> None:
    """Changes a bias in theta [Ñ] so that the pre-activation (layer from 1, pattern, neuron) is zero; x [P, d]."""
    z = forward(layers_of(theta, arch), x, arch).z[layer - 1][pattern, neuron]
    layers_of(theta, arch)[layer - 1][1][neuron] -= z


def made_run(arch: Architecture, theta: Tensor, data: Dataset, **fields) -> Run:
    """The record of a run that ended at theta [Ñ]; `fields` replace or add to its metadata."""
    f = oracle.f(arch, theta, torch.from_numpy(data.x))[:, 0].numpy()
    n_unsatisfied = int((0.5 - data.y * f > 0).sum())
    sizes = {
        name: getattr(arch, name)
        for name in ("d", "width", "depth", "activation", "n_parameters", "n_hidden")
    }
    info = sizes | {"n_effective_expected": arch.n_effective, "P": data.P, "n_unsatisfied": n_unsatisfied}
    return replace(artefacts.run(**(info | fields)), theta=theta.numpy())


def network(depth: int = 2, activation: str = "relu", outputs: int = 1, P: int = 60, width: int = 5):
    """arch, theta, x, y [P, C] and a hinge loss with some patterns satisfied."""
    arch = Architecture(4, width, depth, activation, outputs)
    x, y = oracle.sphere(P, 4, depth, outputs)
    theta = oracle.random_theta(arch, depth)
    for _, bias in layers_of(theta, arch):
        bias *= 0.2  # with larger biases some patterns turn a whole layer off
    return arch, theta, x, y, Loss("hinge", 0.5, P, outputs)
