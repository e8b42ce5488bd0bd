r"""N*(P): the smallest number of effective parameters whose training still fits P patterns.

    N*(P) = min N(h) such that training succeeds:   satisfied, N_Δ = 0,   or classified, no y f < 0

found by bisection in the width h at fixed depth, once for every seed. A seed's N* lies in (N(h*-1), N(h*)]: the
widths on either side failed and succeeded. merging.py makes the estimate of them.

A failed trial whose budget ran out is *undecided*: a longer one might have succeeded, so that N* is an upper bound.
Where it goes on to the minimum of its basin (certify), the end decides: satisfied, or a failure if the minimum is certified.
Source: arXiv:1809.09349, section III and figs. 5, 10.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jamtools.descent import Job, Place, train, train_many
from jamtools.errors import InputError
from jamtools.merging import verdict
from jamtools.network import Architecture
from jamtools.protocols import Settings, with_options
from jamtools.records import Dataset, Run

#: Widths are tried up to Ñ = LARGEST·P parameters: twice the bound N* ≤ 4P.
LARGEST = 8
#: Random data jam near P/N = 2.85; the first width tried is a little above.
FIRST = 0.5


@dataclass(frozen=True)
class Question:
    """What is asked of the transition: which networks, trained how, and what counts as success.

    certify: trials that end on their budget go on to the minimum of their basin.
    """

    depth: int
    activation: str
    settings: Settings
    seeds: Sequence[int]
    success: str = "satisfied"
    max_width: int | None = None
    batch_norm: bool = False
    certify: bool = False

    def __post_init__(self) -> None:
        if self.certify and self.settings.loss != "hinge":
            raise InputError(
                f"a search to be certified with the loss {self.settings.loss}, expected hinge: only its minima are finished"
            )

    def architecture(self, data: Dataset, width: int) -> Architecture:
        """The network of a trial."""
        return Architecture(data.d, width, self.depth, self.activation, data.outputs, self.batch_norm)


#: What a trial keeps of its run.
RECORDED = ("status", "certified", "steps", "final_loss", "n_unsatisfied", "n_misclassified")
#: trial(width, seed) -> its record, with the fields of `describe`.
Trial = Callable[[int, int], dict[str, Any]]


class Memory(Protocol):
    """Keeps the records of trials."""

    def get(self, P: int, width: int, seed: int) -> dict[str, Any] | None:
        """That of one, if there is one."""

    def add(self, P: int, record: Mapping[str, Any]) -> None:
        """Takes one."""


def describe(run: Run, success: str) -> dict[str, Any]:
    """What a trial contributes to the verdict, in both readings."""
    info = run.info
    # contacts may be left at Δ ~ 10⁻¹⁴ by a run that is satisfied
    satisfied = info["n_unsatisfied"] == 0 or info["status"] == "satisfied"
    classified = info["n_misclassified"] == 0
    fitted = info["status"] != "diverged" and (satisfied if success == "satisfied" else classified)
    stuck = info["status"] == "stationary" and info["certified"] is True
    failure = info["status"] if stuck or info["status"] == "diverged" else "undecided"
    return {
        "width": info["width"],
        "N": info["n_effective_expected"],
        "seed": info["seed"],
        "outcome": "success" if fitted else failure,
        "satisfied": satisfied,
        "classified": classified,
        **{name: info[name] for name in RECORDED},
    }


def run_trial(data: Dataset, question: Question, width: int, seed: int, place: Place | None) -> Run:
    """A network trained as the question has it; finished if that is asked for and its budget ran out."""
    arch, settings = question.architecture(data, width), question.settings
    run = train(data, arch, settings, seed, place)
    if not question.certify or describe(run, question.success)["outcome"] != "undecided":
        return run
    newton = with_options(Settings(), optimizer="newton", epsilon=settings.epsilon, measurements=2)
    return train_many([Job(data, arch, seed, run)], newton, place)[0]


def smallest_width(trial: Callable[[int], bool], first: int, largest: int) -> int | None:
    """The smallest width at which `trial` succeeds, if it is monotone; None when `largest` fails.

    Doubles or halves from `first` to a bracket, then bisects. Every width is tried at most once.
    """
    first = min(max(first, 1), largest)
    if trial(first):
        high, low = first, first // 2
        while low > 0 and trial(low):
            high, low = low, low // 2
    else:
        low, high = first, min(2 * first, largest)
        while low < largest and not trial(high):
            low, high = high, min(2 * high, largest)
        if low == largest:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if trial(middle) else (middle, high)
    return high


def search(data: Dataset, question: Question, first: int, trial: Trial, cold: bool = False) -> dict[str, Any]:
    """N* of one dataset, as the JSON object of the contract; `first` is the width to begin with, of all seeds if cold."""
    arch = question.architecture(data, 1)
    largest = question.max_width or width_of(LARGEST * data.P, arch)
    trials: list[dict[str, Any]] = []
    found: list[int] = []
    for seed in question.seeds:

        def succeeds(width: int, seed: int = seed) -> bool:
            trials.append(trial(width, seed))
            return trials[-1]["outcome"] == "success"

        width = smallest_width(succeeds, first, largest)
        found += [] if width is None else [width]
        first = round(statistics.median(found)) if found and not cold else first
    return {
        "kind": "nstar",
        **verdict(question.seeds, trials),
        **_fields(data, question, largest),
        "trials": trials,
    }


def _effective(width: int, arch: Architecture) -> int:
    """N at some width of the same depth; 0 at width 0."""
    if width == 0:
        return 0
    return replace(arch, width=width).n_effective


def _fields(data: Dataset, question: Question, largest: int) -> dict[str, Any]:
    return {
        "P": data.P,
        "d": data.d,
        "depth": question.depth,
        "activation": question.activation,
        "batch_norm": question.batch_norm,
        "protocol": question.settings.protocol,
        "loss": question.settings.loss,
        "optimizer": question.settings.optimizer,
        "certify": question.certify,
        "steps": question.settings.steps,
        "success": question.success,
        "max_width": largest,
        "seeds": list(question.seeds),
    }


def width_of(N: float, arch: Architecture) -> int:
    """The smallest width with at least N effective parameters at the depth of `arch`."""
    if arch.activation == "linear":
        raise InputError("a linear network has the same N at every width, expected relu or tanh")
    width = 1
    while _effective(width, arch) < N:
        width += 1
    return width


def search_all(
    data: Dataset,
    question: Question,
    patterns: Sequence[int],
    watch: Callable[[int, int, int], None],
    place: Place | None = None,
    memory: Memory | None = None,
    cold: bool = False,
) -> list[dict[str, Any]]:
    """N* for each P of `patterns` (the first P of the dataset), each started from the one before.

    `watch(P, width, seed)` is told of every trial before it runs; one that `memory` has does not run. cold: each P and each
    seed starts by itself, so that a search for some of them finds what one for all finds.
    """
    records: list[dict[str, Any]] = []
    arch = question.architecture(data, 1)
    for P in sorted(patterns):
        part = data.first(P)

        def trial(width: int, seed: int, part: Dataset = part) -> dict[str, Any]:
            known = memory.get(part.P, width, seed) if memory is not None else None
            if known is not None:
                return known
            watch(part.P, width, seed)
            record = describe(run_trial(part, question, width, seed, place), question.success)
            if memory is not None:
                memory.add(part.P, record)
            return record

        before = records[-1] if records and records[-1]["n_star"] and not cold else None
        guess = before["n_star"] * P / before["P"] if before else FIRST * P
        records.append(search(part, question, width_of(guess, arch), trial, cold))
    return records
