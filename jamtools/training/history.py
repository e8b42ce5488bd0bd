"""What is measured of a run on its way.

step,  L,  N_Δ,  misclassified,  ‖∇L‖,  ‖W - W₀‖,  and on a test set its loss and error
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from jamtools.network.problem import Evaluation, Problem

#: Columns of int64; the others are float64.
COUNTS = ("step", "n_unsatisfied", "n_misclassified")


class History:
    """Columns over the measured steps."""

    def __init__(
        self, problem: Problem, test: Problem | None, theta0: Tensor, snapshots: bool = False
    ) -> None:
        self.problem, self.test, self.theta0, self.snapshots = problem, test, theta0, snapshots
        self.rows: list[dict[str, Any]] = []

    def measure(self, step: int, theta: Tensor) -> Evaluation:
        """Adds a row; gives the evaluation it was read from."""
        here = self.problem.evaluate(theta)
        row: dict[str, Any] = {
            "step": step,
            "loss": here.value,
            "n_unsatisfied": here.n_unsatisfied,
            "n_misclassified": here.n_misclassified,
            "grad_norm": here.gradient.norm().item(),
            "distance": (theta - self.theta0).norm().item(),
        }
        if self.test is not None:
            value, _, wrong = self.test.loss_gaps_and_errors(theta)
            row["test_error"], row["test_loss"] = wrong.double().mean().item(), value
        if self.snapshots:
            row["theta"] = theta.double().cpu().numpy().copy()
        self.rows.append(row)
        return here

    def columns(self) -> dict[str, np.ndarray]:
        """[T] each: step and counts as int64, the rest as float64; snapshots theta [T, Ñ]."""
        return {
            name: np.array([row[name] for row in self.rows], dtype=np.int64 if name in COUNTS else np.float64)
            for name in self.rows[0]
        }


def rows_of(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rows of a history [T], to go on with."""
    values = [column if column.ndim > 1 else column.tolist() for column in columns.values()]
    return [dict(zip(columns, row)) for row in zip(*values)]
