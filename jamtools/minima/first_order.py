"""The first-order conditions of a minimum, at a theta in the balanced gauge, with Δ and bounds of its round-off.

    u_i > 0,      0 ≤ λ_i ≤ 1,      g(λ) = 0

A sign is accepted only where the modulus of the number is larger than a bound of its round-off: that of Δ comes with the
forward pass (network/roundoff.py). In the backward pass, with |ρ'| ≤ 1, a force has a relative rounding of at most k eps in
each path from the output, k = Σ_j (fan-in_j + 2).
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import count
from jamtools.cusps.subgradient import CuspGradient
from jamtools.network.passes import ForwardPass, backward, joined, stacked
from jamtools.network.problem import Problem
from jamtools.network.roundoff import absolute, gap_errors, operations
from jamtools.network.symmetry import balanced, even_inputs, gauge_factors, normalised

#: ‖g‖ counts as zero up to this part of √Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖².
STATIONARY_RELATIVE_NORM = 1e-8


@dataclass(frozen=True)
class BalancedPoint:
    """theta [Ñ] and its problem in the balanced gauge, with Δ and bounds of its round-off [P, C].

    At fixed norm there is no other gauge than the given one. Quantities are in the units of the gauge: Δ in `unit`, L in
    unit². scales [L, h]: the factor by which each hidden neuron was scaled. forward_pass: that of all patterns. stretch: a
    displacement of the balanced network by r ‖W‖, on the patterns and with the ε that were given, is one of at most r
    `stretch` ‖W‖ here.
    """

    theta: Tensor
    problem: Problem
    scales: Tensor
    unit: float
    forward_pass: ForwardPass
    gaps: Tensor
    errors: Tensor
    stretch: float

    @classmethod
    def of(cls, theta: Tensor, problem: Problem, even: bool = False) -> BalancedPoint:
        """The point of a theta [Ñ], in float64; even: in the gauge where each component of x has an rms near 1."""
        if problem.arch.norm is not None:
            return cls._on_sphere(theta.double(), problem)
        arch = problem.arch
        given, given_scales = balanced(theta.double(), arch)
        theta, loss, unit = normalised(theta.double(), arch, problem.loss)
        x = problem.x.double()
        inputs = torch.ones_like(x[0])
        if even:
            theta, x, inputs = even_inputs(theta, arch, x)
        theta, scales = balanced(theta, arch)
        problem = replace(problem, x=x, y=problem.y.double(), loss=loss)
        forward_pass = problem.forward(theta)
        gaps = loss.gaps(forward_pass.f, problem.y)
        factors = gauge_factors(arch, inputs, scales / given_scales, unit)
        stretch = float(factors.max() * given.norm() / theta.norm()) if bool(theta.any()) else 1.0
        return cls(theta, problem, scales, unit, forward_pass, gaps, gap_errors(theta, problem), stretch)

    @classmethod
    def _on_sphere(cls, theta: Tensor, problem: Problem) -> BalancedPoint:
        """The point of a theta of fixed norm, which has no other gauge."""
        problem = replace(problem, x=problem.x.double(), y=problem.y.double())
        forward_pass = problem.forward(theta)
        gaps = problem.loss.gaps(forward_pass.f, problem.y)
        scales = theta.new_ones(problem.arch.depth, problem.arch.width)
        return cls(theta, problem, scales, 1.0, forward_pass, gaps, gap_errors(theta, problem), 1.0)

    @property
    def value(self) -> float:
        """L, in the units in which the point was given."""
        curvature = self.problem.loss.hinge_curvature
        return self.unit**2 * float(0.5 * curvature * self.gaps.clamp(min=0).square().sum())

    def force_units(self, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """The unit [n] of the force of each cusp `at` [n, 3], in the units in which the point was given."""
        return self.unit**2 * self.scales.cpu().numpy()[at[:, 1] - 1, at[:, 2]]

    def cusps(self, tolerance: float) -> CuspGradient:
        """The cusps of the loss at this point, within a tolerance in scales of the neuron."""
        counted = count(self.theta, self.problem, tolerance, self.forward_pass)
        return CuspGradient(self.theta, self.problem, counted, self.forward_pass)


class FirstOrder:
    """The first-order conditions at a point, with the multipliers [n] of its cusps.

    alive [n]: cusps that are not idle; force, force_error [n]: u_i and bounds of its round-off; gradient: ‖g(λ)‖; scale: the
    size of its terms, with which it is compared; distances [L][m, h]: |z| in scales of its neuron.
    """

    def __init__(self, point: BalancedPoint, cusps: CuspGradient, multipliers: Tensor) -> None:
        self.point, self.cusps, self.multipliers = point, cusps, multipliers
        self.alive = ~idle(cusps)
        self.force = cusps.forces(multipliers)
        self.force_error = force_errors(cusps, multipliers, point.errors[cusps.patterns])
        self.gradient = float(cusps.gradient(multipliers).norm())
        self.scale = gradient_scale(cusps, multipliers)
        self.distances = [
            z.abs() / torch.where(scale > 0, scale, 1.0)
            for z, scale in zip(cusps.forward_pass.z[:-1], cusps.scales)
        ]

    @property
    def off_zero(self) -> float:
        """Σ |u_i z_i|: the largest decrease of the loss until the cusps are at zero."""
        return float((self.force * self.cusps.z).abs().sum())

    @property
    def obstacle(self) -> str | None:
        """One line that says why the point is not proved stationary; None where it is."""
        force, error = self.force[self.alive], self.force_error[self.alive]
        if bool((force < -error).any()):
            n = int((force < -error).sum())
            return f"{n} concave cusp{'s' * (n > 1)}, the largest force {float(force.min()):.1e}"
        if not self.scale > 0:
            return "no unsatisfied pattern has a gradient"
        ratio = self.gradient / self.scale
        if not ratio <= STATIONARY_RELATIVE_NORM:
            return f"the smallest subgradient is {ratio:.1e} of its terms"
        if bool((force <= error).any()):
            n = int((force <= error).sum())
            return f"{n} cusp{'s' * (n > 1)} whose force is zero to round-off, which second order does not decide"
        return None

    def fields(self) -> dict[str, Any]:
        """The fields of a Certificate that first order gives."""
        alive, bound = self.alive.cpu().numpy(), (self.force / self.force_error)[self.alive]
        at = cusp_places(self.cusps)[alive]
        multipliers = self.multipliers.cpu().numpy()[alive]
        size = stacked(self.distances, self.multipliers, len(self.cusps.patterns), 0)
        inside = torch.zeros_like(size, dtype=torch.bool)
        for layer, (patterns, neurons) in zip(inside, self.cusps.at):
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


def _extreme(values: Tensor, which: Callable[[Tensor], Tensor]) -> float | None:
    return float(which(values)) if values.numel() else None


def gradient_scale(cusps: CuspGradient, multipliers: Tensor, signal: Tensor | None = None) -> float:
    """√Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖², the value of ‖g(λ)‖ if its terms were orthogonal; multipliers [n].

    signal [m, C]: the ∂L/∂f_µ, if they are not those of the cusps.
    """
    forward_pass = cusps.with_multipliers(multipliers)
    beta = backward(cusps.layers, forward_pass, cusps.signal if signal is None else signal, cusps.arch)
    squares = [
        b.square().sum(1) @ (a.square().sum(1) + cusps.arch.bias)
        for b, a in zip(beta, forward_pass.inputs, strict=True)
    ]
    return float(torch.stack(squares).sum().sqrt())


def cusp_places(cusps: CuspGradient) -> NDArray[np.int64]:
    """(pattern, layer from 1, neuron) of each cusp [n, 3]."""
    rows = [
        torch.stack([cusps.patterns[at[0]], torch.full_like(at[0], j + 1), at[1]], 1)
        for j, at in enumerate(cusps.at)
    ]
    return joined(rows, cusps.patterns.new_zeros(0, 3)).cpu().numpy()


def idle(cusps: CuspGradient) -> Tensor:
    """Which cusps [n] are idle: at their pattern, some layer above has no neuron that is on or at a cusp."""
    alive = torch.ones(len(cusps.patterns), dtype=torch.bool, device=cusps.theta.device)
    by_layer = []
    for slope, at in zip(reversed(cusps.slopes), reversed(cusps.at), strict=True):
        by_layer.append(~alive[at[0]])
        alive = alive & slope.index_put(at, slope.new_ones(())).ne(0).any(1)
    return joined(by_layer[::-1], alive[:0])


def force_errors(cusps: CuspGradient, multipliers: Tensor, errors: Tensor) -> Tensor:
    """Bounds of the round-off in the forces u_i [n] of cusps; errors [m, C]: those of Δ at the patterns with gradient."""
    rounding = operations(cusps.arch) * torch.finfo(multipliers.dtype).eps
    signal = rounding * cusps.signal.abs() + cusps.active.loss.hinge_curvature * errors
    return cusps.summed(cusps.propagated(signal, absolute(cusps.layers), multipliers))
