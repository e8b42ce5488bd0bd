r"""The distributions of overlaps and of gaps near the transition, pooled over runs, and their exponents.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0          P₊(z) ~ z^θ
    gaps        x = -Δ > 0 of all runs                          P₋(x) ~ x^-γ

√L takes out the distance from the transition, so that runs of somewhat different loss can be pooled. A finite
system has no power law of gaps below x ~ N^(-1/(1-γ)) in units of a typical gap: by default that part is left out, with
the mean-field γ and the smallest N of the ensemble.

Source: arXiv:1809.09349, section IV, fig. 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools import powerlaw
from jamtools.errors import InputError
from jamtools.records import Array, Run

#: Spheres and the non-convex perceptron in mean field.
THETA, GAMMA = 0.42311, 0.41269
INTERVALS = ("interval", "profile_interval", "bootstrap_interval")
#: The same contact tolerance as the runs': |Δ| ≤ 1e-10·ε is at zero, neither overlap nor gap.
CONTACT = 1e-10


@dataclass(frozen=True)
class Sample:
    """Values [n] pooled over runs, the run [n] each came from (or None), the cut below which finite size rules."""

    values: Array
    runs: NDArray[np.int64] | None
    lower_cut: float = 0.0


@dataclass(frozen=True)
class Options:
    """How to fit: as `powerlaw.fit`; a lower cut of None is chosen from the runs."""

    order: int = 2
    share: float = 0.8
    level: float = 0.95
    lower_cut: float | None = None
    seed: int = 0


def overlaps(runs: Sequence[Run]) -> Sample:
    """Δ/√L of every unsatisfied pattern of every jammed hinge run."""
    parts = []
    for run in runs:
        gaps = run.gaps.ravel()
        unsatisfied = gaps[gaps > CONTACT * run.info["epsilon"]]
        parts.append(unsatisfied / np.sqrt(run.info["final_loss"]) if len(unsatisfied) else unsatisfied)
    return _pool(parts)


def gaps(runs: Sequence[Run]) -> Sample:
    """-Δ of every satisfied pattern, with the finite-size cut of the smallest run."""
    parts = [-run.gaps.ravel() for run in runs]
    parts = [x[x > CONTACT * run.info["epsilon"]] for x, run in zip(parts, runs)]
    sample = _pool(parts)
    if not len(sample.values):
        return sample
    N = min(run.info["n_effective_expected"] for run in runs)
    cut = float(np.median(sample.values)) * N ** (-1 / (1 - GAMMA))
    return Sample(sample.values, sample.runs, cut)


def _pool(parts: list[Array]) -> Sample:
    runs = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Sample(np.concatenate(parts) if parts else np.empty(0), runs)


def distributions(runs: Sequence[Run], options: Options) -> dict[str, Any]:
    """θ and γ with their intervals, histograms and fitted curves, as one JSON-able object.

    A distribution with too few values is reported as {"refused": why, "exponent": None, …}.
    Raises InputError when neither can be fitted, or for runs not trained on the hinge loss or diverged.
    """
    _check(runs)
    halves = {"overlaps": (overlaps(runs), 1), "gaps": (gaps(runs), -1)}
    result = {name: _exponent(sample, sign, options) for name, (sample, sign) in halves.items()}
    if all(half["exponent"] is None for half in result.values()):
        raise InputError(f"no exponent from {len(runs)} run(s): overlaps: {result['overlaps']['refused']}")
    return {"kind": "gaps", "n_runs": len(runs), "fits": _fits(runs), **result}


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


def _exponent(sample: Sample, sign: int, options: Options) -> dict[str, Any]:
    """The fit of one distribution; sign -1 turns the exponent of x^t into γ = -t."""
    try:
        return exponent(sample, options, sign)
    except InputError as error:
        return {"exponent": None, "interval": None, "n": len(sample.values), "refused": str(error)}


def exponent(sample: Sample, options: Options, sign: int = 1) -> dict[str, Any]:
    """t of x^t (or -t with sign = -1) for a sample, with interval, range, null test, histogram and curve.

    Raises InputError as `powerlaw.fit` does.
    """
    if not len(sample.values):
        raise InputError(f"no values, expected at least {powerlaw.MIN_VALUES}; give runs that have some")
    cut = sample.lower_cut if options.lower_cut is None else options.lower_cut
    fit = powerlaw.fit(
        sample.values,
        order=options.order,
        share=options.share,
        level=options.level,
        lower_cut=cut,
        clusters=sample.runs,
        seed=options.seed,
    )
    record = fit.as_dict()
    return {
        **record,
        "exponent": sign * fit.exponent,
        **{
            name: _turned(record[name], sign)
            for name in ("interval", "profile_interval", "bootstrap_interval")
        },
        "range": [float(sample.values[sample.values > cut].min()), fit.upper_cut],
        "histogram": _histogram(sample.values),
        "curve": _curve(sample.values, fit),
    }


def _turned(interval: tuple[float, float] | None, sign: int) -> list[float] | None:
    return None if interval is None else sorted(sign * end for end in interval)


def _histogram(values: Array) -> dict[str, list[float]]:
    edges, counts, density = powerlaw.log_histogram(values)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "density": density.tolist()}


def _curve(values: Array, fit: powerlaw.PowerLaw) -> dict[str, list[float]]:
    """The fitted density over its range; log-spaced."""
    lowest = max(fit.lower_cut * (1 + 1e-12), float(values[values > fit.lower_cut].min()))
    x = np.geomspace(lowest, fit.upper_cut * (1 - 1e-12), 100)
    # powerlaw normalises to the share of the values fitted, as the histogram of all values is
    return {"x": x.tolist(), "density": powerlaw.density(x, fit).tolist()}
