"""The history of a run: the quantities that were measured, one row per measured step.

    step,  L,  N_Δ,  number misclassified,  ‖∇L‖,  ‖W - W₀‖,  and with a test set its loss and error

Source: none, bookkeeping only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from jamtools.network.problem import Evaluation

#: The columns with int64 values; all others hold float64.
INTEGER_COLUMNS = ("step", "n_unsatisfied", "n_misclassified")


class HeldOutMeasurement(NamedTuple):
    """A measurement on the test set: the fraction of its patterns that are misclassified, and its loss."""

    error: float
    loss: float


class History:
    """The measurements of a run, one row per measured step.

    theta0 [Ñ]: the initial parameters; snapshots: whether every row keeps theta; rows: earlier rows, if a run continues.
    """

    def __init__(
        self, theta0: Tensor, snapshots: bool = False, rows: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.theta0, self.snapshots = theta0, snapshots
        self.rows = [dict(row) for row in rows]

    def record(
        self, step: int, evaluation: Evaluation, theta: Tensor, test: HeldOutMeasurement | None = None
    ) -> None:
        """Appends a row for theta [Ñ] at `step`. evaluation: the training set at this theta; test: the test set there."""
        row: dict[str, Any] = {
            "step": step,
            "loss": evaluation.value,
            "n_unsatisfied": evaluation.n_unsatisfied,
            "n_misclassified": evaluation.n_misclassified,
            "grad_norm": evaluation.gradient.norm().item(),
            "distance": (theta - self.theta0).norm().item(),
        }
        if test is not None:
            row["test_error"], row["test_loss"] = test.error, test.loss
        if self.snapshots:
            row["theta"] = theta.double().cpu().numpy().copy()
        self.rows.append(row)

    @property
    def last_step(self) -> int:
        """The step of the last measurement, -1 before the first."""
        return int(self.rows[-1]["step"]) if self.rows else -1

    @property
    def last_n_unsatisfied(self) -> int:
        """N_Δ at the last measurement."""
        return int(self.rows[-1]["n_unsatisfied"])

    def columns(self) -> dict[str, np.ndarray]:
        """The columns [T] of the T rows, by name. If snapshots are kept, theta [T, Ñ] is one of them.

        The step and the counts are int64, all others float64.
        """
        return {
            name: np.array(
                [row[name] for row in self.rows], dtype=np.int64 if name in INTEGER_COLUMNS else np.float64
            )
            for name in self.rows[0]
        }


def rows_of(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The T rows of a recorded history, from its columns [T] or [T, Ñ]. A resumed run appends to these rows."""
    values = [column if column.ndim > 1 else column.tolist() for column in columns.values()]
    return [dict(zip(columns, row)) for row in zip(*values)]
