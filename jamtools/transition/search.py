"""N*(P), the smallest number of effective parameters with which training still fits P patterns, and its inverse P*(N).

    N*(P) = min N(h) such that training succeeds,        at fixed depth
    P*(N) = max P such that it succeeds,                 for the first P patterns of one dataset, at fixed width and depth

Success depends on chance (the initial parameters) and on the width, so that N* is the median of a distribution: trainer.py
trains, sampling.py chooses the trials, and estimate.py computes N* from them.

Source: arXiv:1809.09349, section III and figs. 5, 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jamtools.errors import InputError
from jamtools.grouping import data_name
from jamtools.network.architecture import Architecture
from jamtools.protocols import changed_settings
from jamtools.records import Dataset
from jamtools.training.job import Compute
from jamtools.transition.estimate import estimate_fields, size_axis
from jamtools.transition.options import Method, SearchOptions, TrialSpec, Vary
from jamtools.transition.sampling import SizeAxis, TrialCache, seek
from jamtools.transition.search_record import SearchRecord
from jamtools.transition.trainer import TrialTrainer, Watch
from jamtools.transition.trial import (
    OutcomeOf,
    Trial,
    TrialKey,
    TrialStore,
    keeping_dead,
    outcome_at_end,
    outcome_at_time,
)

#: The largest width tried has N = MAX_N_PER_PATTERN·P: twice the bound N* ≤ 4P.
MAX_N_PER_PATTERN = 8

#: Limits of the slope of log N* against log P in a first guess. Uncertain N* at neighbouring P could give any slope.
GUESS_SLOPES = (0.5, 1.5)

#: N/P of the first trial. Random data jam near N/P = 1/2.85, and bisection starts a little above. The descent starts where
#: one parameter per pattern memorises all of them.
FIRST_N_PER_PATTERN: dict[Method, float] = {"bisect": 0.5, "descend": 1.0}


def search_transition(
    data: Dataset,
    spec: TrialSpec,
    sizes: Sequence[int],
    vary: Vary = "width",
    options: SearchOptions | None = None,
    compute: Compute | None = None,
    store: TrialStore | None = None,
    watch: Watch = lambda key: None,
) -> list[SearchRecord]:
    """N* of each number of patterns in `sizes` (vary "width"), or P* of each width in `sizes` (vary "patterns").

    P patterns are the first P of `data`. watch: called with the key of every trial before it is trained. Trials in
    `store` are not trained again. Unless options.cold is set, the search at each P starts from a fit to the N* of
    smaller P, and so needs fewer trials. A cold search depends neither on other P nor on other seeds.

    Raises InputError where the dataset has fewer patterns than asked for, and the errors of `train_many`.
    """
    options = options or SearchOptions()
    trainer = TrialTrainer(data, spec, compute, store, watch)
    if vary == "patterns":
        return [search_patterns(trainer, width, options) for width in sorted(sizes)]
    records: list[SearchRecord] = []
    for P in sorted(sizes):
        starts_alone = options.cold or options.method == "descend"
        N = None if starts_alone else _extrapolated(records, P)
        records.append(search_width(trainer, P, options, N))
    return records


def search_width(
    trainer: TrialTrainer, P: int, options: SearchOptions, N: float | None = None
) -> SearchRecord:
    """N* of the first P patterns; N: where the search begins, None for the default."""
    search: SearchRecord = {
        **_search_fields(trainer, options),
        "P": P,
        "max_width": _max_width(trainer, P),
        "data": trainer.digest(P),
    }
    axis = size_axis(search)
    first = axis.smallest_from(math.log(N or FIRST_N_PER_PATTERN[options.method] * P))
    trials = _trials(trainer, axis, first, options, P)
    return {"kind": "nstar", "P": P, **_completed(search, trials)}


def search_patterns(trainer: TrialTrainer, width: int, options: SearchOptions) -> SearchRecord:
    """P* of the network of this width: how many of the first patterns of the dataset it fits."""
    N = trainer.spec.architecture(trainer.data, width).n_effective
    search: SearchRecord = {
        **_search_fields(trainer, options),
        "vary": "patterns",
        "width": width,
        "N": N,
        "max_P": trainer.data.P,
        "data": trainer.digest(trainer.data.P),
    }
    first = max(1, round(N / FIRST_N_PER_PATTERN[options.method]))
    trials = _trials(trainer, size_axis(search), first, options, width)
    return {"kind": "nstar", **_completed(search, trials)}


def smallest_width(N: float, arch: Architecture) -> int:
    """The smallest width with at least N effective parameters, at the depth of `arch`. InputError for a linear network."""
    if arch.activation == "linear":
        raise InputError(
            "a linear network has the same N at every width, as one without hidden layers; expected relu or tanh"
        )
    width = 1
    while replace(arch, width=width).n_effective < N:
        width += 1
    return width


def _completed(search: SearchRecord, trials: Sequence[Trial]) -> SearchRecord:
    """The record of a search: the estimates, what was searched for, and the trials."""
    return {**estimate_fields(search, trials), **search, "trials": [trial.as_dict() for trial in trials]}


def _trials(
    trainer: TrialTrainer, axis: SizeAxis, first: int, options: SearchOptions, fixed: int
) -> list[Trial]:
    """All trials of a search, for its end and for each of its times, from the latest time to the earliest.

    first: the size at which the brackets begin; fixed: P where widths vary, the width where numbers of patterns do.
    """

    def run(wanted: Sequence[tuple[int, int]]) -> list[Trial]:
        if axis.vary == "width":
            return trainer.train([TrialKey(fixed, width, seed) for width, seed in wanted])
        return trainer.train([TrialKey(P, fixed, seed) for P, seed in wanted])

    seeds, n_times = trainer.spec.seeds, len(trainer.spec.times)
    outcomes: list[OutcomeOf] = [outcome_at_end, *(outcome_at_time(i) for i in reversed(range(n_times)))]
    if options.keep_dead:
        outcomes = [keeping_dead(outcome_of, trainer.spec.success) for outcome_of in outcomes]
    trials: list[Trial] = []
    for group in [[seed] for seed in seeds] if options.cold else [seeds]:
        cache, start = TrialCache(run), first
        for outcome_of in outcomes:
            median = seek(cache, axis, group, start, options, outcome_of)
            start = start if median.m is None else axis.smallest_from(median.m)
        trials += cache.trials
    return trials


def _max_width(trainer: TrialTrainer, P: int) -> int:
    """The largest width that is tried for P patterns."""
    if trainer.spec.max_width:
        return trainer.spec.max_width
    return smallest_width(MAX_N_PER_PATTERN * P, trainer.spec.architecture(trainer.data, 1))


def _search_fields(trainer: TrialTrainer, options: SearchOptions) -> SearchRecord:
    """What is searched for and how, except for P and the sizes."""
    data, spec = trainer.data, trainer.spec
    fields: SearchRecord = {
        "dataset": data_name(data.info, data.d),
        "d": data.d,
        "outputs": data.outputs,
        "depth": spec.depth,
        "activation": spec.activation,
        "batch_norm": spec.batch_norm,
        "protocol": spec.settings.protocol,
        "loss": spec.settings.loss,
        "optimizer": spec.settings.optimizer,
        "certify": spec.certify,
        "steps": spec.settings.steps,
        "success": spec.success,
        "vary": "width",
        "method": options.method,
        "precision": options.precision,
        "level": options.level,
        "seeds": list(spec.seeds),
    }
    if not spec.bias:
        fields["bias"] = False
    if options.keep_dead:
        fields["keep_dead"] = True
    if spec.times:
        fields["times"] = list(spec.times)
    if settings := changed_settings(spec.settings):
        fields["settings"] = settings
    return fields


def _extrapolated(records: Sequence[SearchRecord], P: int) -> float | None:
    """N* at P, on the line through log N* of the smaller P; in proportion to P where only one has a median."""
    medians = [(record["P"], record["median"]) for record in records if record["median"]]
    if not medians:
        return None
    x, y = np.log(np.array(medians, dtype=float)).T
    slope = np.polyfit(x, y, 1)[0] if np.ptp(x) > 0 else 1.0
    last_P, last_median = medians[-1]
    return float(last_median * (P / last_P) ** np.clip(slope, *GUESS_SLOPES))
