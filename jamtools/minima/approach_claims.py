"""The claims of a stage of an approach: what its field `approach` may hold, as far as theta and the data decide it.

    L/N as the stage repeats it;    the end that the state of the stage leaves possible
    margin: end = reached only at L/N ≤ until;        patterns: avalanche = [overlap < ½] of two jammed stages

Changes against the stage before are not in the record of one stage: they must be numbers in their range. Nor does it show
that one pattern fewer is satisfied, where an approach by the patterns ends.
Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jamtools.minima.approach import end_of
from jamtools.minima.approach_knobs import BRANCH_OVERLAP, KNOBS, PATTERNS_PART
from jamtools.minima.claims import Among, Between, Exactly, Expected, Near, Table, is_number
from jamtools.minima.escape import has_grown
from jamtools.network.problem import Problem
from jamtools.records import Run

#: The loss per parameter repeats the loss to this part of it.
APPROACH_TOLERANCE = 1e-12

#: The fields of a stage.
APPROACH_FIELDS = (
    "stage", "knob", "until", "end", "loss_per_parameter", "first_epsilon", "moved", "overlap", "n_changed",
    "change_n_unsatisfied", "avalanche", "n_avalanches",
)  # fmt: skip

Claims = Iterator[tuple[str, Expected]]


def approach_claims(run: Run, problem: Problem) -> Claims:
    """What the field `approach` of a run of a problem may hold; nothing for a run without it."""
    if "approach" not in run.info:
        return
    yield "approach", Table()
    fields = run.info["approach"]
    if not isinstance(fields, dict):
        return
    per_parameter = run.info["final_loss"] / run.N
    yield "approach.loss_per_parameter", Near(per_parameter, APPROACH_TOLERANCE * abs(per_parameter))
    yield "approach.knob", Among(KNOBS if run.info.get("norm") is not None else ("patterns",))
    yield "approach.stage", Between(0, None)
    yield "approach.n_changed", Between(0, run.P)
    if fields.get("end") is not None:  # a stage in the middle has no end
        yield "approach.end", Among(_ends(run, problem))
    if fields.get("knob") == "patterns":
        yield from _patterns_claims(run, fields)
    else:
        yield from _margin_claims(run, fields)
    yield from _avalanches(fields)


def _margin_claims(run: Run, fields: dict[str, Any]) -> Claims:
    yield "approach.change_n_unsatisfied", Between(-run.P, run.P)
    if fields.get("stage") == 0:
        yield "approach.first_epsilon", Exactly(run.info["epsilon"])


def _patterns_claims(run: Run, fields: dict[str, Any]) -> Claims:
    """The stage before had at most a part more of patterns. A stage with much overlap is on its branch."""
    most = int(run.P / (1 - PATTERNS_PART)) + 1
    yield "approach.change_n_unsatisfied", Between(-most, run.P)
    yield "approach.first_epsilon", Exactly(run.info["epsilon"])
    overlap: Any = fields.get("overlap")
    if is_number(overlap) and overlap >= BRANCH_OVERLAP:
        yield "approach.avalanche", Exactly(False)


def _avalanches(fields: dict[str, Any]) -> Claims:
    """Their number, and whether this stage is one of them."""
    yield "approach.n_avalanches", Between(0, fields["stage"] if type(fields.get("stage")) is int else 0)
    if not fields.get("n_avalanches"):
        yield "approach.avalanche", Exactly(False)


def _ends(run: Run, problem: Problem) -> tuple[str, ...]:
    """The ends that the state of the run leaves possible."""
    status, fields = run.info["status"], run.info["approach"]
    if fields.get("knob") == "patterns":
        theta, theta0 = problem.tensor(run.theta), problem.tensor(run.theta0)
        grown = status == "budget" and has_grown(theta, theta0, problem)
        possible = ("satisfied", "dead", "stationary", "escaping", "budget")
        return (end_of(status, grown),) if status in possible else ()
    if run.info.get("n_dead"):
        return ("dead",)
    if status == "stationary":
        until = fields.get("until")
        arrived = is_number(until) and run.info["final_loss"] <= until * run.N
        return ("reached",) if arrived else ("unjammed",)
    by_status = {"collapsed": ("collapsed",), "satisfied": ("unjammed",), "budget": ("stalled",)}
    return by_status.get(status, ())
