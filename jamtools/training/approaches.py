"""Approaches to jamming of many runs at once, each stage in a process or thread of its own.

    run → stage 0 → stage 1 → … → end,        record of a stage = F(start, data, stage)

A stage depends on the one before alone, so that an approach may end after any of them, and a later call goes on to the same
bytes. Each computation uses one thread of torch, whatever the number of workers.

Source: none, own design; minima/approach.py for the stages.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from typing import Any

import numpy as np
import torch

from jamtools.errors import InputError
from jamtools.minima.approach import Approach, advance, begin
from jamtools.minima.approach_knobs import Knob, KnobName, MarginKnob, PatternsKnob
from jamtools.minima.approach_stage import ApproachStage
from jamtools.minima.escape import Escape
from jamtools.network.loss import column
from jamtools.network.problem import Problem
from jamtools.records import Dataset, Run
from jamtools.training.approach_record import stage_record
from jamtools.training.run import as_array
from jamtools.training.snapshot import Checkpointer, Snapshot

#: Seconds between two looks at the workers.
POLL_SECONDS = 0.2

#: The states of each approach so far, in the order of the jobs.
Chain = list[Approach]

#: A function that is called with the chains so far, every POLL_SECONDS or more often.
WatchChains = Callable[[Sequence[Chain]], None]


@dataclass(frozen=True, eq=False)
class ApproachJob:
    """One approach to make: from the run `start` to L/N ≤ until.

    data: the patterns of all stages, of which `start` has the first ones. stages: how many of its last stages become
    records; None for all. knob: what falls from stage to stage.
    """

    start: Run
    data: Dataset
    until: float
    stages: int | None = None
    knob: KnobName = "margin"

    @property
    def own(self) -> Dataset:
        """The patterns of the start."""
        return self.data.first(self.start.P + len(self.start.set_aside), self.start.set_aside)

    def make_knob(self) -> Knob:
        """The knob, in float64 on the CPU. Raises InputError for a run that has no approach."""
        problem = Problem.of(self.start, self.own)
        if self.knob == "margin":
            return MarginKnob(problem)
        if self.start.set_aside:
            raise InputError(
                "an approach by the patterns of a run that set some of them aside, expected all of its first P"
            )
        x, y = problem.tensor(self.data.x), problem.tensor(self.data.y)
        every = replace(problem, x=x, y=column(y), loss=replace(problem.loss, P=self.data.P))
        return PatternsKnob(every, self.start.P, problem.tensor(self.start.theta0))


def approach_many(
    jobs: Sequence[ApproachJob],
    workers: int = 1,
    watch: WatchChains | None = None,
    checkpointer: Checkpointer | None = None,
) -> list[list[Run]]:
    """Makes every approach, several at once, and returns the records of its stages, in the order of the jobs.

    The bytes of a record depend neither on the number of workers nor on the other jobs, nor on where the approach continued
    from a snapshot. Raises InputError for a run that has no approach (minima/approach.py); exceptions of `checkpointer` are
    passed on.
    """
    for job in jobs:
        job.make_knob()
    chains = [_loaded(checkpointer, i) for i in range(len(jobs))]
    with _executor(min(workers, len(jobs))) as executor:
        _advance_all(executor, jobs, chains, watch, checkpointer)
        kept = [
            [(job, approach) for approach in (chain if job.stages is None else chain[-job.stages :])]
            for job, chain in zip(jobs, chains, strict=True)
        ]
        futures = [[executor.submit(_record, job, approach) for job, approach in part] for part in kept]
        _wait_for([future for part in futures for future in part], chains, watch, checkpointer)
    return [[future.result() for future in part] for part in futures]


def _advance_all(
    executor: Executor,
    jobs: Sequence[ApproachJob],
    chains: list[Chain],
    watch: WatchChains | None,
    checkpointer: Checkpointer | None,
) -> None:
    """Takes every approach to its end, stage by stage; the chains grow in place."""

    def submit(i: int) -> Future[Approach]:
        return executor.submit(_next, jobs[i], chains[i][-1] if chains[i] else None)

    pending = {submit(i): i for i, chain in enumerate(chains) if not (chain and chain[-1].end)}
    while pending:
        done, _ = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
        for future in done:
            i = pending.pop(future)
            approach = future.result()
            chains[i][approach.number :] = [approach]  # the end may come without another stage
            if checkpointer:
                checkpointer.save(i, _snapshot(chains[i]))
            if not chains[i][-1].end:
                pending[submit(i)] = i
        _look(chains, watch, checkpointer)


def _wait_for(
    futures: Sequence[Future[Run]],
    chains: Sequence[Chain],
    watch: WatchChains | None,
    checkpointer: Checkpointer | None,
) -> None:
    while wait(futures, POLL_SECONDS).not_done:
        _look(chains, watch, checkpointer)


def _look(chains: Sequence[Chain], watch: WatchChains | None, checkpointer: Checkpointer | None) -> None:
    if watch:
        watch(chains)
    if checkpointer:
        checkpointer.poll()


def _next(job: ApproachJob, last: Approach | None) -> Approach:
    """The approach after its next stage; after stage 0 where there is none yet."""
    torch.set_num_threads(1)
    if last is None:
        theta = torch.from_numpy(job.start.theta.copy())
        return begin(theta, job.make_knob(), job.until, job.start.info["status"] != "stationary")
    return advance(last, job.make_knob(), job.until)


def _record(job: ApproachJob, approach: Approach) -> Run:
    torch.set_num_threads(1)
    return stage_record(job.start, job.data, approach, job.make_knob(), job.until)


# --- workers ------------------------------------------------------------------------------------------


@contextmanager
def _executor(workers: int) -> Iterator[Executor]:
    """A thread, or processes if there is more than one worker. They end with the block, also in the middle of a stage."""
    if workers <= 1:
        pool: Executor = ThreadPoolExecutor(1)
    else:
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _leave_signals_to_the_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in active_children():
            child.kill()  # they ignore milder signals
        raise
    pool.shutdown()


def _leave_signals_to_the_parent() -> None:
    """A batch system signals every process of a group; the parent saves what the workers have done, and ends them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


# --- snapshots ----------------------------------------------------------------------------------------


def _snapshot(chain: Chain) -> Snapshot:
    """The chain as a snapshot: a row of numbers and words for each state, and theta [stages, Ñ]."""
    rows: list[dict[str, Any]] = []
    for approach in chain:
        state = {name: value for name, value in vars(approach).items() if name != "stage"}
        stage = {name: value for name, value in vars(approach.stage).items() if name != "theta"}
        trace = approach.stage.trace
        rows.append({"approach": state, "stage": {**stage, "trace": trace.fields() if trace else None}})
    thetas = np.stack([as_array(approach.stage.theta) for approach in chain])
    return Snapshot(len(chain), "", 0, thetas[-1], {}, [], {"chain": rows}, {"thetas": thetas})


def _loaded(checkpointer: Checkpointer | None, i: int) -> Chain:
    """The chain of job i in a checkpoint, empty where it has not begun."""
    saved = checkpointer.load(i) if checkpointer else None
    if not isinstance(saved, Snapshot):
        return []
    thetas = torch.from_numpy(np.array(saved.engine["thetas"]))
    chain = []
    for theta, row in zip(thetas, saved.rng["chain"], strict=True):
        fields = {**row["stage"], "trace": Escape.read(row["stage"]["trace"])}
        chain.append(Approach(ApproachStage(theta.clone(), **fields), **row["approach"]))
    return chain
