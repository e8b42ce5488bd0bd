"""jam-train --evaluate: measures existing runs on a dataset."""

from __future__ import annotations

from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session


def evaluate_runs(session: Session, dataset: str, runs: str, where: str | None) -> int:
    """Writes the loss, N_Δ and error of each run on the dataset as a JSON line; returns the exit code."""
    from jamtools.io.read import read_dataset
    from jamtools.network import problem

    data, _ = read_dataset(dataset)
    members, _ = read_members(session, [runs], where)
    session.write_json(
        {"kind": "evaluation", "run": m.name, **problem.measure(m.run, m.data, data)} for m in members
    )
    return 0
