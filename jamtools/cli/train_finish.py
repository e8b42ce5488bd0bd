"""jam-train --finish: existing runs continued to the minimum of their basin, and certified there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jamtools.cli.common.groups import Arithmetic
from jamtools.cli.common.resuming import ResumableTraining
from jamtools.cli.common.selecting import select
from jamtools.cli.common.session import Session
from jamtools.cli.common.tables import has_values
from jamtools.cli.train_ends import exit_code, print_obstacles, run_in_words
from jamtools.errors import InputError

if TYPE_CHECKING:
    from jamtools.protocols import TrainingOptions
    from jamtools.records import Run, Runs
    from jamtools.training.job import Compute, Job


def finish_runs(
    session: Session,
    resumable: ResumableTraining,
    source: str,
    where: str | None,
    arithmetic: Arithmetic,
    options: dict[str, Any],
    require: str | None,
) -> int:
    """Continues each run of a file with newton and writes the runs; returns the exit code.

    options: settings by name that replace those of newton where they are not None.
    """
    from jamtools.io.artefact import Artefact
    from jamtools.io.read import read_runs
    from jamtools.io.streams import naming
    from jamtools.io.write import runs_bytes
    from jamtools.records import Runs

    artefact = Artefact(source).expect("runs")
    (chosen,) = select(session, where, [artefact], [source])
    runs, provenance = read_runs(artefact, chosen)
    array_size = max((run.info["P"] * run.info["n_parameters"] for run in runs.runs), default=0)
    compute = session.compute(arithmetic, array_size)
    with naming(source):
        finite, loss = _finite(runs.runs), _loss_fields(runs.runs)
    finished = _finished(session, resumable, runs, finite, compute, loss | options)
    session.write(runs_bytes(Runs(runs.dataset, tuple(finished)), session.provenance(provenance)))
    resumable.release_signals()
    _print_finished(session, finished)
    return exit_code(finished, require)


def _finished(
    session: Session,
    resumable: ResumableTraining,
    runs: Runs,
    finite: Sequence[int],
    compute: Compute,
    options: dict[str, Any],
) -> list[Run]:
    """The runs at their minima, in their order; a run that diverged is in no basin and stays unchanged."""
    from jamtools import protocols

    for i, run in enumerate(runs.runs):
        if i not in finite:
            session.note(
                f"r{i:04d} ({run_in_words(run)}) diverged: there is nothing to finish, it stays as it is"
            )
    snapshots = any(
        "theta" in run.history for run in runs.runs
    )  # a history with snapshots continues with them
    newton = protocols.with_options(
        protocols.TrainingOptions(),
        optimizer="newton",
        snapshots=snapshots,
        **options,
    )
    jobs = [_job(runs, runs.runs[i], newton, compute) for i in finite]
    minima = dict(zip(finite, resumable.train(session, jobs)))
    return [minima.get(i, run) for i, run in enumerate(runs.runs)]


def _finite(runs: Sequence[Run]) -> list[int]:
    """The numbers of the runs that did not diverge. Raises InputError where there is none."""
    import numpy as np

    finite = [i for i, run in enumerate(runs) if np.isfinite(run.theta).all()]
    if not finite:
        raise InputError(f"got {len(runs)} run(s), all of them diverged, expected one that is finite")
    return finite


def _job(runs: Runs, run: Run, options: TrainingOptions, compute: Compute) -> Job:
    """The training that continues a run."""
    from jamtools.network.architecture import Architecture
    from jamtools.training.job import Job

    settings = options.resolve(run.info["P"])
    return Job(runs.patterns(run), Architecture.of(run.info), run.info["seed"], settings, compute, run)


def _loss_fields(runs: Sequence[Run]) -> dict[str, Any]:
    """The loss and the margin that all runs of a file share. Raises InputError where they differ."""
    fields: dict[str, Any] = {}
    for name in ("loss", "epsilon"):
        values = sorted({run.info[name] for run in runs})
        if len(values) > 1:
            raise InputError(
                f"got runs of {name} {' and '.join(map(str, values))}, expected one; finish them file by file"
            )
        fields[name] = values[0]
    return fields


def _print_finished(session: Session, runs: Sequence[Run]) -> None:
    """A table of each run before and after, and notes on runs that are not certified."""
    records = [{**run.info, "run": f"r{i:04d}"} for i, run in enumerate(runs)]
    more = ["test error"] if has_values("finished runs", "test error", records) else []
    session.records_table("finished runs", records, more)
    print_obstacles(session, runs)
