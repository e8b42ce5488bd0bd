"""The exponent of a lower tail by maximum likelihood, with an interval that includes the choice of share and order.

    p(x) = x^t exp(c₁x + c₂x² + …) / Z        on x₀ < x ≤ x_c,        t > −1

t is the exponent of the power law as x → 0. The tilt c describes the crossover to the bulk. With the tilt, most of the
values can be fitted; without it, only the few smallest values follow the power law. The data choose the share of the
values and the order of the tilt (selection.py). If both are given instead, the interval assumes that this model is true.

If the exponent drifts with the share beyond chance (drift.py), no power law can be told. Then nothing limits the exponent
for x → 0: the interval is that of every exponent, (−1, ∞).

Limits. If log p(x) − t log x is not smooth at 0, as for x^t e^−√x, no share is small enough: the exponent changes with the
share, however small, and the test of a drift does not always detect this. To distinguish 0.30 from 0.42, ten thousand
values are needed where the model is known, and three times as many where it is not. A finite system has no power law below
its smallest scale, and only `lower_cut` can exclude these values.

The method of Clauset, Shalizi and Newman (doi:10.1137/070710111) is not used. It chooses the cut by the Kolmogorov–Smirnov
distance, and shortens the tail until the misfit of a power law without tilt is no longer *detected*. For x^0.423 e^−x and
n = 3000 it returns 0.30 ± 0.09.

Source: none, own derivation above.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jamtools.errors import InputError
from jamtools.exponents.drift import DriftTest, find_drift
from jamtools.exponents.profile_likelihood import Interval, exponent_p_value, profile_interval
from jamtools.exponents.resampling import (
    MIN_BOOTSTRAP_REPLICAS,
    MIN_RUNS_FOR_BOOTSTRAP,
    bootstrap_exponents,
    goodness_of_fit,
    student_interval,
)
from jamtools.exponents.selection import (
    CANDIDATE_ORDERS,
    CANDIDATE_SHARES,
    CandidateFit,
    Choice,
    candidate_fits,
    choose_fit,
    informative,
)
from jamtools.exponents.tilted import (
    MAX_TILT_ORDER,
    MIN_VALUES_FITTED,
    Window,
    sorted_values,
)
from jamtools.random_streams import BOOTSTRAP, GOODNESS_OF_FIT, run_generator
from jamtools.records import Array

#: `decades` counts from the value of this rank to the cut. Below it, the number of values has a relative error above 1/√10.
DECADES_FROM_RANK = 10

#: If a smaller share of the values is distinct, a note says so.
MIN_SHARE_OF_DISTINCT_VALUES = 0.9


#: The exponents of all densities that can be normalised.
EVERY_EXPONENT: Interval = (-1.0, math.inf)


@dataclass(frozen=True)
class StabilityRow:
    """One candidate fit. All rows together show how the exponent depends on the order and the share."""

    order: int
    share: float
    exponent: float
    standard_error: float
    n: int
    upper_cut: float


@dataclass(frozen=True)
class PowerLaw:
    """A fitted lower tail p(x) ∝ x^exponent exp(c₁x + c₂x² + …) on lower_cut < x ≤ upper_cut.

    standard_error: of the exponent at this order and share, over values or over runs, whichever is larger.
    profile_interval: takes the values as independent. bootstrap_interval: takes the runs as independent; None without
    enough runs. reach: the distances of the less biased fits below and above the exponent. interval: the wider of the two
    intervals, extended by `reach`.
    settled: whether there are less biased fits and they agree, without a drift; None where order and share were given.
    p_drift: p-value of "no drift with the share", None where there are too few fits. drift: the first and the last exponent
    compared, where they drift beyond chance, else None; then the interval is (-1, ∞), and p_null is NaN.
    n values of n_total are fitted; n_clusters: the number of runs, or None.
    coefficients: c₁, c₂, … in units of 1/x, 1/x², …. log_likelihood: of the n values.
    p_null: p-value of an exponent of 0, at most 1 - level where 0 lies outside of the interval. It comes from the likelihood
    ratio of an exponent that differs from 0 by `reach` (at most by t), divided by the design effect.
    p_fit: p-value of the goodness of fit, None if it was not requested or could not be computed. It takes the values as
    independent, and is therefore too small where runs differ. design_effect: the variance over runs, divided by that of
    independent values; at least 1. decades: the number of decades from the tenth smallest value to the cut.
    converged: whether both ends of the interval and p_null are finite. stability: all candidate fits.
    """

    exponent: float
    standard_error: float
    interval: Interval
    profile_interval: Interval
    bootstrap_interval: Interval | None
    reach: Interval
    settled: bool | None
    p_drift: float | None
    drift: Interval | None
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
    stability: tuple[StabilityRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON; numbers that are not finite become None."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def negated(self) -> PowerLaw:
        """The same fit with the exponent γ = -t of p(x) ∝ x^-γ instead of t."""
        return replace(
            self,
            exponent=-self.exponent,
            interval=_negated(self.interval),
            profile_interval=_negated(self.profile_interval),
            bootstrap_interval=self.bootstrap_interval and _negated(self.bootstrap_interval),
            reach=self.reach[::-1],
            drift=self.drift and (-self.drift[0], -self.drift[1]),
            stability=tuple(replace(row, exponent=-row.exponent) for row in self.stability),
        )


def _negated(interval: Interval) -> Interval:
    low, high = interval
    return -high, -low


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fit_power_law(
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

    order: degree of the tilt, 0 to 3. Where order or share is None, the data choose it. clusters [n]: the run (a whole
    number) of each value. With 8 runs or more, whole runs are resampled `n_bootstrap` times (0: never). With fewer runs,
    all values are taken as independent. n_gof: the number of samples for the goodness of fit (0: none).

    Raises InputError for values that are not finite and positive, for fewer than 50 values in the fit, for values so nearly
    equal that they do not determine the tilt, and for options out of range.

    >>> round(fit_power_law([(k / 100) ** 2 for k in range(1, 101)], order=0, share=1.0).exponent, 3)
    -0.483
    """
    _check_options(order, share, lower_cut, level, n_bootstrap, n_gof, seed)
    x, runs = sorted_values(values, clusters)
    n_clusters = None if runs is None else int(runs.max()) + 1
    orders = CANDIDATE_ORDERS if order is None else (order,)
    shares = _shares_to_try(x, lower_cut, share)
    runs_if_enough = runs if (n_clusters or 0) >= MIN_RUNS_FOR_BOOTSTRAP else None
    tried = candidate_fits(x, runs_if_enough, orders, shares, lower_cut)
    fits, drift = informative(tried), find_drift(tried)
    choice = choose_fit(fits)
    fit = fits[choice.taken]
    window, maximum = fit.window, fit.maximum
    uncertainty = _uncertainty(fit, runs, choice, level, n_bootstrap, seed)
    found = PowerLaw(
        exponent=fit.exponent,
        **uncertainty._asdict(),
        settled=None if len(orders) == len(shares) == 1 else choice.settled,
        p_drift=drift.p_value if drift else None,
        drift=None,
        level=level,
        n=window.n,
        n_total=x.size,
        n_clusters=n_clusters,
        order=fit.order,
        share=fit.share,
        lower_cut=lower_cut,
        upper_cut=window.cut,
        coefficients=tuple(float(c) / window.cut**k for k, c in enumerate(maximum.eta[1:], 1)),
        log_likelihood=window.n * (maximum.height - math.log(window.cut)),
        p_fit=_p_fit(fit, n_gof, seed),
        decades=float(-window.statistics[0, DECADES_FROM_RANK - 1]) / math.log(10),
        stability=tuple(
            StabilityRow(c.order, c.share, c.exponent, c.error, c.window.n, c.window.cut) for c in fits
        ),
    )
    return _without_power_law(found, drift) if drift and drift.drifts else found


def _without_power_law(found: PowerLaw, drift: DriftTest) -> PowerLaw:
    """The same fit where the exponent drifts: it describes the values of its share, and nothing limits it for x → 0."""
    return replace(
        found,
        drift=(drift.start, drift.end),
        settled=False,
        interval=EVERY_EXPONENT,
        p_null=math.nan,
        converged=False,
    )


def _shares_to_try(x: Array, lower_cut: float, share: float | None) -> tuple[float, ...]:
    """The candidate shares of the sorted values x [n].

    With fewer than 63 values above the lower cut, the first share is increased, at most to 1, so that it holds 50 values.
    """
    if share is not None:
        return (share,)
    n_above = x.size - int(np.searchsorted(x, lower_cut, side="right"))
    first_share = min(1.0, max(CANDIDATE_SHARES[0], MIN_VALUES_FITTED / max(n_above, 1)))
    return (first_share, *CANDIDATE_SHARES[1:])


def _p_fit(fit: CandidateFit, n_gof: int, seed: int) -> float | None:
    """The p-value of the goodness of fit; None where it is not requested or t is at the edge -1 of its domain."""
    if not n_gof or not fit.exponent > -1:
        return None
    return goodness_of_fit(fit.window, fit.maximum, n_gof, run_generator(seed, GOODNESS_OF_FIT))


class _Uncertainty(NamedTuple):
    """The fields of `PowerLaw` that describe the uncertainty of the exponent."""

    standard_error: float
    interval: Interval
    profile_interval: Interval
    bootstrap_interval: Interval | None
    reach: Interval
    p_null: float
    design_effect: float
    converged: bool
    note: str


def _uncertainty(
    fit: CandidateFit,
    runs: NDArray[np.intp] | None,
    choice: Choice,
    level: float,
    n_bootstrap: int,
    seed: int,
) -> _Uncertainty:
    """Standard error, intervals and p_null of the chosen fit; runs [n]: the run of each of all values, or None."""
    window, maximum, t = fit.window, fit.maximum, fit.exponent
    error, bootstrap, effect, n_free = maximum.error / math.sqrt(window.n), None, 1.0, math.inf
    notes = [
        _note_on_equal_values(window, runs is not None),
        "" if t > -1 else "the likelihood is largest at the edge, t = -1",
    ]
    if runs is not None:
        n_runs, rng = int(runs.max()) + 1, run_generator(seed, BOOTSTRAP)
        exponents, obstacle = bootstrap_exponents(
            window, maximum, runs[window.within], n_runs, n_bootstrap, rng
        )
        notes += [obstacle]
        if not obstacle:
            error_over_runs, bootstrap = student_interval(t, exponents, n_runs, level)
            error, effect = max(error, error_over_runs), max(1.0, (error_over_runs / error) ** 2)
            n_free = n_runs - 1
    profile = profile_interval(window, maximum, level)
    low, high = max(profile, bootstrap or profile, key=lambda ends: ends[1] - ends[0])
    interval = max(-1.0, low - choice.below), high + choice.above
    t_null = min(t, choice.below) if t > 0 else max(t, -choice.above)
    p_null = exponent_p_value(window, maximum, t_null, effect, n_free)
    return _Uncertainty(
        standard_error=error,
        interval=interval,
        profile_interval=profile,
        bootstrap_interval=bootstrap,
        reach=(choice.below, choice.above),
        p_null=p_null,
        design_effect=effect,
        converged=all(map(math.isfinite, (*interval, p_null))),
        note="; ".join(filter(None, notes)),
    )


def _note_on_equal_values(window: Window, from_runs: bool) -> str:
    """A note for values of which many are equal, else "". Its advice depends on whether the values come from runs."""
    distinct, counts = np.unique(window.statistics[0], return_counts=True)
    if len(distinct) >= MIN_SHARE_OF_DISTINCT_VALUES * window.n:
        return ""
    often = f"{window.cut * math.exp(distinct[counts.argmax()]):.3g} occurs {counts.max()} times"
    advice = (
        "patterns of a run have equal Δ where a layer is dead, or where they are the same pattern"
        if from_runs
        else "if they are rounded, cut what is near the rounding"
    )
    return f"only {len(distinct)} of {window.n} values differ ({often}): {advice}"


def _check_options(
    order: int | None,
    share: float | None,
    lower_cut: float,
    level: float,
    n_bootstrap: int,
    n_gof: int,
    seed: int,
) -> None:
    """Raises InputError for an option of `fit_power_law` outside of its range."""
    valid_bootstrap = n_bootstrap == 0 or n_bootstrap >= MIN_BOOTSTRAP_REPLICAS
    orders = (None, *range(MAX_TILT_ORDER + 1))
    for name, value, valid, expected in (
        ("order", order, order in orders, f"a whole number from 0 to {MAX_TILT_ORDER}"),
        ("share", share, share is None or 0 < share <= 1, "a number in (0, 1]"),
        ("lower_cut", lower_cut, 0 <= lower_cut < math.inf, "a finite number, 0 or more"),
        ("level", level, 0 < level < 1, "a number in (0, 1), as 0.95"),
        ("n_bootstrap", n_bootstrap, valid_bootstrap, f"{MIN_BOOTSTRAP_REPLICAS} or more, or 0 for none"),
        ("n_gof", n_gof, n_gof >= 0, "0 or more"),
        ("seed", seed, seed >= 0, "0 or more"),
    ):
        if not valid:
            raise InputError(f"{name} is {value}, expected {expected}")
