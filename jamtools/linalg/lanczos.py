"""Lanczos recurrences from Gaussian probes: the tridiagonal matrices from which a spectral density is estimated.

    β_j q_{j+1} = A q_j - α_j q_j - β_{j-1} q_{j-1},        α_j = q_jᵀ A q_j,        q_0 = v/‖v‖

The vectors q lose their orthogonality. This splits an eigenvalue of T into copies that share its weight, which does not
change the sums of quadrature.py. Therefore only the last two vectors are kept, and several probes share each product.

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016); Greenbaum, Linear Algebra Appl. 113, 7 (1989).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import InputError
from jamtools.linalg.operator import Operator, power_of_two
from jamtools.linalg.quadrature import Quadrature
from jamtools.records import Array

#: Default number of probes in one product: it limits the memory.
PROBES_PER_PRODUCT = 8


def probe(
    operator: Operator, probes: int, steps: int, seed: int = 0, at_once: int = PROBES_PER_PRODUCT
) -> Quadrature:
    """The quadrature from `steps` Lanczos steps of each of `probes` Gaussian vectors, `at_once` of them in one product.

    Memory: four times [n, at_once] besides what a product needs. Raises InputError for fewer than one probe or step.
    """
    if min(probes, steps, at_once) < 1:
        raise InputError(
            f"got {probes} probes and {steps} steps, {at_once} at once, expected at least one of each"
        )
    steps = min(steps, operator.dimension)
    unit: float | None = None
    batches = []
    for first in range(0, probes, at_once):
        start = operator.draw(seed, first, min(at_once, probes - first)).T
        batches.append(_recurrence(operator, start, steps, unit))
        unit = batches[-1].unit
    assert unit is not None
    alpha = np.concatenate([batch.alpha for batch in batches])
    beta = np.concatenate([batch.beta for batch in batches])
    ends = [np.flatnonzero(row == 0) for row in beta]
    lengths = [int(end[0]) + 1 if len(end) else steps for end in ends]
    return Quadrature(
        tuple(a[:m] for a, m in zip(alpha, lengths)),
        tuple(b[: m - 1] for b, m in zip(beta, lengths)),
        tuple(bool(len(end)) for end in ends),
        np.concatenate([batch.squares for batch in batches]),
        operator.dimension,
        unit,
        operator.eps,
    )


class _Recurrence(NamedTuple):
    """Coefficients of k recurrences, in units of `unit`: α and β [k, m], and vᵀv [k] of their starts.

    β_j = 0 where the Krylov space of a start ends at step j.
    """

    alpha: Array
    beta: Array
    squares: Array
    unit: float


def _recurrence(operator: Operator, start: Tensor, steps: int, unit: float | None) -> _Recurrence:
    """The recurrences from the rows of start [k, n]; the first product decides the unit if it is None."""
    squares = _row_products(start, start)
    q, previous = start / squares.sqrt()[:, None].to(start.dtype), torch.zeros_like(start)
    alphas, betas = [], []
    b = size = torch.zeros_like(squares)
    for _ in range(steps):
        w = operator(q.T).T
        unit = power_of_two(w) if unit is None else unit
        w = w / unit
        w -= b[:, None].to(w.dtype) * previous
        a = _row_products(q, w)
        w -= a[:, None].to(w.dtype) * q
        b = _row_products(w, w).sqrt()
        size = torch.maximum(size, torch.maximum(a.abs(), b))
        continues = b > operator.eps * size
        b = torch.where(continues, b, 0.0)
        previous, q = q, w * torch.where(continues, 1 / b, 0.0)[:, None].to(w.dtype)
        alphas.append(a)
        betas.append(b)
    assert unit is not None
    return _Recurrence(_to_numpy(alphas), _to_numpy(betas), squares.cpu().numpy(), unit)


def _row_products(u: Tensor, v: Tensor) -> Tensor:
    """The scalar products [k] of the rows of u and v [k, n], summed in float64."""
    return (u * v).sum(1, dtype=torch.float64)


def _to_numpy(columns: list[Tensor]) -> Array:
    return torch.stack(columns, 1).cpu().numpy()
