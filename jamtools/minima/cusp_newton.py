"""Newton's method on the cusps: from the neighbourhood of a minimum to the minimum, to round-off.

    ∇𝓛(W, λ) = 0,      z_i(W) = 0  for the active cusps i ∈ A,      𝓛: L with λ_i z_i in the place of ρ(z_i)

    λ = argmin ‖g(λ)‖                                         (least squares, unbounded)
    δ = δ_n + Z |Zᵀ∇²𝓛 Z|⁻¹ Zᵀ(-g - ∇²𝓛 δ_n),              u_i ∇z_i·δ_n = -u_i z_i,     ∇z_i·Z = 0,     A_k W·Z = 0

The step stays on the manifold of the cusps. The scale symmetries A_k W of ReLU are projected out, and there is no step along
eigenvectors of eigenvalue zero. |·| takes the modulus of each eigenvalue, so that the step goes down along a negative one. A
smooth ρ has no cusps, and the method is then Newton's method on ∇L = 0. Near a minimum, with the right set A, each step
squares the error. The method has arrived when g vanishes to round-off, 0 < λ < 1 and u ≥ 0.
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

#: Tolerances of the cusps, in scales of the neuron, in the order in which they are tried. A descent stops with its cusps at
#: 10⁻⁵ to 10⁻⁹. Smooth pre-activations that lie within a tolerance by chance have no multiplier inside (0, 1).
POLISH_TOLERANCES = (1e-5, 1e-4, 1e-3, 1e-6)

#: The largest number of steps, and the factor by which each step must reduce the residual.
POLISH_MAX_STEPS, POLISH_RESIDUAL_FACTOR = 12, 0.5

#: The residual is ‖g‖, relative to its terms, plus the largest |z| of a cusp, in scales of its neuron. Up to this residual
#: only round-off is left.
POLISH_ARRIVED_RESIDUAL = 1e-11

#: With a first residual above this, theta is not near a minimum on these cusps.
POLISH_FIRST_RESIDUAL_MAX = 0.1

#: The largest number of linearisations of g(λ), which is not linear where a pattern has cusps in several layers.
POLISH_MAX_LINEARISATIONS = 8


@dataclass(frozen=True)
class Polished:
    """theta [Ñ]: the stationary point; downward [Ñ]: a unit vector of negative curvature there, None at a minimum."""

    theta: Tensor
    downward: Tensor | None


def polish(theta: Tensor, problem: Problem) -> Polished | None:
    """The stationary point of a problem near theta [Ñ]; None where the method does not arrive at one."""
    tolerances = POLISH_TOLERANCES if problem.arch.activation == "relu" else POLISH_TOLERANCES[:1]
    for tolerance in tolerances:
        polished = _with_cusps(theta.clone(), problem, tolerance)
        if polished is not None:
            return polished
    return None


def _with_cusps(theta: Tensor, problem: Problem, tolerance: float) -> Polished | None:
    """The stationary point on the cusps within one tolerance, or None."""
    before, held = torch.inf, None
    for _ in range(POLISH_MAX_STEPS):
        forward_pass = problem.forward(theta)
        cusps = CuspGradient(theta, problem, count(theta, problem, tolerance, forward_pass), forward_pass)
        if not len(cusps.patterns) or len(cusps.signs) >= problem.arch.n_effective:
            return None
        if held is None:
            cusps, multipliers = _active(cusps)
            held = _cusp_numbers(cusps)
        else:
            cusps = cusps.only(torch.isin(_cusp_numbers(cusps), held))
            multipliers = _multipliers(cusps)
        gradient = cusps.gradient(multipliers)
        residual = float(gradient.norm()) / gradient_scale(cusps, multipliers) + _distance(cusps)
        arrived = residual <= POLISH_ARRIVED_RESIDUAL
        if not (arrived or residual <= min(POLISH_FIRST_RESIDUAL_MAX, POLISH_RESIDUAL_FACTOR * before)):
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
    """The cusps whose multipliers [n] lie inside (0, 1), and those multipliers; the others are not held at zero."""
    multipliers = _multipliers(cusps)
    while True:
        inside = (multipliers > 0) & (multipliers < 1)
        if bool(inside.all()):
            return cusps, multipliers
        cusps = cusps.only(inside)
        multipliers = _multipliers(cusps)


def _cusp_numbers(cusps: CuspGradient) -> Tensor:
    """A number for each cusp [n], different for each pattern, layer and neuron."""
    layers = len(cusps.at)
    return torch.cat(
        [(cusps.patterns[p] * layers + j) * cusps.arch.width + n for j, (p, n) in enumerate(cusps.at)]
    )


def _multipliers(cusps: CuspGradient) -> Tensor:
    """argmin ‖g(λ)‖ over all λ [n]."""
    multipliers = torch.full_like(cusps.signs, 0.5)
    for _ in range(POLISH_MAX_LINEARISATIONS if len(multipliers) else 0):
        change = -pseudo_inverse(cusps.jacobian(multipliers)).T @ cusps.gradient(multipliers)
        multipliers = multipliers + change
        if cusps.linear or float(change.abs().max()) < 1e-12:
            break
    return multipliers


def _distance(cusps: CuspGradient) -> float:
    """The largest |z| of a cusp, in scales of its neuron; 0 without cusps."""
    sizes = [
        float((z[at].abs() / torch.where(scale > 0, scale, 1.0)[at[1]]).max())
        for z, at, scale in zip(cusps.forward_pass.z, cusps.at, cusps.scales)
        if len(at[0])
    ]
    return max(sizes, default=0.0)


def _admissible(cusps: CuspGradient, multipliers: Tensor) -> bool:
    """Whether the cusps with a force have convex kinks and multipliers inside (0, 1)."""
    force = cusps.forces(multipliers)
    inside = (multipliers > 0) & (multipliers < 1)
    return bool(((force > 0) & inside | (force == 0)).all())


def _step(cusps: CuspGradient, multipliers: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
    """δ [Ñ], and the unit vector [Ñ] of the lowest curvature where it is negative beyond round-off."""
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
    """Linear constraints A δ = b of a step: A [k, Ñ], b [k].

    The step must bring u z to 0 and must not move along a scale symmetry.
    """
    normals = cusps.jacobian(multipliers) * units
    symmetries = scale_generators(cusps.theta, cusps.arch).T / units
    z = cusps.z
    target = torch.cat([-cusps.forces(multipliers) * z, z.new_zeros(len(symmetries))])
    return torch.cat([normals, symmetries]), target


def _complement(rows: Tensor) -> Tensor:
    """An orthonormal basis [Ñ, n] of the complement of the rows [k, Ñ]."""
    basis = orthonormal_basis(rows.T)
    return torch.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]
