"""Training, from the seeds to the records: one run, or many runs at once.

    record = F(data, architecture, settings, seed; device, dtype, engine)

An engine takes the steps of a run from one event to the next (a measurement, the end of the budget). The trajectory of a run
depends on no other run: each run has its own thread or its own slot of a batch, and the order of its sums is fixed.

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

#: Seconds that a call with a checkpoint waits for its threads when it must end. The queue of a cluster kills a process soon
#: after its first signal.
SHUTDOWN_SECONDS = 6.0

#: A function that is called every BURST_SECONDS or more often, with the progress of every run in the order of the jobs.
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

    The compiled engine trains at most as many runs at once as the `compute` of the jobs has threads, the batch engine as
    many as a batch has slots. The torch engine trains one run after the other; the batch engine trains runs of equal
    architecture and P together. The bytes of a record depend on its job only. They do not depend on the other jobs, on
    where the run continued from a snapshot, or, with the compiled engine, on the number of threads. Raises InputError
    when the engine asked for cannot take the steps of a job or the memory is too small. Exceptions of `checkpointer`
    are passed on.
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
    finally:  # also after an interrupt: each thread ends after its present burst
        ensemble.stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        timeout = SHUTDOWN_SECONDS if checkpointer else None
        wait([future for future in pending if not future.cancelled()], timeout)


def _units(jobs: Sequence[Job]) -> list[list[int]]:
    """The numbers of the runs that each thread trains: all runs that can share a batch, in order, or a single run."""
    units: dict[object, list[int]] = {}
    for i, job in enumerate(jobs):
        batch = (job.arch, job.data.P, job.settings, job.compute)
        units.setdefault(batch if job.engine == "batch" else i, []).append(i)
    return list(units.values())


def _runs_at_once(jobs: Sequence[Job], threads: int) -> int:
    """How many threads train runs: for the compiled engine as many as the memory allows, otherwise one."""
    wanted = min(threads, len(jobs)) if {job.engine for job in jobs} == {"compiled"} else 1
    return runs_at_once(max(jobs, key=bytes_needed), wanted)


class _Ensemble:
    """The runs of one call of `train_many`. Each run has its own thread, or all runs of a batch share one.

    threads: the number of threads of each run; progress: the progress of every run; stop: an event that ends the call
    after the present bursts.
    """

    def __init__(self, jobs: Sequence[Job], threads: int, checkpointer: Checkpointer | None) -> None:
        self.jobs, self.threads, self.checkpointer = jobs, threads, checkpointer
        self.progress = [Progress(0)] * len(jobs)
        self.stop = Event()

    def train_unit(self, unit: Sequence[int]) -> dict[int, Run]:
        """Trains the runs of a unit until they end or `stop` is set. Returns the records of the runs that ended."""
        first = self.jobs[unit[0]]
        if first.engine == "batch":
            return self._train_batch(unit, BatchScheduler(batch_engine(first)))
        run = self._train_single(unit[0])
        return {unit[0]: run} if run else {}

    def _train_single(self, i: int) -> Run | None:
        """Trains run i. Returns its record, or None if `stop` was set before it ended."""
        run = self._begin(i)
        if isinstance(run, Run):
            return run
        while run.advance():  # at least one burst, so that repeated short calls make progress too
            self._report(i, run)
            if self.stop.is_set():
                break
        return self._close(i, run)

    def _train_batch(self, unit: Sequence[int], scheduler: BatchScheduler[RunInProgress]) -> dict[int, Run]:
        """Trains the runs of a batch. When a run ends, the next waiting run takes its slot."""
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
            ended = scheduler.advance()  # at least one burst, so that repeated short calls make progress too
            stopped = self.stop.is_set()
            records |= self._remove(scheduler, list(scheduler.runs) if stopped else ended)
            for i, run in scheduler.runs.items():
                self._report(i, run)
        return records

    def _remove(self, scheduler: BatchScheduler[RunInProgress], numbers: Sequence[int]) -> dict[int, Run]:
        """Takes runs out of the batch. Returns the records of those that ended, and saves a snapshot of the others."""
        records = {i: self._close(i, scheduler.runs[i]) for i in numbers}
        for i in numbers:
            scheduler.remove(i)
        return {i: run for i, run in records.items() if run}

    def _begin(self, i: int, batch: BatchEngine | None = None) -> RunInProgress | Run:
        """Run i at its first step or at its last snapshot; if it has ended already, its record."""
        saved = self.checkpointer.load(i) if self.checkpointer else None
        if isinstance(saved, Run):
            info = saved.info
            self.progress[i] = Progress(info["steps"], info["final_loss"], info["n_unsatisfied"], True)
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
    """Raises the error of a thread that failed, without waiting for the other threads."""
    for future in pending:
        if future.done():
            future.result()
