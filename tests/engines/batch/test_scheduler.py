"""Runs that share one engine: their order, and their bytes after an interruption."""

from __future__ import annotations

import pytest

from jamtools.engines.batch.scheduler import BatchScheduler, next_burst
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import batch_engine
from jamtools.training.run import RECHECK_STEPS, RunInProgress
from tests.support import oracle
from tests.support.batch import ARCH, BATCH, OPTIMIZERS, same_bytes
from tests.support.commands import jam
from tests.support.interruption import call_with_checkpoint, interrupted
from tests.support.jobs import make_job


def test_runs_of_several_shapes_come_back_in_order():
    data, settings = oracle.dataset(120, 5), with_options(TrainingOptions(), steps=30)
    shapes = [(data.first(P), Architecture(5, h, 2)) for h in (5, 6) for P in (80, 120)]
    jobs = [make_job(*shape, seed, settings, BATCH) for shape in shapes for seed in (0, 1)]
    for job, run in zip(jobs, train_many(jobs)):
        assert (run.info["width"], run.info["P"], run.info["seed"]) == (job.arch.width, job.data.P, job.seed)
        assert same_bytes(run, train_many([job])[0], data)


def test_a_run_that_the_measurement_finds_unsatisfied_continues():
    """The measurement decides: if it finds an unsatisfied pattern that the engine does not find, the run continues."""
    options = with_options(TrainingOptions(), lr=1e-3, steps=5000)
    training = RunInProgress(make_job(oracle.dataset(10, 8), Architecture(8, 8, 2), 0, options, BATCH))
    while training.advance() or training.status != "satisfied":
        pass
    step, training.status = training.step, ""
    training.history.rows[-1]["n_unsatisfied"] = 1
    assert training.resume_from(step, "satisfied")
    training.advance()
    assert step < training.step <= (step // RECHECK_STEPS + 1) * RECHECK_STEPS


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_run_resumed_from_files_ends_with_the_same_bytes(options, tmp_path):
    data = oracle.dataset(60, 5, test=20)
    settings = with_options(TrainingOptions(), **{"steps": 100, "every": 37, "measurements": 9} | options)
    pieces = interrupted(make_job(data, ARCH, 3, settings, BATCH), 3, tmp_path / "c")
    assert same_bytes(pieces, train(data, ARCH, settings, 3, BATCH), data)


def test_a_call_that_is_stopped_several_times_ends_with_the_same_bytes(tmp_path, monkeypatch):
    """Five runs on four slots: some are in progress, some wait and some are finished when the call is stopped."""
    from jamtools.io.checkpoint import StopRequested

    monkeypatch.setattr("jamtools.training.ensemble.BURST_SECONDS", 0.02)
    monkeypatch.setattr("jamtools.engines.batch.scheduler.next_burst", lambda burst, taken, seconds: 150)
    data = oracle.dataset(60, 5)
    settings = with_options(TrainingOptions(), steps=1500, stop=False, measurements=5)
    jobs = [make_job(data, ARCH, seed, settings, BATCH) for seed in range(5)]
    whole, stops, runs = train_many(jobs), 0, None
    while runs is None:
        try:
            runs = call_with_checkpoint(tmp_path / "c", jobs, limit=2)
        except StopRequested:
            stops += 1
    assert stops > 1
    assert all(same_bytes(a, b, data) for a, b in zip(runs, whole))


def test_a_resumed_command_writes_the_same_bytes(tmp_path):
    line = ["data", "--width", "6", "--seeds", "0:5", "--steps", "1k", "--no-stop", "--engine", "batch"]
    line += ["--device", "cpu", "--measurements", "20"]
    options_of_files = ["--checkpoint", "c", "--resume", "-o", "out"]
    jam("data", "random", "-P", 200, "-d", 6, "-o", tmp_path / "data", check=True)
    jam("train", *line, "-o", "whole", cwd=tmp_path, check=True)
    codes = [jam("train", *line, *options_of_files, "--time-limit", "0.1s", cwd=tmp_path).returncode]
    codes += [jam("train", *line, *options_of_files, cwd=tmp_path).returncode]
    assert codes == [75, 0]
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("taken", "seconds", "expected"),
    [(8, 0.05, 16), (8, 0.15, 8), (8, 0.5, 4), (3, 0.01, 8)],
    ids=["short", "as wanted", "long", "ended early"],
)
def test_a_burst_doubles_or_halves_towards_its_duration(taken, seconds, expected):
    assert next_burst(8, taken, seconds, target=0.2) == expected


def test_a_burst_has_at_least_one_step():
    assert next_burst(1, 1, 100.0) == 1


def test_a_freed_slot_is_taken_by_the_next_run():
    data, options = oracle.dataset(60, 5), with_options(TrainingOptions(), steps=3)
    engine = batch_engine(make_job(data, ARCH, 0, options, BATCH))
    scheduler = BatchScheduler(engine)
    for seed in range(engine.layout.slots):
        scheduler.add(seed, RunInProgress(make_job(data, ARCH, seed, options, BATCH), batch=engine))
    assert scheduler.full
    scheduler.remove(2)
    assert engine.free == [2] and not scheduler.full
    with pytest.raises(KeyError):
        scheduler.remove(2)
