"""The lowest and the highest eigenvalues of an operator by block Lanczos with thick restarts.

    Q_{j+1} R_j = (1 - Q Qᵀ) A Q_j,      Qᵀ A Q y = θ y,      residual ‖A v - θ v‖ with v = Q y

Each block is orthogonalised against the whole basis by two passes of block Gram–Schmidt: one pass leaves components of
size eps·‖A‖/‖R‖ which grow into spurious copies, two leave eps. When the basis is full, the Ritz vectors nearest to both
ends are kept, with the block that would have come next, and it grows again. A block finds degenerate eigenvalues up to its
own size. Some eigenvalue lies within the residual of each θ (and within residual²/gap); that none farther out was
missed is the rule for a random start, and no theorem.

Source: Wu, Simon, SIAM J. Matrix Anal. 22, 602 (2000); Giraud, Langou, Rozložník, van den Eshof, Numer. Math. 101, 87
(2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.errors import InputError
from jamtools.linalg.operator import Operator, power_of_two

#: Vectors are numbered from here on in a seed: apart from all the probes of a quadrature.
FIRST = 1 << 31

#: A residual of this many ‖A‖₂ ends the search.
TOLERANCE = 1e-8


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenvalues at one end, ascending [K], with residuals ‖A v - θ v‖ [K] and unit vectors v [n, K].

    converged [K]: whether the residual is at most tolerance·‖A‖₂.
    """

    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    converged: NDArray[np.bool_]
    vectors: Tensor


@dataclass(frozen=True)
class Extremes:
    """Both ends of a spectrum; norm: max |θ|; products: vectors that were multiplied by A to find them."""

    lowest: Ritz
    highest: Ritz
    norm: float
    products: int


def extremes(
    operator: Operator,
    lowest: int,
    highest: int,
    *,
    tolerance: float = TOLERANCE,
    budget: int = 2000,
    basis: int | None = None,
    seed: int = 0,
) -> Extremes:
    """The `lowest` and `highest` eigenvalues (numbers of them), until the residuals are below tolerance·‖A‖₂.

    basis: vectors [n] that are kept, by default four times what is asked for and two blocks; memory is three times that.
    budget: products with single vectors; what has not converged by then says so. The residuals are computed from a
    last product with the vectors that are returned. Raises InputError for numbers out of range.
    """
    _require(lowest, highest, operator.dimension, basis)
    block = min(max(lowest, highest, 1), operator.dimension)
    basis = min(4 * (lowest + highest) + 2 * block if basis is None else basis, operator.dimension)
    search = _Search(operator, block, basis, seed)
    wanted = lowest + highest
    while True:
        search.grow()
        values, vectors = search.ritz()
        ends = _ends(values, lowest, highest)
        residuals = search.residuals(values[ends], vectors[:, ends])
        norm = values.abs().max()
        done = bool((residuals <= tolerance * norm).all()) or search.Q.shape[1] == operator.dimension
        if done or search.products + block > budget:
            break
        kept = _ends(values, *_split(lowest, highest, max(wanted, (basis - block) // 2)))
        search.restart(vectors[:, kept])
    return _result(search, vectors[:, ends], lowest, tolerance, norm.item())


def _require(lowest: int, highest: int, dimension: int, basis: int | None) -> None:
    wanted = lowest + highest
    if min(lowest, highest) < 0 or wanted < 1 or max(lowest, highest) > dimension:
        raise InputError(
            f"got {lowest} lowest and {highest} highest eigenvalues, expected 0 to {dimension} of each, and one at least"
        )
    least = min(wanted + 2 * max(lowest, highest), dimension)
    if basis is not None and basis < least:
        raise InputError(
            f"got a basis of {basis} vectors, expected at least {least} for {wanted} eigenvalues; ask for fewer"
        )


def _split(lowest: int, highest: int, number: int) -> tuple[int, int]:
    """`number` vectors divided between the ends as the wanted ones are."""
    low = round(number * lowest / (lowest + highest))
    return low, number - low


def _ends(values: Tensor, lowest: int, highest: int) -> Tensor:
    n = len(values)
    places = [*range(min(lowest, n)), *range(max(n - highest, 0), n)]
    return torch.tensor(places, device=values.device)


class _Search:
    """An orthonormal basis Q [n, j] of a Krylov space with A Q, and the block that comes next; A in units of `unit`."""

    def __init__(self, operator: Operator, block: int, basis: int, seed: int) -> None:
        self.operator, self.basis, self.seed = operator, basis, seed
        self.drawn = self.products = 0
        self.unit = 1.0
        self.Q = self.AQ = torch.empty(operator.n, 0, dtype=operator.dtype, device=operator.device)
        self.next = self.orthonormal(self.draw(block))

    def draw(self, count: int) -> Tensor:
        self.drawn += count
        return self.operator.draw(self.seed, FIRST + self.drawn - count, count)

    def grow(self) -> None:
        """Blocks are added until the basis is full."""
        while self.next.shape[1]:
            image = self.operator(self.next)
            if self.products == 0:
                self.unit = power_of_two(image)
            image = image / self.unit
            self.products += image.shape[1]
            self.Q, self.AQ = torch.cat([self.Q, self.next], 1), torch.cat([self.AQ, image], 1)
            room = self.operator.dimension - self.Q.shape[1]
            self.next = self.orthonormal(image[:, :room])
            if self.Q.shape[1] + self.next.shape[1] > self.basis:
                break

    def orthonormal(self, W: Tensor) -> Tensor:
        """W made orthonormal, and to Q, by two passes; a column that depends on those before gives way to a random one."""
        for _ in range(2):
            W, R = torch.linalg.qr(W - self.Q @ (self.Q.T @ W))
        while True:  # after two passes a column is short only if it was noise along the others
            short = R.diagonal().abs() < 0.5
            if not short.any():
                return W
            W = W.clone()
            W[:, short] = self.draw(int(short.sum()))
            for _ in range(2):
                W, R = torch.linalg.qr(W - self.Q @ (self.Q.T @ W))

    def ritz(self) -> tuple[Tensor, Tensor]:
        """θ ascending and y [j, j]."""
        projected = self.Q.T @ self.AQ
        values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
        return values, vectors

    def residuals(self, values: Tensor, vectors: Tensor) -> Tensor:
        return torch.linalg.vector_norm(self.AQ @ vectors - (self.Q @ vectors) * values, dim=0)

    def restart(self, vectors: Tensor) -> None:
        self.Q, self.AQ = self.Q @ vectors, self.AQ @ vectors


def _result(search: _Search, vectors: Tensor, lowest: int, tolerance: float, norm: float) -> Extremes:
    """Values and residuals once more, from a product with the very vectors that are returned."""
    V = search.Q @ vectors
    V = V / torch.linalg.vector_norm(V, dim=0)
    image = search.operator(V) / search.unit
    values = (V * image).sum(0)
    residuals = torch.linalg.vector_norm(image - V * values, dim=0)
    order: Callable[[Tensor], NDArray[np.float64]] = lambda t: t.double().cpu().numpy()
    theta, r = order(values), order(residuals)
    ends = [
        Ritz(theta[part] * search.unit, r[part] * search.unit, r[part] <= tolerance * norm, V[:, part])
        for part in (slice(0, lowest), slice(lowest, None))
    ]
    return Extremes(ends[0], ends[1], norm * search.unit, search.products + V.shape[1])
