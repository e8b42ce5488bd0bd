"""Runs along a leading axis: the steps of the torch engine, and bytes that do not depend on the other slots."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.engines.batch import layout
from jamtools.engines.batch.engine import BatchEngine, Clock
from jamtools.engines.batch.layout import Layout
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute, batch_engine
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.batch import ARCH, BATCH, GPU, OPTIMIZERS, TORCH, distance, same_bytes
from tests.support.jobs import make_job


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", ["hinge", "cross-entropy"])
def test_the_batch_engine_takes_the_steps_of_the_torch_engine(options, activation, loss, outputs):
    """Parameters are of order one: an update rounds to eps/2 of that, 50 updates to 25 eps, and the two engines' errors
    add; gradients, whose errors the rate multiplies, stay below. Twice that for their growth over so few steps.
    """
    data, arch = oracle.dataset(300, 5, outputs=outputs), Architecture(5, 6, 2, activation, outputs)
    settings = with_options(TrainingOptions(), steps=50, loss=loss, stop=False, **options)
    assert distance(data, arch, settings) < 100 * np.finfo(float).eps


def test_the_steps_are_the_same_with_several_blocks_of_patterns(monkeypatch):
    """300 patterns in chunks of 64, two chunks per block."""
    data, settings = oracle.dataset(300, 5), with_options(TrainingOptions(), steps=50)
    monkeypatch.setattr(layout, "MAX_CHUNK_PATTERNS", 64)
    numbers = 4 * 64 * 8 * (2 * 6 + 2 * 6 + 6)
    monkeypatch.setattr(layout, "MAX_ACTIVATION_BYTES", 2 * numbers)
    shape = Layout.of(ARCH, 300, "cpu", torch.float64)
    assert (shape.slots, shape.chunk, shape.group, shape.blocks, shape.padded) == (4, 64, 2, 3, 384)
    assert distance(data, ARCH, settings, Compute(engine="compiled")) < 100 * np.finfo(float).eps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("arch", "options"),
    [
        (Architecture(7, 13, 2), {"lr": 3e-3}),
        (Architecture(7, 5, 2, "tanh", 3), {"lr": 3e-3}),
        (Architecture(7, 13, 1, "tanh"), {"loss": "cross-entropy", "optimizer": "fire"}),
    ],
    ids=["relu", "classes", "fire"],
)
def test_the_bytes_of_a_run_do_not_depend_on_the_other_slots(arch, options, dtype):
    """Six runs on four slots, two threads allowed. At this rate a change of one bit would change the whole run."""
    data = oracle.dataset(310, 7, outputs=arch.outputs, test=40)
    settings = with_options(TrainingOptions(), steps=60, measurements=4, **options)
    compute = Compute(dtype=dtype, engine="batch", threads=2)
    jobs = [make_job(data, arch, seed, settings, compute) for seed in range(6)]
    threads = torch.get_num_threads()
    together = train_many(jobs)
    assert all(same_bytes(train_many([job])[0], run, data) for job, run in zip(jobs, together))
    backwards = train_many(jobs[::-1])[::-1]
    assert all(same_bytes(a, b, data) for a, b in zip(together, backwards))
    assert torch.get_num_threads() == threads


def test_a_step_on_the_cpu_uses_one_thread(monkeypatch):
    """Two threads could divide a product of many slots between them, and change its bytes."""
    seen, step = [], BatchEngine._step
    monkeypatch.setattr(BatchEngine, "_step", lambda self: (seen.append(torch.get_num_threads()), step(self)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(oracle.dataset(60, 5), ARCH, with_options(TrainingOptions(), steps=3), 0, BATCH)
        assert (set(seen), torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_a_run_that_diverges_changes_no_byte_of_the_others():
    """Patterns of 100 times the size make one of the runs diverge."""
    calm, wild = oracle.dataset(60, 5), oracle.dataset(60, 5, seed=1)
    wild = type(wild)(wild.x * 1e2, wild.y, info=wild.info)
    arch = Architecture(
        5, 6, 2, "linear"
    )  # the neurons of a ReLU network would die, and it would not diverge
    settings = with_options(TrainingOptions(), steps=300, optimizer="sgd", batch=0, lr=0.05, stop=False)
    jobs = [make_job(data, arch, seed, settings, BATCH) for data, seed in ((calm, 0), (wild, 0), (calm, 1))]
    first, blown, last = train_many(jobs)
    assert (first.info["status"], blown.info["status"]) == ("stationary", "diverged")
    assert blown.info["steps"] == train(wild, arch, settings, 0, TORCH).info["steps"]
    assert same_bytes(first, train(calm, arch, settings, 0, BATCH), calm)
    assert same_bytes(last, train(calm, arch, settings, 1, BATCH), calm)


def test_each_run_stops_at_its_first_step_without_unsatisfied_patterns():
    data, arch = oracle.dataset(10, 8), Architecture(8, 8, 2)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=1000, measurements=5)
    runs = train_many([make_job(data, arch, seed, settings, BATCH) for seed in range(6)])
    theirs = train_many([make_job(data, arch, seed, settings, TORCH) for seed in range(6)])
    assert [run.info["steps"] for run in runs] == [run.info["steps"] for run in theirs]
    assert len({run.info["steps"] for run in runs if run.info["status"] == "satisfied"}) > 1
    assert max(np.abs(a.theta - b.theta).max() for a, b in zip(runs, theirs)) < 1e-9  # Adam grows round-off


def test_a_stopped_slot_keeps_every_bit():
    """A satisfied slot whose target is far ahead, during a hundred more steps."""
    data, arch = oracle.dataset(10, 8), Architecture(8, 8, 2)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=5000)
    job = make_job(data, arch, 0, settings, BATCH)
    engine = batch_engine(job)
    training = RunInProgress(job, batch=engine)
    training.slot.set_target(0, 5000)
    engine.run(5000)
    step = engine.clock[Clock.STEP, 0]
    before = engine.rows.clone()
    engine.run(100)
    assert 0 < step < 5000
    assert training.slot.reached() == (step, "satisfied")
    assert torch.equal(engine.rows, before)


@pytest.mark.parametrize(
    ("arch", "options"),
    [(Architecture(5, 6, 2, batch_norm=True), {}), (ARCH, {"batch": 7})],
    ids=["batch norm", "mini-batches"],
)
def test_the_batch_engine_refuses_batch_normalisation_and_mini_batches_which_torch_takes_by_default(
    arch, options
):
    data, options = oracle.dataset(40, 5), with_options(TrainingOptions(), **options)
    with pytest.raises(InputError, match="the batch engine takes full batches.* use the torch engine"):
        train_many([make_job(data, arch, 0, options, BATCH)])
    assert make_job(data, arch, 0, options, GPU).engine == "torch"


def test_the_batch_engine_is_the_default_on_cuda_only():
    data = oracle.dataset(40, 5)
    assert make_job(data, ARCH, compute=GPU).engine == "batch"
    assert make_job(data, ARCH).engine == "compiled"
    assert make_job(data, ARCH, compute=Compute(dtype=torch.float32)).engine == "torch"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_on_a_gpu_the_bytes_of_a_run_do_not_depend_on_the_other_slots(dtype):
    data, arch = oracle.dataset(310, 7), Architecture(7, 13, 2)
    settings = with_options(TrainingOptions(), steps=300, lr=3e-3, measurements=4, stop=False)
    compute = Compute("cuda", dtype)
    slots = Layout.of(arch, 310, "cuda", dtype).slots
    jobs = [make_job(data, arch, seed, settings, compute) for seed in range(slots + 3)]
    together = train_many(jobs)
    for i in (0, 1, slots - 1, slots, slots + 2):
        assert same_bytes(train_many([jobs[i]])[0], together[i], data)


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("loss", "outputs"), [("hinge", 1), ("hinge", 3), ("cross-entropy", 3)])
def test_a_gpu_takes_the_steps_of_the_cpu(options, loss, outputs):
    data, arch = oracle.dataset(300, 5, outputs=outputs), Architecture(5, 6, 2, "tanh", outputs)
    settings = with_options(TrainingOptions(), steps=50, loss=loss, stop=False, **options)
    assert distance(data, arch, settings, TORCH, GPU) < 200 * np.finfo(float).eps


@pytest.mark.gpu
def test_on_a_gpu_each_run_stops_at_its_own_step():
    data, arch = oracle.dataset(10, 8), Architecture(8, 8, 2)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=1000)
    there, here = (
        train_many([make_job(data, arch, seed, settings, compute) for seed in range(6)])
        for compute in (GPU, TORCH)
    )
    assert [run.info["steps"] for run in there] == [run.info["steps"] for run in here]
