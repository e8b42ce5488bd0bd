"""The trials of a search for N*: which networks are trained, and what each training says.

    success     satisfied: N_Δ = 0, or classified: no y f < 0
    undecided   its budget ran out with N_Δ ≤ 0.1 N (or as few misclassified): a longer training might succeed
    unsatisfied its budget ran out with more, which is where the authors' program gives up
    stationary  at a certified minimum of L > 0: no training from there succeeds
    diverged

With `certify` a training whose budget ran out goes on to the minimum of its basin, which decides: satisfied, or a failure
if the minimum is certified. Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol

import numpy as np

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import CONTACT_TOLERANCE, JAMMED_PER_PARAMETER, Dataset, Run, sha256
from jamtools.training.ensemble import train_many
from jamtools.training.job import Compute, Job
from jamtools.training.snapshot import Snapshot
from jamtools.transition.sampling import Record


@dataclass(frozen=True)
class Question:
    """What is asked of the transition: which networks, trained how, and what counts as success.

    certify: trials that end on their budget go on to the minimum of their basin; times: steps at which N* is asked as
    well, of the same trainings.
    """

    depth: int
    activation: str
    settings: TrainingOptions
    seeds: Sequence[int]
    success: str = "satisfied"
    max_width: int | None = None
    batch_norm: bool = False
    certify: bool = False
    times: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.certify and self.settings.loss != "hinge":
            raise InputError(
                f"a search to be certified with the loss {self.settings.loss}, expected hinge: only its minima are finished"
            )
        if self.times and self.settings.optimizer == "newton":
            raise InputError("times with newton, expected a first-order optimizer: its steps are no time")
        if self.times and max(self.times) > self.settings.steps:
            raise InputError(
                f"a time of {max(self.times)} steps, the trainings have {self.settings.steps}; give them more"
            )

    def architecture(self, data: Dataset, width: int) -> Architecture:
        """The network of a trial."""
        return Architecture(data.d, width, self.depth, self.activation, data.outputs, self.batch_norm)


#: What a trial keeps of its run.
RECORDED = (
    "status",
    "certified",
    "steps",
    "final_loss",
    "n_unsatisfied",
    "n_contacts",
    "n_misclassified",
)

#: Told of every trial before it is trained: watch(P, width, seed).
Watch = Callable[[int, int, int], None]


class Memory(Protocol):
    """Keeps the records of trials."""

    def get(self, P: int, width: int, seed: int) -> dict[str, Any] | None:
        """That of one, if there is one."""

    def add(self, P: int, record: Mapping[str, Any]) -> None:
        """Takes one."""


def describe(run: Run, success: str, times: Sequence[int] = ()) -> dict[str, Any]:
    """What a trial contributes to the verdict, in both readings."""
    info = run.info
    # Adam may leave contacts at Δ ~ 10⁻¹⁶ for good, where a step no longer changes W: they count as zero
    satisfied = info["n_unsatisfied"] == 0 or bool(run.gaps.max() <= CONTACT_TOLERANCE * info["epsilon"])
    classified = info["n_misclassified"] == 0
    fitted = info["status"] != "diverged" and (satisfied if success == "satisfied" else classified)
    return {
        "P": info["P"],
        "width": info["width"],
        "N": info["n_effective_expected"],
        "seed": info["seed"],
        "outcome": "success" if fitted else _failure(info, success),
        "satisfied": satisfied,
        "classified": classified,
        **{name: info[name] for name in RECORDED},
        **({"fitted_at": [_fitted_at(run, success, time, fitted) for time in times]} if times else {}),
    }


def _failure(info: Mapping[str, Any], success: str) -> str:
    """How a trial failed: diverged, stationary (certified to be stuck), unsatisfied, or undecided."""
    if info["status"] == "diverged" or (info["status"] == "stationary" and info["certified"] is True):
        return str(info["status"])
    count = info["n_unsatisfied"] if success == "satisfied" else info["n_misclassified"]
    return "undecided" if count <= JAMMED_PER_PARAMETER * info["n_effective_expected"] else "unsatisfied"


def _fitted_at(run: Run, success: str, time: int, fitted: bool) -> bool:
    """Whether all patterns were fitted after so many steps; a run that stops when it is satisfied stays so."""
    steps = run.history["step"]
    if steps[-1] <= time:
        return fitted
    i = int(np.searchsorted(steps, time))
    if success == "classified":
        return bool(run.history["n_misclassified"][i] == 0)
    # L ≥ ½ Δ²/P of the largest Δ
    contact = 0.5 * (CONTACT_TOLERANCE * run.info["epsilon"]) ** 2 / run.info["P"]
    return bool(run.history["n_unsatisfied"][i] == 0 or run.history["loss"][i] <= contact)


class _Finished:
    """Tells of each run as it ends, from the thread that trained it: the Checkpointer of `train_many`."""

    interval = 60.0

    def __init__(self, tell: Callable[[Run], None]) -> None:
        self._tell, self._lock = tell, Lock()

    def load(self, i: int) -> None:
        """Every run begins at its beginning."""

    def is_due(self, i: int) -> bool:
        """No state of a run under way is kept."""
        return False

    def save(self, i: int, state: Snapshot | Run) -> None:
        if isinstance(state, Run):
            with self._lock:
                self._tell(state)

    def poll(self) -> None:
        """Nothing is due."""


class Trials:
    """The trainings of one question on the first patterns of one dataset."""

    def __init__(
        self,
        data: Dataset,
        question: Question,
        compute: Compute | None = None,
        memory: Memory | None = None,
        watch: Watch = lambda P, width, seed: None,
    ) -> None:
        self.data, self.question, self.memory, self.watch = data, question, memory, watch
        self.compute = compute or Compute()
        self._parts: dict[int, Dataset] = {}  # runs of one P share their arrays, and a batch
        self._options = replace(question.settings, measure_at=tuple(question.times))

    def make(self, wanted: Sequence[tuple[int, int, int]]) -> list[Record]:
        """The records of trials (P, width, seed), in order; those in memory are not trained again."""
        known = {} if self.memory is None else {one: self.memory.get(*one) for one in wanted}
        new = [one for one in wanted if known.get(one) is None]
        made = dict(zip(new, self._trained(new))) if new else {}
        return [known.get(one) or made[one] for one in wanted]

    def _trained(self, new: Sequence[tuple[int, int, int]]) -> list[Record]:
        question = self.question
        for one in new:
            self.watch(*one)
        jobs = [
            Job(
                self._first(P),
                question.architecture(self.data, h),
                seed,
                self._options.resolve(P),
                self.compute,
            )
            for P, h, seed in new
        ]
        runs = self._train(jobs, lambda run: self._ended(run) or not question.certify)
        if question.certify:
            runs = self._finished(jobs, runs)
        return [self._described(run) for run in runs]

    def _train(self, jobs: Sequence[Job], is_last: Callable[[Run], bool]) -> list[Run]:
        """All runs; each is remembered when it ends, if that is the last of it."""

        def tell(run: Run) -> None:
            if self.memory is not None and is_last(run):
                record = self._described(run)
                self.memory.add(record["P"], record)

        return train_many(jobs, checkpointer=_Finished(tell))

    def _finished(self, jobs: Sequence[Job], runs: Sequence[Run]) -> list[Run]:
        """With those whose budget ran out taken to the minima of their basins."""
        left = [i for i, run in enumerate(runs) if not self._ended(run)]
        newton = with_options(
            TrainingOptions(), optimizer="newton", epsilon=self.question.settings.epsilon, measurements=2
        )
        finishes = [replace(jobs[i], settings=newton.resolve(jobs[i].data.P), start=runs[i]) for i in left]
        ends = self._train(finishes, lambda run: True)
        done = dict(zip(left, ends))
        return [done.get(i, run) for i, run in enumerate(runs)]

    def digest(self, P: int) -> str:
        """What tells the first P patterns from others."""
        part = self._first(P)
        return sha256((part.x, part.y))[:12]

    def _first(self, P: int) -> Dataset:
        return self._parts.setdefault(P, self.data.first(P))

    def _described(self, run: Run) -> dict[str, Any]:
        return describe(run, self.question.success, self.question.times)

    def _ended(self, run: Run) -> bool:
        return self._described(run)["outcome"] not in ("undecided", "unsatisfied")
