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
from jamtools.grouping import (
    SEARCH_GROUP_FIELDS,
    check_fields_of_groups,
    groups_of,
    pooled_values,
    value_of,
)
from jamtools.transition.bound import StabilityBound, stability_bound
from jamtools.transition.depth import compare_depths
from jamtools.transition.least_squares import Estimate, weighted_mean, weighted_slope
from jamtools.transition.merging import merge, missing_cells
from jamtools.transition.points import (
    LogPoints,
    at_time,
    check_one_quantity,
    check_searches,
    is_open,
    log_point,
    sort_key,
)
from jamtools.transition.search_record import SearchRecord

#: P/N* of the lines that a fit is compared with: one parameter per pattern, and the bound of stability.
REFERENCE_P_OVER_N = {"N* = P": 1.0, "N* = 4P": 0.25}

#: The name of the measured bound among these lines.
MEASURED_BOUND = "P/N* = C0 - N_c/N"

#: Fields of a search that a figure of the fit needs.
POINT_FIELDS = ("P", "depth", "n_star", "interval", "median", "median_interval", "P_interval", "vary")

#: What identifies a group of searches in the record of its fit, even where the searches do not say it.
IDENTITY_FIELDS = (
    "data", "d", "activation", "batch_norm", "loss", "success", "optimizer", "certify", "protocol", "steps",
)  # fmt: skip


def fit_scaling(
    records: Sequence[SearchRecord],
    level: float = 0.95,
    planned: Sequence[Mapping[str, int]] | None = None,
    spectra: Sequence[Mapping[str, Any]] = (),
    time: int | None = None,
    by: Sequence[str] | None = None,
    keep_dead: bool = False,
) -> dict[str, Any]:
    """Slope a of log N* against log P, and P/N*, each with an interval at confidence `level`, as a JSON object.

    records: the objects of searches; those for one P over several seeds are merged first. planned: the {P, depth, seed}
    of each planned search, to name the missing ones. spectra: metadata of spectra of jammed runs, for the measured bound.
    time: fits N* after this number of steps, which must be one of the times of the searches. by: the fields in which the
    searches must agree, None for all that make N* another quantity: the data, the network, the loss and the dynamics.
    keep_dead: whether spectra of dead runs count as jammed.

    Raises InputError for searches that do not agree, and where no search found an N*.
    """
    check_searches(records)
    check_one_quantity(records, group_fields(by, time))
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
    bound, no_bound = _measured_bound(_of_same_networks(spectra, used), level, keep_dead)
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
        **_identity(used, group_fields(by, time)),
        **({} if bound is None else {"bound": bound.as_dict()}),
        **({} if no_bound is None else {"bound_refused": no_bound}),
        "depths": sorted({search["depth"] for search in used if search.get("depth") is not None}),
        "depth": None if comparison is None else comparison.as_dict(),
        "points": [_point_fields(search) for search in used],
    }


def fit_groups(
    records: Sequence[SearchRecord],
    level: float = 0.95,
    planned: Sequence[Mapping[str, int]] | None = None,
    spectra: Sequence[Mapping[str, Any]] = (),
    time: int | None = None,
    by: Sequence[str] | None = None,
    keep_dead: bool = False,
) -> list[dict[str, Any]]:
    """The fit of `fit_scaling` to each group of searches that agree in the fields `by`, in the order of their values.

    With several groups each fit has those of the spectra that agree with it, and a group without an N* has n_points = 0 and
    no slope. Raises InputError where no search found an N*, and for a field that no search has.
    """
    check_searches(records)
    fields = group_fields(by, time)
    check_fields_of_groups(records, fields if by else ())
    groups = [[records[i] for i in members] for members in groups_of(records, fields).values()]
    if len(groups) < 2:
        return [fit_scaling(records, level, planned, spectra, time, by, keep_dead)]
    fits = []
    for group in groups:
        own = [spectrum for spectrum in spectra if _agrees(spectrum, group)]
        try:
            fits.append(fit_scaling(group, level, None, own, time, by, keep_dead))
        except InputError as error:
            if error.remedy is not Remedy.MORE_STEPS_OR_WIDTH:
                raise
            fits.append(_no_fit(group, level, fields))
    if not any(fit["n_points"] for fit in fits):
        raise InputError(f"none of the {len(records)} searches found an N*", Remedy.MORE_STEPS_OR_WIDTH)
    missing = {} if planned is None else {"missing": [c._asdict() for c in missing_cells(planned, records)]}
    return [{**fit, **missing} for fit in fits]


def _no_fit(searches: Sequence[SearchRecord], level: float, by: Sequence[str]) -> dict[str, Any]:
    """The object of a group in which no search found an N*."""
    unknown = dict.fromkeys(
        ("slope", "slope_interval", "prefactor", "P_over_N", "P_over_N_interval", "depth")
    )
    counts = {"n_points": 0, "n_without": len(searches), "n_open": 0, "duplicates": []}
    depths = sorted({search["depth"] for search in searches if search.get("depth") is not None})
    shared = {**counts, **_identity(searches, by), "depths": depths, "points": []}
    return {"kind": "nstar-fit", **unknown, "against": {}, "level": level, **shared}


def group_fields(by: Sequence[str] | None, time: int | None = None) -> tuple[str, ...]:
    """The fields that make groups: those asked for, or all. N* after some time does not depend on later steps."""
    fields = SEARCH_GROUP_FIELDS if by is None else tuple(by)
    return fields if time is None else tuple(name for name in fields if name != "steps")


def _agrees(spectrum: Mapping[str, Any], searches: Sequence[SearchRecord]) -> bool:
    """Whether a spectrum may be of the data and the networks of some searches."""
    return not any(
        len(pooled_values([spectrum, search], ("data", "activation", "batch_norm", "no_bias")))
        for search in searches
    )


def _identity(searches: Sequence[SearchRecord], by: Sequence[str]) -> dict[str, Any]:
    """What the searches of a group share. Where they differ the field is null, and `pooled` has its values."""
    names = tuple(dict.fromkeys((*by, *SEARCH_GROUP_FIELDS)))
    pooled = pooled_values(searches, names)
    fields: dict[str, Any] = {}
    for name in names:
        known = [value for search in searches if (value := value_of(search, name)) is not None]
        if known or name in IDENTITY_FIELDS:
            fields[name] = None if name in pooled or not known else known[0]
    fields["dataset"] = fields.pop("data")
    return {**fields, **({"pooled": pooled} if pooled else {})}


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


def _measured_bound(
    spectra: Sequence[Mapping[str, Any]], level: float, keep_dead: bool
) -> tuple[StabilityBound | None, str | None]:
    """The measured bound, or why the spectra give none; neither without spectra."""
    if not spectra:
        return None, None
    try:
        return stability_bound(spectra, level, keep_dead), None
    except InputError as error:
        return None, str(error)


def _of_same_networks(
    spectra: Sequence[Mapping[str, Any]], searches: Sequence[SearchRecord]
) -> Sequence[Mapping[str, Any]]:
    """Returns the spectra unchanged. Raises InputError where they are of other networks than the searches."""
    for name in ("data", "activation", "batch_norm", "no_bias", "depth"):
        of_searches = {value_of(search, name) for search in searches} - {None}
        of_spectra = {value_of(spectrum, name) for spectrum in spectra} - {None}
        if of_searches and not of_spectra <= of_searches:
            expected = "data" if name == "data" else "networks"
            raise InputError(
                f"got spectra of {name} {_joined(of_spectra)} beside searches of {_joined(of_searches)}, expected the same "
                f"{expected}"
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
