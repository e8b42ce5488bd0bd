"""Runs and calls that are interrupted, saved to a file and resumed."""

from __future__ import annotations

from jamtools.io.checkpoint import Checkpoint, pack, read, train_kept
from jamtools.io.request import request_of
from jamtools.training.run import Training


def put_and_read(path, state, request=None):
    """A state as it comes back from a file."""
    path.write_bytes(pack(request or {}, [None, state]))
    return read(str(path), request or {})[1]


def interrupted(job, settings, place, every, path):
    """The run, moved into a new Training by way of a file after every few bursts."""
    training, bursts = Training(job, settings, place), 0
    while training.go_on():
        training._burst = 1 + training.step % 7
        bursts += 1
        if bursts % every == 0:
            state = put_and_read(path, training.state())
            training = Training(job, settings, place)
            training.restore(state)
    return training.record()


def kept_call(path, call, limit, resume=True):
    """One call that is told to stop when asked for the `limit`-th time."""
    looks = iter(range(limit))
    jobs, settings, place = call
    keeper = Checkpoint(
        str(path), request_of(*call), len(jobs), 0.01, resume, stop=lambda: next(looks, None) is None
    )
    return train_kept(jobs, settings, place, None, keeper)
