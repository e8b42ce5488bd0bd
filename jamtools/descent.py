r"""First-order training, from seeds to records: one run, or many at once on the cores of a machine.

A run goes from event to event (a measurement, the end of its budget) by an engine's steps. Its trajectory is a function
of its data, architecture, settings and seed, and of no other run: each run is one thread's own, and its sums have an order
of their own.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jamtools.engines import CompiledEngine, Engine, TorchEngine, fits_compiled
from jamtools.errors import InputError
from jamtools.history import History
from jamtools.keeping import Keeper, State
from jamtools.loss import CONTACT, Loss, column
from jamtools.network import Architecture, initial_parameters
from jamtools.objective import Objective
from jamtools.optimizers import make
from jamtools.protocols import Settings, measured_steps
from jamtools.records import Dataset, Run

#: A burst of steps takes about this many seconds: as often the main thread can look, tell and be interrupted.
BURST = 0.2
#: Seconds that a call which is kept waits for its threads when it has to end: batch systems kill soon after they warn.
PATIENCE = 6.0


@dataclass(frozen=True)
class Job:
    """A run to be: its own patterns, its architecture, its seed."""

    data: Dataset
    arch: Architecture
    seed: int


@dataclass(frozen=True)
class Place:
    """Where and how the arithmetic is done; `engine`: auto, compiled or torch."""

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float64
    threads: int = 1
    engine: str = "auto"


#: Told now and then how far each run is: watch([(step, loss, N_Δ), …]).
Watch = Callable[[list[tuple[int, float, int]]], None]


class Training:
    """One run under way: all that its next step depends on, and its history so far."""

    def __init__(self, job: Job, settings: Settings, place: Place, threads: int = 1) -> None:
        self.job, self.settings = job, settings.resolved(job.data.P)
        data, arch = job.data, job.arch
        self.loss = Loss(settings.loss, self.settings.epsilon, data.P, arch.outputs)
        objective = self._objective(data.x, data.y, place)
        test = None
        if data.x_test is not None and data.y_test is not None:
            test = self._objective(data.x_test, data.y_test, place)
            test.training = objective.x
        self.theta0 = initial_parameters(arch, settings.init, job.seed)
        self.theta = torch.as_tensor(self.theta0, dtype=place.dtype, device=place.device).clone()
        self.history = History(objective, test, self.theta.clone(), settings.snapshots)
        self.optimizer = make(settings.optimizer, self.theta, settings.momentum)
        self.rng = np.random.default_rng([job.seed, 1])  # of the batches; [seed, 0] made theta0
        self.step = 0
        self.status = ""
        self._events = measured_steps(settings.steps, settings.measurements, settings.measure_at)
        self._burst = 1
        self.engine_name, self._engine = self._start(objective, place, threads)

    def _objective(self, x: np.ndarray, y: np.ndarray, place: Place) -> Objective:
        tensors = (torch.as_tensor(a, dtype=place.dtype, device=place.device) for a in (x, y))
        x_tensor, y_tensor = tensors
        loss = replace(self.loss, P=len(x))  # the mean is over this set's own patterns
        return Objective(x_tensor, column(y_tensor), self.job.arch, loss)

    def _start(self, objective: Objective, place: Place, threads: int) -> tuple[str, Engine]:
        fits = fits_compiled(self.job.arch, self.settings, place.device, place.dtype)
        if place.engine == "compiled" and not fits:
            raise InputError(
                "the compiled engine takes full batches in float64 on the CPU, without batch normalisation; "
                "use --engine torch"
            )
        listed = fits and place.engine != "torch" and self.settings.loss == "hinge"
        if self.settings.neighbour_list and not listed:
            raise InputError(
                "a neighbour list is of the hinge loss and the compiled engine (full batches in float64 on the CPU, "
                "without batch normalisation); leave out --neighbour-list"
            )
        if fits and place.engine != "torch":
            return "compiled", CompiledEngine(
                objective.x.numpy(), objective.y.numpy(), self.theta, self.optimizer, self.settings,
                self.job.arch, self.loss, threads,
            )  # fmt: skip
        return "torch", TorchEngine(objective, self.theta, self.optimizer, self.settings, self.rng)

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
        if self.status:
            return False
        if self.step in self._events and self._measured_at() != self.step:
            self.history.measure(self.step, self.theta)
        if self.step == self.settings.steps:
            return self._end("satisfied" if self.history.rows[-1]["n_unsatisfied"] == 0 else "budget")
        following = next(event for event in self._events if event > self.step)
        started = monotonic()
        reached, outcome = self._engine.advance(self.step, min(following, self.step + self._burst))
        self._learn_burst(reached - self.step, monotonic() - started)
        self.step = reached
        return self._heed(outcome)

    def _measured_at(self) -> int:
        return int(self.history.rows[-1]["step"]) if self.history.rows else -1

    def _learn_burst(self, steps: int, seconds: float) -> None:
        if steps == self._burst and seconds < BURST / 2:
            self._burst *= 2
        elif seconds > 2 * BURST:
            self._burst = max(1, self._burst // 2)

    def _heed(self, outcome: str) -> bool:
        """What the engine stopped at; True to go on."""
        if outcome == "":
            return True
        if self._measured_at() != self.step:
            self.history.measure(self.step, self.theta)
        if outcome == "satisfied" and self.history.rows[-1]["n_unsatisfied"] > 0:
            # max Δ is zero but for the engine's round-off: one more step and another look
            self.step, outcome = self._engine.advance(self.step, self.step + 1, stop=False)
            return True
        return self._end(outcome)

    def _end(self, status: str) -> bool:
        self.status = status
        return False

    def record(self) -> Run:
        """The run as it stands."""
        here = self.history.objective.evaluate(self.theta)
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
            "n_contacts": int((gaps.abs() <= CONTACT * loss.epsilon).sum()),
            "n_misclassified": here.n_misclassified,
            "grad_norm": here.gradient.norm().item(),
            "settings": asdict(self.settings),
            "engine": self.engine_name,
            "n_missed_crossings": self._engine.n_missed,
        }
        arrays = (self.theta.double().cpu().numpy(), self.theta0, gaps.double().cpu().numpy())
        return Run(*arrays, self.history.columns(), info)


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


def train(
    data: Dataset, arch: Architecture, settings: Settings, seed: int, place: Place | None = None
) -> Run:
    """Trains one network on all of `data` and returns its record."""
    return train_many([Job(data, arch, seed)], settings, place)[0]


def train_many(
    jobs: Sequence[Job],
    settings: Settings,
    place: Place | None = None,
    watch: Watch | None = None,
    keeper: Keeper | None = None,
) -> list[Run]:
    """Trains every job, as many at once as `place` has threads, and returns their records in order.

    A run's bytes depend on its job, the settings, the device, dtype and engine: not on the other jobs, nor, with the
    compiled engine, on the number of threads, nor on where `keeper` let it go on. The torch engine takes one run
    after the other. Raises InputError when the engine asked for cannot take these steps, and what `keeper` raises.
    """
    place = place or Place()
    compiled = all(engine_name(job, settings, place) == "compiled" for job in jobs)
    at_once = min(place.threads, len(jobs)) if compiled else 1
    call = _Call(jobs, settings, place, max(1, place.threads // at_once), keeper)
    pool = ThreadPoolExecutor(at_once)
    pending = [pool.submit(call.work, i) for i in range(len(jobs))]
    try:
        while wait(pending, timeout=min(BURST, keeper.every) if keeper else BURST).not_done:
            if watch:
                watch(call.seen)
            _raise_first(pending)
            if keeper:
                keeper.tick()
        return [run for future in pending if (run := future.result())]
    finally:  # also on an interrupt: the threads end after their burst
        call.enough.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in pending if not future.cancelled()], PATIENCE if keeper else None)


class _Call:
    """The runs of one call of `train_many`, each in a thread of its own."""

    def __init__(
        self, jobs: Sequence[Job], settings: Settings, place: Place, each: int, keeper: Keeper | None
    ) -> None:
        self.jobs, self.settings, self.place, self.each, self.keeper = jobs, settings, place, each, keeper
        self.seen = [(0, math.nan, 0)] * len(jobs)
        self.enough = Event()

    def work(self, i: int) -> Run | None:
        """Run i from its beginning, or from where it was kept, to its end; None if there has been enough before."""
        kept = self.keeper.kept(i) if self.keeper else None
        if isinstance(kept, Run):
            self.seen[i] = kept.info["steps"], math.nan, 0
            return kept
        training = Training(self.jobs[i], self.settings, self.place, self.each)
        if kept:
            training.restore(kept)
        while training.go_on():  # one burst at least: each of many short calls gets on
            self.seen[i] = training.seen
            if self.keeper and self.keeper.wants(i):
                self.keeper.keep(i, training.state())
            if self.enough.is_set():
                break
        return self._ended(i, training)

    def _ended(self, i: int, training: Training) -> Run | None:
        self.seen[i] = training.seen
        run = training.record() if training.status else None
        if self.keeper:
            self.keeper.keep(i, run or training.state())
        return run


def _raise_first(pending: Sequence[Future[Run | None]]) -> None:
    """Raises what a finished run raised, at once rather than when all others are through."""
    for future in pending:
        if future.done():
            future.result()


def engine_name(job: Job, settings: Settings, place: Place) -> str:
    """What takes a job's steps: compiled or torch."""
    fits = fits_compiled(job.arch, settings.resolved(job.data.P), place.device, place.dtype)
    return "compiled" if fits and place.engine != "torch" else "torch"
