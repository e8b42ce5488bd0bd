"""The distributions of overlaps and of gaps near the transition, their exponents, and the bounds of stability.

    overlaps    z = Δ/√L > 0 of the jammed runs                P₊(z) ~ z^θ
    gaps        x = -Δ > 0 of jammed and satisfied runs         P₋(x) ~ x^-γ

Both are pooled over runs (samples.py), fitted (powerlaw.py) and compared with known values (references.py), as far as the
runs allow it (ensemble.py). Dead runs and patterns are left out, unless they are kept. Where the runs have several N, γ is
also fitted at each N and extrapolated to N → ∞ (finite_size.py). The bounds of stability are compared in stability.py.

Source: arXiv:1809.09349, section IV, fig. 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jamtools.errors import InputError, JamError, Remedy
from jamtools.exponents.ensemble import (
    RunsDescription,
    gap_origin,
    gap_runs,
    overlap_origin,
    overlap_runs,
    size_obstacle,
)
from jamtools.exponents.exponent import FitOptions, FittedExponent, RefusedExponent, fit_or_refuse
from jamtools.exponents.finite_size import SizeDependence, SizeFit, size_dependence
from jamtools.exponents.references import GAMMA_REFERENCES, THETA_REFERENCES, Origin
from jamtools.exponents.samples import pool_gaps, pool_overlaps
from jamtools.exponents.stability import StabilityBounds, stability_bounds
from jamtools.records import Run
from jamtools.states import is_dead, n_dead

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
    "status",
)

#: A record lists the distinct values of these fields over all runs of the ensemble.
ENSEMBLE_FIELDS = ("data", "depth", "width", "P", "activation", "n_effective_expected")

ExponentResult = FittedExponent | RefusedExponent


@dataclass(frozen=True)
class DistributionFits:
    """θ and γ of an ensemble of n_runs distinct runs; without the dead ones, unless they are kept.

    n_repeated: the number of given runs that repeat one of these and were left out; n_dead_runs, n_dead_patterns: the dead
    runs, and the dead patterns of the other ones; runs: what the distinct runs are, dead ones included; ensemble: the
    distinct values of ENSEMBLE_FIELDS; by_size: γ at each N and at N → ∞, None where all runs have the same N; bounds: None
    where θ or γ has no sound fit, is 0 by its own test, or allows no claim.
    """

    n_runs: int
    n_repeated: int
    n_dead_runs: int
    n_dead_patterns: int
    keep_dead: bool
    runs: RunsDescription
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
            "n_dead_runs": self.n_dead_runs,
            "n_dead_patterns": self.n_dead_patterns,
            "keep_dead": self.keep_dead,
            "runs": self.runs.as_dict(),
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


def fit_distributions(
    runs: Sequence[Run], options: FitOptions | None = None, keep_dead: bool = False
) -> DistributionFits:
    """θ and γ of an ensemble of runs, each with interval, tests, verdict, histogram and fitted curve.

    If a distribution has too few values, its result is a `RefusedExponent`. A run that is given twice counts once.
    keep_dead: whether dead runs and patterns are used. Raises InputError when neither exponent can be fitted, when all runs
    are dead and not kept, for runs not trained on the hinge loss, and for diverged runs.
    """
    options = options or FitOptions()
    distinct = _distinct(runs)
    _check_runs(distinct)
    used = [run for run in distinct if keep_dead or not is_dead(run.info)]
    if distinct and not used:
        raise _dead_error(len(distinct))
    overlaps = _fit_overlaps(used, options, keep_dead)
    gaps, by_size = _fit_gaps(used, options, keep_dead)
    if isinstance(overlaps, RefusedExponent) and isinstance(gaps, RefusedExponent):
        raise _no_exponent_error(len(used), overlaps.reason, gaps.reason)
    return DistributionFits(
        n_runs=len(used),
        n_repeated=len(runs) - len(distinct),
        n_dead_runs=sum(is_dead(run.info) for run in distinct),
        n_dead_patterns=sum(n_dead(run.info) for run in distinct if not is_dead(run.info)),
        keep_dead=keep_dead,
        runs=RunsDescription.of(distinct, keep_dead),
        ensemble=_ensemble(used),
        overlaps=overlaps,
        gaps=gaps,
        by_size=by_size,
        bounds=_bounds(overlaps, gaps, by_size),
    )


def fit_each_run(
    runs: Sequence[Run], options: FitOptions, names: Sequence[str] | None = None, keep_dead: bool = False
) -> Iterator[RunFits]:
    """θ and γ of each run alone, with the name of the run. Where `names` is None, the names are r0000, r0001, ….

    If a run has too few values, or is dead and not kept, its result is a `RefusedExponent`. Raises InputError for runs not
    trained on the hinge loss, and for diverged runs.
    """
    names = names or [f"r{number:04d}" for number in range(len(runs))]
    for name, run in zip(names, runs, strict=True):
        _check_runs([run])
        info = {field: run.info[field] for field in RUN_RECORD_FIELDS} | {"n_dead": n_dead(run.info)}
        refused = RefusedExponent(_dead_error(1), 0)
        dead = is_dead(run.info) and not keep_dead
        overlaps = refused if dead else _fit_overlaps([run], options, keep_dead)
        gaps = refused if dead else _fit_gaps([run], options, keep_dead)[0]
        yield RunFits(name, info, _ensemble([run]), overlaps, gaps)


def _dead_error(n_runs: int) -> InputError:
    """The error for an ensemble of dead runs."""
    which = "the run is" if n_runs == 1 else f"all {n_runs} runs are"
    return InputError(
        f"{which} dead: in some layer no neuron is active at the unsatisfied patterns", Remedy.KEEP_DEAD
    )


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


def _fit_overlaps(runs: Sequence[Run], options: FitOptions, keep_dead: bool) -> ExponentResult:
    """θ of the pooled overlaps of the runs at a minimum, if there are any, else of all runs."""
    pooled = overlap_runs(runs, keep_dead)
    origin = overlap_origin(pooled, keep_dead)
    return fit_or_refuse(pool_overlaps(pooled, keep_dead), options, 1, THETA_REFERENCES, origin)


def _fit_gaps(
    runs: Sequence[Run], options: FitOptions, keep_dead: bool
) -> tuple[ExponentResult, SizeDependence | None]:
    """γ of the pooled gaps of the runs that have arrived, if there are any, else of all runs; and γ at each N."""
    pooled = gap_runs(runs, keep_dead)
    origin = gap_origin(pooled, keep_dead)
    by_size = _fit_by_size(pooled, options, origin, keep_dead)
    if obstacle := None if by_size and by_size.limit else size_obstacle(pooled):
        origin = replace(origin, no_claim=", ".join(filter(None, (origin.no_claim, obstacle))))
    gaps = fit_or_refuse(pool_gaps(pooled, keep_dead), options, -1, GAMMA_REFERENCES, origin)
    if isinstance(gaps, FittedExponent) and by_size:
        gaps = _with_verdict_of_limit(gaps, by_size)
    return gaps, by_size


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
    """The distinct values of ENSEMBLE_FIELDS, sorted; runs that are not read from a file may have no name of their data."""
    return {name: sorted({run.info.get(name) for run in runs} - {None}) for name in ENSEMBLE_FIELDS}


def _fit_by_size(
    runs: Sequence[Run], options: FitOptions, origin: Origin, keep_dead: bool
) -> SizeDependence | None:
    """γ of the runs of each N, and its limit for N → ∞; None where all runs have the same N."""
    sizes = sorted({run.N for run in runs})
    if len(sizes) < 2:
        return None
    fits = []
    for N in sizes:
        runs_of_N = [run for run in runs if run.N == N]
        result = fit_or_refuse(pool_gaps(runs_of_N, keep_dead), options, -1, GAMMA_REFERENCES)
        if isinstance(result, FittedExponent):
            fits.append(SizeFit(N, len(runs_of_N), result.fit.n, result.fit))
        else:
            fits.append(SizeFit(N, len(runs_of_N), result.n, None, result.reason))
    return size_dependence(fits, options.level, origin)


def _with_verdict_of_limit(gaps: FittedExponent, by_size: SizeDependence) -> FittedExponent:
    """The same γ; where γ depends on N or N is small, with the verdict on N → ∞: the pooled γ then describes no system."""
    limit, comparison = by_size.limit, by_size.comparison
    if limit is None or comparison is None or not by_size.limit_is_meant:
        return gaps
    why = (
        f"the sizes differ (p = {limit.p_constant:.2g}), pooled they are no power law of any system"
        if by_size.sizes_differ
        else f"γ of all sizes together, {gaps.fit.exponent:.2f}, is that of finite systems"
    )
    own = replace(gaps.comparison, verdict=f"{comparison.verdict}; {why}")
    return replace(gaps, comparison=replace(own, no_claim=comparison.no_claim) if gaps.fit.drift else own)


def _bounds(
    overlaps: ExponentResult, gaps: ExponentResult, by_size: SizeDependence | None
) -> StabilityBounds | None:
    """Comparison of θ and γ with the bounds of stability.

    Where γ depends on N or N is small, its limit for N → ∞ is compared. The result is None where a fit was refused, is not
    sound, has an infinite interval, or allows no claim. It is None, too, where an interval contains 0: the bounds relate the
    exponents of two power laws, and there may be none.
    """
    if not (isinstance(overlaps, FittedExponent) and _usable(overlaps)):
        return None
    if not isinstance(gaps, FittedExponent) or gaps.comparison.no_claim:
        return None
    if by_size and by_size.limit and by_size.limit_is_meant:
        interval = by_size.limit.interval
    elif _usable(gaps):
        interval = gaps.fit.interval
    else:
        return None
    if any(low <= 0 <= high for low, high in (overlaps.fit.interval, interval)):
        return None
    return stability_bounds(overlaps.fit.exponent, overlaps.fit.interval, interval)


def _usable(result: FittedExponent) -> bool:
    """Whether a fit is sound and its runs allow a claim."""
    return result.sound and not result.comparison.no_claim
