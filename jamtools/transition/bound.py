"""The bound of stability, as measured: P/N* ≥ C0 - N_c/N.

    N_Δ ≥ N_- - N_c at a minimum,  P ≥ N_Δ   ⇒   P/N ≥ C0 - N_c/N,       C0 = N_-(Hp)/N

From the spectra of jammed runs: below this P/N there is no minimum to be stuck in. N_c counts the convex cusps. The interval
of the mean is Student's.
Source: arXiv:1809.09349, sections III and IV.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.records import JAMMED_PER_PARAMETER


def measured(spectra: Sequence[Mapping[str, Any]], level: float = 0.95) -> dict[str, Any]:
    """C0, N_c/N and their difference, means over the jammed runs of `spectra` (their metadata), and of each depth.

    Raises InputError where none of them is of a jammed run with its negative modes counted.
    """
    jammed = [
        one for one in spectra if _counted(one) and one["n_unsatisfied"] > JAMMED_PER_PARAMETER * _N(one)
    ]
    if not jammed:
        raise InputError(
            f"got spectra of {len(spectra)} runs, none jammed with the signs of Hp counted; take jammed runs, without --only"
        )
    depths = sorted({one["depth"] for one in jammed})
    return {
        **_mean([_terms(one) for one in jammed], level),
        "depths": {
            str(L): _mean([_terms(one) for one in jammed if one["depth"] == L], level) for L in depths
        },
    }


def _counted(spectrum: Mapping[str, Any]) -> bool:
    return spectrum.get("c0") is not None and spectrum.get("n_cusps") is not None


def _N(spectrum: Mapping[str, Any]) -> int:
    return int(spectrum["n_effective_expected"])


def _terms(spectrum: Mapping[str, Any]) -> tuple[float, float]:
    """C0 and N_c/N of one run."""
    cusps = spectrum.get("n_convex_cusps")
    return spectrum["c0"], (spectrum["n_cusps"] if cusps is None else cusps) / _N(spectrum)


def _mean(terms: Sequence[tuple[float, float]], level: float) -> dict[str, Any]:
    from scipy.special import stdtrit

    c0, cusps = np.array(terms).T
    bound, n = c0 - cusps, len(terms)
    error = float(bound.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error if error is not None else None
    mean = float(bound.mean())
    return {
        "c0": float(c0.mean()),
        "cusps_per_parameter": float(cusps.mean()),
        "P_over_N": mean,
        "interval": None if reach is None else [mean - reach, mean + reach],
        "error": error,
        "n_runs": n,
    }
