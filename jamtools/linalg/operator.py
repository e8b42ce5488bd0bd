"""A symmetric matrix that is known only through its products with vectors.

    V [n, k]  ->  A V,        or  V  ->  Z A V  on the range of an orthogonal projector Z

Lanczos methods need nothing else: n may be 10⁶, where n² entries would not fit in memory. With a projector the matrix is
Z A Z on the range of Z and has the dimension of that range; the vectors keep their n components.

Source: none, own definitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import CheckError, Remedy
from jamtools.random_streams import LANCZOS_PROBES, generator

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Operator:
    """A symmetric matrix A, given by the function V [n, k] -> A V [n, k].

    project: the projector Z as V [n, k] -> Z V [n, k], if the matrix is restricted to its range; `removed` is then n minus
    the dimension of that range.
    """

    product: Product
    n: int
    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    project: Product | None = None
    removed: int = 0

    @property
    def dimension(self) -> int:
        """The number of eigenvalues."""
        return self.n - self.removed

    @property
    def eps(self) -> float:
        """The relative spacing of the numbers in which the products are computed."""
        return torch.finfo(self.dtype).eps

    def __call__(self, V: Tensor) -> Tensor:
        """A V [n, k], or Z A V for V [n, k] in the range of Z. Raises CheckError where the product is not finite."""
        out = self.product(V)
        if self.project is not None:
            out = self.project(out)
        if not torch.isfinite(out).all():
            raise CheckError("a product with the matrix is not finite", Remedy.FLOAT64_OR_LEAVE_OUT)
        return out

    def draw(self, seed: int, first: int, count: int) -> Tensor:
        """Gaussian vectors [n, count] in the range of Z: those with the numbers first, first + 1, … of a seed.

        The k-th vector of a seed does not depend on the other vectors that are drawn with it.
        """
        streams = (generator(seed, LANCZOS_PROBES, first + i) for i in range(count))
        rows = np.stack([stream.standard_normal(self.n) for stream in streams])
        V = torch.as_tensor(rows, dtype=self.dtype, device=self.device).T
        return V if self.project is None else self.project(V)


def dense(matrix: Tensor) -> Operator:
    """A symmetric matrix [n, n] as an operator."""
    return Operator(lambda V: matrix @ V, matrix.shape[0], matrix.dtype, matrix.device)


def power_of_two(V: Tensor) -> float:
    """The largest power of two that does not exceed the largest |entry| of V [any shape]; 1 if all entries are 0.

    A division by this number is exact. After the division, squares are in the range of floating-point numbers.
    """
    largest = V.abs().max().item() if V.numel() else 0.0
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0
