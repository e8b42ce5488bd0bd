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

from jamtools.cusps.counting import CuspCount, count
from jamtools.cusps.subgradient import Kinks
from jamtools.linalg.subspace import orthonormal_basis, pseudo_inverse
from jamtools.minima.first_order import gradient_scale
from jamtools.minima.second_order import in_units
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
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


def polish(theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss) -> Polished | None:
    """The minimum near theta [Ñ], or None; x [P, d], y [P, C]."""
    tolerances = TOLERANCES if arch.activation == "relu" else TOLERANCES[:1]
    for tolerance in tolerances:
        found = _with_cusps(theta.clone(), x, y, arch, loss, tolerance)
        if found is not None:
            return found
    return None


def _with_cusps(
    theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, tolerance: float
) -> Polished | None:
    """The same from the cusps within one tolerance."""
    before, held = torch.inf, None
    for _ in range(STEPS):
        cusps = count(theta, x, y, arch, loss, tolerance)
        kinks = Kinks(layers_of(theta, arch), x, y, arch, loss, cusps)
        if not len(kinks.y) or len(kinks.signs) >= arch.n_effective:
            return None
        if held is None:
            kinks, multipliers = _active(kinks)
            held = _names(kinks)
        else:
            kinks = kinks.only(torch.isin(_names(kinks), held))
            multipliers = _multipliers(kinks)
        gradient = kinks.gradient(multipliers)
        residual = float(gradient.norm()) / gradient_scale(kinks, multipliers) + _distance(kinks, cusps)
        arrived = residual <= ARRIVED
        if not (arrived or residual <= min(NEAR, SHORTER * before)):
            return None
        if arrived and not _admissible(kinks, multipliers):
            return None
        step, downward = _step(theta, kinks, multipliers, gradient, loss)
        if arrived:
            return Polished(theta, downward)
        theta += step
        before = residual
    return None


def _active(kinks: Kinks) -> tuple[Kinks, Tensor]:
    """The cusps whose multipliers [n] lie inside (0, 1), and these: one that lies outside is pushed off its cusp."""
    multipliers = _multipliers(kinks)
    while True:
        inside = (multipliers > 0) & (multipliers < 1)
        if bool(inside.all()):
            return kinks, multipliers
        kinks = kinks.only(inside)
        multipliers = _multipliers(kinks)


def _names(kinks: Kinks) -> Tensor:
    """A number for each cusp [n]: of its pattern, layer and neuron."""
    layers = len(kinks.at)
    return torch.cat(
        [(kinks.patterns[p] * layers + j) * kinks.arch.width + n for j, (p, n) in enumerate(kinks.at)]
    )


def _multipliers(kinks: Kinks) -> Tensor:
    """argmin ‖g(λ)‖ over all λ [n]."""
    multipliers = torch.full_like(kinks.signs, 0.5)
    for _ in range(LINEARISATIONS if len(multipliers) else 0):
        change = -pseudo_inverse(kinks.jacobian(multipliers)).T @ kinks.gradient(multipliers)
        multipliers = multipliers + change
        if kinks.linear or float(change.abs().max()) < 1e-12:
            break
    return multipliers


def _distance(kinks: Kinks, cusps: CuspCount) -> float:
    """The largest |z| of a cusp, in rms of its layer."""
    sizes = [
        float(z[at].abs().max()) / layer.scale
        for z, at, layer in zip(kinks.state.z, kinks.at, cusps.per_layer)
        if len(at[0])
    ]
    return max(sizes, default=0.0)


def _admissible(kinks: Kinks, multipliers: Tensor) -> bool:
    """Whether the cusps with a force have convex kinks and multipliers inside (0, 1)."""
    force = torch.cat(kinks.forces(multipliers))
    inside = (multipliers > 0) & (multipliers < 1)
    return bool(((force > 0) & inside | (force == 0)).all())


def _step(
    theta: Tensor, kinks: Kinks, multipliers: Tensor, gradient: Tensor, loss: Loss
) -> tuple[Tensor, Tensor | None]:
    """δ [Ñ], and the direction of the lowest curvature where that is negative beyond round-off."""
    matrix, units = in_units(theta, kinks, multipliers, loss)
    rows, target = _constraints(theta, kinks, multipliers, units)
    onto, basis = pseudo_inverse(rows) @ target, _complement(rows)
    values, vectors = torch.linalg.eigh(basis.T @ matrix @ basis)
    limit = len(theta) * torch.finfo(values.dtype).eps * float(values.abs().max())
    inner = vectors.T @ (basis.T @ (-units * gradient - matrix @ onto))
    inner = torch.where(values.abs() > limit, inner / values.abs(), 0.0)
    downward = None
    if float(values[0]) < -limit:
        downward = units * (basis @ vectors[:, 0])
        downward /= downward.norm()
    return units * (onto + basis @ (vectors @ inner)), downward


def _constraints(theta: Tensor, kinks: Kinks, multipliers: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [k, Ñ] and what a step times them is to be [k]: u ∇z = -u z, and no way along a symmetry."""
    normals = kinks.jacobian(multipliers) * units
    symmetries = scale_generators(theta, kinks.arch).T / units
    z = torch.cat([layer[at] for layer, at in zip(kinks.state.z, kinks.at)])
    target = torch.cat([-torch.cat(kinks.forces(multipliers)) * z, z.new_zeros(len(symmetries))])
    return torch.cat([normals, symmetries]), target


def _complement(rows: Tensor) -> Tensor:
    """An orthonormal basis [Ñ, n] of what the rows leave free."""
    basis = orthonormal_basis(rows.T)
    return torch.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]
