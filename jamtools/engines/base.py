"""What an engine is: it takes the steps of one run from one event to the next.

`advance(step, until)` takes the steps step … until - 1. It stops early at a step whose max Δ is not finite ("diverged")
or is at most 0 ("satisfied", where the run is to stop there). It returns the step it stands at, and that word or "".
All engines take the same steps, up to round-off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

ENGINES = ("auto", "compiled", "batch", "torch")


class Engine(Protocol):
    """Takes steps of one run, moving its theta and its optimiser in place."""

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """From `step` towards `until`; `stop` overrides the settings' own."""

    @property
    def n_missed(self) -> int | None:
        """Patterns known to have crossed Δ = 0 while none looked at them; None where all are looked at."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what of the next step is the engine's own."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from a state; in place."""


def stop_reason(top: float, stop: bool) -> str:
    """What the largest Δ says: "diverged", "satisfied" or nothing yet."""
    if not math.isfinite(top):
        return "diverged"
    return "satisfied" if stop and top <= 0 else ""


class Stateless:
    """An engine that looks at every pattern in each step, and keeps nothing beside theta and the optimiser."""

    n_missed: int | None = None

    def state(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """From nothing."""
