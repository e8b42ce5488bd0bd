"""The scaling of the transition with the number of patterns, by weighted least squares over any number of searches.

    log N* = log A + a log P,        P/N* = exp⟨log P - log N*⟩

P/N* is compared with three lines, in standard errors of log P/N*: N* = P (one parameter per pattern memorises them), the
bound of stability N* = 4P, and the bound P/N* = C0 - N_c/N as measured on jammed runs (bound.py). depth.py compares the
depths with each other.

Source: arXiv:1809.09349, figs. 5 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from jamtools.errors import InputError, Remedy
from jamtools.transition.bound import StabilityBound, stability_bound
from jamtools.transition.depth import compare_depths
from jamtools.transition.least_squares import Estimate, weighted_mean, weighted_slope
from jamtools.transition.merging import merge, missing_cells
from jamtools.transition.points import (
    QUANTITY_FIELDS,
    LogPoints,
    at_time,
    check_searches,
    is_open,
    log_point,
    quantity_field,
    sort_key,
)
from jamtools.transition.search_record import SearchRecord

#: P/N* of the lines that a fit is compared with: one parameter per pattern, and the bound of stability.
REFERENCE_P_OVER_N = {"N* = P": 1.0, "N* = 4P": 0.25}

#: The name of the measured bound among these lines.
MEASURED_BOUND = "P/N* = C0 - N_c/N"

#: Fields of a search that a figure of the fit needs.
POINT_FIELDS = ("P", "depth", "n_star", "interval", "median", "median_interval", "P_interval", "vary")


def fit_scaling(
    records: Sequence[SearchRecord],
    level: float = 0.95,
    planned: Sequence[Mapping[str, int]] | None = None,
    spectra: Sequence[Mapping[str, Any]] = (),
    time: int | None = None,
) -> dict[str, Any]:
    """Slope a of log N* against log P, and P/N*, each with an interval at confidence `level`, as a JSON object.

    records: the objects of searches; those for one P over several seeds are merged first. planned: the {P, depth, seed}
    of each planned search, to name the missing ones. spectra: metadata of spectra of jammed runs, for the measured bound.
    time: fits N* after this number of steps, which must be one of the times of the searches.

    Raises InputError for a mixture of losses, criteria or dynamics, and where no search found an N*.
    """
    check_searches(records)
    records, duplicates = merge(records)
    searches = [record if time is None else at_time(record, time) for record in records]
    known = sorted(
        (search for search in searches if search.get("n_star") and not search.get("is_upper_bound")),
        key=sort_key,
    )
    if not known:
        raise InputError(f"none of the {len(records)} searches found an N*", Remedy.MORE_STEPS_OR_WIDTH)
    used = [search for search in known if not is_open(search)] or known
    points = LogPoints.of(used)
    comparison = compare_depths([search.get("depth") or 0 for search in used], points)
    bound = stability_bound(_of_same_networks(spectra, used), level) if spectra else None
    return {
        "kind": "nstar-fit",
        **_power_law(points, level),
        **_ratio(points, level, bound),
        "level": level,
        "n_points": len(used),
        "n_without": len(records) - len(known),
        "n_open": sum(is_open(search) for search in known),
        "duplicates": [cell._asdict() for cell in duplicates],
        **({} if planned is None else {"missing": [c._asdict() for c in missing_cells(planned, records)]}),
        **({} if time is None else {"time": time}),
        **{name: quantity_field(used[0], name) for name in QUANTITY_FIELDS},
        **({} if bound is None else {"bound": bound.as_dict()}),
        "depths": sorted({search["depth"] for search in used if search.get("depth") is not None}),
        "depth": None if comparison is None else comparison.as_dict(),
        "points": [_point_fields(search) for search in used],
    }


def _power_law(points: LogPoints, level: float) -> dict[str, Any]:
    """Slope a and prefactor A of N* = A P^a; None where all points have one P."""
    log_p, log_n, sigma = points
    if np.ptp(log_p) == 0:
        return {"slope": None, "slope_interval": None, "prefactor": None}
    slope = weighted_slope(log_p, log_n, sigma)
    log_prefactor = float(np.average(log_n - slope.value * log_p, weights=sigma**-2))
    return {
        "slope": slope.value,
        "slope_interval": slope.interval(level),
        "prefactor": math.exp(log_prefactor),
    }


def _ratio(points: LogPoints, level: float, bound: StabilityBound | None) -> dict[str, Any]:
    """P/N* with its interval, and its distance from each line."""
    log_ratio = weighted_mean(points.log_p - points.log_n, points.sigma)
    return {
        "P_over_N": math.exp(log_ratio.value),
        "P_over_N_interval": [math.exp(end) for end in log_ratio.interval(level)],
        "against": _distances(log_ratio, bound),
    }


def _distances(log_ratio: Estimate, bound: StabilityBound | None) -> dict[str, float | None]:
    """log P/N* minus that of each line, in standard errors; None for a measured bound that is not positive."""
    distances: dict[str, float | None] = {
        name: (log_ratio.value - math.log(ratio)) / log_ratio.error
        for name, ratio in REFERENCE_P_OVER_N.items()
    }
    if bound is not None and bound.P_over_N > 0:
        error = math.hypot(log_ratio.error, (bound.error or 0.0) / bound.P_over_N)
        distances[MEASURED_BOUND] = (log_ratio.value - math.log(bound.P_over_N)) / error
    elif bound is not None:
        distances[MEASURED_BOUND] = None
    return distances


def _of_same_networks(
    spectra: Sequence[Mapping[str, Any]], searches: Sequence[SearchRecord]
) -> Sequence[Mapping[str, Any]]:
    """Returns the spectra unchanged. Raises InputError where they are of other networks than the searches."""
    for name in ("activation", "batch_norm", "depth"):
        of_searches = {cast(Mapping[str, Any], search).get(name) for search in searches} - {None}
        of_spectra = {spectrum.get(name) for spectrum in spectra} - {None}
        if of_searches and not of_spectra <= of_searches:
            raise InputError(
                f"got spectra of {name} {_joined(of_spectra)} beside searches of {_joined(of_searches)}, expected the same "
                "networks"
            )
    return spectra


def _joined(values: set[Any]) -> str:
    return " and ".join(sorted(map(str, values)))


def _point_fields(search: SearchRecord) -> dict[str, Any]:
    """What a figure needs of one N*, so that it can be drawn without the searches."""
    log_p, log_n, _ = log_point(search)
    values = cast(Mapping[str, Any], search)
    return {name: values[name] for name in POINT_FIELDS if name in values} | {
        "P_over_N": math.exp(log_p - log_n)
    }
