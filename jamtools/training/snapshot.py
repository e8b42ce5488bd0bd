"""A snapshot of an unfinished run, and the interface through which training saves and loads snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jamtools.records import Run


@dataclass(frozen=True)
class Snapshot:
    """A copy of the state of an unfinished run. The snapshot and the job determine the next step.

    step: the next step; status: empty until the run ends; t: the number of steps of the optimiser; theta [Ñ];
    optimizer: the arrays of the optimiser's state, [Ñ] or 0-d; rows: the rows of the history so far; rng: the state of
    the generator of mini-batches; engine: the arrays that the engine keeps from step to step.
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
    """Saves the runs of `train_many`. The call may then end at any moment, and a later call continues the runs.

    interval: seconds between two checkpoints.
    """

    interval: float

    def load(self, i: int) -> Snapshot | Run | None:
        """The last snapshot of run i, its record if it has ended, or None if it has not begun."""

    def is_due(self, i: int) -> bool:
        """Whether a new snapshot of run i is wanted. The thread of run i calls it after each burst of steps."""

    def save(self, i: int, state: Snapshot | Run) -> None:
        """Stores a snapshot of run i, or its record once it has ended. The thread of run i calls it."""

    def poll(self) -> None:
        """The main thread calls it at least once per `interval`. An exception that it raises ends the call."""
