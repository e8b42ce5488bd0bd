r"""The exponent of a lower tail, by maximum likelihood.

    p(x) = x^t exp(c₁x + c₂x² + …) / Z        on x₀ < x ≤ x_c,        t > −1

The power law that holds as x → 0 is t; the tilt c carries the crossover to the bulk, so that the lowest four fifths of the
values serve instead of the few where a bare power law is straight. In units of the cut, u = x/x_c, the family is
exponential, with natural parameters η = (t, c₁x_c, c₂x_c², …) and statistics T = (log u, u, u², …):

    ℓ(η)/n = η·⟨T⟩ − log Z(η),        Z(η) = ∫ exp(η·T) du,        ∇ log Z = E[T],        ∇∇ log Z = Cov[T].

It is concave: Newton's method reaches its one maximum, and ⟨T⟩ is all it needs of the data, so that a refit to resampled
runs costs no pass over the values. The cut moves with the values and c with the cut: nothing here has a scale of its own.

What it cannot do. A polynomial tilt follows a heavy crossover badly: x^t/(1+x²)², (1+x)^−k or a mixture of scales leave a
bias of 0.1 and more, intervals that do not cover, and often an innocent `p_fit` (10⁴ values of the first: rejected at 0.1
two times in five). Look how the exponent moves with `share` and `order`; half the share removes most of that bias at twice
the error. The interval carries nothing of that choice. Telling 0.30 from 0.42 takes five to ten thousand values. Below its
smallest scale a finite system has no power law, and only `lower_cut` can leave that part out.

Why not Clauset, Shalizi & Newman (doi:10.1137/070710111): their cut, by Kolmogorov–Smirnov distance, shortens the tail until
a bare power law is no longer *seen* to fail; for x^0.423 e^−x and n = 3000 that returns 0.30 ± 0.09.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jamtools.errors import InputError
from jamtools.tilt import NODES, WEIGHTS, Maximum, climb, collinear, maximise, moments, powers, profile

Array = NDArray[np.float64]
Interval = tuple[float, float]

MAX_ORDER = 3
MIN_VALUES = 50
MIN_CLUSTERS = 8  # fewer give a standard error over runs with an error of its own beyond 1/√(2·7) = 0.27
MIN_REPLICAS = 20
SPARSE = 10  # below the tenth smallest value the count is known to worse than 1/√10
CELLS = 1000


@dataclass(frozen=True)
class PowerLaw:
    """A fitted lower tail p(x) ∝ x^exponent exp(c₁x + c₂x² + …) on lower_cut < x ≤ upper_cut.

    `interval` is the wider of `profile_interval` (values taken as independent) and `bootstrap_interval` (runs taken as
    independent; None without enough runs), `standard_error` the larger of the two. `coefficients` are c₁, c₂, … in units of
    1/x, 1/x², …. `p_null`: likelihood ratio of exponent 0, its statistic divided by `design_effect`, the variance over runs
    as a multiple, at least 1, of that of independent values. `p_fit`: goodness of fit, None if not asked for or not to be
    had; it takes values as independent and comes out too small where runs differ. `decades`: from the tenth smallest value
    to the cut. `converged`: both ends of the interval and the null were reached.
    """

    exponent: float
    standard_error: float
    interval: Interval
    profile_interval: Interval
    bootstrap_interval: Interval | None
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

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON; what is not finite becomes None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Window:
    """The values of one fit in units of their cut, with the sums that a maximum of any order needs."""

    first: int  # where the window starts among the sorted values
    u0: float
    cut: float
    statistics: Array  # [1 + MAX_ORDER, n]: log u, u, u², u³, ascending
    mean: Array  # ⟨T⟩ [1 + MAX_ORDER]

    @property
    def n(self) -> int:
        return self.statistics.shape[1]


def fit(
    values: ArrayLike,
    *,
    order: int = 2,
    share: float = 0.8,
    lower_cut: float = 0.0,
    level: float = 0.95,
    clusters: ArrayLike | None = None,
    n_bootstrap: int = 200,
    n_gof: int = 100,
    seed: int = 0,
) -> PowerLaw:
    """Exponent t of p(x) ∝ x^t as x → 0, from the lowest `share` of the `values` [n] above `lower_cut`.

    `order`: degree of the tilt, 0 to 3. `clusters` [n]: the run (a whole number) each value came from; with 8 runs or more
    whole runs are resampled `n_bootstrap` times (0: never). `n_gof`: replicas for the goodness of fit (0: none).

    Raises InputError for values that are not finite and positive, for fewer than 50 in the window, and for values so nearly
    equal that the tilt has nothing to hold on to.

    >>> round(fit([(k / 100) ** 2 for k in range(1, 101)], order=0, share=1.0).exponent, 3)
    -0.483
    """
    _check_options(order, share, lower_cut, level, n_bootstrap, n_gof, seed)
    x, runs = _check_values(values, clusters)
    window = select(x, share, lower_cut)
    top = estimate(window, order)
    t, notes = float(top.eta[0]), []
    error, bootstrap, effect = top.error / math.sqrt(window.n), None, 1.0
    if runs is not None:
        runs = np.unique(runs[window.first : window.first + window.n], return_inverse=True)[1]
        replicas, note = _resample(window, top, runs, n_bootstrap, np.random.default_rng([seed, 0]))
        notes += [note]
        if not note:
            spread, bootstrap = _spread(t, replicas, int(runs.max()) + 1, level)
            error, effect = max(error, spread), max(1.0, (spread / error) ** 2)
    profile = _profile_interval(window, top, level)
    notes += ["" if t > -1 else "the likelihood is largest at the edge, t = -1"]
    p_null = _p_null(window, top, effect)
    return PowerLaw(
        exponent=t,
        standard_error=error,
        interval=max(profile, bootstrap or profile, key=lambda ends: ends[1] - ends[0]),
        profile_interval=profile,
        bootstrap_interval=bootstrap,
        level=level,
        n=window.n,
        n_total=x.size,
        n_clusters=None if runs is None else int(runs.max()) + 1,
        order=order,
        share=share,
        lower_cut=lower_cut,
        upper_cut=window.cut,
        coefficients=tuple(float(c) / window.cut**k for k, c in enumerate(top.eta[1:], 1)),
        log_likelihood=window.n * (top.height - math.log(window.cut)),
        p_null=p_null,
        p_fit=_goodness(window, top, n_gof, np.random.default_rng([seed, 1])) if n_gof and t > -1 else None,
        design_effect=effect,
        decades=float(-window.statistics[0, SPARSE - 1]) / math.log(10),
        converged=all(map(math.isfinite, (*profile, p_null))),
        note="; ".join(filter(None, notes)),
    )


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


# One fit


def select(x: Array, share: float, lower_cut: float) -> Window:
    """The lowest `share` of the sorted values `x` [n] above `lower_cut`, in units of the largest of them.

    The cut is one of the values: given it, those below are independent draws from the density truncated there.
    """
    first = int(np.searchsorted(x, lower_cut, side="right"))
    wanted = math.ceil(share * (x.size - first) * (1 - 1e-12))  # 0.8·n may come out above a whole number
    tail = x[first : np.searchsorted(x, x[first + wanted - 1], side="right")] if wanted else x[:0]
    if tail.size < MIN_VALUES:
        raise InputError(
            f"{tail.size} of {x.size} values in the fit (share {share:g}, lower cut {lower_cut:g}), expected at least "
            f"{MIN_VALUES}; pool more runs, raise the share or lower the cut"
        )
    cut = float(tail[-1])
    if tail[0] / cut < np.finfo(float).tiny or abs(math.log10(cut)) > 100:  # c₃ is in units of cut⁻³
        came = f"values from {tail[0]:g} to {cut:g}"
        raise InputError(f"{came}, expected under 300 decades below 1e±100; rescale them or set a lower cut")
    statistics = powers(np.log(tail / cut), MAX_ORDER)
    return Window(first, lower_cut / cut, cut, statistics, statistics.mean(axis=1))


def estimate(window: Window, order: int) -> Maximum:
    """The maximum-likelihood η of one window at one order: what a table over shares and orders loops over."""
    mean = window.mean[: order + 1]
    if not collinear(np.cov(window.statistics[: order + 1]).reshape(order + 1, -1)):
        bare = -1 - 1 / mean[0]  # the maximum of a bare power law
        top = maximise(mean, window.u0, np.array([bare, *order * [0.0]]))
        if top.converged and not collinear(top.covariance):
            return top
    raise InputError(
        f"{window.n} values with a spread of {window.statistics[0].std():.2g} in their logarithm determine no tail of order "
        f"{order}, expected a broad tail of many different values; give other values, a lower order or another share"
    )


def _p_null(window: Window, top: Maximum, design_effect: float) -> float:
    """Likelihood ratio of t = 0, its statistic divided by the design effect (Rao & Scott 1984, to first order)."""
    null = profile(0.0, window.mean[: top.eta.size], window.u0, top)
    ratio = 2 * window.n * max(0.0, top.height - null.height) / design_effect
    return math.erfc(math.sqrt(ratio / 2)) if null.converged else math.nan  # χ² with one degree of freedom


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


# Runs that differ


def _resample(
    window: Window, top: Maximum, runs: NDArray[np.intp], n_bootstrap: int, rng: np.random.Generator
) -> tuple[Array, str]:
    """Exponents of `n_bootstrap` ensembles of as many runs, drawn with replacement; or why there are none.

    The cut stays where it is: the estimate is of the tail below this one, and where the model holds its exponent does not
    depend on the cut, whose own wandering is O(n^−1/2). So sums per run suffice.
    """
    size, said = int(runs.max()) + 1, "no bootstrap over runs: the interval takes the values as independent"
    if size < MIN_CLUSTERS or not n_bootstrap:
        return np.empty(
            0
        ), f"{said} ({size} runs, {n_bootstrap} replicas; it takes {MIN_CLUSTERS} and {MIN_REPLICAS})"
    rows = window.statistics[: top.eta.size]
    sums = np.stack([np.bincount(runs), *(np.bincount(runs, row) for row in rows)])  # [2 + order, runs]
    draws = (sums @ np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(n_bootstrap))
    tops = [maximise(drawn[1:] / drawn[0], window.u0, top.eta) for drawn in draws]
    exponents = np.array([float(replica.eta[0]) for replica in tops if replica.converged])
    if exponents.size < 0.9 * n_bootstrap:
        return exponents, f"{said} ({exponents.size} of {n_bootstrap} replicas have a maximum)"
    return exponents, ""


def _spread(t: float, exponents: Array, runs: int, level: float) -> tuple[float, Interval]:
    """Standard error and interval of t from its replicas: percentiles about t, stretched to what few runs require.

    Resampling m runs underestimates their variance by (m−1)/m, and m runs know it only to Student's t with m−1 degrees.
    """
    from scipy.special import ndtri, stdtrit

    few = math.sqrt(runs / (runs - 1))
    stretch = few * float(stdtrit(runs - 1, (1 + level) / 2) / ndtri((1 + level) / 2))
    low, high = (float(q) for q in np.quantile(exponents, [(1 - level) / 2, (1 + level) / 2]))
    return few * float(exponents.std(ddof=1)), (max(-1.0, t - stretch * (t - low)), t + stretch * (high - t))


# Goodness of fit


def _goodness(window: Window, top: Maximum, n_gof: int, rng: np.random.Generator) -> float | None:
    """The share of samples of the fitted density, each refitted, that lie as far from their fit as the values from theirs.

    Distance: Anderson & Darling's, ∫(F_n − F)² dF / F(1−F), on a grid equal in v = u^(1+t), where the fitted density is
    smooth; it sees a heavy crossover half as often again as Kolmogorov–Smirnov's. A sample is its multinomial counts, its
    ⟨T⟩ the counts' mean of E[T | cell]: the cost does not grow with the values.
    """
    t = top.eta[0]
    edges = np.linspace(window.u0 ** (1 + t), 1, CELLS + 1)
    half = np.diff(edges)[:, None] / 2
    statistics = powers(np.log(edges[:-1, None] + half * (1 + NODES)) / (1 + t), top.eta.size - 1)

    def masses(eta: Array) -> Array:
        """∝ ∫ exp(η·T) du by node [cells, nodes]; du ∝ u^−t dv."""
        exponent = np.tensordot(eta, statistics, 1) - t * statistics[0]
        mass = half * WEIGHTS * np.exp(exponent - exponent.max())
        return mass / mass.sum()

    def distance(counts: Array, eta: Array) -> float:
        cells = masses(eta).sum(axis=1)[:-1]
        f = np.cumsum(cells)
        weight = cells / np.maximum(f * (1 - f), np.finfo(float).eps)
        return float((np.cumsum(counts)[:-1] / window.n - f) ** 2 @ weight)

    fitted = masses(top.eta)
    cells = np.maximum(fitted.sum(axis=1), np.finfo(float).tiny)
    expected = (statistics * fitted).sum(axis=2) / cells  # E[T | cell] [m, cells]
    v = np.exp((1 + t) * window.statistics[0])
    seen = distance(np.diff(np.searchsorted(v, edges[1:], side="right"), prepend=0), top.eta)
    samples = rng.multinomial(window.n, cells / cells.sum(), size=n_gof)
    refits = [climb(expected @ drawn / window.n, window.u0, top.eta) for drawn in samples]
    beyond = sum(distance(drawn, refit.eta) >= seen for drawn, refit in zip(samples, refits))
    return (1 + beyond) / (1 + n_gof) if all(refit.converged for refit in refits) else None


# What comes in


def _check_options(
    order: int, share: float, lower_cut: float, level: float, n_bootstrap: int, n_gof: int, seed: int
) -> None:
    replicas = n_bootstrap == 0 or n_bootstrap >= MIN_REPLICAS
    for name, value, good, expected in (
        ("order", order, order in range(MAX_ORDER + 1), f"a whole number from 0 to {MAX_ORDER}"),
        ("share", share, 0 < share <= 1, "a number in (0, 1]"),
        ("lower_cut", lower_cut, 0 <= lower_cut < math.inf, "a finite number, 0 or more"),
        ("level", level, 0 < level < 1, "a number in (0, 1), as 0.95"),
        ("n_bootstrap", n_bootstrap, replicas, f"{MIN_REPLICAS} or more, or 0 for none"),
        ("n_gof", n_gof, n_gof >= 0, "0 or more"),
        ("seed", seed, seed >= 0, "0 or more"),
    ):
        if not good:
            raise InputError(f"{name} is {value}, expected {expected}")


def _check_values(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Array, NDArray[np.int64] | None]:
    """The values sorted, and their runs in the same order: nothing that follows sees the order they came in."""
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
    return x[order], runs[order]
