r"""The bootstrap over runs: as many whole runs, drawn with replacement, each time fitted anew.

The values of one run share its network; only runs are independent of each other. With the cut kept where it is, sums per
run suffice, s_r = Σ_{i in r} (1, T_i): a refit costs no pass over the values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from jamtools.tilt import Array, Maximum, maximise
from jamtools.window import Window

Interval = tuple[float, float]

MIN_CLUSTERS = 8  # fewer give a standard error over runs with an error of its own beyond 1/√(2·7) = 0.27
MIN_REPLICAS = 20


def resample(
    window: Window,
    top: Maximum,
    runs: NDArray[np.intp],
    size: int,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> tuple[Array, str]:
    """Exponents of `n_bootstrap` ensembles of `size` runs, drawn with replacement; or why there are none.

    `runs` [n]: the run of each value of the window, counted from 0; those without values there are drawn like the others.
    The cut stays where it is: the estimate is of the tail below this one, and where the model holds its exponent does not
    depend on the cut, whose own wandering is O(n^−1/2). So sums per run suffice.
    """
    said = "no bootstrap over runs: the interval takes the values as independent"
    if size < MIN_CLUSTERS or not n_bootstrap:
        few = f"{size} runs, {n_bootstrap} replicas; it takes {MIN_CLUSTERS} and {MIN_REPLICAS}"
        return np.empty(0), f"{said} ({few})"
    rows = window.statistics[: top.eta.size]
    counts = np.bincount(runs, minlength=size)
    sums = np.stack([counts, *(np.bincount(runs, row, size) for row in rows)])  # [2 + order, runs]
    draws = (sums @ np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(n_bootstrap))
    tops = [maximise(drawn[1:] / drawn[0], window.u0, top.eta) for drawn in draws]
    exponents = np.array([float(replica.eta[0]) for replica in tops if replica.converged])
    if exponents.size < 0.9 * n_bootstrap:
        return exponents, f"{said} ({exponents.size} of {n_bootstrap} replicas have a maximum)"
    return exponents, ""


def student_interval(t: float, exponents: Array, runs: int, level: float) -> tuple[float, Interval]:
    """Standard error and interval of t from its replicas: percentiles about t, stretched to what few runs require.

    Resampling m runs underestimates their variance by (m−1)/m, and m runs know it only to Student's t with m−1 degrees.
    """
    from scipy.special import ndtri, stdtrit

    few = math.sqrt(runs / (runs - 1))
    stretch = few * float(stdtrit(runs - 1, (1 + level) / 2) / ndtri((1 + level) / 2))
    low, high = (float(q) for q in np.quantile(exponents, [(1 - level) / 2, (1 + level) / 2]))
    return few * float(exponents.std(ddof=1)), (max(-1.0, t - stretch * (t - low)), t + stretch * (high - t))
