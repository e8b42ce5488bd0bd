"""A point of the landscape with what a certificate of it is made from: gaps and their round-off, kinks and their names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import CuspCount
from jamtools.cusps.subgradient import Kinks
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column
from jamtools.network.passes import backward, forward, layers_of
from jamtools.network.roundoff import gap_errors
from jamtools.network.symmetry import balanced, normalised


@dataclass(frozen=True)
class Point:
    """theta [Ñ] and the loss in the gauge of gauge.py, x [P, d], y [P, C], Δ and its round-off [P, C].

    All that has a unit is of that gauge: Δ in `unit`, L in unit²; neuron n of hidden layer j (from 0) was scaled by
    scales[j, n].
    """

    theta: Tensor
    scales: Tensor
    unit: float
    x: Tensor
    y: Tensor
    arch: Architecture
    loss: Loss
    gaps: Tensor
    errors: Tensor

    @classmethod
    def at(cls, theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss) -> Point:
        x, y = x.double(), column(y.double())
        theta, loss, unit = normalised(theta.double(), arch, loss)
        theta, scales = balanced(theta, arch)
        gaps = loss.gaps(forward(layers_of(theta, arch), x, arch).f, y)
        return cls(theta, scales, unit, x, y, arch, loss, gaps, gap_errors(theta, x, arch, loss))

    @property
    def value(self) -> float:
        """L, in the units that the point was given in."""
        return self.unit**2 * float(0.5 * self.loss.hinge_curvature * self.gaps.clamp(min=0).square().sum())

    @property
    def with_gradient(self) -> Tensor:
        """[P] booleans: the patterns that the kinks are of."""
        return (self.y * self.gaps.clamp(min=0)).ne(0).any(1)

    def force_units(self, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the forces of the cusps `at` [n, 3] are in, of a point as it was given [n]."""
        return self.unit**2 * self.scales.cpu().numpy()[at[:, 1] - 1, at[:, 2]]

    def kinks(self, cusps: CuspCount) -> Kinks:
        """The kinks of the loss here."""
        return Kinks(layers_of(self.theta, self.arch), self.x, self.y, self.arch, self.loss, cusps)


def gradient_scale(kinks: Kinks, multipliers: Tensor) -> float:
    """√Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖², the smallest subgradient's terms: what it would be if they were orthogonal."""
    state = kinks.moved(multipliers)
    beta = backward(kinks.layers, state, kinks.signal, kinks.arch)
    squares = [b.square().sum(1) @ (a.square().sum(1) + 1) for b, a in zip(beta, state.inputs, strict=True)]
    return float(torch.stack(squares).sum().sqrt())


def active_cusps(kinks: Kinks, with_gradient: Tensor) -> NDArray[np.int64]:
    """(pattern, layer from 1, neuron) of each cusp [n, 3]; with_gradient [P]: the patterns that the kinks are of."""
    pattern = with_gradient.nonzero()[:, 0]
    rows = [
        torch.stack([pattern[at[0]], torch.full_like(at[0], j + 1), at[1]], 1)
        for j, at in enumerate(kinks.at)
    ]
    return torch.cat(rows).cpu().numpy()


def idle(kinks: Kinks) -> Tensor:
    """[n] booleans: cusps at patterns where some layer above is off altogether, neither on nor at a cusp."""
    alive = torch.ones(len(kinks.y), dtype=torch.bool, device=kinks.y.device)
    found = []
    for slope, at in zip(reversed(kinks.slopes), reversed(kinks.at), strict=True):
        found.append(~alive[at[0]])
        alive = alive & slope.index_put(at, slope.new_ones(())).ne(0).any(1)
    return torch.cat(found[::-1])
