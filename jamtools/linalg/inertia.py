"""The numbers of negative, zero and positive eigenvalues of a symmetric matrix (its inertia), without the eigenvalues.

    #{λ(A) < σ} = #{negative pivots of L D Lᵀ = A - σ}                       (Sylvester)
    #{λ(Zᵀ A Z) < σ} = #{λ([[A - σ, s G], [s Gᵀ, 0]]) < 0} - r               (Haynsworth)

G has r independent columns, Z is an orthonormal basis of their complement, and s > 0 is arbitrary. Eigenvalues within ±τ
count as zero: the counts at σ = -τ and σ = τ give their number. A count at σ = 0 would depend on round-off if A is singular.
A factorisation is about five times cheaper than the eigenvalues.

Source: J. R. Bunch and L. Kaufman, Math. Comp. 31, 163 (1977); E. V. Haynsworth, Linear Algebra Appl. 1, 73 (1968).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from jamtools.errors import CheckError, Remedy
from jamtools.linalg.subspace import orthonormal_basis
from jamtools.records import Array

#: Matrix-vector products of the estimate of ‖A‖₂. One digit is sufficient, since ‖A‖₂ is only a factor of the tolerance.
NORM_ITERATIONS = 30


@dataclass(frozen=True)
class Inertia:
    """The numbers of eigenvalues below -tolerance, within ±tolerance, and above tolerance."""

    n_negative: int
    n_zero: int
    n_positive: int
    tolerance: float


def inertia_of(matrix: Tensor, tolerance: float | None = None, constraints: Tensor | None = None) -> Inertia:
    """The inertia of a symmetric matrix [n, n], or of its restriction to the complement of the columns `constraints` [n, k].

    tolerance: the largest |λ| that counts as zero, by default n·eps·‖A‖₂ with ‖A‖₂ from power iteration. The computation
    is in float64 on the CPU and needs one more matrix in memory. Raises CheckError when a factorisation fails, or when the
    two counts contradict each other.
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
    n_negative, n_not_positive = (_n_below(A, shift, G) for shift in (-tolerance, tolerance))
    if not 0 <= n_negative <= n_not_positive <= n:
        raise CheckError(
            f"{n_negative} eigenvalues below -{tolerance:.1e} and {n_not_positive} below {tolerance:.1e} of {n}",
            Remedy.EIGENVALUES_INSTEAD_OF_SIGNS,
        )
    return Inertia(n_negative, n_not_positive - n_negative, n - n_not_positive, tolerance)


def n_below(matrix: Tensor, threshold: float, constraints: Tensor) -> int:
    """The number of eigenvalues below the threshold, of a matrix [n, n] on the complement of `constraints` [n, k].

    Raises CheckError when the factorisation fails.
    """
    return _n_below(matrix.detach().cpu().double(), threshold, _columns(constraints))


def norm2(A: Tensor) -> float:
    """An estimate from below of ‖A‖₂ of a symmetric matrix [n, n], by power iteration from a fixed start."""
    if not bool(A.any()):
        return 0.0
    scale = A.abs().max()  # a matrix of size 1e-200 must not underflow
    v = torch.from_numpy(np.random.default_rng(0).standard_normal(len(A))).to(A)
    growth = 0.0
    for _ in range(NORM_ITERATIONS):
        v = A @ (v / (v.norm() * scale))
        growth = v.norm().item()
        if growth == 0:  # the start lay in the kernel
            v = torch.ones_like(v)
    return max(growth, 1.0) * scale.item()  # ‖A‖₂ is at least the largest entry


def _columns(constraints: Tensor) -> Tensor:
    """An orthonormal basis [n, r] of the constraints [n, k], in float64 on the CPU."""
    return orthonormal_basis(constraints.detach().cpu().double())


def _n_below(A: Tensor, shift: float, G: Tensor) -> int:
    """#{λ < shift} of A [n, n] on the complement of the orthonormal columns G [n, r]."""
    n, r = G.shape
    bordered = np.zeros((n + r, n + r))
    bordered[:n, :n] = A.numpy()
    bordered[np.arange(n), np.arange(n)] -= shift
    scale = float(A.abs().max()) or 1.0
    bordered[n:, :n] = scale * G.numpy().T  # only the lower triangle is read
    return _n_negative_pivots(bordered) - r


def _n_negative_pivots(A: Array) -> int:
    """The number of negative eigenvalues of D in A = L D Lᵀ, whose blocks have one or two rows; overwrites A [n, n]."""
    if len(A) == 0:
        return 0
    work, _ = lapack.dsytrf_lwork(len(A), lower=0)
    # LAPACK stores by columns: the lower triangle of A is the upper triangle of A.T.
    factor, pivots, info = lapack.dsytrf(A.T, lwork=int(work), lower=0, overwrite_a=1)
    if info < 0:
        raise CheckError(f"the factorisation of a matrix [{len(A)}, {len(A)}] failed, LAPACK returned {info}")
    diagonal = factor.diagonal()
    single = pivots > 0
    # A block of two rows is used only where a single pivot would be too small. It has one eigenvalue of each sign.
    return int((diagonal[single] < 0).sum()) + int((~single).sum()) // 2
