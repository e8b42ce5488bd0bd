r"""The distributions of overlaps and of gaps near the transition, pooled over runs, and their exponents.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0          P₊(z) ~ z^θ
    gaps        x = -Δ > 0 of all runs                          P₋(x) ~ x^-γ

√L takes out the distance from the transition, so that runs of somewhat different loss can be pooled. Two things end
the power laws below. A run that still descends moves its overlaps: where L fell by δL in the second half of the
training, Δ moved by at least

    rms δz ≥ (δL/L) √(P / 2N_Δ)        (Cauchy and Schwarz on δL = Σ Δ_µ δΔ_µ / P),

and at a certified minimum by what its smallest subgradient leaves. And a finite system has no power law of its
smallest gaps (finitesize.py). Both are left out by default.

Stability asks for γ ≥ (1 − θ)/2, mean field has γ = 1/(2 + θ). Source: arXiv:1809.09349, section IV, fig. 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools import finitesize, judgement, powerlaw
from jamtools.errors import InputError
from jamtools.records import Array, Run
from jamtools.window import MIN_VALUES

#: The same contact tolerance as the runs': |Δ| ≤ 1e-10·ε is at zero, neither overlap nor gap.
CONTACT = 1e-10
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
class Sample:
    """Values [n] pooled over runs, the run [n] each came from (or None), the cut below which they mean nothing, and why."""

    values: Array
    runs: NDArray[np.int64] | None
    lower_cut: float = 0.0
    cut_by: str = "nothing"


@dataclass(frozen=True)
class Options:
    """How to fit: as `powerlaw.fit`; a lower cut of None is chosen from the runs."""

    order: int | None = None
    share: float | None = None
    level: float = 0.95
    lower_cut: float | None = None
    seed: int = 0


def overlaps(runs: Sequence[Run]) -> Sample:
    """Δ/√L of every unsatisfied pattern of every jammed run, cut at the noise of the median run."""
    parts, noise = [], []
    for run in runs:
        gaps = run.gaps.ravel()
        unsatisfied = gaps[gaps > CONTACT * run.info["epsilon"]]
        if len(unsatisfied):
            unsatisfied = unsatisfied / np.sqrt(run.info["final_loss"])
            noise.append(precision(run))
        parts.append(unsatisfied)
    return replace(_pool(parts), lower_cut=float(np.median(noise)) if noise else 0.0, cut_by="noise")


def gaps(runs: Sequence[Run]) -> Sample:
    """-Δ of every satisfied pattern, with the finite-size cut of the smallest run, or its noise where that is larger."""
    parts = [-run.gaps.ravel() for run in runs]
    parts = [x[x > CONTACT * run.info["epsilon"]] for x, run in zip(parts, runs)]
    sample = _pool(parts)
    if not len(sample.values):
        return sample
    N = min(run.info["n_effective_expected"] for run in runs)
    finite = finitesize.cut(float(np.median(sample.values)), N)
    noise = float(np.median([precision(run) * np.sqrt(run.info["final_loss"]) for run in runs]))
    return replace(sample, lower_cut=max(finite, noise), cut_by="finite size" if finite > noise else "noise")


def precision(run: Run) -> float:
    """How far the overlaps Δ/√L of a run may still be from those of its minimum; 0 where L = 0."""
    info = run.info
    if not info["n_unsatisfied"]:
        return 0.0
    certificate = info.get("certificate") or {}
    if info["certified"] and certificate.get("scale"):
        return float(certificate["gradient"] / certificate["scale"])
    step, loss = run.history["step"], run.history["loss"]
    before = loss[step <= step[-1] / 2]
    fell = max(0.0, float(before[-1] - loss[-1])) if len(before) else float(loss[-1])
    return fell / float(loss[-1]) * float(np.sqrt(run.gaps.size / (2 * info["n_unsatisfied"])))


def _pool(parts: list[Array]) -> Sample:
    runs = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Sample(np.concatenate(parts) if parts else np.empty(0), runs)


def distributions(runs: Sequence[Run], options: Options) -> dict[str, Any]:
    """θ and γ with their intervals, tests and verdicts, histograms and fitted curves, as one JSON-able object.

    A distribution with too few values is reported as {"refused": why, "exponent": None, …}.
    Raises InputError when neither can be fitted, or for runs not trained on the hinge loss or diverged.
    """
    result = _both(runs, options)
    if all(half["exponent"] is None for half in result.values()):
        raise InputError(f"no exponent from {len(runs)} run(s): overlaps: {result['overlaps']['refused']}")
    result["gaps"] |= _by_size(runs, options)
    return {"kind": "gaps", "n_runs": len(runs), "fits": _fits(runs), **result, "bounds": _bounds(**result)}


def of_each(runs: Sequence[Run], options: Options) -> Iterator[dict[str, Any]]:
    """The same of each run by itself, with what tells it apart; where it has too few values, that is said.

    Raises InputError as `distributions` does for what it cannot read.
    """
    for number, run in enumerate(runs):
        info = {name: run.info[name] for name in OF_RUN}
        yield {
            "kind": "gaps",
            "run": f"r{number:04d}",
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
        "overlaps": _exponent(overlaps(runs), 1, options, judgement.THETA),
        "gaps": _exponent(gaps(runs), -1, options, judgement.GAMMA),
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
        half = _exponent(gaps(its), -1, options, judgement.GAMMA)
        names = ("exponent", "interval", "standard_error", "n", "lower_cut", "settled", "refused")
        rows.append({"N": N, "n_runs": len(its), **{name: half[name] for name in names if name in half}})
    return {"sizes": rows, "extrapolated": _extrapolated(rows, options.level)}


def _extrapolated(rows: Sequence[dict[str, Any]], level: float) -> dict[str, Any]:
    """γ for N → ∞ from the sizes that have one; the error of each is half its interval."""
    from scipy.special import ndtri

    known = [row for row in rows if row["exponent"] is not None and None not in row["interval"]]
    if len(known) < 2:
        return {
            "exponent": None,
            "interval": None,
            "refused": f"{len(known)} sizes with an exponent, expected 2",
        }
    z = float(ndtri((1 + level) / 2))
    errors = [(row["interval"][1] - row["interval"][0]) / (2 * z) for row in known]
    trend = finitesize.extrapolate(
        [row["N"] for row in known], [row["exponent"] for row in known], errors, level
    )
    return trend.as_dict()


def _bounds(overlaps: dict[str, Any], gaps: dict[str, Any]) -> dict[str, Any] | None:
    """Where θ and γ stand against mean field, γ = 1/(2+θ), and against stability, γ ≥ (1−θ)/2."""
    if any(half["exponent"] is None or None in half["interval"] for half in (overlaps, gaps)):
        return None
    theta, (low, high), (least, most) = overlaps["exponent"], overlaps["interval"], gaps["interval"]
    mean_field, stable = [1 / (2 + high), 1 / (2 + low)], [(1 - high) / 2, (1 - low) / 2]
    return {
        "mean_field": {
            "gamma": 1 / (2 + theta),
            "interval": mean_field,
            "compatible": least <= mean_field[1] and most >= mean_field[0],
        },
        "stability": {"gamma_at_least": (1 - theta) / 2, "interval": stable, "compatible": most >= stable[0]},
    }


def _exponent(
    sample: Sample, sign: int, options: Options, references: Sequence[judgement.Reference]
) -> dict[str, Any]:
    """The fit of one distribution, or why there is none."""
    try:
        return exponent(sample, options, sign, references)
    except InputError as error:
        return {"exponent": None, "interval": None, "n": len(sample.values), "refused": str(error)}


def exponent(
    sample: Sample, options: Options, sign: int = 1, references: Sequence[judgement.Reference] | None = None
) -> dict[str, Any]:
    """t of x^t (or -t with sign = -1) for a sample, with interval, range, tests, verdict, histogram and curve.

    Raises InputError as `powerlaw.fit` does.
    """
    if not len(sample.values):
        raise InputError(f"no values, expected at least {MIN_VALUES}; give runs that have some")
    given = options.lower_cut is not None
    cut, cut_by = (options.lower_cut or 0.0, "given") if given else (sample.lower_cut, sample.cut_by)
    if cut_by == "noise" and cut >= np.median(sample.values):
        raise InputError(
            f"got runs that still descend: since half of their steps their values moved by {cut:.2g}, as far as the median; "
            "train them longer, finish them with jam-train --finish, or give --lower-cut"
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
        **_judged(fit, record, len(sample.values), references or EITHER),
        "histogram": _histogram(sample.values),
        "curve": _curve(sample.values, fit),
    }


#: Of numbers that nobody says what they are.
EITHER = (
    *(judgement.Reference(f"θ, {name.name}", name.value) for name in judgement.THETA),
    *(judgement.Reference(f"-γ, {name.name}", -name.value) for name in judgement.GAMMA),
)


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
    fit: powerlaw.PowerLaw, record: dict[str, Any], n: int, references: Sequence[judgement.Reference]
) -> dict[str, Any]:
    low, high = (np.inf if end is None else end for end in record["interval"])
    found = judgement.Found(
        exponent=record["exponent"],
        interval=(-abs(low) if np.isinf(low) else low, high),
        level=fit.level,
        n=n,
        p_null=record["p_null"],
        p_fit=record["p_fit"],
        settled=fit.settled,
    )
    return judgement.judge(found, references)


def _histogram(values: Array) -> dict[str, list[float]]:
    edges, counts, density = powerlaw.log_histogram(values)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "density": density.tolist()}


def _curve(values: Array, fit: powerlaw.PowerLaw) -> dict[str, list[float]]:
    """The fitted density over its range; log-spaced."""
    lowest = max(fit.lower_cut * (1 + 1e-12), float(values[values > fit.lower_cut].min()))
    x = np.geomspace(lowest, fit.upper_cut * (1 - 1e-12), 100)
    # powerlaw normalises to the share of the values fitted, as the histogram of all values is
    return {"x": x.tolist(), "density": powerlaw.density(x, fit).tolist()}
