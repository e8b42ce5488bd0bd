"""Least squares in a box: the multipliers of cusps.

    min_λ ‖A λ - b‖²,      0 ≤ λ_i ≤ 1,      A [m, n]

At a minimum of a network the multipliers lie inside, and then they are those of the problem without bounds: one QR
factorisation of A, whatever the rest costs. Source of the rest: Stark, Parker, Computational Statistics 10, 129 (1995);
Branch, Coleman, Li, SIAM J. Sci. Comput. 21, 1 (1999).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lstsq
from scipy.optimize import lsq_linear
from torch import Tensor

#: Up to this many multipliers the exact active-set method is the faster one.
ACTIVE_SET = 300


def box_least_squares(rows: Tensor, target: Tensor) -> Tensor:
    """argmin ‖rowsᵀ λ - target‖ over λ [n] in [0, 1], for rows [n, m] and a target [m], of any scale."""
    matrix, b = rows.T.cpu().numpy(), target.cpu().numpy()
    scale = np.linalg.norm(matrix, axis=0).max()
    if scale == 0:
        return torch.full_like(rows[:, 0], 0.5)
    q, r = np.linalg.qr(matrix / scale)  # lsq_linear's tolerances are absolute: bring the problem to size 1
    inside = _unbounded(r, q.T @ (b / scale))
    if ((inside >= 0) & (inside <= 1)).all():
        return torch.from_numpy(inside).to(rows)
    method = "bvls" if len(rows) <= ACTIVE_SET else "trf"
    found = lsq_linear(r, q.T @ (b / scale), (0.0, 1.0), method=method, tol=1e-14, max_iter=10 * len(rows))
    return torch.from_numpy(np.clip(found.x, 0.0, 1.0)).to(rows)


def _unbounded(matrix: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """argmin ‖matrix λ - b‖ over all λ, the one nearest ½ where columns depend on each other, whatever their norms."""
    norms = np.linalg.norm(matrix, axis=0)
    norms = np.where(norms > 0, norms, 1.0)
    middle = np.full(len(norms), 0.5)
    least = len(norms) * np.finfo(np.float64).eps
    found = lstsq(matrix / norms, b - matrix @ middle, cond=least, lapack_driver="gelsy", check_finite=False)[
        0
    ]
    return middle + found / norms
