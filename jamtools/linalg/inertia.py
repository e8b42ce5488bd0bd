"""How many eigenvalues of a symmetric matrix are negative, zero and positive, without computing one of them.

    #{λ(A) < σ} = #{negative pivots of L D Lᵀ = A - σ}                       (Sylvester)
    #{λ(Zᵀ A Z) < σ} = #{λ([[A - σ, s G], [s Gᵀ, 0]]) < 0} - r               (Haynsworth)

with r independent columns G, Z an orthonormal basis of their complement, and any s > 0. Taken at σ = -τ and at τ the counts
leave the eigenvalues within ±τ out as zero; at σ = 0 the signs of a singular matrix would be those of round-off.
A factorisation is some five times cheaper than the eigenvalues.

Source: J. R. Bunch and L. Kaufman, Math. Comp. 31, 163 (1977); E. V. Haynsworth, Linear Algebra Appl. 1, 73 (1968).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from jamtools.errors import CheckError
from jamtools.linalg.subspace import orthonormal_basis
from jamtools.records import Array

#: Matrix-vector products of the estimate of ‖A‖₂; as a factor of the tolerance it needs no more than a digit.
PRODUCTS = 30


@dataclass(frozen=True)
class Inertia:
    """Eigenvalues by sign: below -tolerance, within it, above it."""

    n_negative: int
    n_zero: int
    n_positive: int
    tolerance: float


def inertia(matrix: Tensor, tolerance: float | None = None, constraints: Tensor | None = None) -> Inertia:
    """The inertia of a symmetric matrix [n, n], or of its restriction to what is orthogonal to `constraints` [n, k].

    tolerance: what counts as zero, by default n·eps·‖A‖₂ with ‖A‖₂ from power iteration. Raises CheckError when a
    factorisation fails. The work is done in float64 on the CPU and takes one matrix beside the given one.
    """
    A = matrix.detach().cpu()
    eps = torch.finfo(A.dtype).eps
    A = A.double()
    if tolerance is None:
        tolerance = len(A) * eps * norm2(A)
    G = _columns(constraints) if constraints is not None else A.new_zeros(len(A), 0)
    n = len(A) - G.shape[1]
    if not bool(A.any()):
        return Inertia(0, n, 0, tolerance)
    below, up_to = (_n_below(A, shift, G) for shift in (-tolerance, tolerance))
    if not 0 <= below <= up_to <= n:
        raise CheckError(
            f"{below} eigenvalues below -{tolerance:.1e} and {up_to} below {tolerance:.1e} of {n}; "
            "use jam-hessian without --inertia"
        )
    return Inertia(below, up_to - below, n - up_to, tolerance)


def n_below(matrix: Tensor, threshold: float, constraints: Tensor) -> int:
    """How many eigenvalues of the matrix, restricted to what is orthogonal to `constraints` [n, k], are below it."""
    return _n_below(matrix.detach().cpu().double(), threshold, _columns(constraints))


def norm2(A: Tensor) -> float:
    """‖A‖₂ of a symmetric matrix, from below: by power iteration from a fixed start."""
    if not bool(A.any()):
        return 0.0
    scale = A.abs().max()  # a matrix of size 1e-200 must not underflow
    v = torch.from_numpy(np.random.default_rng(0).standard_normal(len(A))).to(A)
    size = 0.0
    for _ in range(PRODUCTS):
        v = A @ (v / (v.norm() * scale))
        size = v.norm().item()
        if size == 0:  # the start happened to lie in the kernel
            v = torch.ones_like(v)
    return max(size, 1.0) * scale.item()  # ‖A‖₂ is at least its largest entry


def _columns(constraints: Tensor) -> Tensor:
    return orthonormal_basis(constraints.detach().cpu().double())


def _n_below(A: Tensor, shift: float, G: Tensor) -> int:
    """#{λ < shift} of A on the complement of G's orthonormal columns."""
    n, r = G.shape
    bordered = np.zeros((n + r, n + r))
    bordered[:n, :n] = A.numpy()
    bordered[np.arange(n), np.arange(n)] -= shift
    scale = float(A.abs().max()) or 1.0
    bordered[n:, :n] = scale * G.numpy().T  # the lower triangle is read
    return _n_negative_pivots(bordered) - r


def _n_negative_pivots(A: Array) -> int:
    """Of L D Lᵀ, whose D has blocks of one or two rows; A is overwritten."""
    if len(A) == 0:
        return 0
    work, _ = lapack.dsytrf_lwork(len(A), lower=0)
    # what is the lower triangle in rows is the upper one in columns
    factor, pivots, info = lapack.dsytrf(A.T, lwork=int(work), lower=0, overwrite_a=1)
    if info < 0:
        raise CheckError(f"the factorisation of a matrix [{len(A)}, {len(A)}] failed, LAPACK says {info}")
    diagonal = factor.diagonal()
    single = pivots > 0
    # a block of two rows is there only where a single pivot would be too small: it has one eigenvalue of each sign
    return int((diagonal[single] < 0).sum()) + int((~single).sum()) // 2
