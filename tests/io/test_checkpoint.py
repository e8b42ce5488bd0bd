"""Runs that are interrupted and continue from a file: they end with the same bytes as if nothing had happened."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from jamtools.errors import InputError, OutputError
from jamtools.io import checkpoint
from jamtools.io.checkpoint import Checkpoint, StopRequested, pack, read, train_with_checkpoint
from jamtools.io.request import request_of
from jamtools.io.write import runs_bytes
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Run, Runs
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.interruption import call_with_checkpoint, interrupted, through_file
from tests.support.jobs import make_job

ARCH = Architecture(5, 6, 2)


CASES = {
    "compiled adam": ({}, "auto"),
    "torch adam": ({}, "torch"),
    "compiled descent": ({"optimizer": "sgd", "batch": 0}, "auto"),
    "sgd": ({"optimizer": "sgd", "lr": 0.05}, "torch"),
    "adam in batches": ({"batch": 7}, "torch"),
    "momentum": ({"optimizer": "sgd", "momentum": 0.9}, "torch"),
    "fire": ({"optimizer": "fire"}, "auto"),
    "snapshots": ({"snapshots": True}, "auto"),
    "cross-entropy": ({"loss": "cross-entropy"}, "auto"),
}


def file_bytes(data, runs):
    return runs_bytes(Runs(data, tuple(runs)), [])


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize(("options", "engine"), CASES.values(), ids=CASES)
def test_a_run_that_goes_through_files_ends_with_the_same_bytes(options, engine, every, tmp_path):
    data, compute = oracle.dataset(60, 5, test=20), Compute(engine=engine)
    settings = with_options(
        TrainingOptions(), **{"steps": 200, "lr": 1e-3, "every": 77, "measurements": 9} | options
    )
    whole = train(data, ARCH, settings, 3, compute)
    pieces = interrupted(make_job(data, ARCH, 3, settings, compute), every, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [whole])


def test_a_run_with_batch_normalisation_and_mini_batches_continues_to_the_same_bytes(tmp_path):
    data, arch = oracle.dataset(60, 5, test=20), Architecture(5, 6, 2, batch_norm=True)
    options = with_options(TrainingOptions(), steps=100, lr=0.05, optimizer="sgd", batch=20, momentum=0.9)
    pieces = interrupted(make_job(data, arch, 3, options, Compute()), 2, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [train(data, arch, options, 3)])


@pytest.mark.parametrize("engine", ["compiled", "batch", "torch"])
@pytest.mark.parametrize(
    "arch", [Architecture(5, 5, 0, norm=1.0, bias=False), Architecture(5, 4, 2, bias=False)], ids=str
)
def test_a_run_without_hidden_layers_or_biases_continues_to_the_same_bytes(arch, engine, tmp_path):
    data, compute = oracle.dataset(60, 5, test=20), Compute(engine=engine)
    margin = 0.5 if arch.norm is None else -0.5
    options = with_options(TrainingOptions(), steps=100, lr=1e-3, epsilon=margin)
    pieces = interrupted(make_job(data, arch, 3, options, compute), 3, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [train(data, arch, options, 3, compute)])


def test_an_interrupted_run_is_satisfied_at_the_same_step(tmp_path):
    data = oracle.dataset(10, 8)
    options, arch = with_options(TrainingOptions(), lr=1e-3, steps=5000), Architecture(8, 8, 2)
    for engine in ("compiled", "torch"):
        whole = train(data, arch, options, 0, Compute(engine=engine))
        assert whole.info["status"] == "satisfied"
        pieces = interrupted(make_job(data, arch, 0, options, Compute(engine=engine)), 9, tmp_path / "c")
        assert file_bytes(data, [pieces]) == file_bytes(data, [whole])


def test_a_run_that_is_satisfied_up_to_round_off_continues_to_the_same_bytes(tmp_path, monkeypatch):
    """The engine calls max Δ ≤ 10⁻⁴ satisfied and the measurement does not: the run steps past it many times."""
    monkeypatch.setattr(
        "jamtools.engines.torch_engine.stop_reason",
        lambda top, stop, contact: "satisfied" if stop and top <= 1e-4 else "",
    )
    data = oracle.dataset(10, 8)
    options, arch = with_options(TrainingOptions(), lr=1e-3, steps=2000), Architecture(8, 8, 2)
    compute = Compute(engine="torch")
    whole = train(data, arch, options, 0, compute)
    assert set(whole.history["step"]) - set(RunInProgress(make_job(data, arch, 0, options, compute)).events)
    pieces = interrupted(make_job(data, arch, 0, options, compute), 3, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [whole])


def test_a_checkpoint_keeps_nan(tmp_path):
    data = oracle.dataset(40, 4)
    options = with_options(TrainingOptions(), steps=2000, optimizer="sgd", batch=0, lr=1e6)
    run = train(data, Architecture(4, 5, 3), options, seed=0)
    read_back = through_file(tmp_path / "c", run)
    assert isinstance(read_back, Run)
    assert repr([read_back.info[name] for name in ("final_loss", "grad_norm")]) == repr(
        [run.info[name] for name in ("final_loss", "grad_norm")]
    )
    assert file_bytes(data, [read_back]) == file_bytes(data, [run])


def test_a_snapshot_keeps_dtypes_and_shapes(tmp_path):
    data = oracle.dataset(40, 5)
    training = RunInProgress(make_job(data, ARCH, 0, TrainingOptions(), Compute(dtype=torch.float32)))
    training.optimizer.state["pace"] = torch.tensor(0.25, dtype=torch.float64)
    training.advance()
    state = through_file(tmp_path / "c", training.snapshot())
    assert state.theta.dtype == np.float32
    assert state.optimizer["pace"].shape == ()
    other = RunInProgress(make_job(data, ARCH, 0, TrainingOptions(), Compute(dtype=torch.float32)))
    other.optimizer.state["pace"] = torch.tensor(0.0, dtype=torch.float64)
    other.restore(state)
    assert other.optimizer.state["pace"].item() == 0.25
    assert other.theta.numpy().tobytes() == training.theta.numpy().tobytes()


def four_jobs(steps=40_000):
    data = oracle.dataset(120, 5)
    options = with_options(TrainingOptions(), steps=steps, lr=1e-4, stop=False, measurements=20)
    return [
        make_job(data.first(P), Architecture(5, h, 2), 0, options, Compute(threads=2))
        for h in (5, 6)
        for P in (100, 120)
    ]


def test_a_call_that_is_stopped_many_times_ends_with_the_same_runs(tmp_path):
    jobs = four_jobs()
    whole, path, stops = train_many(jobs), tmp_path / "c", 0
    while True:
        try:
            runs = call_with_checkpoint(path, jobs, limit=2)
            break
        except StopRequested:
            stops += 1
            assert path.exists()
    assert stops > 2
    data = jobs[-1].data
    assert file_bytes(data, runs) == file_bytes(data, whole)
    before = path.read_bytes()
    assert file_bytes(data, call_with_checkpoint(path, jobs, limit=10**9)) == file_bytes(data, whole)
    assert path.read_bytes() == before  # all runs have ended: the checkpoint does not change


def test_a_larger_call_continues_from_a_checkpoint_to_the_same_runs(tmp_path):
    """The checkpoint has a run that has ended, two under way and one that waits; the larger call has other P and widths."""
    data, path = oracle.dataset(130, 5), tmp_path / "c"
    options = with_options(TrainingOptions(), steps=20_000, lr=1e-4, stop=False, measurements=20)

    def jobs(sizes, widths, seeds):
        part = {P: data.first(P) for P in sizes}
        return [
            make_job(part[P], Architecture(5, h, 2), seed, options, Compute(threads=2))
            for h in widths
            for P in sizes
            for seed in seeds
        ]

    few, many = jobs((100,), (6,), (1, 2, 3, 4)), jobs((90, 100, 130), (5, 6), (0, 1, 2, 3, 4))
    runs = train_many(few[:1])
    under_way = [RunInProgress(job) for job in few[1:3]]
    for run in under_way:
        run.advance()
    path.write_bytes(pack(request_of(few), [*runs, *(run.snapshot() for run in under_way), None]))
    began = read(str(path), request_of(many))
    assert [type(state).__name__ for state in began if state] == ["Run", "Snapshot", "Snapshot"]
    extended = call_with_checkpoint(path, many, limit=10**9)
    assert file_bytes(data, extended) == file_bytes(data, train_many(many))
    assert all(isinstance(state, Run) for state in read(str(path), request_of(many)))


def test_an_interrupted_call_writes_a_checkpoint(tmp_path):
    jobs, path = four_jobs(10**6), tmp_path / "c"

    def interrupt():
        raise KeyboardInterrupt

    unfinished = Checkpoint(str(path), request_of(jobs), 60.0, stop=interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_with_checkpoint(jobs, None, unfinished)
    assert read(str(path), request_of(jobs))[0].step > 0
    assert threading.active_count() == 1


def test_a_full_disk_does_not_end_a_run(tmp_path, monkeypatch):
    def full(path, data):
        raise OutputError(f"{path}: no space left on device; nothing was written")

    jobs = four_jobs(300)
    monkeypatch.setattr(checkpoint, "write_file", full)
    with pytest.warns(UserWarning, match="no space left .* the runs continue"):
        assert len(call_with_checkpoint(tmp_path / "c", jobs, 10**9)) == 4
    with pytest.raises(OutputError), pytest.warns(UserWarning):
        call_with_checkpoint(tmp_path / "c", four_jobs(10**6), 200)  # enough polls for a write


def test_a_damaged_checkpoint_is_refused(tmp_path):
    job, path = make_job(oracle.dataset(40, 5), ARCH), tmp_path / "c"
    training = RunInProgress(job)
    training.advance()
    whole = pack(request_of([job]), [training.snapshot()])
    rng = np.random.default_rng(0)
    for at in [0, 3, 8, 9, 20, len(whole) - 1, *rng.integers(0, len(whole), 60)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(0, 7))
        for data in (bytes(damaged), whole[:at]):
            path.write_bytes(data)
            with pytest.raises(InputError, match="checkpoint") as error:
                read(str(path), request_of([job]))
            assert "\n" not in str(error.value)


class Clock:
    """A clock that moves only by calls of `wait`."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(checkpoint, "monotonic", lambda: self.now)

    def wait(self, seconds):
        self.now += seconds


def snapshot_of(job):
    run = RunInProgress(job)
    run.advance()
    return run.snapshot()


def test_a_checkpoint_asks_for_snapshots_after_its_interval_and_writes_them_once(tmp_path, monkeypatch):
    clock, path, job = Clock(monkeypatch), tmp_path / "c", make_job(oracle.dataset(40, 5), ARCH)
    saver = Checkpoint(str(path), request_of([job]), interval=60.0)
    assert saver.load(0) is None
    clock.wait(59)
    saver.poll()
    assert not saver.is_due(0)
    clock.wait(1)
    saver.poll()
    assert saver.is_due(0) and not path.exists()
    clock.wait(1)
    saver.save(0, snapshot_of(job))
    assert not saver.is_due(0)
    saver.poll()
    assert read(str(path), request_of([job]))[0].step > 0


def test_a_checkpoint_is_written_without_a_slow_run_after_a_limited_wait(tmp_path, monkeypatch):
    clock, path, job = Clock(monkeypatch), tmp_path / "c", make_job(oracle.dataset(40, 5), ARCH)
    saver = Checkpoint(str(path), request_of([job]), interval=60.0)
    saver.load(0)
    clock.wait(60)
    saver.poll()
    clock.wait(checkpoint.SNAPSHOT_WAIT_SECONDS + 1)
    saver.poll()
    assert read(str(path), request_of([job])) == [None]


def test_a_checkpoint_that_was_asked_to_stop_ends_the_call(tmp_path):
    saver = Checkpoint(str(tmp_path / "c"), [{}], stop=lambda: True)
    with pytest.raises(StopRequested):
        saver.poll()


def test_a_checkpoint_does_not_replace_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "c"
    path.write_text("the only copy of something")
    with pytest.raises(InputError, match="expected a checkpoint; remove it"):
        Checkpoint(str(path), [{}])
    with pytest.raises(InputError, match="is no regular file"):
        Checkpoint(str(tmp_path), [{}])
    assert path.read_text() == "the only copy of something"
