"""The interface of the engines, which take the steps of a run from one event to the next.

    step t:   W ← W - optimiser(∇L(W)),   stopped before the first step at which max Δ ≤ 10⁻¹⁰ ε (if asked) or is not finite

    at fixed norm:  ∇L ← ∇L - W (W·∇L)/‖W‖²  before the step,  W ← R W/‖W‖  after it

All engines take the same steps up to round-off. The moments of an optimiser are not transported along the sphere.

Source: none, an interface.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

ENGINES = ("auto", "compiled", "batch", "torch")


class Engine(Protocol):
    """Takes the steps of one run. It changes the run's theta [Ñ] and its optimiser in place."""

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Takes the steps `step` … `until` - 1; returns the step reached and why it stopped there.

        The reason is "diverged" (max Δ is not finite), "satisfied" (max Δ ≤ loss.contact, if the run stops there) or ""
        (the step `until` is reached). `stop` overrides settings.stop.
        """

    @property
    def n_missed(self) -> int | None:
        """The number of patterns that crossed Δ = 0 in a step that did not evaluate them; None if all steps evaluate all."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy, by name, of the engine's own arrays. The next step depends on them, on theta and on the optimiser."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Copies the arrays of a `state` back into the engine."""


def retract(theta: Tensor, norm: float | None) -> None:
    """Scales theta [Ñ], or each row [..., Ñ], to ‖W‖ = norm in place; does nothing for None.

    Rows that vanish become NaN: those of a batch that hold no run.
    """
    if norm is not None:
        theta.mul_(norm / theta.square().sum(-1, keepdim=True).sqrt())


def stop_reason(max_gap: float, stop: bool, contact: float) -> str:
    """Why a run whose largest Δ is max_gap ends: "diverged", "satisfied" (only if `stop`), or "" if it does not end.

    contact: the largest Δ of a satisfied pattern.
    """
    if not math.isfinite(max_gap):
        return "diverged"
    return "satisfied" if stop and max_gap <= contact else ""


class Stateless:
    """An engine that evaluates every pattern in each step. Its next step depends only on theta and the optimiser."""

    n_missed: int | None = None

    def state(self) -> dict[str, np.ndarray]:
        """No arrays."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Does nothing."""
