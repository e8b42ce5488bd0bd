"""The lowest and the highest eigenvalues of an operator by block Lanczos with thick restarts.

    Q_{j+1} R_j = (1 - Q Qᵀ) A Q_j,      Qᵀ A Q y = θ y,      residual ‖A v - θ v‖ with v = Q y

Each block is orthogonalised against the whole basis by two passes of block Gram-Schmidt: one pass leaves components of size
eps·‖A‖/‖R‖, which grow into spurious copies; two passes leave eps. When the basis is full, the Ritz vectors nearest to
both ends are kept together with the next block, and the basis grows again.

A degenerate eigenvalue is found as often as it occurs, up to the size of a block. Within the residual of each θ lies an
eigenvalue (also within residual²/gap). With a random start it is very probable, but not proved, that no eigenvalue farther
out was missed.

Source: Wu, Simon, SIAM J. Matrix Anal. 22, 602 (2000); Giraud, Langou, Rozložník, van den Eshof, Numer. Math. 101, 87
(2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.errors import InputError, Remedy
from jamtools.linalg.operator import Operator, power_of_two

#: The number of the first start vector within a seed: above the numbers of all probes of a quadrature.
START_VECTORS = 1 << 31

#: The search ends when all residuals are at most this, in units of ‖A‖₂.
RESIDUAL_TOLERANCE = 1e-8

#: If the second pass of the orthogonalisation reduces the norm of a column below this fraction, the column was round-off.
DEPENDENT_COLUMN = 0.5


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenvalues at one end, ascending [K], with residuals ‖A v - θ v‖ [K] and unit vectors v [n, K].

    converged [K]: whether the residual is at most tolerance·‖A‖₂.
    """

    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    converged: NDArray[np.bool_]
    vectors: Tensor


@dataclass(frozen=True)
class Extremes:
    """Both ends of a spectrum. norm: max |θ|. products: the number of vectors that were multiplied by A."""

    lowest: RitzPairs
    highest: RitzPairs
    norm: float
    products: int


def extremes(
    operator: Operator,
    lowest: int,
    highest: int,
    *,
    tolerance: float = RESIDUAL_TOLERANCE,
    budget: int = 2000,
    basis: int | None = None,
    seed: int = 0,
) -> Extremes:
    """The `lowest` smallest and the `highest` largest eigenvalues, with residuals below tolerance·‖A‖₂.

    basis: the largest number of basis vectors [n], by default four per eigenvalue and two blocks; the memory is that of
    three bases. budget: the largest number of vectors that are multiplied by A. When it is used up, some pairs may not have
    converged. The residuals come from a last product with the returned vectors. Raises InputError for numbers out of range.
    """
    _check_numbers(lowest, highest, operator.dimension, basis)
    block = min(max(lowest, highest, 1), operator.dimension)
    basis = min(4 * (lowest + highest) + 2 * block if basis is None else basis, operator.dimension)
    space = KrylovSpace(operator, block, basis, seed)
    while True:
        space.fill()
        values, vectors = space.ritz_pairs()
        ends = _both_ends(values, lowest, highest)
        residuals = space.residuals(values[ends], vectors[:, ends])
        norm = values.abs().max()
        converged = bool((residuals <= tolerance * norm).all())
        complete = space.Q.shape[1] == operator.dimension
        if converged or complete or space.products + block > budget:
            break
        n_kept = max(lowest + highest, (basis - block) // 2)
        n_low = round(n_kept * lowest / (lowest + highest))
        space.restart(vectors[:, _both_ends(values, n_low, n_kept - n_low)])
    return _result(space, vectors[:, ends], lowest, tolerance, norm.item())


def _check_numbers(lowest: int, highest: int, dimension: int, basis: int | None) -> None:
    """Raises InputError when the matrix has too few eigenvalues, or when the basis is too small for them."""
    total = lowest + highest
    if min(lowest, highest) < 0 or total < 1 or max(lowest, highest) > dimension:
        raise InputError(
            f"got {lowest} lowest and {highest} highest eigenvalues, expected 0 to {dimension} of each, and one at least"
        )
    smallest_basis = min(total + 2 * max(lowest, highest), dimension)
    if basis is not None and basis < smallest_basis:
        raise InputError(
            f"got a basis of {basis} vectors, expected at least {smallest_basis} for {total} eigenvalues",
            Remedy.FEWER_EIGENVALUES,
        )


def _both_ends(values: Tensor, lowest: int, highest: int) -> Tensor:
    """The positions of the first `lowest` and the last `highest` of the values [j]."""
    n = len(values)
    positions = [*range(min(lowest, n)), *range(max(n - highest, 0), n)]
    return torch.tensor(positions, device=values.device)


class KrylovSpace:
    """An orthonormal basis Q [n, j] of a Krylov space, with A Q [n, j] / unit and the next block [n, block].

    basis: the largest j. products: the number of vectors that were multiplied by A.
    """

    def __init__(self, operator: Operator, block: int, basis: int, seed: int) -> None:
        self.operator, self.basis, self.seed = operator, basis, seed
        self.products = self._n_drawn = 0
        self.unit = 1.0
        self.Q = self.AQ = torch.empty(operator.n, 0, dtype=operator.dtype, device=operator.device)
        self.next = self._orthonormal(self._draw(block))

    def fill(self) -> None:
        """Adds blocks until the basis is full or the space is complete."""
        while self.next.shape[1]:
            image = self.operator(self.next)
            if self.products == 0:
                self.unit = power_of_two(image)
            image = image / self.unit
            self.products += image.shape[1]
            self.Q, self.AQ = torch.cat([self.Q, self.next], 1), torch.cat([self.AQ, image], 1)
            n_missing = self.operator.dimension - self.Q.shape[1]
            self.next = self._orthonormal(image[:, :n_missing])
            if self.Q.shape[1] + self.next.shape[1] > self.basis:
                break

    def ritz_pairs(self) -> tuple[Tensor, Tensor]:
        """θ / unit [j] ascending, and y [j, j] in columns."""
        projected = self.Q.T @ self.AQ
        values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
        return values, vectors

    def residuals(self, values: Tensor, vectors: Tensor) -> Tensor:
        """‖A v - θ v‖ / unit [k] of the Ritz values θ / unit [k] and the vectors y [j, k]."""
        return torch.linalg.vector_norm(self.AQ @ vectors - (self.Q @ vectors) * values, dim=0)

    def restart(self, vectors: Tensor) -> None:
        """Reduces the basis to the Ritz vectors Q y of y [j, k], and keeps the next block."""
        self.Q, self.AQ = self.Q @ vectors, self.AQ @ vectors

    def _draw(self, count: int) -> Tensor:
        """The next `count` start vectors [n, count] of the seed."""
        first = START_VECTORS + self._n_drawn
        self._n_drawn += count
        return self.operator.draw(self.seed, first, count)

    def _orthonormal(self, W: Tensor) -> Tensor:
        """An orthonormal basis [n, k] of the columns W [n, k], orthogonal to Q; random vectors replace dependent columns."""
        for _ in range(2):
            W, R = torch.linalg.qr(W - self.Q @ (self.Q.T @ W))
        while True:
            dependent = R.diagonal().abs() < DEPENDENT_COLUMN
            if not dependent.any():
                return W
            W = W.clone()
            W[:, dependent] = self._draw(int(dependent.sum()))
            for _ in range(2):
                W, R = torch.linalg.qr(W - self.Q @ (self.Q.T @ W))


def _result(space: KrylovSpace, vectors: Tensor, lowest: int, tolerance: float, norm: float) -> Extremes:
    """The result for the Ritz vectors Q y of y [j, K]. One more product with them gives the values and the residuals."""
    V = space.Q @ vectors
    V = V / torch.linalg.vector_norm(V, dim=0)
    image = space.operator(V) / space.unit
    values = (V * image).sum(0)
    residuals = torch.linalg.vector_norm(image - V * values, dim=0)
    theta, r = (t.double().cpu().numpy() for t in (values, residuals))
    ends = [
        RitzPairs(theta[part] * space.unit, r[part] * space.unit, r[part] <= tolerance * norm, V[:, part])
        for part in (slice(0, lowest), slice(lowest, None))
    ]
    return Extremes(ends[0], ends[1], norm * space.unit, space.products + V.shape[1])
