"""Training runs, one or many, from the seed to the record, and their approaches to jamming."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.training.approaches import ApproachJob as ApproachJob
    from jamtools.training.approaches import approach_many as approach_many
    from jamtools.training.ensemble import train as train
    from jamtools.training.ensemble import train_many as train_many
    from jamtools.training.job import Compute as Compute
    from jamtools.training.job import Job as Job
    from jamtools.training.job import job_from as job_from
    from jamtools.training.origin import Origin as Origin
    from jamtools.training.run import RunInProgress as RunInProgress
    from jamtools.training.snapshot import Checkpointer as Checkpointer
    from jamtools.training.snapshot import Snapshot as Snapshot

_OWNERS = {
    "ApproachJob": "approaches",
    "approach_many": "approaches",
    "Checkpointer": "snapshot",
    "Compute": "job",
    "Job": "job",
    "Origin": "origin",
    "job_from": "job",
    "RunInProgress": "run",
    "Snapshot": "snapshot",
    "train": "ensemble",
    "train_many": "ensemble",
}

__all__ = list(_OWNERS)
__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
