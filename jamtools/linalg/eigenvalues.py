"""Eigenvalues of a symmetric matrix that pass their own checks, and counts by sign.

    Σ λ = tr A,      Σ λ² = ‖A‖_F²,      zero: |λ| ≤ n·eps·‖A‖₂

An eigenvalue carries an absolute error of about eps·‖A‖₂ times a modest power of n, whatever its own size: hence
the tolerance for a zero, relative to the matrix and without a floor, and hence each matrix is diagonalised by
itself and never as a difference of two others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.errors import CheckError


@dataclass(frozen=True)
class Eigenvalues:
    """Ascending eigenvalues [n] of a symmetric matrix, and how well they pass the checks.

    trace_error = |Σλ - tr A| / Σ|λ|, frobenius_error = |Σλ² - ‖A‖_F²| / ‖A‖_F²: both 0 for A = 0.
    vectors [k, n]: a row each, of the lowest and of the highest eigenvalues asked for, ascending.
    """

    values: Tensor
    trace_error: float
    frobenius_error: float
    vectors: Tensor | None = None

    @property
    def tolerance(self) -> float:
        """|λ| up to n·eps·‖A‖₂ counts as zero."""
        if self.values.numel() == 0:
            return 0.0
        return self.values.numel() * torch.finfo(self.values.dtype).eps * self.values.abs().max().item()

    @property
    def n_negative(self) -> int:
        return below(self.values, -self.tolerance)

    @property
    def n_zero(self) -> int:
        return int((self.values.abs() <= self.tolerance).sum())

    @property
    def smallest_positive(self) -> float | None:
        """The smallest eigenvalue above the tolerance; None when there is none."""
        above = self.values[self.values > self.tolerance]
        return above[0].item() if above.numel() else None


def below(values: Tensor, threshold: float) -> int:
    """How many values lie below a threshold."""
    return int((values < threshold).sum())


def eigenvalues(matrix: Tensor, name: str = "matrix", vectors: int = 0) -> Eigenvalues:
    """All eigenvalues of a symmetric matrix [n, n], and the eigenvectors of the `vectors` lowest and highest.

    The lower triangle is read. Raises CheckError when trace or Frobenius norm disagree by more than round-off can
    explain (the backward error of a symmetric eigensolver is below n·eps·‖A‖₂ in each eigenvalue), or when a vector
    is none: ‖Av - λv‖ > n·eps·‖A‖₂ √n.
    """
    kept = None
    if vectors:
        values, columns = torch.linalg.eigh(matrix)
        kept = _ends(columns.mT, vectors)
    else:
        values = torch.linalg.eigvalsh(matrix)
    result = Eigenvalues(values, _trace_error(matrix, values), _frobenius_error(matrix, values), kept)
    n, eps = matrix.shape[0], torch.finfo(matrix.dtype).eps
    # n eigenvalues, each off by n·eps·‖A‖₂ at most, ‖A‖₂ ≤ Σ|λ|; and 2|λ||δλ| summed is below 2 n^{3/2} eps ‖A‖_F²
    for what, error, bound in (
        ("trace", result.trace_error, n**2 * eps),
        ("Frobenius norm", result.frobenius_error, 2 * n**1.5 * eps),
        ("eigenvectors", _residual(matrix, result), n**1.5 * eps),
    ):
        if not error <= bound:
            raise CheckError(
                f"eigenvalues of {name} [{n}, {n}] fail the check of the {what}: relative error {error:.1e}, "
                f"at most {bound:.1e} is round-off; run it on another --device"
            )
    return result


def _ends(rows: Tensor, k: int) -> Tensor:
    """The first k and the last k rows, each once."""
    n = len(rows)
    return rows.clone() if 2 * k >= n else torch.cat([rows[:k], rows[n - k :]])


def _residual(matrix: Tensor, found: Eigenvalues) -> float:
    """The largest ‖Av - λv‖ / ‖A‖₂ of the vectors."""
    if found.vectors is None or not bool(found.values.any()):
        return 0.0
    size = found.values.abs().max()
    values = _ends(
        found.values[:, None], len(found.vectors) // 2 if len(found.vectors) < len(matrix) else len(matrix)
    )
    return float(((found.vectors @ matrix - values * found.vectors) / size).norm(dim=1).max())


def _trace_error(matrix: Tensor, values: Tensor) -> float:
    scale = values.abs().sum().item()
    return (
        abs(values.sum().item() - matrix.trace().item()) / scale
        if scale != 0
        else matrix.trace().abs().item()
    )


def _frobenius_error(matrix: Tensor, values: Tensor) -> float:
    largest = matrix.abs().max().item() if matrix.numel() else 0.0
    if largest == 0:
        return values.abs().sum().item()
    # divided by the largest entry before squaring: a matrix of size 1e-200 must not underflow
    exact = (matrix / largest).square().sum().item()
    return abs((values / largest).square().sum().item() - exact) / exact
