"""What is to be trained and where: a job, the place of its arithmetic, and the engine that follows from both."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from jamtools.engines.batch.engine import BatchEngine, fits_batch
from jamtools.engines.compiled_engine import fits_compiled
from jamtools.errors import InputError
from jamtools.minima.newton import require_newton_support
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.protocols import Settings
from jamtools.records import Dataset, Run


@dataclass(frozen=True)
class Job:
    """A run to be: its own patterns, its architecture, its seed.

    start: the run to finish, from where it ended to the minimum of its basin, by the optimiser newton.
    """

    data: Dataset
    arch: Architecture
    seed: int
    start: Run | None = None


@dataclass(frozen=True)
class Place:
    """Where and how the arithmetic is done; `engine`: auto, compiled, batch or torch."""

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float64
    threads: int = 1
    engine: str = "auto"


def loss_of(job: Job, settings: Settings) -> Loss:
    """The loss of a job's training."""
    return Loss(settings.loss, settings.resolved(job.data.P).epsilon, job.data.P, job.arch.outputs)


def batch_engine(job: Job, settings: Settings, place: Place) -> BatchEngine:
    """An engine for runs of this shape."""
    resolved, device = settings.resolved(job.data.P), torch.device(place.device)
    return BatchEngine(job.arch, loss_of(job, settings), resolved, device, place.dtype)


def engine_name(job: Job, settings: Settings, place: Place) -> str:
    """What takes a job's steps: compiled, batch, torch or newton. InputError when the one asked for cannot."""
    resolved = settings.resolved(job.data.P)
    if settings.optimizer == "newton":
        if place.engine != "auto":
            raise InputError(
                f"the {place.engine} engine with newton, expected auto: newton has one of its own"
            )
        require_newton_support(job.arch, loss_of(job, settings), place.dtype)
        return "newton"
    if job.start:
        raise InputError(f"a run to finish with {settings.optimizer}, expected the optimiser newton")
    fits = {
        "compiled": fits_compiled(job.arch, resolved, place.device, place.dtype),
        "batch": fits_batch(job.arch, resolved),
        "torch": True,
    }
    usual = "compiled" if torch.device(place.device).type == "cpu" else "batch"
    name = place.engine if place.engine != "auto" else usual if fits[usual] else "torch"
    if not fits[name]:
        raise InputError(
            f"the {name} engine takes full batches{ONLY[name]}, without batch normalisation; use --engine torch"
        )
    if settings.neighbour_list and (name, settings.loss) != ("compiled", "hinge"):
        raise InputError(
            f"a neighbour list with the {name} engine and {settings.loss}, expected the compiled engine (full batches in "
            "float64 on the CPU, without batch normalisation) and hinge; leave out --neighbour-list"
        )
    return name


#: What else an engine asks for.
ONLY = {"compiled": " in float64 on the CPU", "batch": ""}
