"""The state of a run: one word, the field `status` of its record, which means the same in every command.

    satisfied     every Δ_µ ≤ 10⁻¹⁰ |ε|; with the cross-entropy: every y f ≥ 0
    dead          every unsatisfied pattern is dead: in some layer no neuron is active at it
    stationary    jammed: at a minimum with L > 0
    escaping      L falls for ever while the weights grow: neurons saturate, or ‖W‖ grew by a decade while L levelled off
    collapsed     f vanishes together with ε, at fixed norm
    budget        on its way: its steps ended, and it is none of the above
    diverged      its parameters or its Δ are not finite

N_Δ counts Δ > 10⁻¹⁰ |ε|: a contact is satisfied. A dead pattern has no gradient in the layers below the dead one, so f is
the same constant at all patterns that are dead there. It says nothing about jamming.

Source: arXiv:1809.09349, sections II and III; appendix A for signals that do not propagate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Status = Literal["satisfied", "dead", "stationary", "escaping", "collapsed", "budget", "diverged"]

#: The metadata of a run.
Info = Mapping[str, Any]


def is_satisfied(info: Info) -> bool:
    """Whether a run fits all its patterns."""
    return bool(info["status"] == "satisfied")


def is_jammed(info: Info) -> bool:
    """Whether a run is at a minimum with L > 0. A run on its way is not, whatever its N_Δ."""
    return bool(info["status"] == "stationary")


def is_dead(info: Info) -> bool:
    """Whether all unsatisfied patterns of a run are dead."""
    return bool(info["status"] == "dead")


def n_dead(info: Info) -> int:
    """The number of dead patterns among the unsatisfied ones; 0 in a record that lacks it."""
    return int(info.get("n_dead") or 0)


def alive_per_parameter(info: Info) -> float:
    """N_Δ/N of a run of the hinge loss without the dead patterns.

    With C > 1 outputs N_Δ counts pairs (µ, c), and n_unsatisfied_dead those of the dead patterns.
    """
    dead = info.get("n_unsatisfied_dead", n_dead(info))
    return float((info["n_unsatisfied"] - dead) / info["n_effective_expected"])
