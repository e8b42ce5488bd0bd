"""The exponent of a lower tail, by maximum likelihood, with an interval that carries the choice of what is fitted.

    p(x) = x^t exp(c₁x + c₂x² + …) / Z        on x₀ < x ≤ x_c,        t > −1

The power law that holds as x → 0 is t; the tilt c carries the crossover to the bulk, so that most of the values
serve instead of the few where a bare power law is straight. The share of the values and the order of the tilt are
chosen by the data (choice.py), unless they are given: then the interval is that of the model as if it were true,
and carries nothing of that choice.

What it cannot do. Where log p(x) − t log x is not smooth at 0, as for x^t e^−√x, no share is low enough; the
exponent moves on with the share, and `settled` may or may not say so. Telling 0.30 from 0.42 takes ten thousand
values where the model is known, three times as many where it is not. Below its smallest scale a finite system has
no power law, and only `lower_cut` can leave that part out.

Why not Clauset, Shalizi & Newman (doi:10.1137/070710111): their cut, by Kolmogorov–Smirnov distance, shortens the
tail until a bare power law is no longer *seen* to fail; for x^0.423 e^−x and n = 3000 that returns 0.30 ± 0.09.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jamtools.errors import InputError
from jamtools.exponents.resampling import (
    MIN_CLUSTERS,
    MIN_REPLICAS,
    Interval,
    goodness,
    resample,
    student_interval,
)
from jamtools.exponents.selection import ORDERS, SHARES, Choice, Rung, choose, ladder
from jamtools.exponents.tilted import MAX_ORDER, MIN_VALUES, Array, Maximum, Window, moments, powers, profile
from jamtools.random_streams import BOOTSTRAP, GOODNESS_OF_FIT, run_generator

SPARSE = 10  # below the tenth smallest value the count is known to worse than 1/√10


@dataclass(frozen=True)
class Trial:
    """One line of the table of fits: how the exponent moves with the order and the share."""

    order: int
    share: float
    exponent: float
    standard_error: float
    n: int
    upper_cut: float


@dataclass(frozen=True)
class PowerLaw:
    """A fitted lower tail p(x) ∝ x^exponent exp(c₁x + c₂x² + …) on lower_cut < x ≤ upper_cut.

    `interval`: the wider of `profile_interval` (values taken as independent) and `bootstrap_interval` (runs taken
    as independent; None without enough runs), drawn out by `reach`: how far below and above the exponent the fits
    lie that are less biased. `standard_error`: of the exponent at this order and share, over values or over runs,
    the larger. `settled`: there were such fits, and they agree; None where order and share were given.
    `stability`: all the fits. `coefficients` are c₁, c₂, … in units of 1/x, 1/x², …. `p_null`: likelihood ratio
    of the exponent from which `reach` reaches to 0, that is of 0 where there is none, divided by the design
    effect: at most 1 - level where 0 lies outside of the interval. `design_effect`: variance over runs as a
    multiple, at least 1, of that of independent values. `p_fit`: goodness of fit, None if not asked for or not to
    be had; it takes values as independent and comes out too small where runs differ. `decades`: from the tenth
    smallest value to the cut. `converged`: both ends of the interval and the null were reached.
    """

    exponent: float
    standard_error: float
    interval: Interval
    profile_interval: Interval
    bootstrap_interval: Interval | None
    reach: Interval
    settled: bool | None
    level: float
    n: int
    n_total: int
    n_clusters: int | None
    order: int
    share: float
    lower_cut: float
    upper_cut: float
    coefficients: tuple[float, ...]
    log_likelihood: float
    p_null: float
    p_fit: float | None
    design_effect: float
    decades: float
    converged: bool
    note: str
    stability: tuple[Trial, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON; what is not finite becomes None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fit(
    values: ArrayLike,
    *,
    order: int | None = None,
    share: float | None = None,
    lower_cut: float = 0.0,
    level: float = 0.95,
    clusters: ArrayLike | None = None,
    n_bootstrap: int = 200,
    n_gof: int = 100,
    seed: int = 0,
) -> PowerLaw:
    """Exponent t of p(x) ∝ x^t as x → 0, from the lowest `share` of the `values` [n] above `lower_cut`.

    `order`: degree of the tilt, 0 to 3. What is None of it and the share is chosen by the data. `clusters` [n]: the run (a
    whole number) each value came from; with 8 runs or more whole runs are resampled `n_bootstrap` times (0: never);
    with fewer the values are taken as independent throughout.
    `n_gof`: replicas for the goodness of fit (0: none).

    Raises InputError for values that are not finite and positive, for fewer than 50 in the window, and for values so nearly
    equal that the tilt has nothing to hold on to.

    >>> round(fit([(k / 100) ** 2 for k in range(1, 101)], order=0, share=1.0).exponent, 3)
    -0.483
    """
    _check_options(order, share, lower_cut, level, n_bootstrap, n_gof, seed)
    x, runs = _check_values(values, clusters)
    n_clusters = None if runs is None else int(runs.max()) + 1
    orders, shares = ORDERS if order is None else (order,), _shares(x, lower_cut, share)
    rungs = ladder(x, runs if (n_clusters or 0) >= MIN_CLUSTERS else None, orders, shares, lower_cut)
    choice = choose(rungs)
    rung = rungs[choice.taken]
    window, top, t = rung.window, rung.top, rung.exponent
    found = _uncertainty(rung, runs, choice, level, n_bootstrap, seed)
    return PowerLaw(
        exponent=t,
        **found,
        settled=None if len(orders) == len(shares) == 1 else choice.settled,
        level=level,
        n=window.n,
        n_total=x.size,
        n_clusters=n_clusters,
        order=rung.order,
        share=rung.share,
        lower_cut=lower_cut,
        upper_cut=window.cut,
        coefficients=tuple(float(c) / window.cut**k for k, c in enumerate(top.eta[1:], 1)),
        log_likelihood=window.n * (top.height - math.log(window.cut)),
        p_fit=goodness(window, top, n_gof, run_generator(seed, GOODNESS_OF_FIT))
        if n_gof and t > -1
        else None,
        decades=float(-window.statistics[0, SPARSE - 1]) / math.log(10),
        stability=tuple(
            Trial(r.order, r.share, r.exponent, r.error, r.window.n, r.window.cut) for r in rungs
        ),
    )


def _shares(x: Array, lower_cut: float, share: float | None) -> tuple[float, ...]:
    """The shares to try; of less than 63 values the first is the one that leaves 50, up to all."""
    if share is not None:
        return (share,)
    above = x.size - int(np.searchsorted(x, lower_cut, side="right"))
    return (min(1.0, max(SHARES[0], MIN_VALUES / max(above, 1))), *SHARES[1:])


def _uncertainty(
    rung: Rung, runs: NDArray[np.intp] | None, choice: Choice, level: float, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """Standard error, intervals and p_null of a rung."""
    window, top, t = rung.window, rung.top, rung.exponent
    error, bootstrap, effect, free = top.error / math.sqrt(window.n), None, 1.0, math.inf
    notes = [_rounding(window), "" if t > -1 else "the likelihood is largest at the edge, t = -1"]
    if runs is not None:
        size, rng = int(runs.max()) + 1, run_generator(seed, BOOTSTRAP)
        replicas, note = resample(window, top, runs[window.within], size, n_bootstrap, rng)
        notes += [note]
        if not note:
            spread, bootstrap = student_interval(t, replicas, size, level)
            error, effect, free = max(error, spread), max(1.0, (spread / error) ** 2), size - 1
    profile = _profile_interval(window, top, level)
    low, high = max(profile, bootstrap or profile, key=lambda ends: ends[1] - ends[0])
    interval = max(-1.0, low - choice.below), high + choice.above
    nearest = min(t, choice.below) if t > 0 else max(t, -choice.above)
    p_null = _p_value(window, top, nearest, effect, free)
    return {
        "standard_error": error,
        "interval": interval,
        "profile_interval": profile,
        "bootstrap_interval": bootstrap,
        "reach": (choice.below, choice.above),
        "p_null": p_null,
        "design_effect": effect,
        "converged": all(map(math.isfinite, (*interval, p_null))),
        "note": "; ".join(filter(None, notes)),
    }


def _rounding(window: Window) -> str:
    """A word where many values are the same: what is lower than their rounding is not known."""
    different = len(np.unique(window.statistics[0]))
    if different >= 0.9 * window.n:
        return ""
    return f"only {different} of {window.n} values differ: if they are rounded, cut what is near the rounding"


def density(x: ArrayLike, result: PowerLaw) -> Array:
    """The fitted density at `x` [any shape], in units of 1/x: its integral is n/n_total, the share fitted; 0 outside."""
    cut, u0 = result.upper_cut, result.lower_cut / result.upper_cut
    u = np.asarray(x, dtype=np.float64) / cut
    inside = (u > u0) & (u <= 1)
    eta = np.array([result.exponent, *(c * cut**k for k, c in enumerate(result.coefficients, 1))])
    log_p = np.tensordot(eta, powers(np.log(np.where(inside, u, 1.0)), result.order), 1)
    return np.where(inside, np.exp(log_p - moments(eta, u0)[0]) * result.n / result.n_total / cut, 0.0)


def log_histogram(values: ArrayLike, bins_per_decade: int = 5) -> tuple[Array, NDArray[np.int64], Array]:
    """Edges [b+1] of equal ratio, ending at the largest value; counts [b]; density [b], in units of 1/x, of all values."""
    if bins_per_decade < 1:
        raise InputError(f"bins_per_decade is {bins_per_decade}, expected 1 or more")
    x, _ = _check_values(values, None)
    bins = math.floor(bins_per_decade * (math.log10(x[-1]) - math.log10(x[0]))) + 1
    edges = x[-1] * 10.0 ** (np.arange(-bins, 1) / bins_per_decade)
    counts = np.histogram(x, edges)[0].astype(np.int64)
    return edges, counts, counts / (x.size * np.diff(edges))


def _p_value(window: Window, top: Maximum, t: float, design_effect: float, free: float) -> float:
    """Likelihood ratio of the exponent t, over the design effect (Rao & Scott 1984, to first order).

    Its root is normal, or Student's with as many degrees of freedom as the runs leave.
    """
    from scipy.special import stdtr

    null = profile(t, window.mean[: top.eta.size], window.u0, top)
    ratio = 2 * window.n * max(0.0, top.height - null.height) / design_effect
    return 2 * float(stdtr(free, -math.sqrt(ratio))) if null.converged else math.nan


def _profile_interval(window: Window, top: Maximum, level: float) -> Interval:
    """The t at which twice the loss of log-likelihood, c refitted, reaches the χ²₁ quantile; never below −1."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z, t = float(ndtri((1 + level) / 2)), float(top.eta[0])
    step = z * top.error / math.sqrt(window.n)

    def excess(trial: float) -> float:
        best = profile(trial, window.mean[: top.eta.size], window.u0, top)
        return 2 * window.n * (top.height - best.height) - z**2 if best.converged else math.nan

    def crossing(trials: Iterable[float], default: float) -> float:
        near = t
        for far in trials:
            if excess(far) >= 0:
                return float(brentq(excess, near, far, xtol=1e-6 * step))
            near = far
        return default

    shrink = math.exp(-step / (1 + t)) if t > -1 else 0.0
    low = crossing((-1 + (1 + t) * shrink**k for k in range(1, 20)), -1.0)
    return low, crossing((t + step * 2**k for k in range(20)), math.inf)


def _check_options(
    order: int | None,
    share: float | None,
    lower_cut: float,
    level: float,
    n_bootstrap: int,
    n_gof: int,
    seed: int,
) -> None:
    replicas = n_bootstrap == 0 or n_bootstrap >= MIN_REPLICAS
    for name, value, good, expected in (
        ("order", order, order in (None, *range(MAX_ORDER + 1)), f"a whole number from 0 to {MAX_ORDER}"),
        ("share", share, share is None or 0 < share <= 1, "a number in (0, 1]"),
        ("lower_cut", lower_cut, 0 <= lower_cut < math.inf, "a finite number, 0 or more"),
        ("level", level, 0 < level < 1, "a number in (0, 1), as 0.95"),
        ("n_bootstrap", n_bootstrap, replicas, f"{MIN_REPLICAS} or more, or 0 for none"),
        ("n_gof", n_gof, n_gof >= 0, "0 or more"),
        ("seed", seed, seed >= 0, "0 or more"),
    ):
        if not good:
            raise InputError(f"{name} is {value}, expected {expected}")


def _check_values(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Array, NDArray[np.intp] | None]:
    """The values sorted, and their runs, counted from 0, in the same order: nothing else sees the order they came in."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise InputError(f"values have shape {x.shape}, expected a list of numbers that is not empty")
    bad = x[~(np.isfinite(x) & (x > 0))]
    if bad.size:
        came = f"{bad.size} of {x.size} values are zero, negative or not finite (as {bad[0]:g})"
        raise InputError(f"{came}, expected positive numbers; leave them out")
    order = np.argsort(x, kind="stable")
    if clusters is None:
        return x[order], None
    runs = np.asarray(clusters)
    if runs.shape != x.shape or not np.issubdtype(runs.dtype, np.integer):
        came = f"clusters are {runs.dtype} of shape {runs.shape}"
        raise InputError(f"{came}, expected one whole number for each of the {x.size} values")
    return x[order], np.unique(runs, return_inverse=True)[1][order]
