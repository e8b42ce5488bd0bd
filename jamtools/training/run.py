"""One run under way, from its seed to its record.

It goes from event to event (a measurement, the end of its budget) by the steps of an engine, which knows nothing of them.
All that its next step depends on can be copied out, and put back into a run of the same job.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import Engine
from jamtools.engines.batch.engine import BatchEngine, Slot
from jamtools.engines.batch.scheduler import BURST_SECONDS, next_burst
from jamtools.engines.compiled_engine import CompiledEngine
from jamtools.engines.optimizers import make_optimizer
from jamtools.engines.torch_engine import TorchEngine
from jamtools.minima.certificate import certify
from jamtools.minima.newton import NewtonEngine
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.problem import Problem
from jamtools.network.symmetry import balanced
from jamtools.protocols import Settings, measured_steps
from jamtools.random_streams import MINI_BATCHES, run_generator
from jamtools.records import CONTACT_TOLERANCE, Run
from jamtools.training.history import History, rows_of
from jamtools.training.job import Job, Place, batch_engine, engine_name, loss_of
from jamtools.training.snapshot import State

#: Where engine and measurement differ on whether the last Δ is zero, they look again at the next multiple of this.
AGAIN = 256


class Training:
    """One run under way: all that its next step depends on, and its history so far."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        place: Place,
        threads: int = 1,
        batch: BatchEngine | None = None,
    ) -> None:
        """`batch`: the engine to take a slot of, where the run is to be one of a batch; without, it gets its own."""
        self.job, self.settings = job, settings.resolved(job.data.P)
        data, arch = job.data, job.arch
        self.loss = loss_of(job, settings)
        self.theta0 = job.start.theta0 if job.start else initial_parameters(arch, settings.init, job.seed)
        start = torch.as_tensor(self.theta0, dtype=place.dtype, device=place.device).clone()
        self.theta = torch.as_tensor(job.start.theta).to(start) if job.start else start
        self.theta = self.theta.clone()
        self.optimizer = make_optimizer(settings.optimizer, self.theta, settings.momentum)
        self.rng = run_generator(job.seed, MINI_BATCHES)
        self.slot: Slot | None = None
        problem = self._problem(data.x, data.y, place, {})
        self.engine_name = engine_name(job, settings, place)
        self._engine = self._start(problem, place, threads, batch)
        if isinstance(self._engine, Slot):
            self.theta, problem = self._engine.theta, replace(problem, x=self._engine.x, y=self._engine.y)
        test = None
        if data.x_test is not None and data.y_test is not None:
            test = self._problem(data.x_test, data.y_test, place, batch.test_sets if batch else {})
            test = replace(test, statistics_of=problem.x)
        self.history = History(problem, test, start, settings.snapshots)
        self.status = ""
        self.step = self.first = job.start.info["steps"] if job.start else 0
        if job.start:
            self.history.rows = rows_of(job.start.history)
        events = measured_steps(settings.steps, settings.measurements, settings.measure_at)
        self._events = [self.first + event for event in events]
        self._burst = 1

    def _problem(
        self, x: np.ndarray, y: np.ndarray, place: Place, shared: dict[tuple[int, ...], Tensor]
    ) -> Problem:
        """Of some patterns; what is `shared` is on the device once."""
        tensors = []
        for array in (x, y):
            key = (array.ctypes.data, *array.shape)
            if key not in shared:
                shared[key] = torch.as_tensor(array, dtype=place.dtype, device=place.device)
            tensors.append(shared[key])
        loss = replace(self.loss, P=len(x))  # the mean is over this set's own patterns
        return Problem(tensors[0], tensors[1], self.job.arch, loss)

    def _start(self, problem: Problem, place: Place, threads: int, batch: BatchEngine | None) -> Engine:
        if self.engine_name == "newton":
            return NewtonEngine(problem, self.theta, self.job.start is not None)
        if self.engine_name == "batch":
            engine = batch or batch_engine(self.job, self.settings, place)
            self.slot = engine.take_slot(problem.x, problem.y, self.theta, self.optimizer)
            return self.slot
        if self.engine_name == "compiled":
            return CompiledEngine(
                problem.x.numpy(), problem.y.numpy(), self.theta, self.optimizer, self.settings,
                self.job.arch, self.loss, threads,
            )  # fmt: skip
        return TorchEngine(problem, self.theta, self.optimizer, self.settings, self.rng)

    @property
    def seen(self) -> tuple[int, float, int]:
        """How far it is: step, and loss and N_Δ when last measured."""
        if not self.history.rows:
            return self.step, math.nan, 0
        return self.step, self.history.rows[-1]["loss"], int(self.history.rows[-1]["n_unsatisfied"])

    def state(self) -> State:
        """A copy of all that the next step depends on."""
        arrays = {name: _copied(tensor) for name, tensor in self.optimizer.state.items()}
        rows = [dict(row) for row in self.history.rows]
        return State(
            self.step, self.status, self.optimizer.t, _copied(self.theta), arrays, rows,
            self.rng.bit_generator.state, self._engine.state(),
        )  # fmt: skip

    def restore(self, state: State) -> None:
        """Goes back, or ahead, to a state of the same job: in place, since the engine holds the same tensors."""
        self.step, self.status, self.optimizer.t = state.step, state.status, state.t
        self.theta.copy_(torch.from_numpy(state.theta))
        for name, array in state.optimizer.items():
            self.optimizer.state[name].copy_(torch.from_numpy(array))
        self.history.rows = [dict(row) for row in state.rows]
        self.rng.bit_generator.state = state.rng
        self._engine.restore(state.engine)

    def go_on(self) -> bool:
        """A burst of steps, up to the next event; False once the run has ended."""
        until = self.next_event()
        if until is None:
            return False
        started = monotonic()
        reached, outcome = self._engine.advance(self.step, min(until, self.step + self._burst))
        self._burst = next_burst(self._burst, reached - self.step, monotonic() - started, BURST_SECONDS)
        return self.resume_from(reached, outcome)

    def next_event(self) -> int | None:
        """The step of the next event, after a measurement that is due; None once the run has ended."""
        if self.status:
            return None
        if self.step in self._events and self._measured_at() != self.step:
            self.history.measure(self.step, self.theta)
        if self.step == self._events[-1]:
            self._end("satisfied" if self.history.rows[-1]["n_unsatisfied"] == 0 else "budget")
            return None
        return next(event for event in self._events if event > self.step)

    def resume_from(self, reached: int, outcome: str) -> bool:
        """The engine stands at `reached`, stopped by `outcome` if that is not empty; True to go on."""
        self.step = reached
        return self._heed(outcome)

    def _measured_at(self) -> int:
        return int(self.history.rows[-1]["step"]) if self.history.rows else -1

    def _heed(self, outcome: str) -> bool:
        """What the engine stopped at; True to go on."""
        if outcome == "":
            return True
        if self._measured_at() != self.step:
            self.history.measure(self.step, self.theta)
        if outcome == "satisfied" and self.history.rows[-1]["n_unsatisfied"] > 0:
            # max Δ is zero but for the engine's round-off: some more steps and another look; it may hover there for good
            until = min(
                (self.step // AGAIN + 1) * AGAIN, *(event for event in self._events if event > self.step)
            )
            self.step, outcome = self._engine.advance(self.step, until, stop=False)
            return True
        return self._end(outcome)

    def _end(self, status: str) -> bool:
        self.status = status
        return False

    def record(self) -> Run:
        """The run as it stands."""
        here = self.history.problem.evaluate(self.theta)
        arch, loss = self.job.arch, self.loss
        gaps = here.gaps[:, 0] if arch.outputs == 1 else here.gaps
        info: dict[str, Any] = {
            **_architecture_fields(arch),
            "P": loss.P,
            "loss": loss.name,
            "epsilon": loss.epsilon,
            "optimizer": self.settings.optimizer,
            "protocol": self.settings.protocol,
            "seed": self.job.seed,
            "steps": self.step,
            "status": self.status,
            "certified": None,
            "final_loss": here.value,
            "n_unsatisfied": here.n_unsatisfied,
            "n_contacts": int((gaps.abs() <= CONTACT_TOLERANCE * loss.epsilon).sum()),
            "n_misclassified": here.n_misclassified,
            "grad_norm": here.gradient.norm().item(),
            "settings": asdict(self.settings),
            "engine": self.engine_name,
            "n_missed_crossings": self._engine.n_missed,
        }
        arrays = (_copied(self.theta.double()), self.theta0, gaps.double().cpu().numpy())
        run = Run(*arrays, self.history.columns(), info)
        return self._certified(run) if self.engine_name == "newton" else run

    def _certified(self, run: Run) -> Run:
        """With its certificate; a finished run remains one of the dynamics that it began with."""
        problem, start = self.history.problem, self.job.start
        found = certify(self.theta, problem)
        if self.status == "budget" and not found.certified:
            begun = torch.from_numpy(start.theta if start else self.theta0)
            sizes = [balanced_norm(theta, problem.arch) for theta in (begun, self.theta)]
            how = (
                f"not converged in {self.step - self.first} steps, ‖W‖ from {sizes[0]:.3g} to {sizes[1]:.3g}"
            )
            found = replace(found, obstacle=f"{how}; {found.obstacle}")
        info = {**run.info, "certified": found.certified, "certificate": found.fields()}
        if found.certified:
            info["status"] = "satisfied" if found.kind == "satisfied" else "stationary"
        if start:
            kept = {name: start.info[name] for name in OF_THE_START if name in start.info}
            info = {**start.info, **info, **kept, "finish": finished(start, run)}
        return replace(run, info=info, certificate=found.arrays())


#: What a finished run says of the dynamics it began with.
OF_THE_START = "optimizer", "protocol", "settings", "engine", "n_missed_crossings"


def finished(start: Run, end: Run) -> dict[str, Any]:
    """How far the minimum lies from where the run had come to."""
    before, after = start.info, end.info
    size = float(np.linalg.norm(start.theta))
    return {
        "steps": after["steps"] - before["steps"],
        "status_before": before["status"],
        "n_unsatisfied_before": before["n_unsatisfied"],
        "final_loss_before": before["final_loss"],
        "change_n_unsatisfied": after["n_unsatisfied"] - before["n_unsatisfied"],
        "relative_change": float(np.linalg.norm(end.theta - start.theta)) / size if size else 0.0,
    }


def balanced_norm(theta: Tensor, arch: Architecture) -> float:
    """‖W‖ in the gauge in which no neuron is out of proportion: what grows without end where a loss has no minimum."""
    return float(balanced(theta, arch)[0].norm())


def _copied(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _architecture_fields(arch: Architecture) -> dict[str, Any]:
    return {
        "d": arch.d,
        "width": arch.width,
        "depth": arch.depth,
        "activation": arch.activation,
        "outputs": arch.outputs,
        "batch_norm": arch.batch_norm,
        "n_parameters": arch.n_parameters,
        "n_hidden": arch.n_hidden,
        "n_effective_expected": arch.n_effective,
    }
