"""Runs that share one batch engine. Each run has its own events; all runs step together.

The scheduler lets the engine take a burst of steps. Then it goes through all runs. A run that has reached an event is
measured. A run that has ended is reported to the caller, who gives its slot to a waiting run.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from time import monotonic
from typing import Generic, Protocol, TypeVar

from jamtools.engines.batch.engine import BatchEngine, Slot

#: Seconds that a burst of steps should take. Between two bursts the main thread can report progress or be interrupted.
BURST_SECONDS = 0.2


class ScheduledRun(Protocol):
    """The interface of a run in progress that the scheduler uses."""

    step: int
    slot: Slot | None

    def next_event(self) -> int | None:
        """Makes the measurement due at the present step; returns the step of the next event, None if the run has ended."""

    def resume_from(self, reached: int, outcome: str) -> bool:
        """Continues from step `reached`, where the engine stopped for the reason `outcome` or "". False if the run ends."""


R = TypeVar("R", bound=ScheduledRun)


class BatchScheduler(Generic[R]):
    """The runs that hold a slot of one engine, by the numbers that the caller gives them."""

    def __init__(self, engine: BatchEngine) -> None:
        self.engine = engine
        self.runs: dict[int, R] = {}
        self._burst = 1

    @property
    def full(self) -> bool:
        """Whether every slot is taken."""
        return not self.engine.free

    def add(self, i: int, run: R) -> None:
        """Adds run i, which holds a slot of the engine."""
        self.runs[i] = run

    def remove(self, i: int) -> None:
        """Frees the slot of run i. Its theta is a view of the slot: the next run in the slot overwrites it."""
        slot = self.runs.pop(i).slot
        assert slot is not None
        slot.release()

    def advance(self) -> list[int]:
        """Takes one burst of steps; returns the numbers of the runs that ended."""
        ended = [i for i, run in self.runs.items() if not _set_next_target(run)]
        started = monotonic()
        taken = self.engine.run(self._burst)
        self._burst = next_burst(self._burst, taken, monotonic() - started)
        for i, run in self.runs.items():
            if i not in ended and run.slot and not run.resume_from(*run.slot.reached()):
                ended.append(i)
        return ended


def _set_next_target(run: ScheduledRun) -> bool:
    """Makes the run's next event the target of its slot. Returns False if the run has ended."""
    until = run.next_event()
    if until is not None and run.slot:
        run.slot.set_target(run.step, until)
    return until is not None


def next_burst(burst: int, taken: int, seconds: float, target: float = BURST_SECONDS) -> int:
    """Steps of the next burst, after a burst of `burst` steps of which `taken` were taken in `seconds` seconds.

    The length doubles or halves until a burst takes between half and twice `target` seconds.
    """
    if taken == burst and seconds < target / 2:
        return burst * 2
    return max(1, burst // 2) if seconds > 2 * target else burst
