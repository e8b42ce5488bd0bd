"""The options, and the comparisons of runs, that the tests of the batch engine share."""

from __future__ import annotations

import numpy as np

from jamtools.io.write import runs_bytes
from jamtools.network.architecture import Architecture
from jamtools.protocols import with_options
from jamtools.records import Runs
from jamtools.training.ensemble import train
from jamtools.training.job import Compute

BATCH, TORCH, GPU = Compute(engine="batch"), Compute(engine="torch"), Compute(device="cuda")
ARCH = Architecture(5, 6, 2)
OPTIMIZERS = {
    "adam": {"lr": 1e-4},
    "descent": {"optimizer": "sgd", "batch": 0, "lr": 0.05},
    "momentum": {"optimizer": "sgd", "batch": 0, "lr": 0.05, "momentum": 0.9},
    "fire": {"optimizer": "fire", "lr": 0.1},
}


def same_bytes(a, b, data):
    """Whether two runs give the same file."""
    return runs_bytes(Runs(data, (a,)), []) == runs_bytes(Runs(data, (b,)), [])


def distance(data, arch, options, reference=TORCH, compute=BATCH):
    """The largest difference of theta between two engines, over the measured steps."""
    options = with_options(options, snapshots=True, measurements=8)
    ours, theirs = train(data, arch, options, 0, compute), train(data, arch, options, 0, reference)
    assert np.array_equal(ours.history["step"], theirs.history["step"])
    assert ours.info["engine"] == "batch"
    return np.abs(ours.history["theta"] - theirs.history["theta"]).max()
