"""Training, from seeds to records: one run, or many at once on the cores of a machine.

A run goes from event to event (a measurement, the end of its budget) by an engine's steps. Its trajectory is a function
of its data, architecture, settings and seed, and of no other run: each run is one thread's own, or has a slot of its own in
a batch, and its sums have an order of their own.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

import torch

from jamtools.engines.batch.engine import BatchEngine
from jamtools.engines.batch.scheduler import BURST_SECONDS, BatchScheduler
from jamtools.network.architecture import Architecture
from jamtools.protocols import Settings
from jamtools.records import Dataset, Run
from jamtools.training.job import Job, Place, batch_engine, engine_name
from jamtools.training.memory import affordable, needed
from jamtools.training.run import Training
from jamtools.training.snapshot import Keeper

#: Seconds that a call which is kept waits for its threads when it has to end: batch systems kill soon after they warn.
PATIENCE = 6.0

#: Told now and then how far each run is: watch([(step, loss, N_Δ), …]).
Watch = Callable[[list[tuple[int, float, int]]], None]


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
    """Trains every job, as many at once as `place` has threads, or slots of a batch, and returns their records in order.

    A run's bytes depend on its job, the settings, the device, dtype and engine: not on the other jobs, nor, with the
    compiled engine, on the number of threads, nor on where `keeper` let it go on. The torch engine takes one run
    after the other, the batch engine runs of equal architecture and P together. Raises InputError when the engine asked
    for cannot take these steps or the memory does not suffice, and what `keeper` raises.
    """
    place = place or Place()
    units = _units(jobs, settings, place)
    at_once = _at_once(jobs, settings, place)
    call = _Call(jobs, settings, place, max(1, place.threads // at_once), keeper)
    pool = ThreadPoolExecutor(at_once)
    pending = [pool.submit(call.work, unit) for unit in units]
    try:
        while wait(pending, timeout=min(BURST_SECONDS, keeper.every) if keeper else BURST_SECONDS).not_done:
            if watch:
                watch(call.seen)
            _raise_first(pending)
            if keeper:
                keeper.tick()
        found = {i: run for future in pending for i, run in future.result().items()}
        return [found[i] for i in range(len(jobs)) if i in found]
    finally:  # also on an interrupt: the threads end after their burst
        call.enough.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in pending if not future.cancelled()], PATIENCE if keeper else None)


def _units(jobs: Sequence[Job], settings: Settings, place: Place) -> list[list[int]]:
    """The runs that one thread takes: those of a batch, in order, or one alone."""
    units: dict[object, list[int]] = {}
    for i, job in enumerate(jobs):
        batched = engine_name(job, settings, place) == "batch"
        units.setdefault((job.arch, job.data.P) if batched else i, []).append(i)
    return list(units.values())


def _at_once(jobs: Sequence[Job], settings: Settings, place: Place) -> int:
    """How many threads take runs: on the CPU as many as the memory allows, one each; else one."""
    names = [engine_name(job, settings, place) for job in jobs]
    at_once = min(place.threads, len(jobs)) if set(names) == {"compiled"} else 1
    device = torch.device(place.device)
    for name, arch, P, P_test in {
        (name, job.arch, job.data.P, 0 if job.data.x_test is None else len(job.data.x_test))
        for name, job in zip(names, jobs)
    }:
        need = needed(name, arch, P, P_test, settings, (device.type, place.dtype))
        what = "a batch of runs" if name == "batch" else "a run"
        at_once = affordable(need, at_once, device, arch, P, what)
    return at_once


class _Call:
    """The runs of one call of `train_many`, each in a thread of its own or, in batches, in one for those of a shape."""

    def __init__(
        self, jobs: Sequence[Job], settings: Settings, place: Place, each: int, keeper: Keeper | None
    ) -> None:
        self.jobs, self.settings, self.place, self.each, self.keeper = jobs, settings, place, each, keeper
        self.seen = [(0, math.nan, 0)] * len(jobs)
        self.enough = Event()

    def work(self, unit: Sequence[int]) -> dict[int, Run]:
        """The runs of a unit from their beginning, or from where they were kept, to their end or until enough."""
        first = self.jobs[unit[0]]
        if engine_name(first, self.settings, self.place) == "batch":
            return self._together(unit, BatchScheduler(batch_engine(first, self.settings, self.place)))
        run = self._alone(unit[0])
        return {unit[0]: run} if run else {}

    def _alone(self, i: int) -> Run | None:
        begun = self._begun(i)
        if isinstance(begun, Run):
            return begun
        while begun.go_on():  # one burst at least: each of many short calls gets on
            self._tell(i, begun)
            if self.enough.is_set():
                break
        return self._ended(i, begun)

    def _together(self, unit: Sequence[int], scheduler: BatchScheduler[Training]) -> dict[int, Run]:
        """A batch: whoever ends makes room for the next."""
        waiting, found = deque(unit), dict[int, Run]()
        enough = False
        while (waiting or scheduler.runs) and not enough:
            while waiting and not scheduler.full:
                i = waiting.popleft()
                begun = self._begun(i, scheduler.engine)
                if isinstance(begun, Run):
                    found[i] = begun
                else:
                    scheduler.add(i, begun)
            ended = scheduler.advance()  # once at least: each of many short calls gets on
            enough = self.enough.is_set()
            found |= self._dismissed(scheduler, list(scheduler.runs) if enough else ended)
            for i, training in scheduler.runs.items():
                self._tell(i, training)
        return found

    def _dismissed(self, scheduler: BatchScheduler[Training], members: Sequence[int]) -> dict[int, Run]:
        """The records of those that have ended; the others are kept as they stand."""
        runs = {i: self._ended(i, scheduler.runs[i]) for i in members}
        for i in members:
            scheduler.remove(i)
        return {i: run for i, run in runs.items() if run}

    def _begun(self, i: int, batch: BatchEngine | None = None) -> Training | Run:
        """Run i as it was kept, if it has ended; else under way."""
        kept = self.keeper.kept(i) if self.keeper else None
        if isinstance(kept, Run):
            self.seen[i] = kept.info["steps"], math.nan, 0
            return kept
        training = Training(self.jobs[i], self.settings, self.place, self.each, batch)
        if kept:
            training.restore(kept)
        return training

    def _tell(self, i: int, training: Training) -> None:
        self.seen[i] = training.seen
        if self.keeper and self.keeper.wants(i):
            self.keeper.keep(i, training.state())

    def _ended(self, i: int, training: Training) -> Run | None:
        self.seen[i] = training.seen
        run = training.record() if training.status else None
        if self.keeper:
            self.keeper.keep(i, run or training.state())
        return run


def _raise_first(pending: Sequence[Future[dict[int, Run]]]) -> None:
    """Raises what a finished run raised, at once rather than when all others are through."""
    for future in pending:
        if future.done():
            future.result()
