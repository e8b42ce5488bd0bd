"""The optimisers of a batch, compared with those of a single run."""

from __future__ import annotations

import pytest
import torch

from jamtools.engines.batch.optimizers import ADAM_SATURATED_STEPS, make_rows
from jamtools.engines.constants import ADAM_BETA2
from jamtools.engines.optimizers import make_optimizer
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.batch import BATCH, TORCH
from tests.support.jobs import make_job


def test_fire_changes_its_pace_at_the_steps_of_the_torch_engine():
    """The run is long enough to go uphill: the pace is halved and grows at the same steps."""
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    settings = with_options(TrainingOptions(), steps=300, optimizer="fire", lr=0.5, stop=False)
    ours, theirs = (RunInProgress(make_job(data, arch, 0, settings, place)) for place in (BATCH, TORCH))
    for training in (ours, theirs):
        while training.advance():
            pass
    for name in ("pace", "alpha", "downhill"):
        assert ours.optimizer.state[name].item() == theirs.optimizer.state[name].item()
    assert ours.optimizer.state["pace"].item() != 1


@pytest.mark.parametrize(("name", "momentum"), [("adam", 0.0), ("sgd", 0.0), ("sgd", 0.9), ("fire", 0.0)])
def test_each_row_takes_the_steps_of_a_single_run(name, momentum):
    """Three runs have different rates. In both cases each operation rounds once, so few numbers differ in the last bits."""
    R, n, generator = 3, 7, torch.Generator().manual_seed(0)
    start = torch.randn(R, n, dtype=torch.float64, generator=generator)
    lr = torch.tensor([0.01, 0.1, 0.3], dtype=torch.float64)
    batch = make_rows(name, momentum, torch.device("cpu"))
    rows = torch.zeros(1 + len(batch.names), R, n, dtype=torch.float64)
    rows[0] = start
    scalars = torch.tensor([[value] * R for value in batch.scalars.values()], dtype=torch.float64).view(-1, R)
    singles = [start[r].clone() for r in range(R)]
    optimizers = [make_optimizer(name, theta, momentum) for theta in singles]
    for t in range(60):
        batch.step(rows, scalars, rows[0].clone(), lr, torch.full((R,), t))  # the gradient of |theta|²/2
        for r, (optimizer, theta) in enumerate(zip(optimizers, singles)):
            optimizer.step(theta, theta.clone(), lr[r].item())
    assert (rows[0] - torch.stack(singles)).abs().max() < 1e-13


def test_the_bias_corrections_of_adam_are_constant_after_the_table_ends():
    assert 1 - ADAM_BETA2**ADAM_SATURATED_STEPS == 1
