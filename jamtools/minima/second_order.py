"""Second order at a point on cusps: the curvature of the Lagrangian on the tangent space of the cusps.

    M = {W: z_i(W) = 0, i ∈ A},        𝓛(W) = L(W) with λ_i z_i in the place of ρ(z_i), i ∈ A

On M, L = 𝓛 because ρ(0) = λ_i 0, and 𝓛 is smooth. Along a curve W + t v + ½ t² w + … that stays in M

    d²L/dt² = vᵀ ∇²𝓛 v + g(λ)·w,        ∇z_i·v = 0,        ∇²𝓛 = H0 + Hp with the slopes λ_i on the cusps

The bending of M is in ∇²𝓛 and in the last term together. With λ from the smallest g = ∇𝓛, g has no component along the
∇z_i that bend the curve. The first term is then all of d²L/dt² along a geodesic of M, also where g is not yet zero.

At a convex cusp (u_i ≥ 0) with 0 < λ_i < 1, L rises at first order to both sides, so that only the tangent space of the cusp
matters. With λ_i at 0 or 1, L does not rise at first order to the side of that slope. Second order then decides on a cone of
such sides. The cone lies between the tangent space of all cusps (`held`) and that of the cusps with 0 < λ_i < 1 alone
(`free`). At a concave cusp (u_i < 0), L falls like −|x|, at first order to one of its sides. A cusp with u_i = 0 is no kink
of L, unless u_i = 0 because the weights above vanish.

Parameters are measured in units in which H0 has a mean diagonal of 1 over the weights of each layer, and over its biases; in
the first layer over the weights of each component of x. Signs do not depend on units, but the round-off between parameters
of different scale does. For the units alone, a slope ρ' counts as SATURATED_SLOPE where it is smaller: those of a layer that
saturates would grow without limit.

At fixed norm the curve stays on the sphere too: ∇²𝓛 + μ 1 takes the place of ∇²𝓛, on the complement of W. Scalings of
neurons are symmetries there only where the neurons are off balance and so μ = 0 (network/sphere.py).

Source: arXiv:1809.09349, section III; R. T. Rockafellar and R. J.-B. Wets, Variational Analysis (1998), chapter 13.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient
from jamtools.errors import InputError, Remedy
from jamtools.hessian.assembly import hessian
from jamtools.linalg.eigenvalues import symmetric_eigenvalues
from jamtools.linalg.subspace import project_out
from jamtools.network.architecture import Architecture
from jamtools.network.passes import backward, joined
from jamtools.network.symmetry import symmetry_directions

#: Up to this many parameters the curvature is computed by default: it takes 7 s on one core.
CURVATURE_AUTOMATIC_PARAMETERS = 3000

#: Above this many parameters the dense matrices are refused: each takes 3.2 GB.
CURVATURE_MAX_PARAMETERS = 20_000

#: Matrices [Ñ, Ñ] in memory at one time: H0, Hp, their sum, its projection and the workspace of the eigensolver.
CURVATURE_MATRICES = 5


#: An eigenvalue counts as zero up to this many times the error of the eigensolver: sums over patterns and the projection
#: add to it. A zero proves nothing, so that a larger limit certifies no more than flat directions.
CURVATURE_ROUND_OFF_FACTOR = 8.0

#: The smallest slope ρ' of a smooth ρ in the units of the parameters.
SATURATED_SLOPE = 1e-2


@dataclass(frozen=True)
class Curvature:
    """Signs of ∇²𝓛 on a tangent space, with the scale symmetries of ReLU, or W at fixed norm, projected out.

    n_negative, n_zero: eigenvalues below and within ±CURVATURE_ROUND_OFF_FACTOR·dimension·eps·‖∇²𝓛‖; smallest, largest:
    eigenvalues, in units of H0's mean diagonal. The dimension is never 0: no cusp depends on the biases of the output.
    """

    dimension: int
    n_negative: int
    n_zero: int
    smallest: float
    largest: float

    @property
    def relative(self) -> float | None:
        """smallest / largest; None where there is no positive eigenvalue."""
        return self.smallest / self.largest if self.largest > 0 else None


@dataclass(frozen=True)
class Lagrangian:
    """The second-order conditions at a point on cusps.

    held: ∇²𝓛 on the tangent space of all cusps that are kinks of L; free: on that of the cusps with a multiplier strictly
    between 0 and 1, where the other cusps keep the slope of their own side. n_at_bound: kinks with a multiplier of 0 or 1;
    n_without_force: cusps with u = 0; n_concave: cusps with u < 0, without those that are only near zero (see `_beside`).
    """

    held: Curvature
    free: Curvature
    n_at_bound: int
    n_without_force: int
    n_concave: int

    @property
    def stable(self) -> bool | None:
        """False: not a minimum; True: a minimum to second order, if the smallest g vanishes.

        None when it depends on the cone of the multipliers at 0 or 1, which eigenvalues do not decide.
        """
        if self.n_concave or self.held.n_negative:
            return False
        return None if self.free.n_negative else True


def lagrangian(cusps: CuspGradient, smallest: SmallestSubgradient) -> Lagrangian:
    """The curvature on the tangent space of cusps, with the multipliers of their smallest subgradient.

    Memory is O(Ñ²), time O(Ñ³). Raises InputError above CURVATURE_MAX_PARAMETERS parameters and for a loss other than the
    hinge.
    """
    require_room(cusps.arch)
    inside = torch.from_numpy(smallest.inside).to(cusps.theta.device)
    multipliers = torch.from_numpy(smallest.multipliers).to(cusps.theta)
    multipliers = torch.where(inside, multipliers, multipliers.round())
    force = cusps.forces(multipliers)
    normals = cusps.jacobian(multipliers).T
    matrix, units = in_units(cusps, multipliers)
    unmoved = in_dual_units(cusps, units)
    normals *= units[:, None]
    kink = force != 0
    held = _curvature(matrix, [normals[:, kink], unmoved])
    n_at_bound = int((kink & ~inside).sum())
    free = _curvature(matrix, [normals[:, kink & inside], unmoved]) if n_at_bound else held
    concave = (force < 0) & ~_beside(cusps, multipliers)
    return Lagrangian(held, free, n_at_bound, int((~kink).sum()), int(concave.sum()))


def in_dual_units(cusps: CuspGradient, units: Tensor) -> Tensor:
    """The directions [Ñ, k] in which no step D w goes, as those that w is orthogonal to."""
    scalings = symmetry_directions(cusps.theta, cusps.arch) / units[:, None]
    if cusps.arch.norm is None:
        return scalings
    # any complement of the scalings serves, but steps must be orthogonal to W itself: W·D w = 0
    return torch.cat([(cusps.theta * units)[:, None], scalings], 1)


def require_room(arch: Architecture) -> None:
    """Raises InputError when there are more than CURVATURE_MAX_PARAMETERS parameters."""
    n = arch.n_parameters
    if n > CURVATURE_MAX_PARAMETERS:
        raise InputError(
            f"{n} parameters, {CURVATURE_MATRICES} matrices of {8e-9 * n**2:.1f} GB each, "
            f"expected at most {CURVATURE_MAX_PARAMETERS} parameters",
            Remedy.WITHOUT_CURVATURE,
        )


def _beside(cusps: CuspGradient, multipliers: Tensor) -> Tensor:
    """Which cusps [n] differ from zero by more than round-off and have the slope of their own side as multiplier.

    By chance some smooth pre-activations lie within the tolerance of the count. If u pulls such a pre-activation away from
    zero, this does not make the point a saddle: L is smooth there, and a minimum is still a minimum, though a narrow one.
    """
    eps, forward_pass = torch.finfo(multipliers.dtype).eps, cusps.forward_pass
    off = [
        z[at].abs() > (a.shape[1] + 1) * eps * scale[at[1]]
        for z, at, a, scale in zip(forward_pass.z, cusps.at, forward_pass.inputs, cusps.scales)
    ]
    return joined(off, multipliers.new_zeros(0, dtype=torch.bool)) & (multipliers == cusps.signs)


def in_units(cusps: CuspGradient, multipliers: Tensor) -> tuple[Tensor, Tensor]:
    """D (∇²𝓛 + μ) D [Ñ, Ñ], which has the signs of ∇²𝓛 + μ, and the units D [Ñ] of the parameters; multipliers [n]."""
    parts = hessian(cusps.theta, cusps.active, cusps.with_multipliers(multipliers).slopes)
    units = units_of(cusps, multipliers)
    H = parts.H
    H.diagonal().add_(cusps.norm_multiplier(multipliers))
    return H.mul_(units[:, None]).mul_(units), units


def units_of(cusps: CuspGradient, multipliers: Tensor) -> Tensor:
    """The units D [Ñ] of the parameters; see the head of the module. A parameter without effect has the unit 1."""
    forward_pass = cusps.with_multipliers(multipliers)
    if cusps.arch.activation != "relu":
        slopes = [slope.clamp(min=SATURATED_SLOPE) for slope in forward_pass.slopes or ()]
        forward_pass = replace(forward_pass, slopes=slopes)
    diagonal = (
        [torch.zeros_like(weight) for weight, _ in cusps.layers],
        [torch.zeros_like(b) for _, b in cusps.layers],
    )
    for c, active in enumerate((cusps.signal != 0).T):
        signal = torch.zeros_like(cusps.signal)
        signal[active, c] = 1.0
        for j, beta in enumerate(backward(cusps.layers, forward_pass, signal, cusps.arch)):
            squares = cusps.active.loss.hinge_curvature * beta.square()
            diagonal[0][j] += squares.T @ forward_pass.inputs[j].square()
            diagonal[1][j] += squares.sum(0)
    means = []
    for j, (weight, bias) in enumerate(zip(*diagonal, strict=True)):
        mean = weight.mean(0, keepdim=True) if j == 0 else weight.mean()
        means += [mean.expand_as(weight).flatten()]
        means += [bias.mean().expand_as(bias)] if cusps.arch.bias else []
    mean = torch.cat(means)
    return torch.where(mean > 0, mean, 1.0).rsqrt()


def _curvature(matrix: Tensor, directions: list[Tensor]) -> Curvature:
    """Signs of a symmetric matrix [Ñ, Ñ] on the complement of the columns of `directions`, each [Ñ, k]."""
    rest = project_out(matrix, torch.cat(directions, 1))
    spectrum = symmetric_eigenvalues(rest, "the Lagrangian")
    values, limit = spectrum.values, CURVATURE_ROUND_OFF_FACTOR * spectrum.tolerance
    n_negative, n_zero = int((values < -limit).sum()), int((abs(values) <= limit).sum())
    return Curvature(len(rest), n_negative, n_zero, float(values[0]), float(values[-1]))
