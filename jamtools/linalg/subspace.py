"""Subspaces given by their columns: rank, orthonormal basis, projection, pseudo-inverse."""

from __future__ import annotations

import torch
from torch import Tensor


def project_out(matrix: Tensor, directions: Tensor) -> Tensor:
    """The matrix on the orthogonal complement of the columns of `directions` [n, k]: [n - r, n - r], r their rank.

    Zᵀ A Z with Z an orthonormal basis of the complement, by Householder reflections: Qᵀ A Q without its first
    r rows and columns, where Q R is a basis of the columns.
    """
    basis = orthonormal_basis(directions)
    r = basis.shape[1]
    if r == 0:
        return matrix
    reflectors, tau = torch.geqrf(basis)
    turned = torch.ormqr(reflectors, tau, matrix, left=True, transpose=True)
    turned = torch.ormqr(reflectors, tau, turned, left=False, transpose=False)
    return turned[r:, r:]


def orthonormal_basis(directions: Tensor) -> Tensor:
    """An orthonormal basis [n, r] of the columns, which count alike whatever their norms; null ones not at all."""
    norms = directions.norm(dim=0)
    kept = directions[:, norms > 0] / norms[norms > 0]
    if kept.shape[1] == 0:
        return kept
    # not by the diagonal of R: without pivoting a column that depends on others hides columns after it
    u, s, _ = torch.linalg.svd(kept, full_matrices=False)
    return u[:, s > max(kept.shape) * torch.finfo(kept.dtype).eps * s[0]]


def rank(rows: Tensor) -> int:
    """The rank of rows [k, n], which count alike whatever their norms; overwrites them. k may be many times n."""
    norms = rows.norm(dim=1)
    rows /= torch.where(norms > 0, norms, 1.0)[:, None]
    s = torch.linalg.svdvals(torch.linalg.qr(rows, mode="r")[1])
    return int((s > max(rows.shape) * torch.finfo(s.dtype).eps * s[0]).sum())


def pseudo_inverse(rows: Tensor) -> Tensor:
    """R⁺ [n, k] of rows R [k, n] that may depend on each other and count alike whatever their norms; null ones not at all.

    R⁺ b is the shortest of all v with R v = b, where there is one; (R⁺)ᵀ g the λ of argmin ‖Rᵀ λ - g‖.
    """
    norms = rows.norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    u, s, vh = torch.linalg.svd(rows / norms[:, None], full_matrices=False)
    kept = s > max(rows.shape) * torch.finfo(s.dtype).eps * s.amax() if len(s) else s > 0
    return (vh[kept].T / s[kept]) @ (u[:, kept].T / norms)
