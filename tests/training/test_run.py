"""A run in progress: its events, its end, and its snapshots."""

from __future__ import annotations

import math

import numpy as np

from jamtools.network.architecture import Architecture
from jamtools.protocols import with_options
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.record import record_of
from jamtools.training.run import RECHECK_STEPS, Progress, RunInProgress
from tests.support import oracle
from tests.support.jobs import PLAIN, make_job

ARCH = Architecture(5, 6, 2)
TORCH = Compute(engine="torch")


def run_of(**options):
    data = oracle.dataset(60, 5, test=20)
    return RunInProgress(make_job(data, ARCH, 0, with_options(PLAIN, **{"steps": 40} | options), TORCH))


def to_the_end(run):
    while run.advance():
        pass
    return run


def test_a_run_has_no_loss_before_its_first_measurement():
    progress = run_of().progress
    assert (progress.step, progress.n_unsatisfied) == (0, 0) and math.isnan(progress.loss)


def test_a_run_is_measured_only_at_its_events():
    run = to_the_end(run_of(measurements=5, stop=False, measure_at=(13,)))
    assert [row["step"] for row in run.history.rows] == run.events
    assert 13 in run.events and run.events[-1] == 40
    last = run.history.rows[-1]
    assert run.progress == Progress(40, last["loss"], last["n_unsatisfied"], has_ended=True)


def test_a_run_ends_on_its_budget_with_unsatisfied_patterns():
    run = to_the_end(run_of(steps=3))
    assert (run.step, run.status, run.next_event()) == (3, "budget", None)
    assert not run.advance()


def test_a_run_that_its_engine_stops_is_measured_there():
    run = run_of(measurements=2)
    run.next_event()
    assert not run.resume_from(17, "diverged")
    assert (run.status, run.step, run.history.last_step) == ("diverged", 17, 17)


def test_a_run_that_is_satisfied_up_to_round_off_takes_steps_to_the_next_multiple():
    run = run_of(steps=10 * RECHECK_STEPS, measurements=2)
    run.next_event()
    assert run.resume_from(2, "satisfied")  # the measurement counts unsatisfied patterns
    assert (run.step, run.status) == (RECHECK_STEPS, "")


def test_a_snapshot_is_a_copy_that_further_steps_do_not_change():
    run = run_of(lr=1e-2, stop=False)
    run.advance()
    snapshot = run.snapshot()
    theta, rows = snapshot.theta.copy(), len(snapshot.rows)
    to_the_end(run)
    assert np.array_equal(snapshot.theta, theta) and len(snapshot.rows) == rows
    assert not np.array_equal(run.theta.numpy(), theta)


def test_a_run_restored_from_a_snapshot_ends_like_the_run_itself():
    run, other = run_of(batch=7, lr=1e-2), run_of(batch=7, lr=1e-2)
    run.advance()
    other.restore(run.snapshot())
    ends = [to_the_end(each).theta.numpy().tobytes() for each in (run, other)]
    assert ends[0] == ends[1]
    assert run.history.columns()["loss"].tobytes() == other.history.columns()["loss"].tobytes()


def test_a_finished_run_continues_the_steps_and_the_history_of_its_start():
    data, newton = oracle.dataset(40, 5), with_options(PLAIN, optimizer="newton", steps=3)
    start = train(data, ARCH, with_options(PLAIN, steps=5), 0)
    run = RunInProgress(make_job(data, ARCH, 0, newton, start=start))
    assert (run.step, run.events[0], run.history.last_step) == (5, 5, 5)
    assert np.array_equal(run.theta.numpy(), start.theta)
    assert np.array_equal(run.theta0, start.theta0)


def test_the_theta_of_a_run_in_a_batch_is_a_view_of_its_slot():
    data, compute = oracle.dataset(60, 5), Compute(engine="batch")
    run = RunInProgress(make_job(data, ARCH, 0, with_options(PLAIN, steps=4), compute))
    before = run.theta.clone()
    to_the_end(run)
    assert run.slot is not None and run.slot.theta.data_ptr() == run.theta.data_ptr()
    assert not np.array_equal(run.theta.numpy(), before.numpy())
    whole = train_many([run.job])[0]
    assert np.array_equal(record_of(run).theta, whole.theta)
