"""A problem: the loss of a network on a set of patterns, as a function of theta.

    L(W),   Δ_µ(W),   ∇L(W) = Σ_{µ∈m} ∂L/∂f(x_µ) · ∂f(x_µ)/∂W

A satisfied pattern has no hinge gradient, so the backward pass takes the unsatisfied patterns alone. This is exact, and much
less work late in a training. With batch normalisation each pattern acts on the others through the statistics of the batch:
the backward pass then takes all patterns. L, Δ and every measurement use the statistics of the whole training set, also when
they are evaluated on a test set.

With a fixed norm every gradient is the one on the sphere, P ∇L (sphere.py).

Source: arXiv:1809.09349, eqs. 3 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.errors import InputError
from jamtools.network import batch_norm
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column, misclassified
from jamtools.network.passes import ForwardPass, backward, forward, gradient, layers_of
from jamtools.network.sphere import onto_sphere, tangent
from jamtools.records import Dataset, Run


@dataclass(frozen=True)
class Evaluation:
    """The loss at one point: L, Δ [P, C], ∇L [Ñ], which Δ are unsatisfied [P, C], which patterns misclassified [P]."""

    value: float
    gaps: Tensor
    gradient: Tensor
    unsatisfied: Tensor
    misclassified: Tensor

    @property
    def n_unsatisfied(self) -> int:
        """N_Δ: the number of patterns, or of pairs (µ, c) if C > 1, that are not satisfied."""
        return int(self.unsatisfied.sum())

    @property
    def n_misclassified(self) -> int:
        """The number of misclassified patterns."""
        return int(self.misclassified.sum())


@dataclass(frozen=True)
class Problem:
    """The loss of a network on a set of patterns: x [P, d], y [P, C] of ±1, of one dtype and on one device.

    y may be given as [P]. statistics_of [P', d]: for the problem of a test set, the training patterns whose statistics batch
    normalisation uses. Such a problem has no gradient.
    """

    x: Tensor
    y: Tensor
    arch: Architecture
    loss: Loss
    statistics_of: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "y", column(self.y))

    @classmethod
    def of(
        cls, run: Run, data: Dataset, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
    ) -> Problem:
        """The problem that a run was trained on; `data` holds the run's own P patterns. `tensor` converts its theta."""
        x, y = (torch.as_tensor(array, dtype=dtype, device=device) for array in (data.x, data.y))
        return cls(x, y, Architecture.of(run.info), Loss.of(run.info))

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """An array, such as a run's theta [Ñ], in the dtype and on the device of this problem."""
        return torch.as_tensor(array, dtype=self.x.dtype, device=self.x.device)

    def take(self, patterns: Tensor) -> Problem:
        """The contribution of some patterns (index [p] or boolean mask [P]) to the loss, still divided by all P."""
        return replace(self, x=self.x[patterns], y=self.y[patterns])

    def onto(self, theta: Tensor) -> Tensor:
        """theta [Ñ] scaled to the fixed norm of the architecture; theta itself where weights are free."""
        return onto_sphere(theta, self.arch.norm)

    def forward(self, theta: Tensor) -> ForwardPass:
        """The forward pass of all patterns at theta [Ñ]; InputError with batch normalisation."""
        self.arch.require_plain()
        return forward(layers_of(theta, self.arch), self.x, self.arch)

    def value(self, theta: Tensor) -> float:
        """L at theta [Ñ]."""
        return self.loss.value(self._pass(theta, self.x, self.statistics_of).f, self.y).item()

    def evaluate(self, theta: Tensor) -> Evaluation:
        """L, Δ, ∇L and the misclassified patterns at theta [Ñ]."""
        forward_pass, gaps = self._forward(theta)
        value = self.loss.value(forward_pass.f, self.y).item()
        return Evaluation(
            value,
            gaps,
            self._gradient(theta, forward_pass, self.y, gaps),
            self.loss.unsatisfied(gaps),
            misclassified(forward_pass.f, self.y),
        )

    def hidden(self, theta: Tensor) -> list[Tensor]:
        """The pre-activations [P, h] of each hidden layer at theta [Ñ]; with batch normalisation the normalised ones."""
        return self._pass(theta, self.x, self.statistics_of).z[: self.arch.depth]

    def largest_gap(self, theta: Tensor) -> float:
        """max Δ at theta [Ñ]: at most loss.contact where all patterns are satisfied, NaN where any Δ is NaN."""
        return self._forward(theta)[1].max().item()

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """L and ∇L [Ñ] at theta [Ñ]."""
        forward_pass, gaps = self._forward(theta)
        value = self.loss.value(forward_pass.f, self.y).item()
        return value, self._gradient(theta, forward_pass, self.y, gaps)

    def largest_gap_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """max Δ and ∇L [Ñ] at theta [Ñ]."""
        forward_pass, gaps = self._forward(theta)
        return gaps.max().item(), self._gradient(theta, forward_pass, self.y, gaps)

    def batch_gradient(self, theta: Tensor, patterns: Tensor) -> Tensor:
        """∇ [Ñ] of the mean loss over some patterns, an index [p], at theta [Ñ]."""
        x, y = self.x[patterns], self.y[patterns]
        forward_pass = self._pass(theta, x)
        scale = len(self.x) / len(x)  # the loss divides by all P
        return scale * self._gradient(theta, forward_pass, y, self.loss.gaps(forward_pass.f, y))

    def loss_gaps_and_errors(self, theta: Tensor) -> tuple[float, Tensor, Tensor]:
        """L, Δ [P, C] and which patterns are misclassified [P], at theta [Ñ]; also for a test set."""
        forward_pass, gaps = self._forward(theta)
        return self.loss.value(forward_pass.f, self.y).item(), gaps, misclassified(forward_pass.f, self.y)

    def _forward(self, theta: Tensor) -> tuple[ForwardPass | batch_norm.NormalisedPass, Tensor]:
        forward_pass = self._pass(theta, self.x, self.statistics_of)
        return forward_pass, self.loss.gaps(forward_pass.f, self.y)

    def _pass(
        self, theta: Tensor, x: Tensor, statistics_of: Tensor | None = None
    ) -> ForwardPass | batch_norm.NormalisedPass:
        if not self.arch.batch_norm:
            return forward(layers_of(theta, self.arch), x, self.arch)
        statistics = None if statistics_of is None else batch_norm.forward(theta, statistics_of, self.arch)
        return batch_norm.forward(theta, x, self.arch, statistics)

    def _gradient(
        self, theta: Tensor, forward_pass: ForwardPass | batch_norm.NormalisedPass, y: Tensor, gaps: Tensor
    ) -> Tensor:
        if isinstance(forward_pass, batch_norm.NormalisedPass):
            return batch_norm.gradient(theta, forward_pass, self.loss.slope(forward_pass.f, y), self.arch)
        if self.loss.name == "hinge":
            unsatisfied = (gaps > 0).any(1)
            if not bool(unsatisfied.all()):
                patterns = unsatisfied.nonzero()[:, 0]
                forward_pass, y = forward_pass.take(patterns), y[patterns]
        signal = self.loss.slope(forward_pass.f, y)
        beta = backward(layers_of(theta, self.arch), forward_pass, signal, self.arch)
        slope = gradient(beta, forward_pass, self.arch)
        return slope if self.arch.norm is None else tangent(slope, theta)


def measure(run: Run, trained_on: Dataset, data: Dataset) -> dict[str, Any]:
    """Loss, error and counts of an existing run on another dataset, on the CPU in float64.

    trained_on holds the run's own patterns, whose statistics batch normalisation uses. Raises InputError when the dataset
    has another d or another number of outputs than the run.
    """
    arch = Architecture.of(run.info)
    if (data.d, data.outputs) != (arch.d, arch.outputs):
        raise InputError(
            f"got a dataset of d={data.d} with {data.outputs} output(s), expected d={arch.d} with {arch.outputs}; "
            "make it from the source of the training set"
        )
    problem = Problem.of(run, data)
    problem = replace(
        problem, loss=replace(problem.loss, P=data.P), statistics_of=problem.tensor(trained_on.x)
    )
    value, gaps, wrong = problem.loss_gaps_and_errors(problem.tensor(run.theta))
    return {
        "P": data.P,
        "loss": value,
        "error": int(wrong.sum()) / data.P,
        "n_unsatisfied": int(problem.loss.unsatisfied(gaps).sum()) if problem.loss.has_margin else None,
        "n_misclassified": int(wrong.sum()),
    }
