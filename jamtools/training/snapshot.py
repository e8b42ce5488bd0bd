"""What descent hands out, and takes back, so that a call of it may end anywhere and a later one go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jamtools.records import Run


@dataclass(frozen=True)
class State:
    """A run under way, copied: with its job, settings and place, all that its next step depends on.

    theta [Ñ], optimizer: the arrays of its state; t: its steps; rows: the history; rng: of the batches' generator;
    engine: the arrays of what it keeps from step to step.
    """

    step: int
    status: str
    t: int
    theta: np.ndarray
    optimizer: Mapping[str, np.ndarray]
    rows: Sequence[Mapping[str, Any]]
    rng: Mapping[str, Any]
    engine: Mapping[str, np.ndarray]


class Keeper(Protocol):
    """Keeps the runs of a call while they are under way, so that the call may end and a later one go on."""

    every: float

    def kept(self, i: int) -> State | Run | None:
        """Where run i goes on from, or how it ended; None to begin it."""

    def wants(self, i: int) -> bool:
        """Whether the state of run i is asked for; run i's own thread asks after each burst."""

    def keep(self, i: int, state: State | Run) -> None:
        """Takes it, from run i's own thread."""

    def tick(self) -> None:
        """Called by the main thread now and then; what it raises ends the call."""
