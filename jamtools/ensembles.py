"""Sets of runs: merged over files, with repeated runs left out, and without arrays that are not needed.

Runs may share a file if the training set of each is a prefix of the longest one: a run of P patterns uses the first P.

Source: none, the definition of the artefact `runs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jamtools.errors import InputError, Remedy
from jamtools.records import Dataset, Run, sha256

#: What can be left out of runs.
REMOVABLE = ("snapshots", "history", "test")

#: What cannot be left out, and why.
NEEDED = {
    **dict.fromkeys(("theta", "theta0", "gaps"), "every run has it"),
    "certificate": "a certified run is verified with it",
}


def lighter(run: Run, names: Iterable[str]) -> Run:
    """A run without the arrays that `names` (of REMOVABLE) stand for; theta, gaps and the metadata stay as they are.

    snapshots: the parameters at every measurement, history/theta; history: the snapshots too, and most rows; test: nothing,
    since the test set belongs to the data.

    Of the history there remain the row at half of the steps and the last one: `exponents.samples` estimates from these two
    how far a run still was from its minimum. Raises InputError for a name that is not in REMOVABLE.
    """
    names = checked_names(names)
    history: Mapping[str, Any] = run.history
    if "history" in names or "snapshots" in names:
        history = {name: column for name, column in history.items() if name != "theta"}
    if "history" in names:
        step = history["step"]
        half = max(int(np.searchsorted(step, step[-1] / 2, side="right")) - 1, 0)
        rows = sorted({half, len(step) - 1})
        history = {name: column[rows] for name, column in history.items()}
    return replace(run, history=history)


def checked_names(names: Iterable[str]) -> frozenset[str]:
    """The names. Raises InputError for one that is not in REMOVABLE."""
    names = frozenset(names)
    if unknown := sorted(names - {*REMOVABLE}):
        reason = f", {NEEDED[unknown[0]]}" if unknown[0] in NEEDED else ""
        raise InputError(f"cannot leave out {unknown[0]!r}{reason}; expected some of {', '.join(REMOVABLE)}")
    return names


def without_test_set(dataset: Dataset) -> Dataset:
    """The same training set alone."""
    return replace(dataset, x_test=None, y_test=None)


def common_dataset(datasets: Sequence[tuple[str, Dataset]]) -> Dataset:
    """The training set that contains those of all files, with the test set of the first that has one.

    datasets: with the names of their files, at least one. Raises InputError, with the names of two files, where neither
    training set is a prefix of the other, or where both have a test set and these differ.
    """
    longest_name, longest = max(datasets, key=lambda named: named[1].P)
    with_test = [named for named in datasets if named[1].x_test is not None]
    for name, dataset in datasets:
        if (reason := _difference(longest, dataset)) is not None:
            raise InputError(f"{longest_name} and {name}: {reason}", Remedy.RUNS_OF_ONE_DATASET)
    for name, dataset in with_test[1:]:
        if not _same_test_set(with_test[0][1], dataset):
            raise InputError(f"{with_test[0][0]} and {name}: their test sets differ", Remedy.NO_TEST_SET)
    tested = with_test[0][1] if with_test else longest
    return replace(longest, x_test=tested.x_test, y_test=tested.y_test)


def _difference(a: Dataset, b: Dataset) -> str | None:
    """In words, why neither training set is a prefix of the other; None if one is."""
    if (a.d, a.outputs) != (b.d, b.outputs):
        return f"d = {a.d} and {b.d}, {a.outputs} and {b.outputs} outputs"
    P = min(a.P, b.P)
    equal = (a.x[:P] == b.x[:P]).all(axis=1) & (a.y[:P] == b.y[:P]).reshape(P, -1).all(axis=1)
    return None if equal.all() else f"pattern {int(np.argmin(equal))} of their training sets differs"


def _same_test_set(a: Dataset, b: Dataset) -> bool:
    return np.array_equal(a.x_test, b.x_test) and np.array_equal(a.y_test, b.y_test)  # type: ignore[arg-type]


class DistinctRuns:
    """Recognises runs that were seen before: those with the same metadata, theta, theta0 and gaps."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def is_new(self, run: Run) -> bool:
        """Whether this run was not seen before; from now on it was."""
        text = json.dumps(dict(run.info), sort_keys=True, default=str)
        key = sha256((run.theta, run.theta0, run.gaps), text)
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new
