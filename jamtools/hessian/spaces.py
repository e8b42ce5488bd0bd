"""Where theta may move, and H0, Hp and H there: all of ℝ^Ñ, or the tangent space of the sphere ‖W‖ = R.

    free weights    H0,  Hp;                                the signs of H and Hp count outside of the scale generators
    fixed norm      P H0 P,  P Hp P + μ P,                  μ = -W·∇L/R²,   P = 1 - W Wᵀ/R²

    tr Hp = 0,  or at fixed norm  tr (P Hp P + μ P) = μ (Ñ - 1) - Ŵ·Hp Ŵ,  for piecewise linear ρ and Ŵ = W/R

μ goes to Hp, which like μ is linear in Δ. So H = H0 + Hp holds at fixed norm too, for the matrices, the eigenvalues of each
part being those on the tangent space. At a minimum the scalings of ReLU have the curvature 2 μ there (network/sphere.py):
they are no symmetries, and nothing is projected out.

Source: arXiv:1809.09349, section III; P.-A. Absil, R. Mahony, R. Sepulchre (2008), section 5.5, for the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.errors import CheckError, Remedy
from jamtools.hessian.assembly import Hessian
from jamtools.hessian.products import Products
from jamtools.linalg.eigenvalues import Eigenvalues
from jamtools.network.architecture import Architecture
from jamtools.network.sphere import TangentBasis, project_in_place
from jamtools.network.symmetry import scale_generators


@dataclass(frozen=True)
class Space:
    """The directions in which theta [Ñ] may move.

    multiplier: μ, None for free weights; basis: that of the tangent space, None for free weights; generators [n, k]: what is
    projected out before signs are counted; trace_Hp: the trace of "Hp", None where ρ is not piecewise linear; trace_scale:
    the size of its terms, and trace_error: a bound of the round-off of Δ in them, which near jamming is the larger one.
    """

    theta: Tensor
    multiplier: float | None
    basis: TangentBasis | None
    generators: Tensor
    trace_Hp: float | None
    trace_scale: float = 0.0
    trace_error: float = 0.0

    @classmethod
    def of(cls, products: Products) -> Space:
        """The space of a problem at theta [Ñ]."""
        theta, arch = products.theta, products.arch
        if arch.norm is None:
            return cls(theta, None, None, scale_generators(theta, arch), 0.0 if _is_traceless(arch) else None)
        n = len(theta) - 1
        mu, error = products.norm_multiplier
        sphere = cls(theta, mu, TangentBasis(theta), theta.new_zeros(n, 0), None)
        if not _is_traceless(arch):
            return sphere
        along = products.along_theta("Hp")  # of order depth times μ, and so is its round-off
        scale = abs(mu) * n + abs(along)
        return replace(
            sphere, trace_Hp=mu * n - along, trace_scale=scale, trace_error=error * (n + arch.depth + 1)
        )

    def restrict(self, pair: Hessian) -> Hessian:
        """H0 and Hp [Ñ, Ñ] in the order of theta as they act in this space; they are overwritten."""
        if self.multiplier is None:
            return pair
        H0, Hp = (project_in_place(matrix, self.theta) for matrix in (pair.H0, pair.Hp))
        unit = self.theta / self.theta.norm()
        Hp.addr_(unit, unit, alpha=-self.multiplier).diagonal().add_(self.multiplier)
        return Hessian(H0, Hp)

    def block(self, matrix: Tensor) -> Tensor:
        """A restricted matrix [Ñ, Ñ] in an orthonormal basis of this space [n, n]; the matrix is overwritten."""
        return matrix if self.basis is None else self.basis.block(matrix)

    def embed(self, rows: Tensor) -> Tensor:
        """Vectors [k, n] in this basis as vectors [k, Ñ] in the order of theta."""
        return rows if self.basis is None else self.basis.embed(rows)

    def check_trace(self, spectrum: Eigenvalues) -> None:
        """Raises CheckError unless the eigenvalues of Hp have the trace that piecewise linear ρ gives, to round-off."""
        if self.trace_Hp is None or spectrum.values.numel() == 0:
            return
        error = abs(spectrum.values.sum().item() - self.trace_Hp)
        scale = spectrum.values.abs().sum().item() + self.trace_scale
        rounding = len(spectrum.values) ** 2 * torch.finfo(spectrum.values.dtype).eps * scale
        if not error <= rounding + 2 * self.trace_error:
            raise CheckError(
                f"the eigenvalues of Hp sum to {self.trace_Hp:.1e} and {error:.1e} more, expected {self.trace_Hp:.1e} "
                "for a piecewise linear activation",
                Remedy.OTHER_DEVICE,
            )


def _is_traceless(arch: Architecture) -> bool:
    """Whether tr Hp = 0 for free weights."""
    return arch.activation != "tanh"
