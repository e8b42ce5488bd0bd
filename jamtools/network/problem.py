"""The loss of a training set as a function of theta, its gradient, and what is measured of it.

    L(W),   Δ_µ(W),   ∇L(W) = Σ_{µ∈m} ∂L/∂f(x_µ) · ∂f(x_µ)/∂W

A satisfied pattern has no hinge gradient, so backward runs over the unsatisfied ones alone: exact, and much less work
late in training. With batch normalisation patterns act on each other through the batch's statistics, and backward takes
them all; L, Δ and every measurement are with the statistics of the whole training set, a test set's too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from jamtools.errors import InputError
from jamtools.network import batch_norm
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column, misclassified
from jamtools.network.passes import State, backward, forward, gradient, layers_of
from jamtools.records import Dataset, Run


def measure(run: Run, trained_on: Dataset, data: Dataset) -> dict[str, Any]:
    """Loss, error and counts of an existing run on another dataset: on the CPU in float64.

    trained_on holds the run's own patterns, whose statistics a batch normalisation takes. Raises InputError when the
    dataset has another d or other classes than the run.
    """
    arch = Architecture.of(run.info)
    if (data.d, data.outputs) != (arch.d, arch.outputs):
        raise InputError(
            f"got a dataset of d={data.d} with {data.outputs} output(s), expected d={arch.d} with {arch.outputs}; "
            "make it from the source of the training set"
        )
    loss = replace(Loss.of(run.info), P=data.P)
    x, y = torch.from_numpy(data.x), column(torch.from_numpy(data.y))
    value, gaps, wrong = Objective(x, y, arch, loss, torch.from_numpy(trained_on.x)).look(
        torch.from_numpy(run.theta)
    )
    return {
        "P": data.P,
        "loss": value,
        "error": int(wrong.sum()) / data.P,
        "n_unsatisfied": int((~(gaps <= 0)).sum()),
        "n_misclassified": int(wrong.sum()),
    }


@dataclass(frozen=True)
class Evaluation:
    """The loss at one point: L, gaps Δ [P, C], gradient [Ñ], misclassified patterns [P]."""

    value: float
    gaps: Tensor
    gradient: Tensor
    wrong: Tensor

    @property
    def n_unsatisfied(self) -> int:
        """N_Δ; a Δ that is NaN counts, or a diverged run would look satisfied."""
        return int((~(self.gaps <= 0)).sum())

    @property
    def n_misclassified(self) -> int:
        return int(self.wrong.sum())


class Objective:
    """L(theta) over x [P, d], y [P, C].

    training: of a test set, the training set x whose statistics a batch normalisation takes; no gradient then.
    """

    def __init__(
        self, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, training: Tensor | None = None
    ) -> None:
        self.x, self.y, self.arch, self.loss, self.training = x, y, arch, loss, training

    def evaluate(self, theta: Tensor) -> Evaluation:
        """L, Δ, ∇L and the misclassified over all patterns."""
        state, gaps = self._forward(theta)
        value = self.loss.value(state.f, self.y).item()
        return Evaluation(
            value, gaps, self._gradient(theta, state, self.y, gaps), misclassified(state.f, self.y)
        )

    def largest_gap(self, theta: Tensor) -> float:
        """max Δ: at most 0 where all patterns are satisfied, NaN where any is."""
        return self._forward(theta)[1].max().item()

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """L and ∇L [Ñ]."""
        state, gaps = self._forward(theta)
        value = self.loss.value(state.f, self.y).item()
        return value, self._gradient(theta, state, self.y, gaps)

    def step(self, theta: Tensor) -> tuple[float, Tensor]:
        """max Δ and ∇L [Ñ]."""
        state, gaps = self._forward(theta)
        return gaps.max().item(), self._gradient(theta, state, self.y, gaps)

    def batch_gradient(self, theta: Tensor, patterns: Tensor) -> Tensor:
        """∇ of the mean loss over some patterns."""
        x, y = self.x[patterns], self.y[patterns]
        state = self._pass(theta, x)
        scale = len(self.x) / len(x)  # the loss divides by all P
        return scale * self._gradient(theta, state, y, self.loss.gaps(state.f, y))

    def look(self, theta: Tensor) -> tuple[float, Tensor, Tensor]:
        """L, Δ [P, C] and the misclassified [P], without a gradient: also for a test set."""
        state, gaps = self._forward(theta)
        return self.loss.value(state.f, self.y).item(), gaps, misclassified(state.f, self.y)

    def _forward(self, theta: Tensor) -> tuple[State | batch_norm.Pass, Tensor]:
        state = self._pass(theta, self.x, self.training)
        return state, self.loss.gaps(state.f, self.y)

    def _pass(self, theta: Tensor, x: Tensor, training: Tensor | None = None) -> State | batch_norm.Pass:
        if not self.arch.batch_norm:
            return forward(layers_of(theta, self.arch), x, self.arch)
        statistics = None if training is None else batch_norm.forward(theta, training, self.arch)
        return batch_norm.forward(theta, x, self.arch, statistics)

    def _gradient(self, theta: Tensor, state: State | batch_norm.Pass, y: Tensor, gaps: Tensor) -> Tensor:
        if isinstance(state, batch_norm.Pass):
            return batch_norm.gradient(theta, state, self.loss.slope(state.f, y), self.arch)
        if self.loss.name == "hinge":
            active = (gaps > 0).any(1)
            if not bool(active.all()):
                patterns = active.nonzero()[:, 0]
                state, y = state.take(patterns), y[patterns]
        signal = self.loss.slope(state.f, y)
        return gradient(backward(layers_of(theta, self.arch), state, signal, self.arch), state)
