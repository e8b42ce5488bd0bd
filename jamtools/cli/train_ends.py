"""How runs ended: the exit code that --require asks for, and notes on dead runs and on those that are not certified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jamtools.cli.common.session import Session
from jamtools.states import is_dead, n_dead

if TYPE_CHECKING:
    from jamtools.records import Run

#: Exit code when a run did not end as --require asks.
UNMET_CODE = 3


def exit_code(runs: Sequence[Run], required: str | None) -> int:
    """UNMET_CODE when a run did not end as required, else 0."""
    return UNMET_CODE if required and not all(_meets(run, required) for run in runs) else 0


def _meets(run: Run, required: str) -> bool:
    if required == "certified":
        return run.info["certified"] is True
    # a satisfied run is at L = 0, where the gradient vanishes as well
    return run.info["status"] in ((required, "satisfied") if required == "stationary" else (required,))


def print_obstacles(session: Session, runs: Sequence[Run]) -> None:
    """A note for each run that should be certified and is not."""
    for i, run in enumerate(runs):
        if run.info["certified"] is False:
            obstacle = (run.info.get("certificate") or {}).get("obstacle") or "it did not converge"
            session.note(f"r{i:04d} ({run_in_words(run)}) is not certified: {obstacle}")


def print_dead(session: Session, runs: Sequence[Run]) -> None:
    """A note on runs with dead patterns; if there are none, a note on initialisations with dead patterns."""
    affected = [run for run in runs if n_dead(run.info)]
    if affected:
        n = sum(is_dead(run.info) for run in affected)
        width = max(run.info["width"] for run in affected)
        only = f"; {n} run(s) have no other unsatisfied patterns" if n else ""
        session.note(
            f"{len(affected)} of {len(runs)} run(s) have dead patterns: in some layer no neuron is active at them, which "
            f"says nothing about jamming{only}; take a width above {width}"
        )
        return
    born = [run for run in runs if run.info.get("n_dead_at_start")]
    if born:
        worst = max(born, key=lambda run: run.info["n_dead_at_start"] / run.P)
        session.note(
            f"{len(born)} of {len(runs)} run(s) began with dead patterns, the most {worst.info['n_dead_at_start']} of "
            f"{worst.P} at width {worst.info['width']}: no neuron of some layer is active at them"
        )


def run_in_words(run: Run) -> str:
    """`width 4, P 100, seed 0`."""
    return f"width {run.info['width']}, P {run.info['P']}, seed {run.info['seed']}"
