"""The full Newton step at a point on cusps, and whether the point is where the step leads.

    λ = argmin ‖g(λ)‖                                        (least squares, unbounded)
    d = d_n + Z |Zᵀ∇²𝓛 Z|⁺ Zᵀ(-g - ∇²𝓛 d_n),      u_i ∇z_i·d_n = -u_i z_i,      ∇z_i·Z = 0,      A_k W·Z = 0
    gain = ½ g·Z |Zᵀ∇²𝓛 Z|⁺ Zᵀ g,      r(W) = ‖g‖ / √Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖² + max |z_i| / s_i

At fixed norm ∇²𝓛 + μ stands for ∇²𝓛, and W for the symmetries; the step is followed by W ← R W/‖W‖.

The step stays on the manifold of the cusps. The scale symmetries A_k W of ReLU are projected out, and there is no step along
eigenvectors of eigenvalue zero. |·| takes the modulus of each eigenvalue, so that the step goes down along a negative one.

At a minimum the step is no longer than round-off, and it squares the residual r. A small gradient alone proves nothing: on
L = L₀ + A e^{-2w}, g and ∇²𝓛 vanish together as w → ∞, and r falls below any limit. But d = ½ there at every w, and each
step divides r by e. On a power w^{-k}, d = w/(k + 1). So a descent to infinity, such as that of a tanh neuron that
saturates, has a step that is not small, or a residual that falls in proportion.

Source: J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapter 18, for the step; S. Boyd and L. Vandenberghe,
Convex Optimization (2004), section 9.5, for its decrement and its quadratic convergence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.cusps.subgradient import CuspGradient
from jamtools.linalg.subspace import orthonormal_basis, pseudo_inverse
from jamtools.minima.first_order import gradient_scale
from jamtools.minima.second_order import CURVATURE_ROUND_OFF_FACTOR, in_dual_units, in_units
from jamtools.network.passes import layers_of
from jamtools.network.roundoff import operations

#: The largest number of linearisations of g(λ), which is not linear where a pattern has cusps in several layers.
MULTIPLIER_MAX_LINEARISATIONS = 8

#: The longest step at a minimum, in ‖W_j‖ of each layer.
ARRIVED_STEP = 1e-6

#: At a minimum a step takes the residual r < 1 to less than r to this power. Its square is too strict, since it is
#: multiplied by the condition number of ∇²𝓛.
RESIDUAL_POWER = 1.5

#: The residual may stay this many times above the bound of its round-off.
RESIDUAL_ROUND_OFF_FACTOR = 4.0


@dataclass(frozen=True)
class Step:
    """A Newton step: the vector d [Ñ]; the predicted gain in L; the unit vector [Ñ] of the lowest curvature, if negative."""

    vector: Tensor
    gain: float
    downward: Tensor | None


@dataclass(frozen=True)
class Arrival:
    """How far a point is from where its Newton step leads.

    gain: the predicted decrease of L, relative to it; length: the largest ‖d_j‖ / ‖W_j‖ of a layer; residual,
    next_residual: r before and after the step; rounding: a bound of the round-off in r.
    """

    gain: float
    length: float
    residual: float
    next_residual: float
    rounding: float

    def obstacle(self, slack: float) -> str | None:
        """One line that says why the point has not arrived; None where it has. slack: the round-off of L, relative to it."""
        if not self.length <= ARRIVED_STEP:
            return f"Newton's step is {self.length:.1e} of the weights of a layer: the minimum is elsewhere, or at infinity"
        if not self.gain <= slack:
            return f"Newton's step lowers the loss by {self.gain:.1e} of it, and round-off is {slack:.1e}"
        expected = max(self.residual**RESIDUAL_POWER, RESIDUAL_ROUND_OFF_FACTOR * self.rounding)
        if not self.next_residual <= expected:
            return (
                f"Newton's step takes the residual from {self.residual:.1e} to {self.next_residual:.1e}, "
                f"expected at most {expected:.1e}"
            )
        return None


def arrival(cusps: CuspGradient, errors: Tensor) -> Arrival:
    """How far the theta of some cusps is from where its Newton step leads; the step keeps all these cusps at zero.

    errors [m, C]: bounds of the round-off in Δ of the patterns with gradient.
    """
    multipliers = free_multipliers(cusps)
    step = step_of(cusps, multipliers, cusps.gradient(multipliers))
    theta = cusps.active.onto(cusps.theta + step.vector)
    moved = cusps.moved_to(theta, cusps.active.forward(theta))
    loss = float(cusps.active.loss.value(cusps.forward_pass.f, cusps.active.y))
    return Arrival(
        step.gain / loss,
        _relative_length(step.vector, cusps),
        _residual(cusps, multipliers),
        _residual(moved, free_multipliers(moved)),
        _rounding(cusps, multipliers, errors),
    )


def free_multipliers(cusps: CuspGradient) -> Tensor:
    """argmin ‖g(λ)‖ over all λ [n]."""
    multipliers = torch.full_like(cusps.signs, 0.5)
    for _ in range(MULTIPLIER_MAX_LINEARISATIONS if len(multipliers) else 0):
        change = -pseudo_inverse(cusps.jacobian(multipliers)).T @ cusps.gradient(multipliers)
        multipliers = multipliers + change
        if cusps.linear or float(change.abs().max()) < 1e-12:
            break
    return cusps.shared(multipliers)


def cusp_distance(cusps: CuspGradient) -> float:
    """The largest |z| of a cusp, in scales of its neuron; 0 without cusps."""
    sizes = [
        float((z[at].abs() / torch.where(scale > 0, scale, 1.0)[at[1]]).max())
        for z, at, scale in zip(cusps.forward_pass.z, cusps.at, cusps.scales)
        if len(at[0])
    ]
    return max(sizes, default=0.0)


def step_of(cusps: CuspGradient, multipliers: Tensor, gradient: Tensor) -> Step:
    """The Newton step with these multipliers [n] and g [Ñ], which keeps all the cusps at zero."""
    matrix, units = in_units(cusps, multipliers)
    rows, target = _constraints(cusps, multipliers, units)
    onto, basis = pseudo_inverse(rows) @ target, _complement(rows)
    values, vectors = torch.linalg.eigh(basis.T @ matrix @ basis)
    limit = (
        CURVATURE_ROUND_OFF_FACTOR * len(units) * torch.finfo(values.dtype).eps * float(values.abs().max())
    )
    along = values.abs() > limit
    slope = vectors.T @ (basis.T @ (units * gradient))
    bent = vectors.T @ (basis.T @ (matrix @ onto))
    inner = torch.where(along, -(slope + bent) / values.abs(), 0.0)
    gain = 0.5 * float(torch.where(along, slope.square() / values.abs(), 0.0).sum())
    downward = None
    if float(values[0]) < -limit:
        downward = units * (basis @ vectors[:, 0])
        downward /= downward.norm()
    return Step(units * (onto + basis @ (vectors @ inner)), gain, downward)


def _constraints(cusps: CuspGradient, multipliers: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Linear constraints A δ = b of a step: A [k, Ñ], b [k].

    The step must bring u z to 0 and must not move along a scale symmetry, or along W at fixed norm.
    """
    normals = cusps.jacobian(multipliers) * units
    unmoved = in_dual_units(cusps, units).T
    z = cusps.z
    target = torch.cat([-cusps.own_forces(multipliers) * z, z.new_zeros(len(unmoved))])
    return torch.cat([normals, unmoved]), target


def _complement(rows: Tensor) -> Tensor:
    """An orthonormal basis [Ñ, n] of the complement of the rows [k, Ñ]."""
    basis = orthonormal_basis(rows.T)
    return torch.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]


def _relative_length(step: Tensor, cusps: CuspGradient) -> float:
    """The largest ‖d_j‖ / ‖W_j‖ of a layer; a layer without weights has the unit 1."""
    lengths = []
    for d, layer in zip(layers_of(step, cusps.arch), cusps.layers, strict=True):
        moved, own = (float(torch.cat([part.flatten() for part in parts]).norm()) for parts in (d, layer))
        lengths.append(moved / (own or 1.0))
    return max(lengths)


def _residual(cusps: CuspGradient, multipliers: Tensor) -> float:
    gradient = float(cusps.gradient(multipliers).norm())
    return gradient / gradient_scale(cusps, multipliers) + cusp_distance(cusps)


def _rounding(cusps: CuspGradient, multipliers: Tensor, errors: Tensor) -> float:
    """A bound of the round-off in ‖g‖, relative to its terms: that of ∂L/∂f, that of ∇f and that of the sum.

    Σ_µ ‖t_µ‖ ≤ √m √Σ_µ ‖t_µ‖² for the m patterns with gradient. The sum is taken as one of blocks, in a tree.
    """
    m = len(cusps.patterns)
    eps = (operations(cusps.arch) + math.log2(m + 1)) * torch.finfo(multipliers.dtype).eps
    signal = cusps.active.loss.hinge_curvature * errors + eps * cusps.signal.abs()
    return math.sqrt(m) * gradient_scale(cusps, multipliers, signal) / gradient_scale(cusps, multipliers)
