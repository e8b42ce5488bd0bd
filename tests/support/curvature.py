"""The curvature on cusps that are planted in a random network."""

from __future__ import annotations

from torch import Tensor

from jamtools.cusps.counting import count
from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient, smallest_subgradient
from jamtools.minima.second_order import Lagrangian, lagrangian
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support import oracle
from tests.support.cusps import plant

TIGHT = 1e-12


def cusps_of(theta: Tensor, problem: Problem, tolerance: float = TIGHT) -> CuspGradient:
    return CuspGradient(theta, problem, count(theta, problem, tolerance))


def curvature_of(theta, problem, tolerance=TIGHT) -> tuple[SmallestSubgradient, Lagrangian]:
    """The smallest subgradient at theta [Ñ], and the curvature with its multipliers."""
    cusps = cusps_of(theta, problem, tolerance)
    end = smallest_subgradient(cusps)
    return end, lagrangian(cusps, end)


def planted(depth: int, outputs: int = 1, together: bool = True) -> tuple[Tensor, Problem]:
    """theta [Ñ] and the problem of a random network with planted cusps.

    Two cusps are in the first layer at pattern 1. Each layer has one cusp at a pattern of its own. With `together` each
    layer also has a cusp at pattern 0.
    """
    arch = Architecture(4, 5, depth, "relu", outputs)
    x, y = oracle.sphere(40, 4, depth, outputs)
    theta = oracle.random_theta(arch, depth)
    plant(theta, arch, x, 1, 1, 2)
    plant(theta, arch, x, 1, 1, 3)
    for layer in range(1, depth + 1):
        plant(theta, arch, x, layer, 2 + layer, 1)
        if together:
            plant(theta, arch, x, layer, 0, 0)
    return theta, Problem(x, y, arch, Loss("hinge", 3.0, 40, outputs))
