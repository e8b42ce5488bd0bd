"""A symmetric matrix with its negative curvature turned up, exact on a subspace where it is convex already.

    Z: an orthonormal basis of the null space of the rows C,  Y: of its complement
    G = Z a Zᵀ + Z b Yᵀ + Y bᵀ Zᵀ + Y c Yᵀ    →    |a|, b, bᵀ|a|⁻¹b + |c - bᵀ a⁻¹ b|

|·| takes the modulus of each eigenvalue, and at least a floor. Where G is positive on the null space of C, its Newton steps
along it are those of G, whatever the curvature across. The result is positive definite.

Source: none for the two blocks, own derivation above; P. E. Gill, W. Murray and M. H. Wright, Practical Optimization (1981),
section 4.4, for |·|.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The floor where none is given, as a part of the largest entry of G: the matrix of dead patterns has no curvature at all.
LEAST_FLOOR = 1e-12


def convexified(G: Tensor, rows: Tensor, floor: float) -> Tensor:
    """The positive definite matrix [n, n] of a symmetric G [n, n] and rows C [k, n].

    floor: the least eigenvalue, at least 0. Where the rows depend on each other, Y contains some more directions. A G
    that is positive definite with this floor is returned as it is.
    """
    floor = floor or LEAST_FLOOR * (float(G.abs().max()) or 1.0)
    lowered = G.clone()
    lowered.diagonal().sub_(floor)
    if not bool(torch.linalg.cholesky_ex(lowered)[1]):
        return G
    r = min(len(rows), len(G))
    both = torch.linalg.qr(rows.T, mode="complete")[0] if r else torch.eye(len(G)).to(G)
    Y, Z = both[:, :r], both[:, r:]
    a, vectors = torch.linalg.eigh(Z.T @ (G @ Z))
    size = a.abs().clamp(min=floor)
    Z = Z @ vectors
    b = Z.T @ (G @ Y)
    inverse = torch.where(a.abs() > floor, a, size).reciprocal()
    across = Y.T @ (G @ Y) - b.T @ (inverse[:, None] * b)
    c, vectors = torch.linalg.eigh(0.5 * (across + across.T))
    upper = (vectors * c.abs().clamp(min=floor)) @ vectors.T + b.T @ (b / size[:, None])
    mixed = (Z @ b) @ Y.T
    return (Z * size) @ Z.T + Y @ upper @ Y.T + mixed + mixed.T
