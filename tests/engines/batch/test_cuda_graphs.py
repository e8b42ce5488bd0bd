"""A step that is recorded as a CUDA graph: it transfers nothing, and its replay gives the same bytes."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.job import batch_engine
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.batch import ARCH, BATCH, GPU, OPTIMIZERS
from tests.support.jobs import make_job


class Operations(TorchDispatchMode):
    """Collects the names of the operations that torch executes."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function).removeprefix("aten."))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("loss", ["hinge", "cross-entropy"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_step_transfers_nothing_between_host_and_device(options, loss, outputs):
    """A CUDA graph cannot hold transfers. On the CPU, where this test runs, they show as operations on plain numbers."""
    data, arch = oracle.dataset(60, 5, outputs=outputs), Architecture(5, 6, 2, "relu", outputs)
    engine = batch_engine(
        make_job(data, arch, 0, with_options(TrainingOptions(), loss=loss, **options), BATCH)
    )
    with Operations() as operations:
        engine._step()
    forbidden = "_local_scalar_dense", "nonzero", "where.Scalar", "scalar_tensor", "lift_fresh", "index."
    assert "where.self_out" in operations.names
    assert not [name for name in operations.names if name.startswith(forbidden)]


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_replayed_step_gives_the_bytes_of_the_step(options):
    """The graph replays the same kernels on the same slots."""
    options = with_options(TrainingOptions(), stop=False, **options)
    job = make_job(oracle.dataset(300, 5), ARCH, 0, options, GPU)
    rows = []
    for direct in (False, True):
        engine = batch_engine(job)
        training = RunInProgress(job, batch=engine)
        if direct:
            engine._graphs = None
        training.slot.set_target(0, 57)
        engine.run(57)
        assert training.slot.reached() == (57, "")
        rows.append(engine.rows.cpu())
    assert torch.equal(*rows)
