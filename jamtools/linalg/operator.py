"""A symmetric matrix that is known by its products alone.

    V [n, k]  ->  A V,        or  V  ->  Z A V  on the range of an orthogonal projector Z

Lanczos methods need no more: n may be 10⁶ where the n² entries would not fit. On the range of Z the matrix is Z A Z, of
the dimension of that range; the vectors keep their n components.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import CheckError
from jamtools.random_streams import LANCZOS_PROBES, generator

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Operator:
    """A symmetric A as a function of vectors [n, k].

    project: Z, when the matrix is meant on its range only; `removed` is then n minus the dimension of that range.
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
        return torch.finfo(self.dtype).eps

    def __call__(self, V: Tensor) -> Tensor:
        """A V [n, k], or Z A V for V in the range of Z. Raises CheckError where the product is not finite."""
        out = self.product(V)
        if self.project is not None:
            out = self.project(out)
        if not torch.isfinite(out).all():
            raise CheckError(
                "a product with the matrix is not finite; use --dtype float64, or leave the run out"
            )
        return out

    def draw(self, seed: int, first: int, count: int) -> Tensor:
        """Gaussian vectors [n, count] in the range of Z, numbers `first` and on of a seed: the same in any company."""
        streams = (generator(seed, LANCZOS_PROBES, first + i) for i in range(count))
        rows = np.stack([stream.standard_normal(self.n) for stream in streams])
        V = torch.as_tensor(rows, dtype=self.dtype, device=self.device).T
        return V if self.project is None else self.project(V)


def dense(matrix: Tensor) -> Operator:
    """A matrix [n, n] as an operator."""
    return Operator(lambda V: matrix @ V, matrix.shape[0], matrix.dtype, matrix.device)


def power_of_two(V: Tensor) -> float:
    """The power of two at the largest |entry|, and 1 for zeros: dividing by it is exact and keeps squares in range."""
    largest = V.abs().max().item() if V.numel() else 0.0
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0
