"""jam-train --from: trainings that begin at the theta of existing runs, on the patterns of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jamtools.cli.common.selecting import select
from jamtools.cli.common.session import Session
from jamtools.cli.train_ends import run_in_words
from jamtools.errors import InputError

if TYPE_CHECKING:
    from jamtools.protocols import TrainingOptions
    from jamtools.records import Dataset
    from jamtools.training.job import Job
    from jamtools.training.origin import Origin


def jobs_from(
    session: Session,
    source: str,
    where: str | None,
    parts: Sequence[Dataset],
    options: TrainingOptions,
) -> tuple[list[Job], list[dict[str, Any]]]:
    """A training on each of some sets of patterns from each chosen run of a file; and the commands that made the file.

    They are ordered by width, then P, then seed, then as in the file. Raises InputError for runs that do not fit the data.
    """
    from jamtools.io.artefact import Artefact
    from jamtools.io.streams import naming
    from jamtools.training.job import job_from

    artefact = Artefact(source).expect("runs")
    (chosen,) = select(session, where, [artefact], [source])
    origins = _finite(session, artefact, chosen)
    jobs = []
    for part in parts:
        for origin in origins:
            with naming(source, run=origin.name):
                jobs.append(job_from(origin, part, options))
    jobs.sort(key=lambda job: (job.arch.width, job.data.P, job.seed))
    _print_changes(session, jobs)
    return jobs, artefact.provenance


def _finite(session: Session, artefact: Any, chosen: Sequence[int]) -> list[Origin]:
    """The chosen runs of a file where a training can begin. Raises InputError where all of them diverged."""
    import numpy as np

    from jamtools.io.read import read_runs
    from jamtools.io.streams import naming
    from jamtools.training.origin import Origin

    runs, _ = read_runs(artefact, chosen)
    origins = []
    for number, run in zip(chosen, runs.runs):
        name = f"r{number:04d}"
        if np.isfinite(run.theta).all():
            origins.append(Origin(run, name))
        else:
            session.note(f"{name} ({run_in_words(run)}) diverged: no training begins there, it is left out")
    if not origins:
        with naming(artefact.source):
            raise InputError(f"got {len(chosen)} run(s), all of them diverged, expected one that is finite")
    return origins


def _print_changes(session: Session, jobs: Sequence[Job]) -> None:
    """Notes on what the options changed of the runs without being asked in so many words: loss, margin and scale."""
    losses, scales = set(), set()
    for job in jobs:
        if job.origin is None:
            continue
        before = (job.origin.run.info["loss"], job.origin.run.info["epsilon"])
        if before != (job.loss.name, job.loss.epsilon):
            losses.add((before, (job.loss.name, job.loss.epsilon)))
        scales.add(job.origin.scale(job.arch.norm))
    for before, after in sorted(losses):
        session.note(f"runs of {_loss_in_words(*before)} go on with {_loss_in_words(*after)}")
    if scales != {1.0}:
        session.note(
            f"theta is scaled by {_range(scales)} to the norm asked for: this changes f, as the history shows at step 0"
        )


def _loss_in_words(loss: str, epsilon: float) -> str:
    return f"{loss}, ε = {epsilon:g}" if loss == "hinge" else loss


def _range(values: set[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"
