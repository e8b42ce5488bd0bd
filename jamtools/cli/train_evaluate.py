"""jam-train --evaluate: measures existing runs on a dataset, and names what they were measured on."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session
from jamtools.errors import InputError

if TYPE_CHECKING:
    from jamtools.io.read import Member
    from jamtools.records import Dataset

EvaluateOn = Annotated[
    Literal["training", "test"] | None,
    typer.Option(
        "--evaluate-on",
        help="With --evaluate: the training set or the test set of the dataset [default: test, if it has one].",
    ),
]


def evaluate_runs(session: Session, dataset: str, runs: str, where: str | None, part: str | None) -> int:
    """Writes the loss, N_Δ and error of each run on the dataset as a JSON line; returns the exit code.

    part: "training" or "test"; None for the test set of the dataset, or for its training set if it has no test set.
    """
    from jamtools.io.read import read_dataset
    from jamtools.io.streams import describe, naming

    data, _ = read_dataset(dataset)
    if part == "test" and data.x_test is None:
        raise InputError(
            f"{describe(dataset)}got --evaluate-on test and a dataset without a test set; make it with jam-data --test"
        )
    members, _ = read_members(session, [runs], where)
    on_test = data.x_test is not None and part != "training"
    with naming(dataset):
        records = [_evaluation(member, data, dataset, on_test) for member in members]
    session.write_json(records)
    _print_what_was_measured(session, records, _name(dataset))
    return 0


def _evaluation(member: Member, data: Dataset, source: str, on_test: bool) -> dict[str, Any]:
    """The JSON line of a run.

    measured_on: "test set"; "training set" where the patterns are those that the run was trained on; otherwise the file.
    n_trained_on: how many of the patterns the run was trained on.
    """
    from jamtools.network.problem import measure
    from jamtools.records import Dataset

    head: dict[str, Any] = {"kind": "evaluation", "run": member.name}
    if on_test and data.x_test is not None and data.y_test is not None:
        test = Dataset(data.x_test, data.y_test)
        return {
            **head,
            "measured_on": "test set",
            "n_trained_on": 0,
            **measure(member.run, member.data, test),
        }
    known = _begins_with(data, member.data)
    is_whole = known and data.P == member.data.P
    return {
        **head,
        "measured_on": "training set" if is_whole else _name(source),
        "n_trained_on": member.data.P if known else 0,
        **measure(member.run, member.data, data),
    }


def _name(source: str) -> str:
    """The name of a dataset, without folders."""
    return "standard input" if source == "-" else os.path.basename(source)


def _begins_with(data: Dataset, first: Dataset) -> bool:
    """Whether the first patterns of a dataset are those of another one."""
    import numpy as np

    P = first.P
    return np.array_equal(data.x[:P], first.x) and np.array_equal(data.y[:P], first.y)


def _print_what_was_measured(session: Session, records: list[dict[str, Any]], dataset: str) -> None:
    """A note on what the errors of the runs are: one for each kind of set."""
    n_runs = Counter((record["measured_on"], record["P"], record["n_trained_on"]) for record in records)
    for (name, P, n_trained_on), n in n_runs.items():
        where = {"test set": f"the test set of {dataset}", "training set": "the training set"}.get(name, name)
        among = f", {n_trained_on} of them in the training" if 0 < n_trained_on < P else ""
        session.note(f"{n} run{'s' * (n != 1)} measured on {where} ({P} patterns{among})")
