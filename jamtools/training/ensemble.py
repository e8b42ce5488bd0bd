"""Training, from seeds to records: one run, or many at once on the cores of a machine.

    record = F(data, architecture, settings, seed; device, dtype, engine)

A run continues from event to event (a measurement, the end of its budget) by the steps of an engine. Its trajectory depends
on no other run: each run has a thread or a slot of a batch of its own, and adds its sums in an order of its own.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

from jamtools.engines.batch.engine import BatchEngine
from jamtools.engines.batch.scheduler import BURST_SECONDS, BatchScheduler
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions
from jamtools.records import Dataset, Run
from jamtools.training.job import Compute, Job, batch_engine
from jamtools.training.memory import bytes_needed, runs_at_once
from jamtools.training.record import record_of
from jamtools.training.run import Progress, RunInProgress
from jamtools.training.snapshot import Checkpointer

#: Seconds that a call with a checkpoint waits for its threads when it has to end: a batch system kills soon after it warns.
SHUTDOWN_SECONDS = 6.0

#: Called now and then with the progress of every run, in the order of the jobs.
Watch = Callable[[Sequence[Progress]], None]


def train(
    data: Dataset, arch: Architecture, options: TrainingOptions, seed: int, compute: Compute | None = None
) -> Run:
    """Trains one network on all patterns of `data`, x [P, d], and returns its record.

    Raises InputError when the engine asked for cannot take these steps or the memory is too small.
    """
    return train_many([Job(data, arch, seed, options.resolve(data.P), compute or Compute())])[0]


def train_many(
    jobs: Sequence[Job], watch: Watch | None = None, checkpointer: Checkpointer | None = None
) -> list[Run]:
    """Trains every job, several at once, and returns the records in the order of the jobs.

    As many runs are in progress as the `compute` of the jobs has threads, or as a batch has slots. The torch engine
    takes one run after the other; the batch engine takes runs of equal architecture and P together. The bytes of a
    record depend on its job alone, not on the other jobs, nor on where `checkpointer` let it continue, nor, with the
    compiled engine, on the number of threads. Raises InputError when an engine asked for cannot take the steps of its
    job or the memory is too small, and whatever `checkpointer` raises.
    """
    if not jobs:
        return []
    threads = max(job.compute.threads for job in jobs)
    at_once = _runs_at_once(jobs, threads)
    ensemble = _Ensemble(jobs, max(1, threads // at_once), checkpointer)
    pool = ThreadPoolExecutor(at_once)
    pending = [pool.submit(ensemble.train_unit, unit) for unit in _units(jobs)]
    try:
        while wait(
            pending, min(BURST_SECONDS, checkpointer.interval) if checkpointer else BURST_SECONDS
        ).not_done:
            if watch:
                watch(ensemble.progress)
            _raise_first(pending)
            if checkpointer:
                checkpointer.poll()
        records = {i: run for future in pending for i, run in future.result().items()}
        return [records[i] for i in range(len(jobs)) if i in records]
    finally:  # also on an interrupt: the threads end after their burst
        ensemble.stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        timeout = SHUTDOWN_SECONDS if checkpointer else None
        wait([future for future in pending if not future.cancelled()], timeout)


def _units(jobs: Sequence[Job]) -> list[list[int]]:
    """The runs that one thread takes: all those that can share a batch, in order, or a single run."""
    units: dict[object, list[int]] = {}
    for i, job in enumerate(jobs):
        batch = (job.arch, job.data.P, job.settings, job.compute)
        units.setdefault(batch if job.engine == "batch" else i, []).append(i)
    return list(units.values())


def _runs_at_once(jobs: Sequence[Job], threads: int) -> int:
    """How many threads take runs: for compiled runs as many as the memory allows, otherwise one."""
    wanted = min(threads, len(jobs)) if {job.engine for job in jobs} == {"compiled"} else 1
    return runs_at_once(max(jobs, key=bytes_needed), wanted)


class _Ensemble:
    """The runs of one call of `train_many`. Each run has a thread of its own, or all runs of a batch have one.

    threads: of each run; progress: of every run; stop: set to end the call after the bursts in progress.
    """

    def __init__(self, jobs: Sequence[Job], threads: int, checkpointer: Checkpointer | None) -> None:
        self.jobs, self.threads, self.checkpointer = jobs, threads, checkpointer
        self.progress = [Progress(0)] * len(jobs)
        self.stop = Event()

    def train_unit(self, unit: Sequence[int]) -> dict[int, Run]:
        """Trains the runs of a unit to their ends, or until `stop` is set. Returns the records of those that ended."""
        first = self.jobs[unit[0]]
        if first.engine == "batch":
            return self._train_batch(unit, BatchScheduler(batch_engine(first)))
        run = self._train_single(unit[0])
        return {unit[0]: run} if run else {}

    def _train_single(self, i: int) -> Run | None:
        run = self._begin(i)
        if isinstance(run, Run):
            return run
        while run.advance():  # takes at least one burst, so that many short calls make progress too
            self._report(i, run)
            if self.stop.is_set():
                break
        return self._close(i, run)

    def _train_batch(self, unit: Sequence[int], scheduler: BatchScheduler[RunInProgress]) -> dict[int, Run]:
        """Trains the runs of a batch. When a run ends, the next one that waits takes its slot."""
        waiting, records = deque(unit), dict[int, Run]()
        stopped = False
        while (waiting or scheduler.runs) and not stopped:
            while waiting and not scheduler.full:
                i = waiting.popleft()
                run = self._begin(i, scheduler.engine)
                if isinstance(run, Run):
                    records[i] = run
                else:
                    scheduler.add(i, run)
            ended = (
                scheduler.advance()
            )  # takes at least one burst, so that many short calls make progress too
            stopped = self.stop.is_set()
            records |= self._remove(scheduler, list(scheduler.runs) if stopped else ended)
            for i, run in scheduler.runs.items():
                self._report(i, run)
        return records

    def _remove(self, scheduler: BatchScheduler[RunInProgress], members: Sequence[int]) -> dict[int, Run]:
        """Takes runs out of the batch. Returns the records of those that ended; of the others a snapshot is saved."""
        records = {i: self._close(i, scheduler.runs[i]) for i in members}
        for i in members:
            scheduler.remove(i)
        return {i: run for i, run in records.items() if run}

    def _begin(self, i: int, batch: BatchEngine | None = None) -> RunInProgress | Run:
        """Run i at its beginning or at its last snapshot; its record if it has ended."""
        saved = self.checkpointer.load(i) if self.checkpointer else None
        if isinstance(saved, Run):
            self.progress[i] = Progress(saved.info["steps"])
            return saved
        run = RunInProgress(self.jobs[i], self.threads, batch)
        if saved:
            run.restore(saved)
        return run

    def _report(self, i: int, run: RunInProgress) -> None:
        """Between two bursts: notes the progress of run i, and saves a snapshot if one is due."""
        self.progress[i] = run.progress
        if self.checkpointer and self.checkpointer.is_due(i):
            self.checkpointer.save(i, run.snapshot())

    def _close(self, i: int, run: RunInProgress) -> Run | None:
        """After the last burst: saves the record of run i, or a snapshot if it has not ended. Returns the record."""
        self.progress[i] = run.progress
        record = record_of(run) if run.status else None
        if self.checkpointer:
            self.checkpointer.save(i, record or run.snapshot())
        return record


def _raise_first(pending: Sequence[Future[dict[int, Run]]]) -> None:
    """Raises the error of a thread that failed, at once instead of when all others have ended."""
    for future in pending:
        if future.done():
            future.result()
