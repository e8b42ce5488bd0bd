"""Runs and calls that are interrupted, saved to a file and resumed."""

from __future__ import annotations

from jamtools.io.checkpoint import Checkpoint, pack, read, train_with_checkpoint
from jamtools.io.request import request_of
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress


def through_file(path, state, request=None):
    """A state of a run, written to a checkpoint at `path` and read again."""
    rows = request or [{"seeds": 0}, {"seeds": 1}]
    path.write_bytes(pack(rows, [None, state]))
    return read(str(path), rows)[1]


def interrupted(job, every, path):
    """The record of a run that is written to `path` and restored into a new object after every few bursts."""
    run, bursts = RunInProgress(job), 0
    while run.advance():
        run.burst = 1 + run.step % 7
        bursts += 1
        if bursts % every == 0:
            snapshot = through_file(path, run.snapshot())
            run = RunInProgress(job)
            run.restore(snapshot)
    return record_of(run)


def call_with_checkpoint(path, jobs, limit, resume=True):
    """A call of `train_many` with a checkpoint that stops when it polls for the `limit`-th time."""
    polls = iter(range(limit))
    checkpoint = Checkpoint(str(path), request_of(jobs), 0.01, resume, stop=lambda: next(polls, None) is None)
    return train_with_checkpoint(jobs, None, checkpoint)
