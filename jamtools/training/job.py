"""A job: one run to train, the device that computes it, and the engine that takes its steps.

A job holds everything that decides the bytes of a run. Its loss and its engine follow from this; each is computed once.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from jamtools.engines.batch.engine import BatchEngine, fits_batch
from jamtools.engines.compiled_engine import fits_compiled
from jamtools.errors import InputError, Remedy
from jamtools.minima.newton import require_newton_support
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters, with_norm
from jamtools.network.loss import Loss
from jamtools.protocols import FREE_NORM, FROM_RUN, Settings, TrainingOptions, norm_in_words
from jamtools.records import Dataset, Run
from jamtools.training.origin import Origin

EngineName = Literal["compiled", "batch", "torch", "newton"]

#: The requirements of each first-order engine, as a part of an error message.
ENGINE_REQUIREMENTS = {
    "compiled": "full batches in float64 on the CPU, without batch normalisation",
    "batch": "full batches, without batch normalisation",
}


@dataclass(frozen=True)
class Compute:
    """The device, type of numbers, threads and engine of a computation.

    engine: auto, compiled, batch or torch. The number of threads changes no byte of a record of the compiled engine.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float64
    threads: int = 1
    engine: str = "auto"


@dataclass(frozen=True, eq=False)
class Job:
    """One run to make: its patterns, architecture, seed and settings, and where to compute it.

    settings: the settings for the P patterns of `data`. start: a run that has ended, or None; the optimiser newton
    continues from the theta of `start` to the minimum of its basin. origin: a run at whose theta this one begins as a new
    run, or None. A fixed norm of the settings is that of `arch`. Raises InputError for a margin of at most 0 with free
    weights.
    """

    data: Dataset
    arch: Architecture
    seed: int
    settings: Settings
    compute: Compute = Compute()
    start: Run | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        settings = self.settings
        if settings.norm != FREE_NORM and self.start is None:
            arch = with_norm(self.arch, settings.norm, settings.init, self.seed)
            object.__setattr__(self, "arch", arch)
        if settings.loss == "hinge" and not settings.epsilon > 0 and self.arch.norm is None:
            raise InputError(
                f"a margin of {settings.epsilon:g} with free weights, expected one above 0, or weights of fixed norm: "
                "W = 0 satisfies every pattern"
            )

    @property
    def theta0(self) -> np.ndarray:
        """The initial parameters [Ñ] of the record."""
        if self.start:
            return self.start.theta0
        if self.origin:
            return self.origin.theta0(self.arch.norm)
        return initial_parameters(self.arch, self.settings.init, self.seed)

    @property
    def begins_at_run(self) -> bool:
        """Whether the first step begins at the theta of a run, not at an initialisation."""
        return self.start is not None or self.origin is not None

    @cached_property
    def loss(self) -> Loss:
        """The loss that the training minimises."""
        return Loss(self.settings.loss, self.settings.epsilon, self.data.P, self.arch.outputs)

    @cached_property
    def engine(self) -> EngineName:
        """The engine that takes the steps. Raises InputError when the engine asked for cannot take them."""
        if self.settings.optimizer == "newton":
            return self._newton()
        if self.start:
            raise InputError(f"a run to finish with {self.settings.optimizer}, expected the optimiser newton")
        name = self._first_order()
        if self.settings.neighbour_list and (name, self.settings.loss) != ("compiled", "hinge"):
            raise InputError(
                f"a neighbour list with the {name} engine and {self.settings.loss}, expected hinge and the compiled "
                f"engine, which takes {ENGINE_REQUIREMENTS['compiled']}",
                Remedy.NO_NEIGHBOUR_LIST,
            )
        return name

    def _newton(self) -> EngineName:
        """The name of the engine of newton. Raises InputError if newton cannot train this job."""
        if self.compute.engine != "auto":
            raise InputError(
                f"the {self.compute.engine} engine with newton, expected auto: newton has its own"
            )
        require_newton_support(self.arch, self.loss, self.compute.dtype)
        return "newton"

    def _first_order(self) -> EngineName:
        """The engine asked for; for "auto" the fastest engine that can take the steps.

        Raises InputError when the engine asked for cannot take them.
        """
        fits: dict[EngineName, bool] = {
            "compiled": fits_compiled(self.arch, self.settings, self.compute.device, self.compute.dtype),
            "batch": fits_batch(self.arch, self.settings),
            "torch": True,
        }
        on_cpu = torch.device(self.compute.device).type == "cpu"
        fastest: EngineName = "compiled" if on_cpu else "batch"
        if self.compute.engine == "auto":
            return fastest if fits[fastest] else "torch"
        name = next(name for name in fits if name == self.compute.engine)
        if not fits[name]:
            raise InputError(
                f"the {name} engine takes {ENGINE_REQUIREMENTS[name]}",
                Remedy.TORCH_ENGINE,
            )
        return name


def job_from(origin: Origin, data: Dataset, options: TrainingOptions) -> Job:
    """The training on all patterns of `data` that begins at the theta of a run: of its network and seed, by `options`.

    A fixed norm of the options is that of the new run, and 3x is three times ‖W‖ of the old one; without it the old one is
    kept. Raises InputError for data of other dimensions or outputs than those of the run.
    """
    arch = origin.architecture(options.norm)
    if (data.d, data.outputs) != (arch.d, arch.outputs):
        raise InputError(
            f"a run of d = {arch.d} and outputs = {arch.outputs}, expected d = {data.d} and outputs = {data.outputs} as in "
            "the dataset"
        )
    norm = FREE_NORM if arch.norm is None else norm_in_words(arch.norm)
    settings = replace(options.resolve(data.P), init=FROM_RUN, norm=norm)
    return Job(data, arch, origin.run.info["seed"], settings, origin=origin)


def batch_engine(job: Job) -> BatchEngine:
    """A batch engine for runs with the architecture, P and settings of `job`."""
    device = torch.device(job.compute.device)
    return BatchEngine(job.arch, job.loss, job.settings, device, job.compute.dtype)
