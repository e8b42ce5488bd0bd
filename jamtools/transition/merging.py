"""Merges searches for one P that differ only in their seeds, such as the results of a job array.

The estimates of a search follow only from its trials (estimate.py). So the trials of all seeds together give the record
that one search over all seeds gives. A fresh seed that a search draws for its seed s equals s modulo FRESH_SEEDS,
which assigns each trial to a seed.

Source: none, the identity above.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from jamtools.errors import InputError, Remedy
from jamtools.random_streams import FRESH_SEEDS
from jamtools.transition.estimate import estimate_fields
from jamtools.transition.search_record import ESTIMATE_FIELDS, SearchCell, SearchRecord
from jamtools.transition.trial import Trial

#: Fields that a search needs so that it can be merged. `_is_complete` adds those that depend on what varies.
NEEDED_FIELDS = {"depth", "vary", "activation", "batch_norm", "d", "precision", "level"}

#: Fields that say how many trials were made. All others but the estimates identify what was searched for.
SEARCH_EXTENT_FIELDS = ("seeds", "trials", "max_width", "max_P", "precision")

#: Fields that older searches may lack. They follow from others: `data` is the digest of the patterns that `dataset` names.
DESCRIPTIVE_FIELDS = ("dataset",)


def merge(records: Sequence[SearchRecord]) -> tuple[list[SearchRecord], list[SearchCell]]:
    """Merges searches that differ only in their seeds. Also returns the cells that were given more than once.

    Searches that lack a field which merging needs stay as they are. Raises InputError where two searches of one seed
    differ in their trials.
    """
    groups: dict[str, list[SearchRecord]] = {}
    for number, record in enumerate(records):
        key = _identity(record) if _is_complete(record) else f"incomplete {number}"
        groups.setdefault(key, []).append(record)
    merged: list[SearchRecord] = []
    duplicates: list[SearchCell] = []
    for group in groups.values():
        if len(group) == 1:
            merged.append(group[0])
            continue
        record, repeated = _merge_group(group)
        merged.append(record)
        duplicates += repeated
    return merged, duplicates


def missing_cells(planned: Sequence[Mapping[str, int]], records: Sequence[SearchRecord]) -> list[SearchCell]:
    """The cells of a plan ({P, depth, seed} each) for which there is no search."""
    searched = {
        (record["P"], record.get("depth"), seed) for record in records for seed in record.get("seeds", [])
    }
    return [cell for cell in (SearchCell(**fields) for fields in planned) if cell not in searched]


def _is_complete(record: SearchRecord) -> bool:
    """Whether a search has all fields from which its estimates follow. Searches of other programs may lack some."""
    trials, seeds = _trials_of(record), record.get("seeds")
    if "vary" not in record or not trials or not isinstance(seeds, list):
        return False
    sizes = {"P", "max_width"} if record["vary"] == "width" else {"N", "max_P"}
    seeds_of_trials = {trial.seed % FRESH_SEEDS for trial in trials}
    return set(seeds) >= seeds_of_trials and set(record) >= NEEDED_FIELDS | sizes


def _trials_of(record: SearchRecord) -> list[Trial]:
    """The trials of a search; none where one of them lacks a field that the estimates need."""
    objects: Any = record.get("trials") or []
    times: Any = record.get("times") or []
    if not isinstance(objects, list) or not isinstance(times, list):
        return []
    try:
        trials = [Trial.from_dict(trial) for trial in objects]
    except ValueError:
        return []
    return trials if all(len(trial.fitted_at or ()) >= len(times) for trial in trials) else []


def _identity(record: SearchRecord) -> str:
    """A text that is equal for searches of the same quantity: the record without its extent and its estimates."""
    size = "width" if record["vary"] == "width" else "P"
    excluded = (*ESTIMATE_FIELDS, *SEARCH_EXTENT_FIELDS, *DESCRIPTIVE_FIELDS, size)
    return json.dumps({name: value for name, value in record.items() if name not in excluded}, sort_keys=True)


def _merge_group(group: Sequence[SearchRecord]) -> tuple[SearchRecord, list[SearchCell]]:
    """One record from all searches of one identity, and the cells that occur in more than one of them."""
    by_seed: dict[int, list[dict[str, Any]]] = {}
    duplicates = []
    for record in group:
        for seed in record["seeds"]:
            trials = [trial for trial in record["trials"] if trial["seed"] % FRESH_SEEDS == seed]
            if seed in by_seed:
                cell = SearchCell(record["P"], record["depth"], seed)
                trials = _longer(by_seed[seed], trials, cell)
                duplicates.append(cell)
            by_seed[seed] = trials
    seeds = sorted(by_seed)
    described = {
        name: value for record in group for name in DESCRIPTIVE_FIELDS if (value := _get(record, name))
    }
    merged: dict[str, Any] = {
        **group[0],
        **described,
        "seeds": seeds,
        "trials": [trial for seed in seeds for trial in by_seed[seed]],
    }
    for name, choose in (("max_width", max), ("max_P", max), ("precision", min)):
        if name in merged:
            merged[name] = choose(cast(Mapping[str, Any], record)[name] for record in group)
    search = cast(SearchRecord, merged)
    return {**search, **estimate_fields(search, _trials_of(search))}, duplicates


def _get(record: SearchRecord, name: str) -> Any:
    """A field of a search by its name, None where it is missing."""
    return cast(Mapping[str, Any], record).get(name)


def _longer(
    some: list[dict[str, Any]], others: list[dict[str, Any]], cell: SearchCell
) -> list[dict[str, Any]]:
    """The longer of two lists of trials of one cell. InputError unless the longer one continues the shorter one."""
    shorter, longer = sorted((some, others), key=len)
    if longer[: len(shorter)] != shorter:
        raise InputError(f"got two searches of {cell} that differ, expected equal ones", Remedy.COLD_SEARCH)
    return longer
