"""The request of a set of runs: everything that decides their bytes. A checkpoint is resumed only by its own request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from jamtools import __version__
from jamtools.errors import InputError, Remedy
from jamtools.records import Dataset, sha256
from jamtools.training.job import Job

#: Hexadecimal digits of a SHA-256 that a request holds.
DIGEST_LENGTH = 12


def request_of(jobs: Sequence[Job]) -> dict[str, Any]:
    """Everything that decides the bytes of the runs, by the names of the options. A list has one value per run.

    Raises InputError when the engine asked for cannot take the steps of a job.
    """
    rows = [_options(job) for job in jobs]
    request = {name: _one_or_list([row[name] for row in rows]) for name in rows[0]}
    request["device"] = _one_or_list([str(job.compute.device) for job in jobs])
    request["dtype"] = _one_or_list([str(job.compute.dtype).removeprefix("torch.") for job in jobs])
    request["engine"] = _one_or_list([job.engine for job in jobs])
    request |= data_digests([job.data for job in jobs])
    starts = [sha256([job.start.theta])[:DIGEST_LENGTH] if job.start else "none" for job in jobs]
    return request | {"start": _one_or_list(starts), "jamtools": __version__, "torch": torch.__version__}


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
    return {name.replace("_", "-"): value for name, value in options.items()}


def _one_or_list(values: list[Any]) -> Any:
    """The value that all runs share, or else the list of their values."""
    return values[0] if all(value == values[0] for value in values) else values


def data_digests(sets: Sequence[Dataset]) -> dict[str, str]:
    """SHA-256 of the patterns x [P, d], y [P] or [P, C] of all sets. Arrays that several sets share count once."""
    distinct = {(data.x.ctypes.data, data.y.ctypes.data, data.P): data for data in sets}.values()
    training = [array for data in distinct for array in (data.x, data.y)]
    test = [array for data in distinct for array in (data.x_test, data.y_test) if array is not None]
    return {
        "training set": sha256(training)[:DIGEST_LENGTH],
        "test set": sha256(test)[:DIGEST_LENGTH] if test else "none",
    }


def check_same(
    path: str, saved: Mapping[str, Any], wanted: Mapping[str, Any], what: str, remedy: Remedy
) -> None:
    """Raises InputError with the first entry in which the saved request differs from the wanted one.

    what: the kind of the file for the message, such as "checkpoint".
    """
    for name in [*wanted, *(name for name in saved if name not in wanted)]:
        if saved.get(name) != wanted.get(name):
            raise InputError(
                f"{path}: the {what} is of {name} {_in_words(saved.get(name))}, the request is for "
                f"{_in_words(wanted.get(name))}",
                remedy,
            )


def _in_words(value: Any) -> str:
    """An entry of a request in the words of an option."""
    if isinstance(value, list):
        return ",".join(dict.fromkeys(map(_in_words, value)))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
