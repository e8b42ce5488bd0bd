"""The approach to jamming: a jammed network, taken to the end of its jammed phase by a knob, in warm stages.

    stage k + 1 = F(W_k, knob lowered)        until L/N ≤ until, or until the knob can be lowered no more

The knob is the margin ε at fixed norm, or the number P of patterns (approach_knobs.py). At fixed norm there is a margin ε_J
at which the branch of minima reaches L = 0. Each stage begins at the minimum of the last one, and ends at the minimum
nearby. A stage that unjams is taken back and tried with a smaller change of the knob. A start that is satisfied goes the
other way until it jams.

Free weights have no jamming point: as patterns are taken away ‖W‖ grows and N_Δ/N falls with L. Their approach by P shows
this, and ends "escaping".
Source: none, own protocol; S. Franz and G. Parisi, J. Phys. A 49, 145001 (2016), for the perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from jamtools.minima.approach_knobs import Knob
from jamtools.minima.approach_stage import ApproachStage

#: Stages in a row that may end without a minimum at fixed norm, near jamming, and avalanches of one approach by the margin.
STAGES_WITHOUT_MINIMUM, MOST_AVALANCHES = 3, 20

#: How an approach ended; "" while it goes on.
ApproachEnd = Literal["", "reached", "collapsed", "dead", "stalled", "unjammed", "escaping", "exhausted"]


@dataclass(frozen=True)
class Approach:
    """An approach on its way: its last stage, and all that the next one depends on.

    number: that of the last stage, from 0; pace: what the knob remembers (approach_knobs.py); lost: the stages in a row
    without a minimum; avalanches: their number so far; first_epsilon: the margin of stage 0. end: "" while it goes on, then
    "reached" at the jamming point, with L/N ≤ until or with a satisfied stage one pattern below; "collapsed"; "dead";
    "stalled" where stages end without a minimum; "unjammed" where no avalanche leads to jamming; "escaping" where free
    weights have no minimum there; "exhausted" where a satisfied one has no more patterns to add.
    """

    stage: ApproachStage
    first_epsilon: float
    pace: float
    number: int = 0
    lost: int = 0
    avalanches: int = 0
    end: ApproachEnd = ""


def begin(theta: Tensor, knob: Knob, until: float, descend: bool = True) -> Approach:
    """Stage 0: the minimum to which a descent from theta [Ñ] leads, at the first value of the knob.

    until: L/N at which an approach ends; descend: False for a theta that is at a minimum already.
    """
    stage = knob.start(theta, descend)
    return _ended(Approach(stage, stage.epsilon, knob.first_pace), knob, until)


def advance(approach: Approach, knob: Knob, until: float) -> Approach:
    """The approach after its next stage; with the same stage, and an end, where there is none; itself where it has ended."""
    if approach.end:
        return approach
    last = approach.stage
    change = knob.higher if last.status == "satisfied" else knob.lower
    stage, pace = change(last, approach.pace)
    if stage is None:
        return replace(approach, pace=pace, end=end_of(last.status, knob.has_grown(last)))
    new = replace(
        approach,
        stage=knob.compared(stage, last),
        number=approach.number + 1,
        pace=pace,
        lost=0 if stage.status == "stationary" or knob.is_far(stage) else approach.lost + 1,
    )
    return _ended(replace(new, avalanches=approach.avalanches + new.stage.avalanche), knob, until)


def end_of(status: str, has_grown: bool) -> ApproachEnd:
    """How an approach ended whose last stage has a state, where nothing but this state decides it.

    has_grown: whether free weights have grown by a decade (escape.py).
    """
    if status == "budget":
        return "escaping" if has_grown else "stalled"
    ends: dict[str, ApproachEnd] = {
        "stationary": "reached",
        "escaping": "escaping",
        "satisfied": "exhausted",
        "dead": "dead",
    }
    return ends[status]


def _ended(approach: Approach, knob: Knob, until: float) -> Approach:
    """The approach with its end, if it has come."""
    stage, arch = approach.stage, knob.problem.arch
    is_free = arch.norm is None
    end: ApproachEnd = ""
    if stage.status == "dead":
        end = "dead"
    elif stage.status == "satisfied":
        end = ""
    elif approach.lost >= STAGES_WITHOUT_MINIMUM and not is_free:
        end = "stalled"
    elif (is_free or stage.status == "stationary") and stage.loss <= until * arch.n_effective:
        end = end_of(stage.status, knob.has_grown(stage))
    elif approach.avalanches > MOST_AVALANCHES and knob.name == "margin":
        end = "unjammed"
    elif knob.collapses(stage, approach.first_epsilon):
        end = "collapsed"
    return replace(approach, end=end)
