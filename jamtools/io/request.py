"""What decides the bytes of a set of runs, so that a checkpoint is resumed by the same request alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from jamtools import __version__
from jamtools.errors import InputError
from jamtools.protocols import Settings
from jamtools.records import Dataset, sha256
from jamtools.training.job import Job, Place, engine_name

KIND = "checkpoint"

REMEDY = "remove it or give another --checkpoint"


def request_of(jobs: Sequence[Job], settings: Settings, place: Place) -> dict[str, Any]:
    """All that decides the runs' bytes, by the names of the options: one value, or a list with one per run."""
    rows = [_options(job, settings.resolved(job.data.P), place) for job in jobs]
    request = {name: _joined([row[name] for row in rows]) for name in rows[0]}
    request |= {"device": str(place.device), "dtype": str(place.dtype).removeprefix("torch.")}
    request["engine"] = _joined([engine_name(job, settings, place) for job in jobs])
    request |= data_digests([job.data for job in jobs])
    starts = [job.start for job in jobs]
    request["start"] = _joined([sha256([run.theta])[:12] if run else "none" for run in starts])
    return request | {"jamtools": __version__, "torch": torch.__version__}


def _options(job: Job, settings: Settings, place: Place) -> dict[str, Any]:
    flat = asdict(settings)
    schedule = flat.pop("schedule")
    rate = {
        "lr": schedule.pop("lr"),
        "lr-schedule": f"{schedule.pop('every')}:{schedule.pop('factor'):g}",
        "lr-floor": schedule.pop("floor"),
    }
    options = {**asdict(job.arch), "patterns": job.data.P, "seeds": job.seed, **rate, **schedule, **flat}
    options["batch"] = options["batch"] or "full"
    return {name.replace("_", "-"): value for name, value in options.items()}


def _joined(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else values


def data_digests(sets: Sequence[Dataset]) -> dict[str, str]:
    """Of each set of patterns once: runs of one P share theirs."""
    distinct = {(data.x.ctypes.data, data.y.ctypes.data, data.P): data for data in sets}.values()
    training = [array for data in distinct for array in (data.x, data.y)]
    test = [array for data in distinct for array in (data.x_test, data.y_test) if array is not None]
    return {"training set": sha256(training)[:12], "test set": sha256(test)[:12] if test else "none"}


def check_same(
    path: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], what: str = KIND, remedy: str = REMEDY
) -> None:
    """Raises InputError naming the first thing that a file and this command do not have in common."""
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if theirs.get(name) != ours.get(name):
            raise InputError(
                f"{path}: the {what} is of {name} {_said(theirs.get(name))}, this command asks for "
                f"{_said(ours.get(name))}; {remedy}"
            )


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(dict.fromkeys(map(_said, value)))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
