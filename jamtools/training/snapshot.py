"""A snapshot of an unfinished run, and the interface through which training saves and loads snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jamtools.records import Run


@dataclass(frozen=True)
class Snapshot:
    """A copy of an unfinished run: together with its job, all that its next step depends on.

    step: the next step; status: empty while the run is under way; t: steps of the optimiser; theta [Ñ]; optimizer: the
    arrays of the optimiser's state; rows: the history so far; rng: the state of the generator of mini-batches; engine:
    the arrays that the engine keeps from step to step.
    """

    step: int
    status: str
    t: int
    theta: np.ndarray
    optimizer: Mapping[str, np.ndarray]
    rows: Sequence[Mapping[str, Any]]
    rng: Mapping[str, Any]
    engine: Mapping[str, np.ndarray]


class Checkpointer(Protocol):
    """Saves the runs of `train_many`, so that the call may end at any moment and a later call continues them.

    interval: seconds between two checkpoints.
    """

    interval: float

    def load(self, i: int) -> Snapshot | Run | None:
        """The last snapshot of run i, its record if it has ended, or None to begin it."""

    def is_due(self, i: int) -> bool:
        """Whether a new snapshot of run i is wanted. The thread of run i asks after each burst of steps."""

    def save(self, i: int, state: Snapshot | Run) -> None:
        """Takes a snapshot of run i, or its record once it has ended. Called by the thread of run i."""

    def poll(self) -> None:
        """Called by the main thread at least once per `interval`. An exception raised here ends the call."""
