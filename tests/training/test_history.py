"""The rows and columns of a history."""

from __future__ import annotations

import numpy as np
import torch

from jamtools.network.architecture import Architecture
from jamtools.network.problem import Evaluation
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.history import HeldOutMeasurement, History, rows_of
from tests.support import oracle


def evaluation(gaps, wrong):
    delta = torch.tensor(gaps)[:, None]
    return Evaluation(0.25, delta, torch.tensor([3.0, 4.0]), delta > 0, torch.tensor(wrong))


def small_history(snapshots=False):
    """Two measurements of a run with two parameters and three patterns."""
    history = History(torch.tensor([1.0, 1.0]), snapshots)
    test = HeldOutMeasurement(0.5, 0.125)
    history.record(0, evaluation([0.1, -0.1, 0.2], [True, False, True]), torch.tensor([1.0, 1.0]), test)
    history.record(7, evaluation([-1.0, -0.1, 0.0], [False, False, False]), torch.tensor([1.0, 3.0]), test)
    return history


def test_a_history_records_counts_norms_and_the_test_set():
    columns = small_history().columns()
    assert {name: column.tolist() for name, column in columns.items()} == {
        "step": [0, 7],
        "loss": [0.25, 0.25],
        "n_unsatisfied": [2, 0],
        "n_misclassified": [2, 0],
        "grad_norm": [5.0, 5.0],
        "distance": [0.0, 2.0],
        "test_error": [0.5, 0.5],
        "test_loss": [0.125, 0.125],
    }
    assert {name for name, column in columns.items() if column.dtype == np.int64} == {
        "step", "n_unsatisfied", "n_misclassified",
    }  # fmt: skip


def test_a_history_knows_its_last_measurement():
    history = small_history()
    assert (history.last_step, history.last_n_unsatisfied) == (7, 0)
    assert History(torch.zeros(2)).last_step == -1


def test_the_rows_of_columns_are_the_rows_that_made_them():
    history = small_history(snapshots=True)
    columns = history.columns()
    history.rows = rows_of(columns)
    again = history.columns()
    assert columns["theta"].shape == (2, 2)
    assert all(np.array_equal(columns[name], again[name]) for name in columns)


def test_snapshots_are_theta_at_the_measured_steps():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2)
    options = with_options(TrainingOptions(), steps=40, lr=1e-3, measurements=5, snapshots=True)
    run = train(data, arch, options, seed=0)
    thetas = run.history["theta"]
    assert thetas.shape == (len(run.history["step"]), arch.n_parameters)
    assert np.array_equal(thetas[0], run.theta0)
    assert np.array_equal(thetas[-1], run.theta)
    shorter = train(
        data, arch, with_options(options, steps=int(run.history["step"][2]), snapshots=False), seed=0
    )
    assert np.array_equal(thetas[2], shorter.theta)
