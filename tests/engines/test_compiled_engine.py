"""The compiled engine: the steps of the torch engine, with bytes that depend on no other run and on no thread."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.engines import compiled_engine
from jamtools.engines.kernel.tiles import TILE_SIZE
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training import ensemble
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.jobs import make_job


@pytest.fixture
def always_threaded(monkeypatch):
    """Threads share every step, however short."""
    monkeypatch.setattr(compiled_engine, "THREADING_MIN_MULTIPLICATIONS", 0)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_bytes_of_a_run_depend_neither_on_other_runs_nor_on_threads(threads, always_threaded):
    data, arch = oracle.dataset(3000, 5), Architecture(5, 6, 2)
    options = with_options(TrainingOptions(), steps=60, lr=1e-3)
    alone = train(data, arch, options, seed=1)
    shapes = [(data, arch, 0), (data.first(200), arch, 3), (data, arch, 1), (data, Architecture(5, 9, 1), 1)]
    together = train_many([make_job(*shape, options, Compute(threads=threads)) for shape in shapes])[2]
    assert together.theta.tobytes() == alone.theta.tobytes()
    assert together.info == alone.info


def test_a_single_run_has_the_same_bytes_with_any_number_of_threads(always_threaded):
    data, arch = oracle.dataset(3000, 5), Architecture(5, 6, 2)
    options = with_options(TrainingOptions(), steps=60, lr=1e-3)
    runs = [train(data, arch, options, 1, Compute(threads=threads)) for threads in (1, 3)]
    assert runs[0].theta.tobytes() == runs[1].theta.tobytes()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"neighbour_list": True}, {"loss": "cross-entropy"}], ids=str)
def test_steps_in_one_loop_and_steps_shared_by_threads_give_the_same_bytes(options, activation, monkeypatch):
    """Both ways are parts of one compiled function. With the last limit the run changes from one way to the other."""
    data, arch = oracle.dataset(1100, 5), Architecture(5, 7, 2, activation)
    options = with_options(TrainingOptions(), steps=600, lr=3e-3, stop=False, **options)
    loop = train(data, arch, options, seed=1)
    for limit in (0, 3 * arch.n_parameters * TILE_SIZE * 12):
        monkeypatch.setattr(compiled_engine, "THREADING_MIN_MULTIPLICATIONS", limit)
        assert train(data, arch, options, 1, Compute(threads=2)).theta.tobytes() == loop.theta.tobytes()


def test_the_length_of_a_burst_changes_no_byte(monkeypatch):
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    options = with_options(TrainingOptions(), steps=300, lr=1e-3, every=77, measurements=5)
    whole = train(data, arch, options, seed=0)
    run = RunInProgress(make_job(data, arch, 0, options))
    monkeypatch.setattr(ensemble, "BURST_SECONDS", 0.0)
    while run.advance():
        run.burst = 1 + run.step % 7
    assert record_of(run).theta.tobytes() == whole.theta.tobytes()
    assert record_of(run).history["loss"].tobytes() == whole.history["loss"].tobytes()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_compiled_and_the_torch_engine_take_the_same_steps(optimizer):
    data, arch = oracle.dataset(200, 5), Architecture(5, 7, 3, "tanh")
    options = with_options(TrainingOptions(), steps=100, optimizer=optimizer, batch=0, lr=1e-3, every=30)
    ours, theirs = (train(data, arch, options, 0, Compute(engine=name)) for name in ("compiled", "torch"))
    assert (ours.info["engine"], theirs.info["engine"]) == ("compiled", "torch")
    assert np.abs(ours.theta - theirs.theta).max() < 1e-13
    assert ours.history["n_unsatisfied"].tolist() == theirs.history["n_unsatisfied"].tolist()


@pytest.mark.parametrize(
    ("options", "compute"), [({"batch": 10}, Compute()), ({}, Compute(dtype=torch.float32))]
)
def test_the_torch_engine_takes_mini_batches_and_float32(options, compute):
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    run = train(data, arch, with_options(TrainingOptions(), steps=5, **options), 0, compute)
    assert run.info["engine"] == "torch"


def test_mini_batches_are_refused_where_the_compiled_engine_is_asked_for():
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    with pytest.raises(InputError, match="use the torch engine"):
        train(data, arch, with_options(TrainingOptions(), steps=5, batch=10), 0, Compute(engine="compiled"))
