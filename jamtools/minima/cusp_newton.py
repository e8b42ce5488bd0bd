"""Newton's method on the cusps: from near a minimum to the minimum, to round-off.

    ∇𝓛(W, λ) = 0,      z_i(W) = 0  for the active cusps i ∈ A,      𝓛: L with λ_i z_i in the place of ρ(z_i)

    λ = argmin ‖g(λ)‖                                         (least squares, unbounded)
    δ = δ_n + Z |Zᵀ∇²𝓛 Z|⁻¹ Zᵀ(-g - ∇²𝓛 δ_n),              u_i ∇z_i·δ_n = -u_i z_i,     ∇z_i·Z = 0,     A_k W·Z = 0

on the manifold of the cusps, with the scale symmetries A_k W of ReLU projected out and eigenvalues of zero left alone; a
smooth ρ has no cusps, and Newton's method is that of the gradient. |·| takes the modulus of each eigenvalue: where one
is negative the step goes down along it. Near a minimum with the right A the error is squared in each step. The end is one
where g vanishes to round-off, 0 < λ < 1, u ≥ 0 and no eigenvalue is negative; else there is none, and why is said.
Source: arXiv:1809.09349, section III; J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapter 18.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.cusps.counting import count
from jamtools.cusps.subgradient import CuspGradient
from jamtools.linalg.subspace import orthonormal_basis, pseudo_inverse
from jamtools.minima.first_order import gradient_scale
from jamtools.minima.second_order import in_units
from jamtools.network.problem import Problem
from jamtools.network.symmetry import scale_generators

#: Tolerances for the cusps, in rms of the layer, in the order tried: what descends stops with its cusps at 10⁻⁵ to 10⁻⁹
#: rms, and the smooth pre-activations that a tolerance takes in by chance have no multiplier inside (0, 1).
TOLERANCES = (1e-5, 1e-4, 1e-3, 1e-6)

#: Steps at most, and how much each has to shorten the residual to go on.
STEPS, SHORTER = 12, 0.5

#: ‖g‖ of its terms, and |z| of the layer's rms, at which there is nothing left but round-off.
ARRIVED = 1e-11

#: A first ‖g‖ above this is no neighbourhood of a minimum on these cusps.
NEAR = 0.1

#: Linearisations of g(λ), which is not linear where a pattern has cusps in several layers.
LINEARISATIONS = 8


@dataclass(frozen=True)
class Polished:
    """theta [Ñ] where it arrived; downward [Ñ]: a unit direction of negative curvature there, None at a minimum."""

    theta: Tensor
    downward: Tensor | None


def polish(theta: Tensor, problem: Problem) -> Polished | None:
    """The minimum near theta [Ñ], or None."""
    tolerances = TOLERANCES if problem.arch.activation == "relu" else TOLERANCES[:1]
    for tolerance in tolerances:
        found = _with_cusps(theta.clone(), problem, tolerance)
        if found is not None:
            return found
    return None


def _with_cusps(theta: Tensor, problem: Problem, tolerance: float) -> Polished | None:
    """The same from the cusps within one tolerance."""
    before, held = torch.inf, None
    for _ in range(STEPS):
        state = problem.forward(theta)
        cusps = CuspGradient(theta, problem, count(theta, problem, tolerance, state), state)
        if not len(cusps.patterns) or len(cusps.signs) >= problem.arch.n_effective:
            return None
        if held is None:
            cusps, multipliers = _active(cusps)
            held = _names(cusps)
        else:
            cusps = cusps.only(torch.isin(_names(cusps), held))
            multipliers = _multipliers(cusps)
        gradient = cusps.gradient(multipliers)
        residual = float(gradient.norm()) / gradient_scale(cusps, multipliers) + _distance(cusps)
        arrived = residual <= ARRIVED
        if not (arrived or residual <= min(NEAR, SHORTER * before)):
            return None
        if arrived and not _admissible(cusps, multipliers):
            return None
        step, downward = _step(cusps, multipliers, gradient)
        if arrived:
            return Polished(theta, downward)
        theta += step
        before = residual
    return None


def _active(cusps: CuspGradient) -> tuple[CuspGradient, Tensor]:
    """The cusps whose multipliers [n] lie inside (0, 1), and these: one that lies outside is pushed off its cusp."""
    multipliers = _multipliers(cusps)
    while True:
        inside = (multipliers > 0) & (multipliers < 1)
        if bool(inside.all()):
            return cusps, multipliers
        cusps = cusps.only(inside)
        multipliers = _multipliers(cusps)


def _names(cusps: CuspGradient) -> Tensor:
    """A number for each cusp [n]: of its pattern, layer and neuron."""
    layers = len(cusps.at)
    return torch.cat(
        [(cusps.patterns[p] * layers + j) * cusps.arch.width + n for j, (p, n) in enumerate(cusps.at)]
    )


def _multipliers(cusps: CuspGradient) -> Tensor:
    """argmin ‖g(λ)‖ over all λ [n]."""
    multipliers = torch.full_like(cusps.signs, 0.5)
    for _ in range(LINEARISATIONS if len(multipliers) else 0):
        change = -pseudo_inverse(cusps.jacobian(multipliers)).T @ cusps.gradient(multipliers)
        multipliers = multipliers + change
        if cusps.linear or float(change.abs().max()) < 1e-12:
            break
    return multipliers


def _distance(cusps: CuspGradient) -> float:
    """The largest |z| of a cusp, in rms of its layer."""
    sizes = [
        float(z[at].abs().max()) / scale
        for z, at, scale in zip(cusps.state.z, cusps.at, cusps.scales)
        if len(at[0])
    ]
    return max(sizes, default=0.0)


def _admissible(cusps: CuspGradient, multipliers: Tensor) -> bool:
    """Whether the cusps with a force have convex kinks and multipliers inside (0, 1)."""
    force = cusps.forces(multipliers)
    inside = (multipliers > 0) & (multipliers < 1)
    return bool(((force > 0) & inside | (force == 0)).all())


def _step(cusps: CuspGradient, multipliers: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
    """δ [Ñ], and the direction of the lowest curvature where that is negative beyond round-off."""
    matrix, units = in_units(cusps, multipliers)
    rows, target = _constraints(cusps, multipliers, units)
    onto, basis = pseudo_inverse(rows) @ target, _complement(rows)
    values, vectors = torch.linalg.eigh(basis.T @ matrix @ basis)
    limit = len(units) * torch.finfo(values.dtype).eps * float(values.abs().max())
    inner = vectors.T @ (basis.T @ (-units * gradient - matrix @ onto))
    inner = torch.where(values.abs() > limit, inner / values.abs(), 0.0)
    downward = None
    if float(values[0]) < -limit:
        downward = units * (basis @ vectors[:, 0])
        downward /= downward.norm()
    return units * (onto + basis @ (vectors @ inner)), downward


def _constraints(cusps: CuspGradient, multipliers: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [k, Ñ] and what a step times them is to be [k]: u ∇z = -u z, and no way along a symmetry."""
    normals = cusps.jacobian(multipliers) * units
    symmetries = scale_generators(cusps.theta, cusps.arch).T / units
    z = cusps.z
    target = torch.cat([-cusps.forces(multipliers) * z, z.new_zeros(len(symmetries))])
    return torch.cat([normals, symmetries]), target


def _complement(rows: Tensor) -> Tensor:
    """An orthonormal basis [Ñ, n] of what the rows leave free."""
    basis = orthonormal_basis(rows.T)
    return torch.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]
