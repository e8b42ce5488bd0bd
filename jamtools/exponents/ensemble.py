"""What runs are, and whether their exponents may be compared with known values.

    near jamming:   at a minimum,  0 < L ≤ 10⁻³ ε²  and  N_Δ/N ≤ 1.5;    or satisfied, with P/N within 10 % of such a run

The known exponents hold at the transition, so only runs that are near it allow a claim. A run that is still on its way has
more and larger overlaps than its minimum. A satisfied run does not tell how far it is from the transition; jammed runs at
nearly the same P/N do. Dead patterns are left out of N_Δ and of L, unless they are kept.

Overlaps come from the runs at a minimum, and gaps from those and from the satisfied ones. If there are none, they come from
the runs on their way, and no claim follows.

Source: arXiv:1809.09349, sections III and IV; own derivation above and at the constants for the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamtools.exponents.finite_size import LARGE_N
from jamtools.exponents.references import Origin
from jamtools.exponents.resampling import MIN_RUNS_FOR_BOOTSTRAP
from jamtools.exponents.samples import overlaps_of
from jamtools.grouping import value_of
from jamtools.records import Run
from jamtools.states import is_dead, is_jammed, is_satisfied

#: The largest L/ε² near jamming. With N_Δ = P/4, as at the transition of the paper, the rms overlap √(2 L P/N_Δ) is 0.09 ε
#: there: small compared with the only other scale of Δ.
NEAR_RELATIVE_LOSS = 1e-3

#: The largest N_Δ/N near jamming: twice the value to which it jumps in the paper.
NEAR_UNSATISFIED_PER_PARAMETER = 1.5

#: The largest |log| of the ratio of P/N of a satisfied run to that of a jammed one near jamming. The transition of networks
#: of N = 100 is 0.1 wide.
NEAR_LOG_RATIO = 0.1

#: The largest ratio of L among pooled overlaps, between the 10 % and the 90 % quantile. Δ/√L takes out the scale of L, not a
#: change of shape.
MAX_LOSS_RATIO = 10.0

#: The quantiles of L whose ratio is limited: a single run far away does not matter.
LOSS_QUANTILES = (0.1, 0.9)

#: Runs that agree in these fields have one transition.
TRANSITION_FIELDS = ("data", "d", "depth", "activation", "batch_norm", "no_bias", "loss", "optimizer")

Range = tuple[float, float]

#: The words for each state of a run.
STATE_WORDS = {
    "stationary": "jammed",
    "satisfied": "satisfied",
    "budget": "on their way",
    "escaping": "escaping",
    "collapsed": "collapsed",
    "dead": "dead",
}


@dataclass(frozen=True)
class RunsDescription:
    """What `n_runs` runs are: how many have each state, and ranges (smallest, largest).

    n_certified: runs with a certificate that holds. N, P_over_N: of all runs. loss (L), relative_loss (L/ε²) and
    unsatisfied_per_parameter (N_Δ/N): of the runs with overlaps; None if there are none.
    """

    n_runs: int
    n_jammed: int
    n_satisfied: int
    n_budget: int
    n_escaping: int
    n_collapsed: int
    n_dead: int
    n_certified: int
    N: tuple[int, int]
    P_over_N: Range
    loss: Range | None
    relative_loss: Range | None
    unsatisfied_per_parameter: Range | None

    @classmethod
    def of(cls, runs: Sequence[Run], keep_dead: bool = False) -> RunsDescription:
        """The description of one run or more; without dead patterns, unless they are kept."""
        states = [run.info["status"] for run in runs]
        with_overlaps = [run for run in runs if _n_overlaps(run, keep_dead)]
        return cls(
            n_runs=len(runs),
            n_jammed=states.count("stationary"),
            n_satisfied=states.count("satisfied"),
            n_budget=states.count("budget"),
            n_escaping=states.count("escaping"),
            n_collapsed=states.count("collapsed"),
            n_dead=states.count("dead"),
            n_certified=sum(bool(run.info["certified"]) for run in runs),
            N=(min(run.N for run in runs), max(run.N for run in runs)),
            P_over_N=(min(run.alpha for run in runs), max(run.alpha for run in runs)),
            loss=_range(overlaps_of(run, keep_dead).loss for run in with_overlaps),
            relative_loss=_range(_relative_loss(run, keep_dead) for run in with_overlaps),
            unsatisfied_per_parameter=_range(_n_overlaps(run, keep_dead) / run.N for run in with_overlaps),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }


def overlap_runs(runs: Sequence[Run], keep_dead: bool = False) -> list[Run]:
    """The runs whose overlaps are pooled: those at a minimum, or if there are none, all."""
    return [run for run in runs if _at_minimum(run, keep_dead)] or list(runs)


def gap_runs(runs: Sequence[Run], keep_dead: bool = False) -> list[Run]:
    """The runs whose gaps are pooled: those at a minimum and the satisfied ones, or if there are none, all."""
    return [run for run in runs if _has_arrived(run, keep_dead)] or list(runs)


def overlap_origin(runs: Sequence[Run], keep_dead: bool = False) -> Origin:
    """What the runs are whose overlaps are pooled, and why θ of them allows no claim, or None."""
    runs = [run for run in runs if _n_overlaps(run, keep_dead)] or list(runs)
    near = [run for run in runs if _is_near_jamming(run, keep_dead)]
    reasons = [
        *_common_obstacles(runs, near, keep_dead),
        *([] if len(near) < len(runs) else _obstacle_of_losses(runs, keep_dead)),
    ]
    return Origin(in_words(runs, keep_dead), "θ", ", ".join(reasons) or None)


def gap_origin(runs: Sequence[Run], keep_dead: bool = False) -> Origin:
    """What the runs are whose gaps are pooled, and why γ of them allows no claim, or None. N is not judged here."""
    jammed = [run for run in runs if _is_near_jamming(run, keep_dead)]
    near = jammed + [run for run in runs if is_satisfied(run.info) and _is_beside(run, jammed)]
    reasons = _common_obstacles(runs, near, keep_dead)
    if all(is_satisfied(run.info) for run in runs):
        reasons[0] = "no jammed run beside them shows that the transition is near"
    return Origin(in_words(runs, keep_dead), "γ", ", ".join(reasons) or None)


def size_obstacle(runs: Sequence[Run]) -> str | None:
    """Why γ of the runs allows no claim unless it is extrapolated to N → ∞, or None."""
    smallest = min((run.N for run in runs), default=LARGE_N)
    if smallest >= LARGE_N:
        return None
    return f"γ depends on N below {LARGE_N}, and there is no limit for N → ∞"


def in_words(runs: Sequence[Run], keep_dead: bool = False) -> str:
    """`36 jammed runs, N = 137 to 329, P/N = 2.7 to 3.1, N_Δ/N = 0.7 to 1.1, L/ε² = 2e-05 to 0.0004`."""
    found = RunsDescription.of(runs, keep_dead)
    ranges = {
        "N": found.N,
        "P/N": found.P_over_N,
        "N_Δ/N": found.unsatisfied_per_parameter,
        "L/ε²": found.relative_loss,
    }
    words = [f"{name} = {_range_in_words(ends)}" for name, ends in ranges.items() if ends]
    return ", ".join([_states_in_words(runs, keep_dead), *words])


def _states_in_words(runs: Sequence[Run], keep_dead: bool) -> str:
    """`36 jammed runs`, `36 runs on their way (none at a minimum)` or `36 runs (20 jammed, 16 satisfied)`."""
    states = [run.info["status"] for run in runs]
    counts = {STATE_WORDS.get(status, status): states.count(status) for status in dict.fromkeys(states)}
    noun = "run" if len(runs) == 1 else "runs"
    if set(counts) == {"on their way"}:
        return f"{len(runs)} {noun} on {'its' if len(runs) == 1 else 'their'} way (none at a minimum)"
    if len(counts) == 1:
        return f"{len(runs)} {next(iter(counts))} {noun}"
    listed = ", ".join(f"{n} {word}" for word, n in counts.items())
    none = "" if any(_has_arrived(run, keep_dead) for run in runs) else "; none at a minimum"
    return f"{len(runs)} {noun} ({listed}{none})"


def _common_obstacles(runs: Sequence[Run], near: Sequence[Run], keep_dead: bool) -> list[str]:
    """Why runs, of which some are near jamming, allow no claim about θ or γ."""
    reasons = []
    if len(near) < len(runs):
        share = f"only {len(near)} of {len(runs)} runs are" if near else "not"
        limits = f"L ≤ {NEAR_RELATIVE_LOSS:g} ε², N_Δ/N ≤ {NEAR_UNSATISFIED_PER_PARAMETER:g}"
        reasons.append(f"{share} near jamming ({limits})")
    if len(runs) < MIN_RUNS_FOR_BOOTSTRAP:
        reasons.append(f"an interval over runs takes {MIN_RUNS_FOR_BOOTSTRAP} of them")
    if keep_dead and any(len(run.dead) for run in runs):
        reasons.append("dead patterns are among the values")
    return reasons


def _obstacle_of_losses(runs: Sequence[Run], keep_dead: bool) -> list[str]:
    """The obstacle that L differs too much between runs that are all near jamming, or none."""
    low, high = np.quantile([_relative_loss(run, keep_dead) for run in runs], LOSS_QUANTILES)
    if high <= MAX_LOSS_RATIO * low:
        return []
    return [f"their L span a factor of {high / low:.2g}, expected at most {MAX_LOSS_RATIO:g}"]


def _is_near_jamming(run: Run, keep_dead: bool) -> bool:
    """Whether a run is at a minimum with a small L > 0 and few unsatisfied patterns."""
    few = _n_overlaps(run, keep_dead) <= NEAR_UNSATISFIED_PER_PARAMETER * run.N
    return _at_minimum(run, keep_dead) and few and 0 < _relative_loss(run, keep_dead) <= NEAR_RELATIVE_LOSS


def _is_beside(run: Run, jammed: Sequence[Run]) -> bool:
    """Whether P/N of a run is close to that of one of the jammed runs that have the same transition."""
    return any(
        _transition_key(other) == _transition_key(run)
        and abs(math.log(run.alpha / other.alpha)) <= NEAR_LOG_RATIO
        for other in jammed
    )


def _transition_key(run: Run) -> tuple[Any, ...]:
    # at fixed norm the margin cannot be absorbed in the weights
    norm = value_of(run.info, "norm")
    margin = run.epsilon if run.info.get("norm") else None
    return (*(value_of(run.info, name) for name in TRANSITION_FIELDS), norm, margin)


def _at_minimum(run: Run, keep_dead: bool) -> bool:
    kept = keep_dead and is_dead(run.info) and bool(run.info["certified"])
    return is_jammed(run.info) or kept


def _has_arrived(run: Run, keep_dead: bool) -> bool:
    return is_satisfied(run.info) or _at_minimum(run, keep_dead)


def _n_overlaps(run: Run, keep_dead: bool) -> int:
    return len(overlaps_of(run, keep_dead).gaps)


def _relative_loss(run: Run, keep_dead: bool) -> float:
    return overlaps_of(run, keep_dead).loss / run.margin_unit**2


def _range(values: Iterable[float]) -> Range | None:
    found = list(values)
    return (float(min(found)), float(max(found))) if found else None


def _range_in_words(ends: Range) -> str:
    """`137 to 329`, or one number where both ends are the same."""
    low, high = (f"{end:d}" if isinstance(end, int) else f"{end:.2g}" for end in ends)
    return low if low == high else f"{low} to {high}"
