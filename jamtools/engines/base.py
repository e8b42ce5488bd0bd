"""The interface of the engines, which take the steps of a run from one event to the next.

    step t:   W ← W - optimiser(∇L(W)),   stopped before the first step at which max Δ ≤ 0 (if asked) or is not finite

All engines take the same steps up to round-off.

Source: none, an interface.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

ENGINES = ("auto", "compiled", "batch", "torch")


class Engine(Protocol):
    """Takes steps of one run. The run's theta and its optimiser move in place."""

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Takes the steps `step` … `until` - 1; returns the step reached and why it stopped there.

        The reason is "diverged" (max Δ is not finite), "satisfied" (max Δ ≤ 0, where the run stops then) or "" at
        `until`. `stop` overrides settings.stop.
        """

    @property
    def n_missed(self) -> int | None:
        """Patterns that crossed Δ = 0 in a step that did not evaluate them; None if every step evaluates all."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the engine's own arrays that the next step depends on, besides theta and the optimiser."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts the arrays of a state back, in place."""


def stop_reason(top: float, stop: bool) -> str:
    """Why a run with this largest Δ ends: "diverged", "satisfied" (only if `stop`) or "" if it does not end."""
    if not math.isfinite(top):
        return "diverged"
    return "satisfied" if stop and top <= 0 else ""


class Stateless:
    """An engine that evaluates every pattern in each step. Its next step depends on theta and the optimiser alone."""

    n_missed: int | None = None

    def state(self) -> dict[str, np.ndarray]:
        """No arrays."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Does nothing."""
