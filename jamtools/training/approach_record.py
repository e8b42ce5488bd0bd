"""The record of a stage of an approach to jamming: a run at the margin and P of the stage, with its certificate.

    approach: number, knob, until, L/N, ‖δW‖/‖W‖, overlap, changes of N_Δ, avalanches, and on the last stage how it ended

theta0 is that of the run where the approach began, and so are the seed and the settings of its initialisation. The history
has one row, at the end of the stage; its step is the number of iterations.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jamtools.minima.approach import Approach, end_of
from jamtools.minima.approach_knobs import Knob
from jamtools.minima.approach_stage import numbers_with
from jamtools.network.architecture import Architecture
from jamtools.protocols import FREE_NORM, FROM_RUN, TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.job import Job
from jamtools.training.origin import Origin
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress

#: The protocol of the stages.
APPROACH_PROTOCOL = "approach"


def stage_record(start: Run, data: Dataset, approach: Approach, knob: Knob, until: float) -> Run:
    """The run of the last stage of an approach that began at the run `start`; `data` has the patterns of all stages.

    An approach that ended at a minimum, as far as its stages tell, but whose record proves none, has the end of its state.
    """
    stage = approach.stage
    set_aside = numbers_with(start.set_aside, stage.set_aside, start.P + len(start.set_aside))
    run = RunInProgress(_job(start, data.first(stage.P + len(set_aside), set_aside), stage.epsilon))
    run.begin_at(start.theta0, stage.theta, stage.trace)
    run.step, run.status = stage.steps, stage.status
    run.measure()
    record = record_of(run)
    end = approach.end
    if end in ("reached", "escaping", "stalled"):
        end = end_of(record.info["status"], knob.has_grown(stage))
    status = "collapsed" if end == "collapsed" else record.info["status"]
    fields = _fields(record, replace(approach, end=end), knob, until)
    extra = {"origin": start.info.get("origin"), "set_aside": set_aside}  # the origin is that of theta0
    extra = {name: value for name, value in extra.items() if value}
    return replace(record, info={**record.info, **extra, "status": status, "approach": fields})


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
    origin = Origin(start) if options.init == FROM_RUN else None
    return Job(data, Architecture.of(start.info), start.info["seed"], options.resolve(data.P), origin=origin)


def _fields(record: Run, approach: Approach, knob: Knob, until: float) -> dict[str, Any]:
    """The fields of the approach."""
    stage = approach.stage
    return {
        "stage": approach.number,
        "knob": knob.name,
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
