"""The request of a set of runs: everything that decides their bytes, one row per run.

A checkpoint belongs to its own request, and to every larger one: a request that asks for the same runs and for more.

Source: none, own format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from jamtools import __version__
from jamtools.errors import InputError, Remedy
from jamtools.protocols import FREE_NORM
from jamtools.records import Dataset, Run, sha256
from jamtools.training.approaches import ApproachJob
from jamtools.training.job import Job

#: Hexadecimal digits of a SHA-256 that a request holds.
DIGEST_LENGTH = 12

#: The entries of a row in which the runs of one request may differ. A larger request has more values of them.
EXTENT = ("width", "patterns", "seeds", "start")

#: Everything that decides the bytes of one run, by the names of the options. No value is a list.
Row = Mapping[str, Any]


def request_of(jobs: Sequence[Job]) -> list[Row]:
    """Everything that decides the bytes of each run, in the order of the jobs.

    The digest of a training set is that of the P patterns of the run alone: a longer dataset that begins with the same
    patterns makes the same row. Raises InputError when the engine asked for cannot take the steps of a job.
    """
    digests: dict[int, dict[str, str]] = {}  # by the identity of the dataset: runs of equal P share theirs
    for job in jobs:
        if id(job.data) not in digests:
            digests[id(job.data)] = data_digests(job.data)
    return [_row(job) | digests[id(job.data)] for job in jobs]


def request_of_approaches(jobs: Sequence[ApproachJob]) -> list[Row]:
    """Everything that decides the stages of each approach, in the order of the jobs.

    How many of them are written does not: a checkpoint serves any number.
    """
    return [
        {
            "knob": job.knob,
            "until": job.until,
            "patterns": job.start.P,
            "start": _start_digest(job.start),
            "jamtools": __version__,
            "torch": torch.__version__,
            **data_digests(job.data),
        }
        for job in jobs
    ]


def _row(job: Job) -> dict[str, Any]:
    """The row of a job, without its data."""
    return {
        **_options(job),
        "device": str(job.compute.device),
        "dtype": str(job.compute.dtype).removeprefix("torch."),
        "engine": job.engine,
        "start": _start_of(job),
        "jamtools": __version__,
        "torch": torch.__version__,
    }


def _options(job: Job) -> dict[str, Any]:
    """The architecture, seed and settings of a job by the names of the options."""
    flat = asdict(job.settings)
    schedule = flat.pop("schedule")
    rate = {
        "lr": schedule.pop("lr"),
        "lr-schedule": f"{schedule.pop('every')}:{schedule.pop('factor'):g}",
        "lr-floor": schedule.pop("floor"),
    }
    options = {**asdict(job.arch), "patterns": job.data.P, "seeds": job.seed, **rate, **schedule, **flat}
    options["batch"] = options["batch"] or "full"
    options["norm"] = job.arch.norm or FREE_NORM
    options["measure_at"] = ",".join(map(str, options["measure_at"])) or "none"
    return {name.replace("_", "-"): value for name, value in options.items()}


def _start_of(job: Job) -> str:
    """The digest of the run where a job begins, or none."""
    if job.origin:
        fields = job.origin.fields(job.arch.norm)
        return sha256([job.origin.run.theta], str(sorted(fields.items())))[:DIGEST_LENGTH]
    return _start_digest(job.start) if job.start else "none"


def _start_digest(start: Run) -> str:
    """The digest of a run that is continued. Its history and its fields become a part of the new record as well."""
    arrays = start.arrays()
    names = sorted(arrays)
    return sha256([arrays[name] for name in names], f"{names} {sorted(start.info.items())}")[:DIGEST_LENGTH]


def data_digests(data: Dataset) -> dict[str, str]:
    """The digests of the training set, x [P, d] and y [P] or [P, C], and of the test set."""
    digests = {"training set": sha256([data.x, data.y])[:DIGEST_LENGTH], "test set": "none"}
    if data.x_test is not None and data.y_test is not None:
        digests["test set"] = sha256([data.x_test, data.y_test])[:DIGEST_LENGTH]
    return digests


def compressed(rows: Sequence[Row]) -> dict[str, Any]:
    """A request with each entry once: the value that all runs share, or the list of their values."""
    if not rows:
        return {}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: values[0] if len(_distinct(values)) == 1 else values for name, values in columns.items()}


def expanded(request: Mapping[str, Any], n: int) -> list[Row]:
    """The rows of the n runs of a compressed request."""
    columns = {name: value if isinstance(value, list) else [value] * n for name, value in request.items()}
    for name, values in columns.items():
        if len(values) != n:  # in files of earlier versions such a list is the value of all runs
            columns[name] = [_in_words(values)] * n
    return [{name: values[i] for name, values in columns.items()} for i in range(n)]


def places(path: str, saved: Sequence[Row], wanted: Sequence[Row]) -> list[int]:
    """The place in `wanted` of each saved run. Raises InputError if one of them is not wanted, with what differs."""
    free: dict[tuple[Any, ...], list[int]] = {}
    for i, row in reversed(list(enumerate(wanted))):
        free.setdefault(_key(row), []).append(i)
    found = []
    for row in saved:
        alternatives = free.get(_key(row), [])
        if not alternatives:
            raise _not_wanted(path, row, saved, wanted)
        found.append(alternatives.pop())
    return found


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(sorted(row.items()))


def _not_wanted(path: str, row: Row, saved: Sequence[Row], wanted: Sequence[Row]) -> InputError:
    """The error for a saved run that is not wanted: its settings differ, or the request is smaller."""
    extent = [name for name in EXTENT if name in row]
    for other in wanted:
        if _differing(row, other) and all(row[name] == other.get(name) for name in extent):
            return _difference(path, row, other, "checkpoint", Remedy.ANOTHER_CHECKPOINT)
    for name in extent:
        values, others = ([each.get(name) for each in rows] for rows in (saved, wanted))
        if not set(values) <= set(others):
            sets = {name: _distinct(values)}, {name: _distinct(others)}
            return _difference(path, *sets, "checkpoint", Remedy.ALL_RUNS_OF_CHECKPOINT)
    run = ", ".join(f"{name} {_in_words(row[name])}" for name in extent)
    return InputError(
        f"{path}: the checkpoint has a run of {run}, which is not asked for", Remedy.ALL_RUNS_OF_CHECKPOINT
    )


def check_same(
    path: str, saved: Mapping[str, Any], wanted: Mapping[str, Any], what: str, remedy: Remedy
) -> None:
    """Raises InputError with the first entry in which the saved request differs from the wanted one.

    what: the kind of the file for the message, such as "journal".
    """
    if _differing(saved, wanted):
        raise _difference(path, saved, wanted, what, remedy)


def _difference(
    path: str, saved: Mapping[str, Any], wanted: Mapping[str, Any], what: str, remedy: Remedy
) -> InputError:
    """The error for two requests, which names the first entry in which they differ."""
    name = _differing(saved, wanted)[0]
    kept = f"is of {name} {_in_words(saved[name])}" if name in saved else f"is of no {name}"
    asked = f"for {_in_words(wanted[name])}" if name in wanted else f"of no {name}"
    return InputError(f"{path}: the {what} {kept}, the request is {asked}", remedy)


def _differing(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The names of the entries in which two requests differ, in the order of the wanted one."""
    names = [*wanted, *(name for name in saved if name not in wanted)]
    return [name for name in names if saved.get(name) != wanted.get(name)]


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The different values, in order."""
    return list(dict.fromkeys(values))


def _in_words(value: Any) -> str:
    """An entry of a request in the words of an option."""
    if isinstance(value, list):
        return ",".join(dict.fromkeys(map(_in_words, value))) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
