"""The distributions of overlaps and of gaps near the transition, and their exponents, with what they say.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0          P₊(z) ~ z^θ
    gaps        x = -Δ > 0 of all runs                          P₋(x) ~ x^-γ

pooled over runs (samples.py), fitted by powerlaw.py, held against known values by judgement.py; γ of several N by
finitesize.py.

Stability against excitations that extend asks for γ ≥ 1/(2 + θ), which mean field saturates; against local ones, whose
forces have an exponent of their own, for γ ≥ (1 − θ)/2. Source: arXiv:1809.09349, section IV, fig. 8; Lerner, Düring,
Wyart, Soft Matter 9, 8252 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.exponents import finite_size, powerlaw, references
from jamtools.exponents.samples import Sample, gaps, overlaps
from jamtools.exponents.tilted import MIN_VALUES
from jamtools.records import Array, Run

INTERVALS = ("interval", "profile_interval", "bootstrap_interval", "reach")

#: Of a run, in the record that is its own.
OF_RUN = (
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


@dataclass(frozen=True)
class Options:
    """How to fit: as `powerlaw.fit`; a lower cut of None is chosen from the runs."""

    order: int | None = None
    share: float | None = None
    level: float = 0.95
    lower_cut: float | None = None
    seed: int = 0


def distributions(runs: Sequence[Run], options: Options) -> dict[str, Any]:
    """θ and γ with their intervals, tests and verdicts, histograms and fitted curves, as one JSON-able object.

    A distribution with too few values is reported as {"refused": why, "exponent": None, …}.
    A run that is given twice counts once; n_repeated says how many were. Raises InputError when neither can be fitted,
    and for runs not trained on the hinge loss or diverged.
    """
    given, runs = runs, _once(runs)
    result = _both(runs, options)
    if all(half["exponent"] is None for half in result.values()):
        reasons = "; ".join(f"{name}: {half['refused']}" for name, half in result.items())
        raise InputError(f"no exponent from {len(runs)} run(s): {reasons}")
    result["gaps"] |= _by_size(runs, options)
    _warn_of_sizes(result["gaps"])
    counts = {"n_runs": len(runs), "n_repeated": len(given) - len(runs)}
    return {"kind": "gaps", **counts, "fits": _fits(runs), **result, "bounds": _bounds(**result)}


def _once(runs: Sequence[Run]) -> list[Run]:
    """Each run the first time it is there: two of the same parameters and gaps are one."""
    distinct: dict[bytes, Run] = {}
    for run in runs:
        distinct.setdefault(run.theta.tobytes() + run.gaps.tobytes(), run)
    return list(distinct.values())


def of_each(
    runs: Sequence[Run], options: Options, names: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The same of each run by itself, with its name (its number if there are none) and what tells it apart.

    Where a run has too few values, that is said. Raises InputError as `distributions` does for what it cannot read.
    """
    for name, run in zip(names or [f"r{number:04d}" for number in range(len(runs))], runs, strict=True):
        info = {field: run.info[field] for field in OF_RUN}
        yield {
            "kind": "gaps",
            "run": name,
            "n_runs": 1,
            **info,
            "N": info["n_effective_expected"],
            "fits": _fits([run]),
            **_both([run], options),
        }


def _both(runs: Sequence[Run], options: Options) -> dict[str, dict[str, Any]]:
    """The two halves of a record."""
    _check(runs)
    return {
        "overlaps": _exponent(overlaps(runs), 1, options, references.THETA),
        "gaps": _exponent(gaps(runs), -1, options, references.GAMMA),
    }


def _check(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.info["loss"] != "hinge":
            raise InputError(
                f"got a run trained on {run.info['loss']}, expected the hinge loss: Δ has no margin otherwise"
            )
        if not np.isfinite(run.gaps).all():
            raise InputError(
                f"got a run of status {run.info['status']!r} whose gaps are not finite; leave it out"
            )


def _fits(runs: Sequence[Run]) -> dict[str, Any]:
    """What the ensemble is made of."""
    names = ("depth", "width", "P", "activation", "n_effective_expected")
    return {name: sorted({run.info[name] for run in runs}) for name in names}


def _by_size(runs: Sequence[Run], options: Options) -> dict[str, Any]:
    """γ of the runs of each N, and of an infinite one; nothing where all runs are of one size."""
    sizes = sorted({run.info["n_effective_expected"] for run in runs})
    if len(sizes) < 2:
        return {}
    rows = []
    for N in sizes:
        its = [run for run in runs if run.info["n_effective_expected"] == N]
        half = _exponent(gaps(its), -1, options, references.GAMMA)
        names = ("exponent", "interval", "standard_error", "reach", "n", "lower_cut", "settled", "refused")
        rows.append({"N": N, "n_runs": len(its), **{name: half[name] for name in names if name in half}})
    return {"sizes": rows, "extrapolated": _extrapolated(rows, options.level)}


def _extrapolated(rows: Sequence[dict[str, Any]], level: float) -> dict[str, Any]:
    """γ for N → ∞ from the sizes that have one, judged; the error of each is its standard error with its reach."""
    from scipy.special import ndtri

    known = [row for row in rows if row["exponent"] is not None]
    errors = [math.hypot(row["standard_error"], *row["reach"]) for row in known]
    try:
        if len(known) < 2:
            raise InputError(f"{len(known)} of {len(rows)} sizes have an exponent, expected two")
        trend = finite_size.extrapolate(
            [row["N"] for row in known], [row["exponent"] for row in known], errors, level
        )
    except InputError as error:
        return {"exponent": None, "interval": None, "refused": str(error)}
    low, high = trend.interval
    sigma = (high - low) / 2 / float(ndtri((1 + level) / 2))
    n = sum(row["n"] for row in known)
    found = references.Found(trend.exponent, trend.interval, level, sigma, (0.0, 0.0), n)
    return {**trend.as_dict(), **references.judge(found, references.GAMMA)}


def _warn_of_sizes(half: dict[str, Any]) -> None:
    """Where γ moves with N the pooled one is of no system: its verdict gives way to that of the limit."""
    trend = half.get("extrapolated") or {}
    if half["exponent"] is not None and trend.get("p_constant", 1.0) <= references.SIGNIFICANT:
        half["verdict"] = (
            f"the sizes differ (p = {trend['p_constant']:.2g}), pooled they are no power law of any system; "
            f"for N → ∞: {trend['verdict']}"
        )


def _bounds(overlaps: dict[str, Any], gaps: dict[str, Any]) -> dict[str, Any] | None:
    """Where θ and γ stand against 1/(2+θ), which mean field saturates, and (1−θ)/2; None where a fit is not sound.

    γ is that of N → ∞ where the sizes differ.
    """
    trend = gaps.get("extrapolated") or {}
    moves = trend.get("p_constant", 1.0) <= references.SIGNIFICANT
    half = trend if moves else gaps
    fits = [overlaps] if moves else [overlaps, gaps]
    if any(one["exponent"] is None or None in one["interval"] or not _sound(one) for one in fits):
        return None
    theta, (low, high), (least, most) = overlaps["exponent"], overlaps["interval"], half["interval"]
    extended, local = [1 / (2 + high), 1 / (2 + low)], [(1 - high) / 2, (1 - low) / 2]
    return {
        "extended": {
            "gamma_at_least": 1 / (2 + theta),
            "interval": extended,
            "kept": most >= extended[0],
            "saturated": least <= extended[1] and most >= extended[0],
        },
        "local": {"gamma_at_least": (1 - theta) / 2, "interval": local, "kept": most >= local[0]},
    }


def _sound(half: dict[str, Any]) -> bool:
    return half["settled"] is not False and (half["p_fit"] is None or half["p_fit"] > references.SIGNIFICANT)


def _exponent(
    sample: Sample, sign: int, options: Options, known: Sequence[references.Reference]
) -> dict[str, Any]:
    """The fit of one distribution, or why there is none."""
    try:
        return exponent(sample, options, sign, known)
    except InputError as error:
        return {"exponent": None, "interval": None, "n": len(sample.values), "refused": str(error)}


def exponent(
    sample: Sample, options: Options, sign: int = 1, known: Sequence[references.Reference] | None = None
) -> dict[str, Any]:
    """t of x^t (or -t with sign = -1) for a sample, with interval, range, tests, verdict, histogram and curve.

    `known`: what to compare it with; those of θ if None.

    Raises InputError as `powerlaw.fit` does.
    """
    if not len(sample.values):
        raise InputError(f"no values, expected at least {MIN_VALUES}; give runs that have some")
    known = references.THETA if known is None else known
    given = options.lower_cut is not None
    cut, cut_by = (options.lower_cut or 0.0, "given") if given else (sample.lower_cut, sample.cut_by)
    middle = float(np.median(sample.values))
    if cut_by == "noise" and cut >= middle and len(sample.values) >= MIN_VALUES:
        raise InputError(
            f"got runs that still descend: since half of their steps their values moved by {cut:.2g}, the median is "
            f"{middle:.2g}; train them longer, finish them with jam-train --finish, or give --lower-cut"
        )
    fit = powerlaw.fit(
        sample.values,
        order=options.order,
        share=options.share,
        level=options.level,
        lower_cut=cut,
        clusters=sample.runs,
        seed=options.seed,
    )
    record = _turned(fit, sign)
    return {
        **record,
        "cut_by": cut_by,
        "range": [float(sample.values[sample.values > cut].min()), fit.upper_cut],
        **_judged(fit, record, len(sample.values), known),
        "histogram": _histogram(sample.values),
        "curve": _curve(sample.values, fit),
    }


def _turned(fit: powerlaw.PowerLaw, sign: int) -> dict[str, Any]:
    """The record of a fit to x^t; with sign = -1 of the exponent -t."""
    record = fit.as_dict()
    if sign > 0:
        return record
    for name in INTERVALS[:3]:
        record[name] = record[name] and [None if end is None else -end for end in reversed(record[name])]
    trials = [{**trial, "exponent": -trial["exponent"]} for trial in record["stability"]]
    return {**record, "exponent": -fit.exponent, "reach": record["reach"][::-1], "stability": trials}


def _judged(
    fit: powerlaw.PowerLaw, record: dict[str, Any], n: int, known: Sequence[references.Reference]
) -> dict[str, Any]:
    low, high = (np.inf if end is None else end for end in record["interval"])
    found = references.Found(
        exponent=record["exponent"],
        interval=(-abs(low) if np.isinf(low) else low, high),
        level=fit.level,
        standard_error=fit.standard_error,
        reach=(record["reach"][0], record["reach"][1]),
        n=n,
        p_null=record["p_null"],
        p_fit=record["p_fit"],
        settled=fit.settled,
    )
    return references.judge(found, known)


def _histogram(values: Array) -> dict[str, list[float]]:
    edges, counts, density = powerlaw.log_histogram(values)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "density": density.tolist()}


def _curve(values: Array, fit: powerlaw.PowerLaw) -> dict[str, list[float]]:
    """The fitted density over its range; log-spaced."""
    lowest = max(fit.lower_cut * (1 + 1e-12), float(values[values > fit.lower_cut].min()))
    x = np.geomspace(lowest, fit.upper_cut * (1 - 1e-12), 100)
    # powerlaw normalises to the share of the values fitted, as the histogram of all values is
    return {"x": x.tolist(), "density": powerlaw.density(x, fit).tolist()}
