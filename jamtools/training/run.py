"""One run in progress, from its seed to its last step.

An engine takes the steps from one event to the next. The events are the measurements and the end of the budget. A snapshot
holds everything that the next step depends on. It can be restored into another RunInProgress of the same job.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import Engine
from jamtools.engines.batch.engine import BatchEngine, Slot
from jamtools.engines.batch.scheduler import BURST_SECONDS, next_burst
from jamtools.engines.compiled_engine import CompiledEngine
from jamtools.engines.optimizers import make_optimizer
from jamtools.engines.torch_engine import TorchEngine
from jamtools.minima.escape import Escape
from jamtools.minima.newton import NewtonEngine
from jamtools.minima.state import is_dead_at_rest
from jamtools.network.problem import Evaluation, Problem
from jamtools.protocols import measured_steps
from jamtools.random_streams import MINI_BATCHES, run_generator
from jamtools.training.history import HeldOutMeasurement, History, rows_of
from jamtools.training.job import Job, batch_engine
from jamtools.training.snapshot import Snapshot

#: If the engine finds N_Δ = 0 but the measurement does not, the run continues to the next multiple of this number of steps.
RECHECK_STEPS = 256


class Progress(NamedTuple):
    """The progress of a run: its step, and the loss and N_Δ of its last measurement (NaN and 0 before the first).

    has_ended: whether it takes no further step.
    """

    step: int
    loss: float = math.nan
    n_unsatisfied: int = 0
    has_ended: bool = False


class RunInProgress:
    """A run in progress: everything that its next step depends on, and its history so far.

    theta [Ñ]: the present parameters; theta0 [Ñ]: the initial ones; status: empty until the run ends.
    """

    def __init__(self, job: Job, threads: int = 1, batch: BatchEngine | None = None) -> None:
        """batch: the batch engine in which the run takes a slot; if None, a run of the batch engine makes its own.

        Raises InputError when the engine of the job cannot take its steps.
        """
        self.job, self.settings, start = job, job.settings, job.start
        self.theta0 = job.theta0
        theta0 = torch.as_tensor(self.theta0, dtype=job.compute.dtype, device=job.compute.device).clone()
        self.history = History(theta0, job.settings.snapshots, rows_of(start.history) if start else ())
        self.first_step = start.info["steps"] if start else 0
        self.step, self.status = self.first_step, ""
        events = measured_steps(job.settings.steps, job.settings.measurements, job.settings.measure_at)
        self.events = [self.first_step + event for event in events]
        self.burst = 1  # the largest number of steps that the next call of `advance` takes
        self.rng = run_generator(job.seed, MINI_BATCHES)

        theta = (torch.as_tensor(start.theta).to(theta0) if start else theta0).clone()
        problem = problem_on_device(job.data.x, job.data.y, job, {})
        self.optimizer = make_optimizer(job.settings.optimizer, theta, job.settings.momentum)
        self.slot = self._take_slot(problem, theta, batch)
        self.theta = self.slot.theta if self.slot else theta
        self.problem = replace(problem, x=self.slot.x, y=self.slot.y) if self.slot else problem
        self.engine = self.slot or self._own_engine(threads)
        self.test_problem = self._held_out_problem(batch.test_sets if batch else {})

    def _take_slot(self, problem: Problem, theta: Tensor, batch: BatchEngine | None) -> Slot | None:
        """The slot of the run in a batch, or None if its engine is another.

        The slot gets copies of theta [Ñ] and the patterns. The tensors of the optimiser become views of the slot.
        """
        if self.job.engine != "batch":
            return None
        return (batch or batch_engine(self.job)).take_slot(problem.x, problem.y, theta, self.optimizer)

    def _own_engine(self, threads: int) -> Engine:
        """The engine of a run that is not in a batch."""
        job, problem = self.job, self.problem
        if job.engine == "newton":
            return NewtonEngine(problem, self.theta, problem.tensor(self.theta0), job.begins_at_run)
        if job.engine == "compiled":
            return CompiledEngine(problem, self.theta, self.optimizer, job.settings, threads)
        return TorchEngine(problem, self.theta, self.optimizer, job.settings, self.rng)

    def _held_out_problem(self, shared: dict[tuple[int, ...], Tensor]) -> Problem | None:
        """The loss on the test set, None without a test set. Batch normalisation uses the statistics of the training set."""
        data = self.job.data
        if data.x_test is None or data.y_test is None:
            return None
        problem = problem_on_device(data.x_test, data.y_test, self.job, shared)
        return replace(problem, statistics_of=self.problem.x)

    @property
    def progress(self) -> Progress:
        """The present step, the loss and N_Δ of the last measurement, and whether the run has ended."""
        if not self.history.rows:
            return Progress(self.step)
        last_loss = self.history.rows[-1]["loss"]
        return Progress(self.step, last_loss, self.history.last_n_unsatisfied, bool(self.status))

    def begin_at(self, theta0: np.ndarray, theta: Tensor, trace: Escape | None = None) -> None:
        """Replaces the initial parameters [Ñ] and the present ones [Ñ], before any measurement.

        trace: that of the descent of newton to theta, where it shows an escape.
        """
        self.theta0 = theta0
        self.history = History(self.problem.tensor(theta0), self.settings.snapshots, ())
        self.theta.copy_(theta)
        if isinstance(self.engine, NewtonEngine):
            self.engine.stand_at(theta, trace)

    def snapshot(self) -> Snapshot:
        """A copy of everything that the next step depends on."""
        arrays = {name: as_array(tensor) for name, tensor in self.optimizer.state.items()}
        rows = [dict(row) for row in self.history.rows]
        return Snapshot(
            self.step, self.status, self.optimizer.t, as_array(self.theta), arrays, rows,
            self.rng.bit_generator.state, self.engine.state(),
        )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        """Restores a snapshot of the same job. It changes the tensors in place, because the engine uses the same tensors."""
        self.step, self.status, self.optimizer.t = snapshot.step, snapshot.status, snapshot.t
        self.theta.copy_(torch.from_numpy(snapshot.theta))
        for name, array in snapshot.optimizer.items():
            self.optimizer.state[name].copy_(torch.from_numpy(array))
        self.history.rows = [dict(row) for row in snapshot.rows]
        self.rng.bit_generator.state = snapshot.rng
        self.engine.restore(snapshot.engine)

    def advance(self) -> bool:
        """Takes a burst of steps, at most up to the next event. Returns False once the run has ended."""
        until = self.next_event()
        if until is None:
            return False
        started = monotonic()
        reached, outcome = self.engine.advance(self.step, min(until, self.step + self.burst))
        self.burst = next_burst(self.burst, reached - self.step, monotonic() - started, BURST_SECONDS)
        return self.resume_from(reached, outcome)

    def next_event(self) -> int | None:
        """Makes the measurement that is due, and returns the step of the next event, or None once the run has ended."""
        if self.status:
            return None
        if self.step in self.events and self.history.last_step != self.step:
            evaluation = self.measure()
            if self.settings.stop and self.job.engine != "newton":
                self.status = "dead" if is_dead_at_rest(self.theta, self.problem, evaluation) else ""
            if self.status:
                return None
        if self.step == self.events[-1]:
            self.status = "satisfied" if self.history.last_n_unsatisfied == 0 else "budget"
            return None
        return next(event for event in self.events if event > self.step)

    def resume_from(self, reached: int, outcome: str) -> bool:
        """Continues from step `reached`, where the engine stopped for the reason `outcome` or "". False if the run ends."""
        self.step = reached
        if outcome == "":
            return True
        if self.history.last_step != self.step:
            self.measure()
        if outcome == "satisfied" and self.history.last_n_unsatisfied > 0:
            self._step_past_round_off()
            return True
        self.status = outcome
        return False

    def _step_past_round_off(self) -> None:
        """Takes steps to the next multiple of RECHECK_STEPS or the next event, also where all patterns are satisfied.

        Here max Δ is that of a contact up to the round-off of the engine. A run may stay at such a point for ever, so it
        is measured again only after these steps.
        """
        multiple = (self.step // RECHECK_STEPS + 1) * RECHECK_STEPS
        until = min(multiple, *(event for event in self.events if event > self.step))
        self.step, _ = self.engine.advance(self.step, until, stop=False)

    def measure(self) -> Evaluation:
        """Adds the training set and the test set at the present theta to the history; returns the training set's."""
        test = None
        if self.test_problem is not None:
            value, _, misclassified = self.test_problem.loss_gaps_and_errors(self.theta)
            test = HeldOutMeasurement(misclassified.double().mean().item(), value)
        evaluation = self.problem.evaluate(self.theta)
        self.history.record(self.step, evaluation, self.theta, test)
        return evaluation


def problem_on_device(
    x: np.ndarray, y: np.ndarray, job: Job, shared: dict[tuple[int, ...], Tensor]
) -> Problem:
    """The loss as the mean over the patterns x [P, d], y [P] or [P, C], on the device of the job.

    shared: the tensors that are already on the device, by the address and shape of their arrays. New tensors are added.
    """
    tensors = []
    for array in (x, y):
        key = (array.ctypes.data, *array.shape)
        if key not in shared:
            shared[key] = torch.as_tensor(array, dtype=job.compute.dtype, device=job.compute.device)
        tensors.append(shared[key])
    return Problem(tensors[0], tensors[1], job.arch, replace(job.loss, P=len(x)))


def as_array(tensor: Tensor) -> np.ndarray:
    """A copy of a tensor of any shape, on the CPU."""
    return tensor.detach().cpu().numpy().copy()
