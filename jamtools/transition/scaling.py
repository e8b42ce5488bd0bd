"""The scaling of the transition with the number of patterns.

    log N* = log A + a log P,        P/N* = exp⟨log P - log N*⟩

by weighted least squares over the points of any number of searches, to be held against N* = P (what is fitted by
heart), N* = 4P (the bound of stability) and the bound as measured (bound.py), in standard errors of log P/N*; and one line
for all depths against one for each. N* is the median of the distribution where a search tells it, which is finer than
the widths that there are. Source: arXiv:1809.09349, figs. 5 and 10.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.transition.bound import measured
from jamtools.transition.merging import merge, missing

#: What P/N* is held against: what is fitted by heart, and the bound of stability.
AGAINST = {"N* = P": 1.0, "N* = 4P": 0.25}

#: Those that every search tells, or else means the same by its silence.
TOLD = ("loss", "success", "optimizer", "certify")

#: The error of log N* where an end of its interval is not known, and all that there are are of that kind: a factor of e.
OPEN = 1.0

#: Fields that must agree between searches: N* of another loss, verdict or dynamics is another quantity.
SAME = ("loss", "success", "optimizer", "certify", "activation", "batch_norm")


def fit(
    records: Sequence[dict[str, Any]],
    level: float = 0.95,
    planned: Sequence[Mapping[str, int]] | None = None,
    spectra: Sequence[Mapping[str, Any]] = (),
    time: int | None = None,
) -> dict[str, Any]:
    """Slope a of log N* against log P, and P/N*, each with an interval, from the objects of `search`.

    Searches of one P over several seeds, as the tasks of a job array, are put together first; `planned` [{P, depth,
    seed}]: what was to be searched. spectra: of jammed runs, for the bound; time: N* after so many steps, where the
    searches asked for it.

    Raises InputError for a mixture of losses, verdicts or dynamics, or when no search found an N*.
    """
    _check(records)
    records, twice = merge(records)
    found = [record if time is None else _at(record, time) for record in records]
    known = sorted((record for record in found if record.get("n_star")), key=_place)
    if not known:
        raise InputError(
            f"none of the {len(records)} searches found an N*; give them more steps or a larger width"
        )
    points = [point for point in known if not _is_open(point)] or known
    log_p, log_n, sigma = np.array([_position(point) for point in points]).T
    bound = measured(_of_these(spectra, points), level) if spectra else None
    return {
        "kind": "nstar-fit",
        **_line(log_p, log_n, sigma, level),
        **_ratio(log_p, log_n, sigma, level, bound),
        "level": level,
        "n_points": len(points),
        "n_without": len(records) - len(known),
        "n_open": sum(_is_open(point) for point in known),
        "duplicates": twice,
        **({} if planned is None else {"missing": missing(planned, records)}),
        **({} if time is None else {"time": time}),
        **{name: _told(points[0], name) for name in SAME},
        **({} if bound is None else {"bound": bound}),
        "depths": sorted({point["depth"] for point in points if point.get("depth") is not None}),
        "depth": _depths(points, log_p, log_n, sigma),
        "points": [_point(point) for point in points],
    }


def _line(log_p: np.ndarray, log_n: np.ndarray, sigma: np.ndarray, level: float) -> dict[str, Any]:
    """N* = A P^a; nothing where all points have one P."""
    if np.ptp(log_p) == 0:
        return {"slope": None, "slope_interval": None, "prefactor": None}
    slope, error, left = _slope(log_p, log_n, sigma)
    height = float(np.average(log_n - slope * log_p, weights=sigma**-2))
    return {
        "slope": slope,
        "slope_interval": _interval(slope, error, left, level),
        "prefactor": math.exp(height),
    }


def _ratio(
    log_p: np.ndarray, log_n: np.ndarray, sigma: np.ndarray, level: float, bound: Mapping[str, Any] | None
) -> dict[str, Any]:
    """P/N*, and how far it is from each line."""
    mean, error, left = _mean(log_p - log_n, sigma)
    return {
        "P_over_N": math.exp(mean),
        "P_over_N_interval": [math.exp(end) for end in _interval(mean, error, left, level)],
        "against": _against(mean, error, bound),
    }


def _interval(value: float, error: float, left: int | None, level: float) -> list[float]:
    """Of a value whose error is known, or was told by the scatter of points with `left` degrees of freedom: Student's."""
    from scipy.special import stdtrit

    share = (1 + level) / 2
    quantile = float(stdtrit(left, share)) if left else statistics.NormalDist().inv_cdf(share)
    return [value - quantile * error, value + quantile * error]


def _place(record: Mapping[str, Any]) -> tuple[float, ...]:
    """An order of points that does not depend on that of the files: sums are the same to the last digit."""
    return tuple(float(record.get(name) or 0) for name in ("depth", "P", "width", "n_star"))


def _at(record: dict[str, Any], time: int) -> dict[str, Any]:
    """A search as it was after so many steps."""
    for found in record.get("at_times") or []:
        if found["steps"] == time:
            return {**record, **found}
    known = ", ".join(str(one["steps"]) for one in (record.get("at_times") or [])) or "none"
    raise InputError(f"got a search of the times {known}, expected {time}; search with --times {time}")


def _against(mean: float, error: float, bound: Mapping[str, Any] | None) -> dict[str, float | None]:
    """log P/N* less that of each line, in standard errors."""
    told: dict[str, float | None] = {
        name: (mean - math.log(ratio)) / error for name, ratio in AGAINST.items()
    }
    if bound is not None:
        ratio, its_error = bound["P_over_N"], bound["error"] or 0.0
        both = math.hypot(error, its_error / ratio) if ratio > 0 else math.inf
        told["P/N* = C0 - N_c/N"] = (mean - math.log(ratio)) / both if ratio > 0 else None
    return told


def _position(point: Mapping[str, Any]) -> tuple[float, float, float]:
    """log P, log N* and the standard error of their difference."""
    fine = point.get("median") is not None
    n = point["median"] if fine else point["n_star"]
    low, high = (point["median_interval"] if fine else point.get("interval")) or (None, None)
    # an interval whose level is not told is from below the smallest to the largest of a few
    level = point.get("level")
    quantile = statistics.NormalDist().inv_cdf((1 + level) / 2) if fine and level else 1.0
    # a lower end of 0 is that of width 1, below which there is nothing
    sigma = OPEN if low is None or high is None else math.log(high / (low or n / 2)) / (2 * quantile)
    if point.get("vary") == "patterns":
        return math.log(n), math.log(point["n_star"]), sigma
    return math.log(point["P"]), math.log(n), sigma


def _is_open(point: Mapping[str, Any]) -> bool:
    """Whether the interval of an N* has an end that is not known, so that nobody knows what it weighs."""
    name = "median_interval" if point.get("median") is not None else "interval"
    return None in (point.get(name) or ())


def _of_these(
    spectra: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """The spectra; InputError where they are of other networks than the searches."""
    for name in ("activation", "batch_norm", "depth"):
        here, there = ({one.get(name) for one in some} - {None} for some in (points, spectra))
        if here and not there <= here:
            raise InputError(
                f"got spectra of {name} {_listed(there)} beside searches of {_listed(here)}, expected the same networks"
            )
    return spectra


def _listed(values: set[Any]) -> str:
    return " and ".join(sorted(map(str, values)))


#: What a figure needs of one N*, whose searches may be in many files.
OF_A_POINT = ("P", "depth", "n_star", "interval", "median", "median_interval", "P_interval", "vary")


def _point(record: Mapping[str, Any]) -> dict[str, Any]:
    log_p, log_n, _ = _position(record)
    told = {name: record[name] for name in OF_A_POINT if name in record}
    return {**told, "P_over_N": math.exp(log_p - log_n)}


def _depths(
    points: Sequence[dict[str, Any]], x: np.ndarray, y: np.ndarray, sigma: np.ndarray
) -> dict[str, Any] | None:
    """One line for all depths against one for each, by the likelihood ratio: Δχ² of as many more parameters.

    None where there is one depth. Where points scatter more than their errors about the lines of each depth, the statistic
    is divided by how much, and p is that of Fisher's F. Depths of one P have a line of the common slope.
    """
    from scipy.special import chdtrc, fdtrc

    depth = np.array([point.get("depth") or 0 for point in points])
    depths = np.unique(depth)
    if len(depths) < 2:
        return None
    of_each = [depth == one for one in depths]
    single = [bool(np.ptp(x[its]) == 0) for its in of_each]
    together = np.stack([np.ones_like(x), x], axis=1)
    apart = np.stack(
        [
            *(its.astype(float) for its in of_each),
            *(its * x for its, one in zip(of_each, single) if not one),
            *([np.isin(depth, depths[single]) * x] if any(single) and not all(single) else []),
        ],
        axis=1,
    )
    whole, each = (_chi2(design, y, sigma) for design in (together, apart))
    more, left = each[1] - whole[1], len(y) - each[1]
    scatter = max(1.0, each[0] / left if left > 0 else 1.0)
    ratio = max(0.0, whole[0] - each[0]) / scatter
    p = None if more == 0 else fdtrc(more, left, ratio / more) if scatter > 1 else chdtrc(more, ratio)
    return {
        "statistic": ratio,
        "degrees": more,
        "p_value": None if p is None else float(p),
        "P_over_N": {
            str(one): math.exp(_mean((x - y)[its], sigma[its])[0]) for one, its in zip(depths, of_each)
        },
    }


def _chi2(design: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> tuple[float, int]:
    """χ² of the best fit, and how many parameters it has."""
    weighted = design / sigma[:, None]
    found, _, rank, _ = np.linalg.lstsq(weighted, y / sigma, rcond=None)
    return float(((weighted @ found - y / sigma) ** 2).sum()), int(rank)


def _check(records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        if record.get("kind", "nstar") != "nstar" or "P" not in record or "n_star" not in record:
            raise InputError(
                f"got {record.get('kind', 'another object')}, expected what jam-nstar search prints"
            )
        _check_numbers(record)
    for name in SAME:
        values = sorted({str(_told(record, name)) for record in records if name in TOLD or name in record})
        if len(values) > 1:
            raise InputError(
                f"got searches of {name} {' and '.join(values)}, expected one: their N* are different quantities"
            )


def _check_numbers(record: Mapping[str, Any]) -> None:
    """Raises InputError unless P, n_star and the median are positive, and intervals are of two numbers, in order."""
    found = record["n_star"] is not None
    values = [record[name] for name in ("P", "n_star") if found] + [record.get("median") or 1.0]
    good = all(_number(value) and value > 0 for value in values)
    for name in ("interval", "median_interval"):
        ends = record.get(name) or [None, None]
        good &= isinstance(ends, list) and len(ends) == 2
        good &= good and all(end is None or (_number(end) and end >= 0) for end in ends)
        good &= good and (None in ends or ends[0] < ends[1])
    if not good:
        raise InputError(
            "got a search whose P, n_star or interval is no number; make it with jam-nstar search"
        )


def _told(record: dict[str, Any], name: str) -> Any:
    """A field of SAME; a search that does not know of certify did not."""
    return bool(record.get(name)) if name == "certify" else record.get(name)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _slope(x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> tuple[float, float, int | None]:
    """Weighted least squares: slope, its error, and the degrees of freedom of that where the scatter told it."""
    weight = sigma**-2
    x0, y0 = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float(weight @ (x - x0) ** 2)
    slope = float(weight @ ((x - x0) * (y - y0))) / spread
    return slope, *_scattered(float(weight @ (y - y0 - slope * (x - x0)) ** 2), len(x) - 2, spread)


def _mean(y: np.ndarray, sigma: np.ndarray) -> tuple[float, float, int | None]:
    """The weighted mean likewise."""
    weight = sigma**-2
    mean = float(np.average(y, weights=weight))
    return mean, *_scattered(float(weight @ (y - mean) ** 2), len(y) - 1, float(weight.sum()))


def _scattered(chi2: float, left: int, information: float) -> tuple[float, int | None]:
    """The error that the points' own have, or that their scatter says where it exceeds them."""
    scatter = chi2 / max(left, 1)
    return math.sqrt(max(1.0, scatter) / information), left if scatter > 1 and left > 0 else None
