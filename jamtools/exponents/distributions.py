"""The distributions of overlaps and of gaps near the transition, their exponents, and the bounds of stability.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0          P₊(z) ~ z^θ
    gaps        x = -Δ > 0 of all runs                          P₋(x) ~ x^-γ

Both are pooled over runs (samples.py), fitted (powerlaw.py) and compared with known values (references.py). Where the runs
have several N, γ is also fitted at each N and extrapolated to N → ∞ (finite_size.py).

Stability against extended excitations requires γ ≥ 1/(2 + θ). In mean-field theory the two sides are equal. Stability
against local excitations requires γ ≥ (1 − θ)/2, where θ is the exponent of the forces of these excitations.

Source: arXiv:1809.09349, section IV, fig. 8; Lerner, Düring, Wyart, Soft Matter 9, 8252 (2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from jamtools.errors import InputError, JamError
from jamtools.exponents.exponent import FitOptions, FittedExponent, RefusedExponent, fit_or_refuse
from jamtools.exponents.finite_size import SizeDependence, SizeFit, size_dependence
from jamtools.exponents.references import GAMMA_REFERENCES, THETA_REFERENCES
from jamtools.exponents.samples import pool_gaps, pool_overlaps
from jamtools.records import Run

#: The fields of a run that are copied into the record of its fits.
RUN_RECORD_FIELDS = (
    "seed",
    "d",
    "width",
    "depth",
    "activation",
    "P",
    "n_effective_expected",
    "final_loss",
    "n_unsatisfied",
)

#: A record lists the distinct values of these fields over all runs of the ensemble.
ENSEMBLE_FIELDS = ("depth", "width", "P", "activation", "n_effective_expected")

ExponentResult = FittedExponent | RefusedExponent


@dataclass(frozen=True)
class ExtendedBound:
    """Comparison of γ with the bound γ ≥ 1/(2 + θ).

    gamma_at_least: the bound; interval: of the bound, from the interval of θ; kept: whether the intervals allow γ to lie
    above the bound; saturated: whether they allow γ to lie on the bound.
    """

    gamma_at_least: float
    interval: tuple[float, float]
    kept: bool
    saturated: bool


@dataclass(frozen=True)
class LocalBound:
    """Comparison of γ with the bound γ ≥ (1 − θ)/2; the fields are those of `ExtendedBound`."""

    gamma_at_least: float
    interval: tuple[float, float]
    kept: bool


@dataclass(frozen=True)
class StabilityBounds:
    """Comparison of γ with the bounds of stability against extended and against local excitations."""

    extended: ExtendedBound
    local: LocalBound

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        bounds: dict[str, Any] = asdict(self)
        return {name: {**bound, "interval": list(bound["interval"])} for name, bound in bounds.items()}


@dataclass(frozen=True)
class DistributionFits:
    """θ and γ of an ensemble of n_runs distinct runs.

    n_repeated: the number of given runs that repeat one of these and were left out; ensemble: the distinct values of
    ENSEMBLE_FIELDS; by_size: γ at each N and at N → ∞, None where all runs have the same N; bounds: None where θ or γ has
    no sound fit.
    """

    n_runs: int
    n_repeated: int
    ensemble: Mapping[str, list[Any]]
    overlaps: ExponentResult
    gaps: ExponentResult
    by_size: SizeDependence | None
    bounds: StabilityBounds | None

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts the reason of a refusal into words."""
        by_size = self.by_size.as_dict(wording) if self.by_size else {}
        return {
            "kind": "gaps",
            "n_runs": self.n_runs,
            "n_repeated": self.n_repeated,
            "fits": dict(self.ensemble),
            "overlaps": self.overlaps.as_dict(wording),
            "gaps": self.gaps.as_dict(wording) | by_size,
            "bounds": self.bounds.as_dict() if self.bounds else None,
        }


@dataclass(frozen=True)
class RunFits:
    """θ and γ of one run, with its name and the fields that distinguish it from others."""

    name: str
    info: Mapping[str, Any]
    ensemble: Mapping[str, list[Any]]
    overlaps: ExponentResult
    gaps: ExponentResult

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts the reason of a refusal into words."""
        return {
            "kind": "gaps",
            "run": self.name,
            "n_runs": 1,
            **self.info,
            "N": self.info["n_effective_expected"],
            "fits": dict(self.ensemble),
            "overlaps": self.overlaps.as_dict(wording),
            "gaps": self.gaps.as_dict(wording),
        }


def fit_distributions(runs: Sequence[Run], options: FitOptions | None = None) -> DistributionFits:
    """θ and γ of an ensemble of runs, each with interval, tests, verdict, histogram and fitted curve.

    If a distribution has too few values, its result is a `RefusedExponent`. A run that is given twice counts once.
    Raises InputError when neither exponent can be fitted, for runs not trained on the hinge loss, and for diverged runs.
    """
    options = options or FitOptions()
    distinct = _distinct(runs)
    overlaps, gaps = _fit_both(distinct, options)
    if isinstance(overlaps, RefusedExponent) and isinstance(gaps, RefusedExponent):
        raise _no_exponent_error(len(distinct), overlaps.reason, gaps.reason)
    by_size = _fit_by_size(distinct, options)
    if by_size and isinstance(gaps, FittedExponent):
        gaps = _with_verdict_of_limit(gaps, by_size)
    return DistributionFits(
        n_runs=len(distinct),
        n_repeated=len(runs) - len(distinct),
        ensemble=_ensemble(distinct),
        overlaps=overlaps,
        gaps=gaps,
        by_size=by_size,
        bounds=_bounds(overlaps, gaps, by_size),
    )


def fit_each_run(
    runs: Sequence[Run], options: FitOptions, names: Sequence[str] | None = None
) -> Iterator[RunFits]:
    """θ and γ of each run alone, with the name of the run. Where `names` is None, the names are r0000, r0001, ….

    If a run has too few values, its result is a `RefusedExponent`. Raises InputError for runs not trained on the hinge
    loss, and for diverged runs.
    """
    names = names or [f"r{number:04d}" for number in range(len(runs))]
    for name, run in zip(names, runs, strict=True):
        info = {field: run.info[field] for field in RUN_RECORD_FIELDS}
        yield RunFits(name, info, _ensemble([run]), *_fit_both([run], options))


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The distinct runs, in the order in which they first occur. Runs with the same parameters and gaps are the same."""
    distinct: dict[bytes, Run] = {}
    for run in runs:
        distinct.setdefault(run.theta.tobytes() + run.gaps.tobytes(), run)
    return list(distinct.values())


def _no_exponent_error(n_runs: int, overlaps: InputError, gaps: InputError) -> InputError:
    """The error for an ensemble in which neither exponent can be fitted.

    Its remedy is that of the overlaps; where they have none, it is that of the gaps.
    """
    remedied = overlaps if overlaps.remedy else gaps
    text = f"no exponent from {n_runs} run(s): overlaps: {overlaps.text}; gaps: {gaps.text}"
    return InputError(text, remedied.remedy, **remedied.details)


def _fit_both(runs: Sequence[Run], options: FitOptions) -> tuple[ExponentResult, ExponentResult]:
    """θ of the pooled overlaps and γ of the pooled gaps of the runs."""
    _check_runs(runs)
    return (
        fit_or_refuse(pool_overlaps(runs), options, 1, THETA_REFERENCES),
        fit_or_refuse(pool_gaps(runs), options, -1, GAMMA_REFERENCES),
    )


def _check_runs(runs: Sequence[Run]) -> None:
    """Raises InputError for a run that was not trained on the hinge loss, or whose gaps are not finite."""
    for run in runs:
        if run.info["loss"] != "hinge":
            raise InputError(
                f"got a run trained on {run.info['loss']}, expected the hinge loss: for other losses Δ has no margin"
            )
        if not np.isfinite(run.gaps).all():
            raise InputError(
                f"got a run of status {run.info['status']!r} whose gaps are not finite; leave it out"
            )


def _ensemble(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The distinct values of ENSEMBLE_FIELDS, sorted."""
    return {name: sorted({run.info[name] for run in runs}) for name in ENSEMBLE_FIELDS}


def _fit_by_size(runs: Sequence[Run], options: FitOptions) -> SizeDependence | None:
    """γ of the runs of each N, and its limit for N → ∞; None where all runs have the same N."""
    sizes = sorted({run.N for run in runs})
    if len(sizes) < 2:
        return None
    fits = []
    for N in sizes:
        runs_of_N = [run for run in runs if run.N == N]
        result = fit_or_refuse(pool_gaps(runs_of_N), options, -1, GAMMA_REFERENCES)
        if isinstance(result, FittedExponent):
            fits.append(SizeFit(N, len(runs_of_N), result.fit.n, result.fit))
        else:
            fits.append(SizeFit(N, len(runs_of_N), result.n, None, result.reason))
    return size_dependence(fits, options.level)


def _with_verdict_of_limit(gaps: FittedExponent, by_size: SizeDependence) -> FittedExponent:
    """The same γ, but where γ depends on N, with the verdict on N → ∞: the pooled γ then describes no system."""
    limit, comparison = by_size.limit, by_size.comparison
    if limit is None or comparison is None or not by_size.sizes_differ:
        return gaps
    verdict = (
        f"the sizes differ (p = {limit.p_constant:.2g}), pooled they are no power law of any system; "
        f"for N → ∞: {comparison.verdict}"
    )
    return replace(gaps, comparison=replace(gaps.comparison, verdict=verdict))


def _bounds(
    overlaps: ExponentResult, gaps: ExponentResult, by_size: SizeDependence | None
) -> StabilityBounds | None:
    """Comparison of θ and γ with the bounds of stability.

    Where γ depends on N, its limit for N → ∞ is compared. The result is None where a fit was refused, is not sound, or has
    an infinite interval.
    """
    if not (isinstance(overlaps, FittedExponent) and _usable(overlaps)):
        return None
    if by_size and by_size.limit and by_size.sizes_differ:
        low, high = by_size.limit.interval
    elif isinstance(gaps, FittedExponent) and _usable(gaps):
        low, high = gaps.fit.interval
    else:
        return None
    theta, (theta_low, theta_high) = overlaps.fit.exponent, overlaps.fit.interval
    extended = 1 / (2 + theta_high), 1 / (2 + theta_low)
    local = (1 - theta_high) / 2, (1 - theta_low) / 2
    kept = high >= extended[0]
    return StabilityBounds(
        ExtendedBound(1 / (2 + theta), extended, kept, saturated=low <= extended[1] and kept),
        LocalBound((1 - theta) / 2, local, kept=high >= local[0]),
    )


def _usable(result: FittedExponent) -> bool:
    """Whether the fit is sound and its interval is finite."""
    return result.sound and bool(np.isfinite(result.fit.interval).all())
