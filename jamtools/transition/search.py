"""N*(P): the smallest number of effective parameters whose training still fits P patterns.

    N*(P) = min N(h) such that training succeeds,        at fixed depth
    P*(N) = max P such that it does,                     the first P of one dataset, at fixed width and depth

Success is a matter of chance (the initialisation, the width), so that N* is the median of a distribution: outcomes.py
has the trainings, sampling.py chooses them, and verdicts.py says what they found.
Source: arXiv:1809.09349, section III and figs. 5, 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.records import Dataset
from jamtools.training.job import Compute
from jamtools.transition.estimate import at_time, final, scale_of, verdict
from jamtools.transition.sampling import Goal, Pool, Record, seek
from jamtools.transition.trial import Memory, Question, Trials, Watch

#: Widths are tried up to N = LARGEST·P: twice the bound N* ≤ 4P.
LARGEST = 8

#: N* grows with a power of P between these, as far as a first guess goes.
SLOPES = (0.5, 1.5)

#: Random data jam near P/N = 2.85; the first N tried is a little above. From above one starts where all is fitted by heart.
FIRST = {"bisect": 0.5, "descend": 1.0}


def search(trials: Trials, P: int, N: float | None, goal: Goal) -> dict[str, Any]:
    """N* of the first P patterns, as the JSON object of the contract; N: where to begin, if that is known."""
    asked = {**_fields(trials, goal), "P": P, "max_width": _largest(trials, P), "data": trials.digest(P)}
    first = scale_of(asked).at_least(math.log(N or FIRST[goal.method] * P))
    found = _found(asked, trials, first, goal, lambda width, seed: (P, width, seed))
    return {"kind": "nstar", "P": P, **verdict(asked, found), **asked, "trials": found}


def search_patterns(trials: Trials, width: int, goal: Goal) -> dict[str, Any]:
    """P* of a network: how many of the dataset's first patterns it fits."""
    arch = trials.question.architecture(trials.data, width)
    asked = {
        **_fields(trials, goal), "vary": "patterns", "width": width, "N": arch.n_effective, "max_P": trials.data.P,
        "data": trials.digest(trials.data.P),
    }  # fmt: skip
    first = max(1, round(arch.n_effective / FIRST[goal.method]))
    found = _found(asked, trials, first, goal, lambda P, seed: (P, width, seed))
    return {"kind": "nstar", **verdict(asked, found), **asked, "trials": found}


def _found(
    asked: Record,
    trials: Trials,
    first: int,
    goal: Goal,
    cell: Callable[[int, int], tuple[int, int, int]],
) -> list[Record]:
    """All trials made for a record, for its end and for each of its times, from the latest to the first."""
    scale, seeds = scale_of(asked), trials.question.seeds
    found: list[Record] = []

    def run(wanted: Sequence[tuple[int, int]]) -> list[Record]:
        return trials.make([cell(size, seed) for size, seed in wanted])

    readings = [final, *(at_time(i) for i in reversed(range(len(trials.question.times))))]
    for own in [[seed] for seed in seeds] if goal.cold else [seeds]:
        pool, begin = Pool(run), first
        for reading in readings:
            here = seek(pool, scale, own, begin, goal, reading)
            begin = begin if here.m is None else scale.at_least(here.m)
        found += pool.trials.values()
    return found


def _largest(trials: Trials, P: int) -> int:
    """The largest width tried."""
    if trials.question.max_width:
        return trials.question.max_width
    arch = trials.question.architecture(trials.data, 1)
    return width_of(LARGEST * P, arch)


def _fields(trials: Trials, goal: Goal) -> dict[str, Any]:
    """What is searched for, all but P and the sizes."""
    data, question = trials.data, trials.question
    return {
        "d": data.d,
        "outputs": data.outputs,
        "depth": question.depth,
        "activation": question.activation,
        "batch_norm": question.batch_norm,
        "protocol": question.settings.protocol,
        "loss": question.settings.loss,
        "optimizer": question.settings.optimizer,
        "certify": question.certify,
        "steps": question.settings.steps,
        "success": question.success,
        "vary": "width",
        "method": goal.method,
        "precision": goal.precision,
        "level": goal.level,
        "seeds": list(question.seeds),
        **({"times": list(question.times)} if question.times else {}),
    }


def width_of(N: float, arch: Architecture) -> int:
    """The smallest width with at least N effective parameters at the depth of `arch`."""
    if arch.activation == "linear":
        raise InputError("a linear network has the same N at every width, expected relu or tanh")
    width = 1
    while replace(arch, width=width).n_effective < N:
        width += 1
    return width


def search_all(
    data: Dataset,
    question: Question,
    patterns: Sequence[int],
    watch: Watch,
    compute: Compute | None = None,
    memory: Memory | None = None,
    goal: Goal | None = None,
) -> list[dict[str, Any]]:
    """N* for each P of `patterns` (the first P of the dataset), each started from the fit to those before.

    `watch(P, width, seed)` is told of every trial before it runs; one that `memory` has does not run. With a cold goal
    each P and each seed starts by itself, so that a search for some of them finds what one for all finds.
    """
    goal = goal or Goal()
    trials = Trials(data, question, compute, memory, watch)
    records: list[dict[str, Any]] = []
    for P in sorted(patterns):
        data.first(P)
        N = None if goal.cold or goal.method == "descend" else _extrapolated(records, P)
        records.append(search(trials, P, N, goal))
    return records


def _extrapolated(records: Sequence[Record], P: int) -> float | None:
    """N* at P by the line through log N* of the smaller P; in proportion where there is one."""
    known = [record for record in records if record["median"]]
    if not known:
        return None
    x, y = (np.log([record[name] for record in known]) for name in ("P", "median"))
    slope = np.polyfit(x, y, 1)[0] if np.ptp(x) > 0 else 1.0
    # neighbouring P of uncertain N* may give any slope
    return float(known[-1]["median"] * (P / known[-1]["P"]) ** np.clip(slope, *SLOPES))


def search_widths(
    data: Dataset,
    question: Question,
    widths: Sequence[int],
    watch: Watch,
    compute: Compute | None = None,
    memory: Memory | None = None,
    goal: Goal | None = None,
) -> list[dict[str, Any]]:
    """P* of the network of each width: how many of the dataset's first patterns it fits."""
    trials = Trials(data, question, compute, memory, watch)
    return [search_patterns(trials, width, goal or Goal()) for width in sorted(widths)]
