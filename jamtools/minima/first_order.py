"""A point of the landscape with what a certificate of it is made from: gaps and their round-off, kinks and their names.

How far round-off can move what a network computes, at worst.

    |δf| ≤ k eps F,     F = |W_{L+1}| (… |W_2| (|W_1| |x| + |b_1|) + |b_2| …) + |b_{L+1}|,      k = Σ_j (fan-in_j + 2)

since |ρ(z)| ≤ |z| and |ρ'| ≤ 1: each sum of n products is off by n eps of the sum of their sizes, and 2 are for the bias and
ρ. The same holds on the way back. A sign counts where the number is larger than this, and a loss is lower than another by
more than this or not at all.
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import CuspCount
from jamtools.cusps.subgradient import Kinks
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column
from jamtools.network.passes import backward, forward, layers_of
from jamtools.network.roundoff import _sizes, gap_errors, operations
from jamtools.network.symmetry import balanced, normalised

#: ‖g‖ below this part of √Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖² is zero.
STATIONARY = 1e-8


class _FirstOrder:
    """What the forces and the smallest subgradient say; multipliers [n] as Kinks orders them."""

    def __init__(self, point: Point, kinks: Kinks, cusps: CuspCount, multipliers: Tensor) -> None:
        self.point, self.kinks, self.multipliers = point, kinks, multipliers
        self.with_gradient = point.with_gradient
        self.alive = ~idle(kinks)
        self.force = torch.cat(kinks.forces(multipliers))
        self.force_error = force_errors(kinks, multipliers, point.loss, point.errors[self.with_gradient])
        self.gradient = float(kinks.gradient(multipliers).norm())
        self.scale = gradient_scale(kinks, multipliers)
        self.distances = [
            z.abs() / (layer.scale or 1.0) for z, layer in zip(kinks.state.z[:-1], cusps.per_layer)
        ]

    @property
    def off_zero(self) -> float:
        """Σ |u_i z_i|: what the loss may lose before the cusps are at zero."""
        z = torch.cat([layer[at] for layer, at in zip(self.kinks.state.z, self.kinks.at)])
        return float((self.force * z).abs().sum())

    @property
    def obstacle(self) -> str | None:
        force, error = self.force[self.alive], self.force_error[self.alive]
        if bool((force < -error).any()):
            n = int((force < -error).sum())
            return f"{n} concave cusp{'s' * (n > 1)}, the largest force {float(force.min()):.1e}"
        ratio = self.gradient / self.scale
        if not ratio <= STATIONARY:
            return f"the smallest subgradient is {ratio:.1e} of its terms"
        if bool((force <= error).any()):
            n = int((force <= error).sum())
            return f"{n} cusp{'s' * (n > 1)} whose force is zero to round-off, which second order does not decide"
        return None

    def fields(self) -> dict[str, Any]:
        """What of it a Certificate holds."""
        alive, bound = self.alive.cpu().numpy(), (self.force / self.force_error)[self.alive]
        at = active_cusps(self.kinks, self.with_gradient)[alive]
        multipliers = self.multipliers.cpu().numpy()[alive]
        size = torch.stack(self.distances)
        inside = torch.zeros_like(size, dtype=torch.bool)
        for layer, (patterns, neurons) in zip(inside, self.kinks.at):
            layer[patterns, neurons] = True
        return {
            "n_cusps": len(at),
            "n_idle": int((~alive).sum()),
            "cusp_distance": _extreme(size[inside], torch.max),
            "next_distance": _extreme(size[~inside], torch.min),
            "gradient": self.gradient,
            "scale": self.scale,
            "smallest_force": _extreme(bound, torch.min),
            "smallest_multiplier": float(multipliers.min()) if len(at) else None,
            "largest_multiplier": float(multipliers.max()) if len(at) else None,
            "cusps": at,
            "multipliers": multipliers,
            "forces": self.force.cpu().numpy()[alive] * self.point.force_units(at),
        }


def _extreme(values: Tensor, which: Any) -> float | None:
    return float(which(values)) if values.numel() else None


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


def force_errors(kinks: Kinks, multipliers: Tensor, loss: Loss, errors: Tensor) -> Tensor:
    """Bounds of the round-off in the forces u_i [n] of cusps; errors [p, C] are those of Δ at the kinks' patterns."""
    sizes = copy(kinks)
    sizes.layers = _sizes(kinks.layers)
    rounding = operations(kinks.arch) * torch.finfo(multipliers.dtype).eps
    sizes.signal = rounding * kinks.signal.abs() + loss.hinge_curvature * errors
    return torch.cat(sizes.forces(multipliers))
