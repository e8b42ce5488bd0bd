"""Networks whose properties are known by their construction."""

from __future__ import annotations

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
