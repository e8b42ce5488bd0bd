"""Runs that share one engine: each goes from event to event of its own, all by the same steps.

A burst of steps is followed by a look at every run: one that has reached an event is measured, one that has ended leaves,
and the next that waits takes its place.
"""

from __future__ import annotations

from time import monotonic
from typing import Generic, Protocol, TypeVar

from jamtools.engines.batch.engine import BatchEngine, Seat

#: A burst of steps takes about this many seconds: as often the main thread can look, tell and be interrupted.
BURST = 0.2


class Member(Protocol):
    """A run under way, as its company sees it."""

    step: int
    seat: Seat | None

    def heading(self) -> int | None:
        """The step of its next event, after what is due now is done; None once it has ended."""

    def arrive(self, reached: int, outcome: str) -> bool:
        """It stands at `reached`, stopped by `outcome` if that is not empty; False if it ends there."""


M = TypeVar("M", bound=Member)


class Company(Generic[M]):
    """The members of one engine."""

    def __init__(self, engine: BatchEngine) -> None:
        self.engine = engine
        self.members: dict[int, M] = {}
        self._burst = 1

    @property
    def full(self) -> bool:
        return not self.engine.free

    def join(self, i: int, member: M) -> None:
        """Member i, seated at the engine."""
        self.members[i] = member

    def leave(self, i: int) -> None:
        """Its place is free; its theta is the slot's, and another's from the next `join` on."""
        seat = self.members.pop(i).seat
        assert seat is not None
        seat.leave()

    def go_on(self) -> list[int]:
        """A burst of steps; the members that ended."""
        ended = [i for i, member in self.members.items() if not _aimed(member)]
        started = monotonic()
        taken = self.engine.run(self._burst)
        self._burst = paced(self._burst, taken, monotonic() - started)
        for i, member in self.members.items():
            if i not in ended and member.seat and not member.arrive(*member.seat.found()):
                ended.append(i)
        return ended


def _aimed(member: Member) -> bool:
    until = member.heading()
    if until is not None and member.seat:
        member.seat.aim(member.step, until)
    return until is not None


def paced(burst: int, taken: int, seconds: float, aim: float = BURST) -> int:
    """The length of the next burst, after one of `taken` steps in so many seconds."""
    if taken == burst and seconds < aim / 2:
        return burst * 2
    return max(1, burst // 2) if seconds > 2 * aim else burst
