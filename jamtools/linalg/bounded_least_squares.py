"""Least squares with bounds 0 and 1: the multipliers of cusps.

    min_λ ‖A λ - b‖²,      0 ≤ λ_i ≤ 1,      A [m, n]

At a minimum of a network, the solution without bounds lies within the bounds. Then one QR factorisation of A is enough.

Source: Stark, Parker, Computational Statistics 10, 129 (1995), the active-set method; Branch, Coleman, Li, SIAM J. Sci.
Comput. 21, 1 (1999), the trust-region method.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: The exact active-set method is faster for up to this many multipliers, the trust-region method for more.
ACTIVE_SET_MAX_MULTIPLIERS = 300


def box_least_squares(rows: Tensor, target: Tensor) -> Tensor:
    """The λ [n] in [0, 1] that minimises ‖rowsᵀ λ - target‖, for rows [n, m] and a target [m] of any scale."""
    from scipy.optimize import lsq_linear  # takes 0.4 s, which few trainings need

    A, b = rows.T.cpu().numpy(), target.cpu().numpy()
    scale = np.linalg.norm(A, axis=0).max()
    if scale == 0:
        return torch.full_like(rows[:, 0], 0.5)
    # The problem is scaled to size 1, since the tolerances of lsq_linear are absolute.
    q, r = np.linalg.qr(A / scale)
    without_bounds = _least_squares(r, q.T @ (b / scale))
    if ((without_bounds >= 0) & (without_bounds <= 1)).all():
        return torch.from_numpy(without_bounds).to(rows)
    method = "bvls" if len(rows) <= ACTIVE_SET_MAX_MULTIPLIERS else "trf"
    solution = lsq_linear(r, q.T @ (b / scale), (0.0, 1.0), method=method, tol=1e-14, max_iter=10 * len(rows))
    return torch.from_numpy(np.clip(solution.x, 0.0, 1.0)).to(rows)


def _least_squares(A: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The λ [n] that minimises ‖A λ - b‖, with A [m, n] and b [m].

    If the columns depend on each other, there are several such λ, and the λ nearest to ½ (in units of the norms of the
    columns) is returned. The columns are scaled to norm 1 first. Otherwise a short column could be mistaken for a
    dependent one.
    """
    from scipy.linalg import lstsq

    norms = np.linalg.norm(A, axis=0)
    norms = np.where(norms > 0, norms, 1.0)
    half = np.full(len(norms), 0.5)
    rank_tolerance = len(norms) * np.finfo(np.float64).eps
    step = lstsq(A / norms, b - A @ half, cond=rank_tolerance, lapack_driver="gelsy", check_finite=False)[0]
    return half + step / norms
