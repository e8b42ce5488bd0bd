"""Lanczos recurrences from Gaussian probes: the tridiagonal matrices behind a spectral density.

    β_j q_{j+1} = A q_j - α_j q_j - β_{j-1} q_{j-1},        α_j = q_jᵀ A q_j,        q_0 = v/‖v‖

Lost orthogonality splits an eigenvalue of T into copies that share its weight, which leaves the sums of quadrature.py as
they are. So no vector is kept but the last two, and several probes go through each product together.

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016); Greenbaum, Linear Algebra Appl. 113, 7 (1989).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import InputError
from jamtools.linalg.operator import Operator, power_of_two
from jamtools.linalg.quadrature import Array, Quadrature

#: Probes that are multiplied at once, unless told otherwise: it bounds the memory.
AT_ONCE = 8


def probe(operator: Operator, probes: int, steps: int, seed: int = 0, at_once: int = AT_ONCE) -> Quadrature:
    """`steps` Lanczos steps from each of `probes` Gaussian vectors, `at_once` of them in one product.

    Memory: four times [n, at_once] besides what a product needs. Raises InputError for fewer than one probe or step.
    """
    if min(probes, steps, at_once) < 1:
        raise InputError(
            f"got {probes} probes and {steps} steps, {at_once} at once, expected at least one of each"
        )
    steps = min(steps, operator.dimension)
    unit: float | None = None
    parts = []
    for first in range(0, probes, at_once):
        start = operator.draw(seed, first, min(at_once, probes - first)).T
        alpha, beta, squares, unit = _recurrence(operator, start, steps, unit)
        parts.append((alpha, beta, squares))
    assert unit is not None
    alpha, beta, squares = (np.concatenate([part[i] for part in parts]) for i in range(3))
    ends = [np.flatnonzero(row == 0) for row in beta]
    lengths = [int(end[0]) + 1 if len(end) else steps for end in ends]
    return Quadrature(
        tuple(a[:m] for a, m in zip(alpha, lengths)),
        tuple(b[: m - 1] for b, m in zip(beta, lengths)),
        tuple(bool(len(end)) for end in ends),
        squares,
        operator.dimension,
        unit,
        operator.eps,
    )


def _recurrence(
    operator: Operator, start: Tensor, steps: int, unit: float | None
) -> tuple[Array, Array, Array, float]:
    """α, β [k, m] of the rows of start [k, n], and their squares [k]; β_j = 0 where a row's Krylov space ends at j."""
    squares = _dots(start, start)
    q, previous = start / squares.sqrt()[:, None].to(start.dtype), torch.zeros_like(start)
    alphas, betas = [], []
    b = size = torch.zeros_like(squares)
    for _ in range(steps):
        w = operator(q.T).T
        unit = power_of_two(w) if unit is None else unit
        w = w / unit
        w -= b[:, None].to(w.dtype) * previous
        a = _dots(q, w)
        w -= a[:, None].to(w.dtype) * q
        b = _dots(w, w).sqrt()
        size = torch.maximum(size, torch.maximum(a.abs(), b))
        going = b > operator.eps * size
        b = torch.where(going, b, 0.0)
        previous, q = q, w * torch.where(going, 1 / b, 0.0)[:, None].to(w.dtype)
        alphas.append(a)
        betas.append(b)
    assert unit is not None
    return _host(alphas), _host(betas), squares.cpu().numpy(), unit


def _dots(u: Tensor, v: Tensor) -> Tensor:
    """The products of the rows of two [k, n], summed in float64."""
    return (u * v).sum(1, dtype=torch.float64)


def _host(columns: list[Tensor]) -> Array:
    return torch.stack(columns, 1).cpu().numpy()
