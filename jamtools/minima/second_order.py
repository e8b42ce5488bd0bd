"""Second order at a point on cusps: the curvature of the Lagrangian on the tangent space of the cusps.

    M = {W: z_i(W) = 0, i ∈ A},        𝓛(W) = L(W) with λ_i z_i in the place of ρ(z_i), i ∈ A

On M the two are one, since ρ(0) = λ_i 0, and 𝓛 is smooth. So along a curve W + t v + ½ t² w + … that stays in M

    d²L/dt² = vᵀ ∇²𝓛 v + g(λ)·w,        ∇z_i·v = 0,        ∇²𝓛 = H0 + Hp with the slopes λ_i on the cusps

Between them ∇²𝓛 and the last term hold the bending of M. With λ from the smallest g = ∇𝓛, g has no part along the ∇z_i
that bend the curve, and the first term is all of d²L/dt² along a geodesic of M, also where g is not yet zero.

A convex cusp (u_i ≥ 0) with 0 < λ_i < 1 costs first order to either side, so only its tangent space counts. One
with λ_i at 0 or 1 costs nothing on the side of that slope: second order decides on the cone of those sides, which lies
between the tangent space of all cusps (`held`) and that of the strict ones alone (`free`). A concave cusp (u_i < 0)
holds nothing, −|x|: L falls at first order to one of its sides. One with u_i = 0 is no kink of L (unless it is the
weights above that vanish).

Parameters are measured in units in which H0 has a mean diagonal of 1 over the weights of each layer, and over its biases:
signs do not depend on units, but the round-off between layers of unlike scale does.
Source: arXiv:1809.09349, section III; R. T. Rockafellar and R. J.-B. Wets, Variational Analysis (1998), chapter 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient
from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.linalg.eigenvalues import symmetric_eigenvalues
from jamtools.linalg.subspace import project_out
from jamtools.network.architecture import Architecture
from jamtools.network.symmetry import scale_generators

#: Up to this many parameters the command looks at the curvature unasked: 7 s on one core.
AUTOMATIC = 3000

#: Above this many the dense matrices are refused: each takes 3.2 GB.
LARGEST = 20_000

#: Matrices Ñ × Ñ that live at one time: H0, Hp, their sum, its projection and what the eigensolver takes.
MATRICES = 5


@dataclass(frozen=True)
class Curvature:
    """Signs of ∇²𝓛 on a tangent space with the scale symmetries of ReLU projected out.

    n_negative, n_zero: eigenvalues below and within ±dimension·eps·‖∇²𝓛‖; smallest, largest: of the eigenvalues,
    in units of H0's mean diagonal. The dimension is never 0: no cusp depends on the biases of the output.
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
    """What second order says of a point on cusps.

    held: on the tangent space of all cusps that are kinks of L; free: of those with a multiplier strictly inside,
    the others keeping the slope of their own side. n_at_bound: kinks with a multiplier of 0 or 1; n_without_force:
    cusps with u = 0; n_concave: cusps with u < 0, with the multipliers for slopes, but for those that only lie beside
    zero (see `_beside`).
    """

    held: Curvature
    free: Curvature
    n_at_bound: int
    n_without_force: int
    n_concave: int

    @property
    def stable(self) -> bool | None:
        """False: no minimum; True: where the smallest g vanishes a minimum, as far as second order goes.

        None when the cone of the multipliers at 0 or 1 decides, which no eigenvalue does.
        """
        if self.n_concave or self.held.n_negative:
            return False
        return None if self.free.n_negative else True


def lagrangian(cusps: CuspGradient, smallest: SmallestSubgradient) -> Lagrangian:
    """The curvature on the tangent space of cusps, with the multipliers of their smallest subgradient.

    O(Ñ²) memory, O(Ñ³) time. Raises InputError above LARGEST parameters and for another loss than the hinge.
    """
    require_room(cusps.arch)
    inside = torch.from_numpy(smallest.inside).to(cusps.theta.device)
    multipliers = torch.from_numpy(smallest.multipliers).to(cusps.theta)
    multipliers = torch.where(inside, multipliers, multipliers.round())
    force = cusps.forces(multipliers)
    normals = cusps.jacobian(multipliers).T
    matrix, units = in_units(cusps, multipliers)
    symmetries = scale_generators(cusps.theta, cusps.arch) / units[:, None]
    normals *= units[:, None]
    kink = force != 0
    held = _curvature(matrix, [normals[:, kink], symmetries])
    n_at_bound = int((kink & ~inside).sum())
    free = _curvature(matrix, [normals[:, kink & inside], symmetries]) if n_at_bound else held
    concave = (force < 0) & ~_beside(cusps, multipliers)
    return Lagrangian(held, free, n_at_bound, int((~kink).sum()), int(concave.sum()))


def require_room(arch: Architecture) -> None:
    """Raises InputError when the matrices are too large."""
    n = arch.n_parameters
    if n > LARGEST:
        raise InputError(
            f"{n} parameters, {MATRICES} matrices of {8e-9 * n**2:.1f} GB each, expected at most {LARGEST} "
            "parameters; leave the curvature out with --no-curvature"
        )


def _beside(cusps: CuspGradient, multipliers: Tensor) -> Tensor:
    """Which cusps [n] are off zero by more than round-off, with the slope of that side for a multiplier.

    The tolerance takes in some smooth pre-activations by chance. One that u pulls away from zero is no saddle: L is
    smooth there, and a minimum a minimum, if a narrow one.
    """
    eps, state = torch.finfo(multipliers.dtype).eps, cusps.state
    off = [
        z[at].abs() > (a.shape[1] + 1) * eps * scale
        for z, at, a, scale in zip(state.z, cusps.at, state.inputs, cusps.scales)
    ]
    return torch.cat(off) & (multipliers == cusps.signs)


def in_units(cusps: CuspGradient, multipliers: Tensor) -> tuple[Tensor, Tensor]:
    """D ∇²𝓛 D [Ñ, Ñ], and the units D [Ñ] of the parameters: its signs are those of ∇²𝓛."""
    parts = hessian(cusps.theta, cusps.active, cusps.with_multipliers(multipliers).slopes)
    groups = [size for out, fan_in in cusps.arch.shapes for size in (out * fan_in, out)]
    mean = torch.cat([part.mean().expand(len(part)) for part in parts.H0.diagonal().split(groups)])
    units = torch.where(mean > 0, mean, 1.0).rsqrt()
    return parts.H.mul_(units[:, None]).mul_(units), units


def _curvature(matrix: Tensor, directions: list[Tensor]) -> Curvature:
    """Signs of a symmetric matrix on the complement of the columns of `directions`."""
    rest = project_out(matrix, torch.cat(directions, 1))
    found = symmetric_eigenvalues(rest, "the Lagrangian")
    smallest, largest = float(found.values[0]), float(found.values[-1])
    return Curvature(len(rest), found.n_negative, found.n_zero, smallest, largest)
