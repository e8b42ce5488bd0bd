"""The distributions of overlaps and of gaps near the transition, their exponents, and the bounds of stability.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0          P₊(z) ~ z^θ
    gaps        x = -Δ > 0 of all runs                          P₋(x) ~ x^-γ

Both are pooled over runs (samples.py), fitted (powerlaw.py) and compared with known values (references.py). Where the runs
have several N, γ is also fitted at each N and extrapolated to N → ∞ (finite_size.py).

Stability against extended excitations requires γ ≥ 1/(2 + θ), which mean field saturates. Stability against local ones
requires γ ≥ (1 − θ)/2, with θ the exponent of their own forces.

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

#: The fields of a run that its own record repeats.
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

#: The fields of the runs whose distinct values a record lists.
ENSEMBLE_FIELDS = ("depth", "width", "P", "activation", "n_effective_expected")

ExponentResult = FittedExponent | RefusedExponent


@dataclass(frozen=True)
class ExtendedBound:
    """γ against the bound 1/(2 + θ): its value and interval, and whether γ may lie above it, and on it."""

    gamma_at_least: float
    interval: tuple[float, float]
    kept: bool
    saturated: bool


@dataclass(frozen=True)
class LocalBound:
    """γ against the bound (1 − θ)/2: its value and interval, and whether γ may lie above it."""

    gamma_at_least: float
    interval: tuple[float, float]
    kept: bool


@dataclass(frozen=True)
class StabilityBounds:
    """γ against what stability against extended and against local excitations requires."""

    extended: ExtendedBound
    local: LocalBound

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        bounds: dict[str, Any] = asdict(self)
        return {name: {**bound, "interval": list(bound["interval"])} for name, bound in bounds.items()}


@dataclass(frozen=True)
class DistributionFits:
    """θ and γ of an ensemble of n_runs distinct runs.

    n_repeated: how many more runs were given that repeat one of these; ensemble: the distinct values of ENSEMBLE_FIELDS;
    by_size: γ at each N and at N → ∞, None where all runs are of one N; bounds: None where a fit is not sound.
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

    A distribution with too few values is a `RefusedExponent`. A run that is given twice counts once.
    Raises InputError when neither exponent can be fitted, for runs not trained on the hinge loss, and for diverged ones.
    """
    options = options or FitOptions()
    distinct = _distinct(runs)
    overlaps, gaps = _fit_both(distinct, options)
    if isinstance(overlaps, RefusedExponent) and isinstance(gaps, RefusedExponent):
        raise _neither(len(distinct), overlaps.reason, gaps.reason)
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
    """θ and γ of each run by itself, with its name (its number where `names` is None).

    A run with too few values has a `RefusedExponent`. Raises InputError for runs not trained on the hinge loss, and for
    diverged ones.
    """
    names = names or [f"r{number:04d}" for number in range(len(runs))]
    for name, run in zip(names, runs, strict=True):
        info = {field: run.info[field] for field in RUN_RECORD_FIELDS}
        yield RunFits(name, info, _ensemble([run]), *_fit_both([run], options))


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """Each run once, where it comes first: runs of the same parameters and gaps are the same."""
    distinct: dict[bytes, Run] = {}
    for run in runs:
        distinct.setdefault(run.theta.tobytes() + run.gaps.tobytes(), run)
    return list(distinct.values())


def _neither(n_runs: int, overlaps: InputError, gaps: InputError) -> InputError:
    """The error of an ensemble without any exponent; its remedy is that of the overlaps, or else that of the gaps."""
    remedied = overlaps if overlaps.remedy else gaps
    text = f"no exponent from {n_runs} run(s): overlaps: {overlaps.text}; gaps: {gaps.text}"
    return InputError(text, remedied.remedy, **remedied.details)


def _fit_both(runs: Sequence[Run], options: FitOptions) -> tuple[ExponentResult, ExponentResult]:
    """θ of the overlaps and γ of the gaps of runs pooled."""
    _check_runs(runs)
    return (
        fit_or_refuse(pool_overlaps(runs), options, 1, THETA_REFERENCES),
        fit_or_refuse(pool_gaps(runs), options, -1, GAMMA_REFERENCES),
    )


def _check_runs(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.info["loss"] != "hinge":
            raise InputError(
                f"got a run trained on {run.info['loss']}, expected the hinge loss: Δ has no margin otherwise"
            )
        if not np.isfinite(run.gaps).all():
            raise InputError(
                f"got a run of status {run.info['status']!r} whose gaps are not finite; leave it out"
            )


def _ensemble(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The distinct values of ENSEMBLE_FIELDS, sorted."""
    return {name: sorted({run.info[name] for run in runs}) for name in ENSEMBLE_FIELDS}


def _fit_by_size(runs: Sequence[Run], options: FitOptions) -> SizeDependence | None:
    """γ of the runs of each N, and its limit; None where all runs are of one N."""
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
    """The same γ with the verdict on N → ∞ where γ depends on N: the pooled γ is then that of no system."""
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
    """θ and γ against the bounds of stability; None where a fit is refused, not sound, or its interval infinite.

    γ is that of N → ∞ where the sizes differ.
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
    return result.sound and bool(np.isfinite(result.fit.interval).all())
