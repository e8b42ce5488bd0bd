"""The jump of N_Δ/N at the transition, and the P/N at which it happens, from the runs of a sweep.

    Prob(N_Δ > 0) = logistic((log P/N - m)/w)        P/N at the jump = e^m           (threshold.py)
    N_Δ/N = n₀ + n₁ (log P/N - m)                    of the jammed runs near it;  n₀ is the jump

Runs whose budget ran out with 0 < N_Δ ≤ 0.1 N are undecided. Near: P/N up to 1.5 times that of the jump, where N_Δ/N
still grows in proportion. Source: arXiv:1809.09349, section III and figs. 6, 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.records import CONTACT_TOLERANCE, JAMMED_PER_PARAMETER
from jamtools.transition.logistic import Tally, Threshold, locate

#: What tells one sweep from another.
SWEEP = ("d", "depth", "activation", "batch_norm", "loss", "optimizer", "protocol")

#: Jammed runs up to so many times the P/N of the jump say how high it is.
NEAR = 1.5


def jumps(runs: Sequence[Mapping[str, Any]], level: float = 0.95) -> list[dict[str, Any]]:
    """An object for each sweep among `runs` (their metadata).

    Raises InputError for runs of another loss than the hinge, where N_Δ has no margin to count from.
    """
    sweeps: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        if run["loss"] != "hinge":
            raise InputError(f"got runs of {run['loss']}, expected hinge: the jump is one of N_Δ")
        budget = (run.get("settings") or {}).get("steps")
        sweeps.setdefault((*(run[name] for name in SWEEP), budget), []).append(run)
    return [
        {**dict(zip((*SWEEP, "steps"), key)), **_jump(its, level)}
        for key, its in sorted(sweeps.items(), key=str)
    ]


def _jump(runs: Sequence[Mapping[str, Any]], level: float) -> dict[str, Any]:
    verdicts = [(math.log(run["P"] / run["n_effective_expected"]), _verdict(run)) for run in runs]
    found = locate(Tally.of(verdicts), level)
    count = {
        name: sum(verdict == name for _, verdict in verdicts) for name in ("below", "above", "undecided")
    }
    jammed = [
        (x, run["n_unsatisfied"] / run["n_effective_expected"])
        for (x, verdict), run in zip(verdicts, runs)
        if verdict == "above" and found.m is not None and x <= found.m + math.log(NEAR)
    ]
    height, interval = _height(np.array(jammed).reshape(-1, 2), found, level)
    return {
        "P_over_N": None if found.m is None else math.exp(found.m),
        "P_over_N_interval": [None if end is None else math.exp(end) for end in found.interval],
        "spread": None if found.m is None else found.w,
        "unsatisfied_per_parameter": height,
        "unsatisfied_per_parameter_interval": interval,
        "n_satisfied": count["below"],
        "n_jammed": count["above"],
        "n_undecided": count["undecided"],
    }


def _verdict(run: Mapping[str, Any]) -> str:
    """Above the transition in P/N: jammed."""
    # L ≥ ½ Δ²/P of the largest Δ: contacts at zero are satisfied
    contact = 0.5 * (CONTACT_TOLERANCE * run["epsilon"]) ** 2 / run["P"]
    if run["n_unsatisfied"] == 0 or run["final_loss"] <= contact:
        return "below"
    certified = run["status"] == "stationary" and run["certified"] is True
    return (
        "above"
        if certified or run["n_unsatisfied"] > JAMMED_PER_PARAMETER * run["n_effective_expected"]
        else "undecided"
    )


def _height(points: Any, found: Threshold, level: float) -> tuple[float | None, list[float] | None]:
    """n₀ of the line through (log P/N, N_Δ/N) [n, 2]; of their mean where all have one P/N.

    Its interval is that of the line's height and that of m, by which the line rises, in quadrature.
    """
    from scipy.special import stdtrit

    if not len(points) or found.m is None:
        return None, None
    x, y = points.T
    columns = [np.ones_like(x)] + ([x - found.m] if np.ptp(x) > 0 else [])
    design = np.stack(columns, axis=1)
    fitted = np.linalg.lstsq(design, y, rcond=None)[0]
    left = len(y) - len(columns)
    if left < 1 or not math.isfinite(found.length):
        return float(fitted[0]), None
    variance = float(((y - design @ fitted) ** 2).sum()) / left
    error = math.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    rise = float(fitted[1]) * found.length / 2 if len(columns) > 1 else 0.0
    reach = math.hypot(float(stdtrit(left, (1 + level) / 2)) * error, rise)
    return float(fitted[0]), [float(fitted[0]) - reach, float(fitted[0]) + reach]
