"""Networks whose properties are known by their construction."""

from __future__ import annotations

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.passes import forward, layers_of
from tests.support import oracle


def healthy(
    activation: str, depth: int, width: int = 12, outputs: int = 1
) -> tuple[Architecture, Tensor, Tensor]:
    """A network whose neurons are each on for half of the P = 400 patterns."""
    arch = Architecture(6, width, depth, activation, outputs)
    theta, x = oracle.random_theta(arch, 3), oracle.sphere(400, 6)[0]
    for j in range(depth):
        layers = layers_of(theta, arch)
        layers[j][1].sub_(forward(layers, x, arch).z[j].median(0).values)
    return arch, theta, x


def with_equal_norms(theta: Tensor, arch: Architecture) -> Tensor:
    """The ReLU network of theta [Ñ] with the smallest norm among those of the same f.

    The weights into each hidden neuron and those out of it have the same norm there, as at a minimum of fixed norm.
    """
    theta = theta.clone()
    for _ in range(500):
        largest = 0.0
        for j in range(arch.depth):
            (weight, bias), (after, _) = layers_of(theta, arch)[j : j + 2]
            into = (weight.square().sum(1) + bias.square()).sqrt()
            s = (after.norm(dim=0) / into).sqrt()
            weight.mul_(s[:, None])
            bias.mul_(s)
            after.div_(s)
            largest = max(largest, float((s - 1).abs().max()))
        if largest < 4 * torch.finfo(theta.dtype).eps:
            break
    return theta
