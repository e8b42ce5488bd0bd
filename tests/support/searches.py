"""Data and settings of searches for N* that take a second."""

from __future__ import annotations

import numpy as np

from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from tests.support import oracle

QUICK = with_options(TrainingOptions(), lr=1e-2, steps=3000, measurements=2, init="torch")


def separable(P: int) -> Dataset:
    """Labels by the sign of the first coordinate, with a margin: one neuron is enough."""
    x, _ = oracle.sphere(P, 3)
    x = x.numpy()
    x[:, 0] += np.where(x[:, 0] > 0, 1.0, -1.0)
    return Dataset(x, np.where(x[:, 0] > 0, 1.0, -1.0))
