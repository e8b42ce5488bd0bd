"""Jobs made from options that are not resolved yet."""

from __future__ import annotations

from jamtools.protocols import TrainingOptions
from jamtools.training.job import Compute, Job

CPU = Compute()
PLAIN = TrainingOptions()


def make_job(data, arch, seed=0, options=PLAIN, compute=CPU, start=None):
    """A job whose options are resolved for the patterns of `data`."""
    return Job(data, arch, seed, options.resolve(data.P), compute, start)
