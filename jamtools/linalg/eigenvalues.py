"""Eigenvalues of a symmetric matrix with checks of their accuracy, and their numbers by sign.

    Σ λ = tr A,      Σ λ² = ‖A‖_F²,      zero: |λ| ≤ n·eps·‖A‖₂

The absolute error of an eigenvalue is about eps·‖A‖₂ times a small power of n, however small the eigenvalue is. Therefore
the tolerance for a zero is relative to the matrix and has no absolute floor. Each matrix is diagonalised separately: its
eigenvalues are never derived from those of two other matrices.

Source: Golub, Van Loan, Matrix Computations, chapter 8 (symmetric eigenvalue problems).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.errors import CheckError, Remedy


@dataclass(frozen=True)
class Eigenvalues:
    """Eigenvalues [n] of a symmetric matrix, ascending, with the errors of their checks.

    trace_error = |Σλ - tr A| / Σ|λ|, frobenius_error = |Σλ² - ‖A‖_F²| / ‖A‖_F²: both are 0 for A = 0.
    vectors [k, n]: one eigenvector per row, of the lowest and of the highest eigenvalues, ascending; None if not requested.
    """

    values: Tensor
    trace_error: float
    frobenius_error: float
    vectors: Tensor | None = None

    @property
    def tolerance(self) -> float:
        """n·eps·‖A‖₂: an eigenvalue counts as zero if |λ| does not exceed it."""
        if self.values.numel() == 0:
            return 0.0
        return self.values.numel() * torch.finfo(self.values.dtype).eps * self.values.abs().max().item()

    @property
    def n_negative(self) -> int:
        """The number of eigenvalues below -tolerance."""
        return int((self.values < -self.tolerance).sum())

    @property
    def n_zero(self) -> int:
        """The number of eigenvalues within ±tolerance."""
        return int((self.values.abs() <= self.tolerance).sum())

    @property
    def smallest_positive(self) -> float | None:
        """The smallest eigenvalue above the tolerance, or None."""
        above = self.values[self.values > self.tolerance]
        return above[0].item() if above.numel() else None


def symmetric_eigenvalues(matrix: Tensor, name: str = "matrix", vectors: int = 0) -> Eigenvalues:
    """All eigenvalues of a symmetric matrix [n, n], and the eigenvectors of the `vectors` lowest and highest ones.

    Only the lower triangle is read. Raises CheckError when the trace or the Frobenius norm differs from that of the
    eigenvalues by more than round-off explains (the backward error of a symmetric eigensolver is below n·eps·‖A‖₂ in each
    eigenvalue), or when a vector has a residual ‖Av - λv‖ > n·eps·‖A‖₂ √n.
    """
    rows = None
    if vectors:
        values, columns = torch.linalg.eigh(matrix)
        rows = _first_and_last(columns.mT, vectors)
    else:
        values = torch.linalg.eigvalsh(matrix)
    result = Eigenvalues(values, _trace_error(matrix, values), _frobenius_error(matrix, values), rows)
    _check(matrix, result, name)
    return result


def _check(matrix: Tensor, result: Eigenvalues, name: str) -> None:
    """Raises CheckError when a check of the eigenvalues of matrix [n, n] fails."""
    n, eps = matrix.shape[0], torch.finfo(matrix.dtype).eps
    # Each of n eigenvalues may be wrong by n·eps·‖A‖₂, and ‖A‖₂ ≤ Σ|λ|; Σ 2|λ||δλ| is then below 2 n^{3/2} eps ‖A‖_F².
    for check, error, bound in (
        ("trace", result.trace_error, n**2 * eps),
        ("Frobenius norm", result.frobenius_error, 2 * n**1.5 * eps),
        ("eigenvectors", _residual(matrix, result), n**1.5 * eps),
    ):
        if not error <= bound:
            raise CheckError(
                f"eigenvalues of {name} [{n}, {n}] fail the check of the {check}: relative error {error:.1e}, "
                f"at most {bound:.1e} is round-off",
                Remedy.OTHER_DEVICE,
            )


def _first_and_last(rows: Tensor, k: int) -> Tensor:
    """The first k and the last k rows of [n, m], each row once: [min(2k, n), m]."""
    n = len(rows)
    return rows.clone() if 2 * k >= n else torch.cat([rows[:k], rows[n - k :]])


def _residual(matrix: Tensor, result: Eigenvalues) -> float:
    """The largest ‖Av - λv‖ / ‖A‖₂ of the vectors."""
    if result.vectors is None or not bool(result.values.any()):
        return 0.0
    norm = result.values.abs().max()
    k = len(result.vectors) // 2 if len(result.vectors) < len(matrix) else len(matrix)
    values = _first_and_last(result.values[:, None], k)
    return float(((result.vectors @ matrix - values * result.vectors) / norm).norm(dim=1).max())


def _trace_error(matrix: Tensor, values: Tensor) -> float:
    scale = values.abs().sum().item()
    if scale == 0:
        return matrix.trace().abs().item()
    return abs(values.sum().item() - matrix.trace().item()) / scale


def _frobenius_error(matrix: Tensor, values: Tensor) -> float:
    largest = matrix.abs().max().item() if matrix.numel() else 0.0
    if largest == 0:
        return values.abs().sum().item()
    # Entries are divided by the largest before they are squared: a matrix of size 1e-200 must not underflow.
    exact = (matrix / largest).square().sum().item()
    return abs((values / largest).square().sum().item() - exact) / exact
