"""The claims of a stage of an approach: what its field `approach` may hold, as far as theta and the data decide it.

    L/N as the stage repeats it;    end = jammed only at L/N ≤ until

Changes against the stage before are not in the record of one stage: they must be numbers in their range.
Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Iterator

from jamtools.minima.claims import Among, Between, Exactly, Expected, Near, Table, is_number
from jamtools.records import Run

#: The loss per parameter repeats the loss to this part of it.
APPROACH_TOLERANCE = 1e-12

#: The fields of a stage.
APPROACH_FIELDS = (
    "stage", "knob", "until", "end", "loss_per_parameter", "first_epsilon", "moved", "overlap", "n_changed",
    "change_n_unsatisfied", "avalanche", "n_avalanches",
)  # fmt: skip

Claims = Iterator[tuple[str, Expected]]


def approach_claims(run: Run) -> Claims:
    """What the field `approach` of a run may hold; nothing for a run without it."""
    if "approach" not in run.info:
        return
    yield "approach", Table()
    fields = run.info["approach"]
    if not isinstance(fields, dict):
        return
    per_parameter = run.info["final_loss"] / run.N
    yield "approach.loss_per_parameter", Near(per_parameter, APPROACH_TOLERANCE * abs(per_parameter))
    yield "approach.knob", Among(("margin",))
    yield "approach.stage", Between(0, None)
    yield "approach.n_changed", Between(0, run.P)
    yield "approach.change_n_unsatisfied", Between(-run.P, run.P)
    yield "approach.n_avalanches", Between(0, fields["stage"] if type(fields.get("stage")) is int else 0)
    if not fields.get("n_avalanches"):
        yield "approach.avalanche", Exactly(False)
    if fields.get("end") is not None:  # a stage in the middle has no end
        yield "approach.end", Among(_ends(run))
    if fields.get("stage") == 0:
        yield "approach.first_epsilon", Exactly(run.info["epsilon"])


def _ends(run: Run) -> tuple[str, ...]:
    """The ends that the state of the run leaves possible."""
    status, fields = run.info["status"], run.info["approach"]
    if run.info.get("n_dead"):
        return ("dead",)
    if status == "stationary":
        until = fields.get("until")
        arrived = is_number(until) and run.info["final_loss"] <= until * run.N
        return ("reached",) if arrived else ("unjammed",)
    by_status = {"collapsed": ("collapsed",), "satisfied": ("unjammed",), "budget": ("stalled",)}
    return by_status.get(status, ())
