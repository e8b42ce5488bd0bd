"""Approaches of many runs: the same bytes for any number of workers and from any snapshot, and records that hold."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.minima.verification import NO_CLAIM_PREFIX, verify
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Runs
from jamtools.training.approaches import ApproachJob, approach_many
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Job
from tests.support import fakes

UNTIL = 1e-4
ARCH = Architecture(3, 3, 2, "tanh")


@functools.cache
def start(seed=0, P=30, norm="5", epsilon=0.5):
    """A run on its way at fixed norm, and its patterns."""
    options = with_options(TrainingOptions(), steps=500, lr=1e-2, norm=norm, epsilon=epsilon)
    data = random_sphere(P, 3, seed)
    return train(data, ARCH, options, seed), data


@functools.cache
def jammed():
    """The records of one approach, and its patterns."""
    run, data = start()
    (records,) = approach_many([ApproachJob(run, data, UNTIL)])
    return records, data


class Memory:
    """A checkpointer that keeps everything, and stops after a number of saves."""

    interval = 60.0

    def __init__(self, states, stop_after=10**9):
        self.states, self.left = states, stop_after

    def load(self, i):
        return self.states.get(i)

    def is_due(self, i):
        return False

    def save(self, i, state):
        self.states[i] = state
        self.left -= 1

    def poll(self):
        if self.left <= 0:
            raise InterruptedError


def same(one, other):
    return one.info == other.info and all(
        np.array_equal(array, other.arrays()[name]) for name, array in one.arrays().items()
    )


def test_every_stage_is_a_run_whose_record_holds():
    records, data = jammed()
    assert [r.info["approach"]["stage"] for r in records] == list(range(len(records)))
    assert [r.info["approach"]["end"] for r in records] == [None] * (len(records) - 1) + ["reached"]
    for record in (records[1], records[-1]):
        assert record.info["certified"] and record.info["protocol"] == "approach"
        verification = verify(record, data)
        assert verification.holds, verification.findings
    last = records[-1]
    assert last.info["final_loss"] <= UNTIL * last.N
    np.testing.assert_array_equal(last.theta0, start()[0].theta0)


def test_changes_since_the_stage_before_are_those_of_the_arrays():
    records, _ = jammed()
    for before, after in itertools.pairwise(records):
        fields = after.info["approach"]
        moved = np.linalg.norm(after.theta - before.theta) / np.linalg.norm(after.theta)
        assert fields["moved"] == pytest.approx(moved, rel=1e-9)
        changed = before.unsatisfied ^ after.unsatisfied
        assert fields["n_changed"] == changed.sum()
        assert fields["change_n_unsatisfied"] == after.n_unsatisfied - before.n_unsatisfied
        either = (before.unsatisfied | after.unsatisfied).sum()
        assert fields["overlap"] == pytest.approx(1 - changed.sum() / either)


def test_the_number_of_workers_and_the_other_jobs_change_no_byte():
    jobs = [ApproachJob(*start(seed), UNTIL, 1) for seed in (0, 2)]
    alone = [approach_many([job])[0] for job in jobs]
    together = approach_many(jobs, workers=2)
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other) == 1
        assert all(same(a, b) for a, b in zip(one, other, strict=True))


def test_an_approach_that_was_stopped_goes_on_to_the_same_bytes():
    job, states = ApproachJob(*start(), UNTIL), {}
    with pytest.raises(InterruptedError):
        approach_many([job], checkpointer=Memory(states, stop_after=2))
    assert 2 <= states[0].step < len(jammed()[0])
    (resumed,) = approach_many([job], checkpointer=Memory(states))
    assert all(same(a, b) for a, b in zip(resumed, jammed()[0], strict=True))


def test_the_last_stages_are_the_end_of_all():
    (kept,) = approach_many([ApproachJob(*start(), UNTIL, 2)])
    assert all(same(a, b) for a, b in zip(kept, jammed()[0][-2:], strict=True))


def test_a_collapse_is_the_state_of_its_last_stage():
    run, data = start(P=200, norm="4")
    (records,) = approach_many([ApproachJob(run, data, 1e-12, 1)])
    info = records[-1].info
    assert info["status"] == "collapsed" and info["approach"]["end"] == "collapsed"
    verification = verify(records[-1], data)
    assert verification.holds, verification.findings


def test_a_satisfied_run_jams_at_a_larger_margin():
    data = random_sphere(10, 3, 1)
    run = train(data, ARCH, with_options(TrainingOptions(), optimizer="newton", norm="5", epsilon=0.05), 1)
    assert run.info["status"] == "satisfied"
    (records,) = approach_many([ApproachJob(run, data, 1e-4)])
    assert records[0].info["status"] == "satisfied"
    assert records[-1].info["approach"]["end"] == "reached" and records[-1].info["epsilon"] > 0.05


def test_stages_without_the_dead_patterns_are_runs_whose_records_hold():
    """A ReLU minimum with patterns that a layer does not pass on: they are left out, and the file says which."""
    data = random_sphere(60, 3, 0)
    begun = train(data, Architecture(3, 3, 2), with_options(TrainingOptions(), norm="6", steps=10), 0)
    settings = with_options(TrainingOptions(), optimizer="newton", norm="6").resolve(60)
    (run,) = train_many([Job(data, Architecture.of(begun.info), 0, settings, start=begun)])
    assert run.info["n_dead"] > 0
    (records,) = approach_many([ApproachJob(run, data, UNTIL)])
    runs = Runs(data, tuple(records))
    for record in records:
        set_aside = record.info["set_aside"]
        assert set_aside and 60 - len(set_aside) == record.P
        own = runs.patterns(record)
        assert np.array_equal(own.x, np.delete(data.x, set_aside, 0))
        verification = verify(record, own)
        assert verification.holds, verification.findings
    with pytest.raises(InputError, match="set some of them aside"):
        approach_many([ApproachJob(records[0], data, UNTIL, knob="patterns")])
    (again,) = approach_many([ApproachJob(records[0], data, UNTIL)])
    assert again[0].info["set_aside"] == records[0].info["set_aside"]


def test_a_stage_that_newton_finishes_is_no_stage_any_more():
    records, data = jammed()
    newton = with_options(TrainingOptions(), optimizer="newton", epsilon=records[1].epsilon).resolve(data.P)
    arch = Architecture.of(records[1].info)
    (finished,) = train_many([Job(data, arch, records[1].info["seed"], newton, start=records[1])])
    assert "approach" not in finished.info and finished.info["norm"] == 5
    verification = verify(finished, data)
    assert verification.holds, verification.findings


def test_free_weights_are_refused_before_any_work():
    data = random_sphere(30, 3, 0)
    run = train(data, ARCH, with_options(TrainingOptions(), steps=10), 0)
    with pytest.raises(InputError, match="fixed norm"):
        approach_many([ApproachJob(*start(), UNTIL), ApproachJob(run, data, UNTIL)])


PERCEPTRON = Architecture(4, 1, 0, "linear", norm=1.0, bias=False)


@functools.cache
def fewer(stages=None):
    """The records of an approach of a perceptron by the patterns, and its patterns."""
    data = random_sphere(14, 4, 0)
    run = train(data, PERCEPTRON, with_options(TrainingOptions(), steps=200, epsilon=0.01, norm="1"), 0)
    (records,) = approach_many([ApproachJob(run, data, 1e-12, stages, "patterns")])
    return records, data


def test_stages_of_fewer_patterns_are_runs_on_the_first_of_them():
    records, data = fewer()
    assert records[-1].info["approach"]["end"] == "reached"
    assert [r.info["approach"]["end"] for r in records[:-1]] == [None] * (len(records) - 1)
    assert [r.info["approach"]["stage"] for r in records] == list(range(len(records)))
    assert (np.diff([r.P for r in records]) < 0).all() and records[0].P == 14
    for record in records:
        assert record.info["approach"]["knob"] == "patterns" and record.epsilon == 0.01
        gaps = 0.01 - data.y[: record.P] * (data.x[: record.P] @ record.theta)
        np.testing.assert_allclose(record.gaps, gaps, atol=1e-12)
        fields = record.info["approach"]
        loss = 0.5 * np.square(record.gaps.clip(0)).mean()
        assert fields["loss_per_parameter"] == pytest.approx(loss / record.N, rel=1e-9)
        verification = verify(record, data.first(record.P))
        assert verification.holds, verification.findings


def test_changes_of_stages_of_fewer_patterns_are_over_the_patterns_of_both():
    for before, after in itertools.pairwise(fewer()[0]):
        fields = after.info["approach"]
        old, new = before.unsatisfied[: after.P], after.unsatisfied
        assert fields["n_changed"] == (old ^ new).sum()
        assert fields["overlap"] == pytest.approx((old & new).sum() / (old | new).sum())
        assert fields["change_n_unsatisfied"] == new.sum() - before.unsatisfied.sum()
        moved = np.linalg.norm(after.theta - before.theta) / np.linalg.norm(after.theta)
        assert fields["moved"] == pytest.approx(moved, rel=1e-9, abs=1e-15)


def test_the_end_of_an_approach_by_patterns_adds_no_stage_and_survives_a_stop():
    records, data = fewer()
    run = train(data, PERCEPTRON, with_options(TrainingOptions(), steps=200, epsilon=0.01, norm="1"), 0)
    job, states = ApproachJob(run, data, 1e-12, None, "patterns"), {}
    with pytest.raises(InterruptedError):
        approach_many([job], checkpointer=Memory(states, stop_after=2))
    (resumed,) = approach_many([job], workers=1, checkpointer=Memory(states))
    assert len(resumed) == len(records) == len({r.P for r in records})
    assert all(same(a, b) for a, b in zip(resumed, records, strict=True))


@functools.cache
def escaping():
    """The records of free weights whose L has no minimum, and their patterns."""
    data = random_sphere(26, 2, 0)
    run = train(data, Architecture(2, 2, 1, "tanh"), with_options(TrainingOptions(), steps=200, lr=1e-2), 0)
    (records,) = approach_many([ApproachJob(run, data, 1e-12, None, "patterns")])
    return run, records, data


def test_free_weights_are_named_escaping_and_their_records_hold():
    run, records, data = escaping()
    last = records[-1]
    assert any(record.info["status"] == "escaping" for record in records)
    assert last.info["approach"]["end"] == "escaping" and last.info["norm"] is None
    assert np.linalg.norm(last.theta) > 10 * np.linalg.norm(run.theta0)
    for record in records:
        found = verify(record, data.first(record.P)).findings
        assert all(finding.startswith(NO_CLAIM_PREFIX) for finding in found), found


def test_a_snapshot_keeps_the_trace_of_an_escape():
    run, records, data = escaping()
    job, states = ApproachJob(run, data, 1e-12, None, "patterns"), {}
    with pytest.raises(InterruptedError):
        approach_many([job], checkpointer=Memory(states, stop_after=2))
    (resumed,) = approach_many([job], checkpointer=Memory(states))
    assert all(same(a, b) for a, b in zip(resumed, records, strict=True))


def test_fakes_of_the_fields_of_a_stage_of_fewer_patterns_are_refused(monkeypatch):
    fakes.remember_certificates(monkeypatch)
    records, data = fewer()
    run, accepted = records[-1], []
    own = data.first(run.P)
    assert verify(run, own).holds
    for name, value in run.info["approach"].items():
        if name in OF_THE_STAGES_BEFORE:
            continue
        for fake in [*fakes.other_types(value), *fakes.other_values(value, small=True)]:
            if name == "end" and fake is None:
                continue
            info = run.info | {"approach": run.info["approach"] | {name: fake}}
            if verify(replace(run, info=info), own).holds:
                accepted.append(f"{name} {value!r}, fake {fake!r}")
    assert not accepted, "\n".join(accepted)


#: Fields of a stage that the record of the stage alone does not decide.
OF_THE_STAGES_BEFORE = (
    "moved", "overlap", "n_changed", "change_n_unsatisfied", "stage", "until", "first_epsilon", "n_avalanches",
)  # fmt: skip


def test_fakes_of_the_fields_of_a_stage_are_refused(monkeypatch):
    fakes.remember_certificates(monkeypatch)
    records, data = jammed()
    run = records[-1]
    assert verify(run, data).holds
    accepted = []
    for name, value in run.info["approach"].items():
        if name in OF_THE_STAGES_BEFORE:
            continue
        for fake in [*fakes.other_types(value), *fakes.other_values(value, small=True)]:
            if name == "end" and fake is None:  # as in the middle of an approach
                continue
            info = run.info | {"approach": run.info["approach"] | {name: fake}}
            if verify(replace(run, info=info), data).holds:
                accepted.append(f"{name} {value!r}, fake {fake!r}")
    assert not accepted, "\n".join(accepted)
    strange = run.info | {"approach": run.info["approach"] | {"more": 1}}
    assert not verify(replace(run, info=strange), data).holds
    assert not verify(replace(run, info=run.info | {"approach": 3}), data).holds
