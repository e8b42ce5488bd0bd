"""The record of a stage of an approach to jamming: a run at the margin of the stage, with its certificate.

    approach: number, knob, until, L/N, ‖δW‖/‖W‖, overlap, changes of N_Δ, avalanches, and on the last stage how it ended

theta0 is that of the run where the approach began, and so are the seed and the settings of its initialisation. The history
has one row, at the end of the stage; its step is the number of iterations.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jamtools.minima.approach import Approach
from jamtools.network.architecture import Architecture
from jamtools.protocols import FREE_NORM, TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.job import Job
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress

#: The protocol of the stages.
APPROACH_PROTOCOL = "approach"


def stage_record(start: Run, data: Dataset, approach: Approach, until: float) -> Run:
    """The run of the last stage of an approach that began at the run `start`; `data` holds its own patterns."""
    stage = approach.stage
    run = RunInProgress(_job(start, data, stage.epsilon))
    run.begin_at(start.theta0, stage.theta)
    run.step, run.status = stage.steps, stage.status
    run.measure()
    record = record_of(run)
    status = "collapsed" if approach.end == "collapsed" else record.info["status"]
    return replace(
        record, info={**record.info, "status": status, "approach": _fields(record, approach, until)}
    )


def _job(start: Run, data: Dataset, epsilon: float) -> Job:
    """A training by newton at the margin of a stage, with the initialisation and the norm of the first run."""
    settings = start.info.get("settings") or {}
    options = with_options(
        TrainingOptions(),
        optimizer="newton",
        epsilon=epsilon,
        init=settings.get("init"),
        norm=settings.get("norm", FREE_NORM),
        protocol=APPROACH_PROTOCOL,
    )
    return Job(data, Architecture.of(start.info), start.info["seed"], options.resolve(data.P))


def _fields(record: Run, approach: Approach, until: float) -> dict[str, Any]:
    """The fields of the approach."""
    stage = approach.stage
    return {
        "stage": approach.number,
        "knob": "margin",
        "until": until,
        "end": approach.end or None,
        "loss_per_parameter": record.info["final_loss"] / record.N,
        "first_epsilon": approach.first_epsilon,
        "moved": stage.moved,
        "overlap": stage.overlap,
        "n_changed": stage.n_changed,
        "change_n_unsatisfied": stage.change,
        "avalanche": stage.avalanche,
        "n_avalanches": approach.avalanches,
    }
