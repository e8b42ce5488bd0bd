"""Subspaces given by vectors that may depend on each other: rank, orthonormal basis, projection, pseudo-inverse.

    G = U S Vᵀ,   rank: #{s_i > max(shape)·eps·s_1},   basis: the columns of U with these s_i,   G⁺ = V S⁻¹ Uᵀ

All vectors are scaled to norm 1 first, so that the result does not depend on their norms. Null vectors have no effect.

Source: Golub, Van Loan, Matrix Computations, chapter 5 (Householder reflections, rank, pseudo-inverse).
"""

from __future__ import annotations

import torch
from torch import Tensor


def project_out(matrix: Tensor, directions: Tensor) -> Tensor:
    """A symmetric matrix [n, n] on the complement of the columns `directions` [n, k] of rank r: Zᵀ A Z [n - r, n - r].

    Z is an orthonormal basis of the complement, from Householder reflections: the result is Qᵀ A Q without its first r
    rows and columns, where Q R is a basis of the columns.
    """
    basis = orthonormal_basis(directions)
    r = basis.shape[1]
    if r == 0:
        return matrix
    reflectors, tau = torch.geqrf(basis)
    rotated = torch.ormqr(reflectors, tau, matrix, left=True, transpose=True)
    rotated = torch.ormqr(reflectors, tau, rotated, left=False, transpose=False)
    return rotated[r:, r:]


def orthonormal_basis(directions: Tensor) -> Tensor:
    """An orthonormal basis [n, r] of the columns `directions` [n, k], which may have any norms."""
    norms = directions.norm(dim=0)
    units = directions[:, norms > 0] / norms[norms > 0]
    if units.shape[1] == 0:
        return units
    # The diagonal of R is not sufficient: without pivoting, a column that depends on others hides columns after it.
    u, s, _ = torch.linalg.svd(units, full_matrices=False)
    return u[:, s > max(units.shape) * torch.finfo(units.dtype).eps * s[0]]


def rank(rows: Tensor) -> int:
    """The rank of rows [k, n], which may have any norms and are overwritten. k may be much larger than n."""
    norms = rows.norm(dim=1)
    rows /= torch.where(norms > 0, norms, 1.0)[:, None]
    s = torch.linalg.svdvals(torch.linalg.qr(rows, mode="r")[1])
    return int((s > max(rows.shape) * torch.finfo(s.dtype).eps * s[0]).sum())


def pseudo_inverse(rows: Tensor) -> Tensor:
    """The pseudo-inverse R⁺ [n, k] of rows R [k, n] that may depend on each other, with R scaled to rows of norm 1.

    R⁺ b is the shortest v with R v = b, if a solution exists; (R⁺)ᵀ g is a λ that minimises ‖Rᵀ λ - g‖.
    """
    norms = rows.norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    u, s, vh = torch.linalg.svd(rows / norms[:, None], full_matrices=False)
    kept = s > max(rows.shape) * torch.finfo(s.dtype).eps * s.amax() if len(s) else s > 0
    return (vh[kept].T / s[kept]) @ (u[:, kept].T / norms)
