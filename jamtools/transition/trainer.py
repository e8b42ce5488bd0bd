"""Trains the trials of a search: many at once, each on the first P patterns of one dataset.

With `certify` a training that used up its steps continues to the minimum of its basin. This decides the trial: it is
satisfied there, or it failed for certain if the minimum is certified.

Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock

from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run, sha256
from jamtools.training.ensemble import train_many
from jamtools.training.job import Compute, Job
from jamtools.training.snapshot import Snapshot
from jamtools.transition.options import TrialSpec
from jamtools.transition.trial import Trial, TrialKey, TrialStore

#: Called with the key of every trial before it is trained.
Watch = Callable[[TrialKey], None]


class TrialTrainer:
    """Trains the trials of one specification on the first patterns of one dataset.

    store: finished trials are taken from it and added to it; watch: called before each training.
    """

    def __init__(
        self,
        data: Dataset,
        spec: TrialSpec,
        compute: Compute | None = None,
        store: TrialStore | None = None,
        watch: Watch = lambda key: None,
    ) -> None:
        self.data, self.spec, self.store, self.watch = data, spec, store, watch
        self.compute = compute or Compute()
        self._parts: dict[int, Dataset] = {}  # runs with one P share their arrays, and a batch
        self._options = replace(spec.settings, measure_at=tuple(spec.times))

    def train(self, keys: Sequence[TrialKey]) -> list[Trial]:
        """The trials with these keys, in order; those in the store are not trained again."""
        stored = {} if self.store is None else {key: self.store.get(key) for key in keys}
        new = [key for key in keys if stored.get(key) is None]
        trained = dict(zip(new, self._train_new(new))) if new else {}
        return [stored.get(key) or trained[key] for key in keys]

    def digest(self, P: int) -> str:
        """A digest of the first P patterns."""
        part = self._first(P)
        return sha256((part.x, part.y))[:12]

    def _train_new(self, keys: Sequence[TrialKey]) -> list[Trial]:
        for key in keys:
            self.watch(key)
        jobs = [self._job(key) for key in keys]
        runs = self._train_many(jobs, lambda run: self._trial(run).is_final or not self.spec.certify)
        if self.spec.certify:
            runs = self._continued_to_minima(jobs, runs)
        return [self._trial(run) for run in runs]

    def _job(self, key: TrialKey) -> Job:
        """The training of the trial with this key."""
        arch = self.spec.architecture(self.data, key.width)
        return Job(self._first(key.P), arch, key.seed, self._options.resolve(key.P), self.compute)

    def _train_many(self, jobs: Sequence[Job], is_last: Callable[[Run], bool]) -> list[Run]:
        """Trains all jobs; each run goes into the store when it ends, unless its training continues (not is_last)."""

        def store(run: Run) -> None:
            if self.store is not None and is_last(run):
                self.store.add(self._trial(run))

        return train_many(jobs, checkpointer=_OnEnd(store))

    def _continued_to_minima(self, jobs: Sequence[Job], runs: Sequence[Run]) -> list[Run]:
        """The runs; those that used up their steps are continued to the minima of their basins."""
        unfinished = [i for i, run in enumerate(runs) if not self._trial(run).is_final]
        newton = with_options(
            TrainingOptions(), optimizer="newton", epsilon=self.spec.settings.epsilon, measurements=2
        )
        compute = replace(self.compute, engine="auto")  # newton has its own
        continued = [
            replace(jobs[i], settings=newton.resolve(jobs[i].data.P), start=runs[i], compute=compute)
            for i in unfinished
        ]
        finished = dict(zip(unfinished, self._train_many(continued, lambda run: True)))
        return [finished.get(i, run) for i, run in enumerate(runs)]

    def _first(self, P: int) -> Dataset:
        return self._parts.setdefault(P, self.data.first(P))

    def _trial(self, run: Run) -> Trial:
        return Trial.of(run, self.spec.success, self.spec.times)


class _OnEnd:
    """A Checkpointer for `train_many` that calls a function with each run as it ends, from the thread that trained it."""

    interval = 60.0

    def __init__(self, call: Callable[[Run], None]) -> None:
        self._call, self._lock = call, Lock()

    def load(self, i: int) -> None:
        """No run is resumed: each starts from its seed."""

    def is_due(self, i: int) -> bool:
        """No snapshot of an unfinished run is stored."""
        return False

    def save(self, i: int, state: Snapshot | Run) -> None:
        """Calls the function with a run that has ended."""
        if isinstance(state, Run):
            with self._lock:
                self._call(state)

    def poll(self) -> None:
        """Nothing happens between the ends of runs."""
