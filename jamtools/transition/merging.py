"""The searches of one P put together, as the tasks of a job array leave them: a seed each.

What a search found follows from its trials (verdicts.py), so that those of all its seeds make the record that one
search over all seeds makes. Trials of seed s are those whose own seed is s modulo FRESH_SEEDS.
Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jamtools.errors import InputError
from jamtools.random_streams import FRESH_SEEDS
from jamtools.transition.estimate import FOUND, verdict

Record = Mapping[str, Any]

#: What a trial tells.
NEEDED = {"width", "P", "N", "seed", "outcome", "steps"}

#: What a search tells, beside what was found.
ASKED = {"depth", "vary", "activation", "batch_norm", "d", "precision", "level"}

#: What says which trials were asked for; the rest of a record says what was searched.
WHICH = ("seeds", "trials", "max_width", "max_P", "precision")


def merge(records: Sequence[Record]) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
    """Searches of the same cell put together, and the {P, depth, seed} that were given more than once.

    Searches without trials stay as they are. Raises InputError where two searches of one seed differ.
    """
    groups: dict[str, list[Record]] = {}
    for number, record in enumerate(records):
        groups.setdefault(_cell(record) if _complete(record) else f"alone {number}", []).append(record)
    merged, twice = [], []
    for group in groups.values():
        one, again = _together(group) if len(group) > 1 else (dict(group[0]), [])
        merged.append(one)
        twice += again
    return merged, twice


def _complete(record: Record) -> bool:
    """Whether a search has all that its N* follows from; what others wrote may not."""
    trials, seeds = record.get("trials"), record.get("seeds")
    return (
        "vary" in record
        and isinstance(trials, list)
        and isinstance(seeds, list)
        and len(trials) > 0
        and all(isinstance(trial, dict) and set(trial) >= NEEDED for trial in trials)
        and set(seeds) >= {trial["seed"] % FRESH_SEEDS for trial in trials}
        and set(record) >= ASKED | ({"P", "max_width"} if record["vary"] == "width" else {"N", "max_P"})
    )


def _cell(record: Record) -> str:
    own = (*FOUND, *WHICH, "width" if record["vary"] == "width" else "P")
    return json.dumps({name: value for name, value in record.items() if name not in own}, sort_keys=True)


def _together(group: Sequence[Record]) -> tuple[dict[str, Any], list[dict[str, int]]]:
    by_seed: dict[int, list[Record]] = {}
    twice = []
    for record in group:
        for seed in record["seeds"]:
            trials = [trial for trial in record["trials"] if trial["seed"] % FRESH_SEEDS == seed]
            if seed not in by_seed:
                by_seed[seed] = trials
                continue
            place = {"P": record["P"], "depth": record["depth"], "seed": seed}
            shorter, longer = sorted((by_seed[seed], trials), key=len)
            if longer[: len(shorter)] != shorter:  # one that was gone on with says all of the one before
                raise InputError(
                    f"got two searches of {_said(place)} that differ, expected one and the same; search with --cold"
                )
            by_seed[seed] = longer
            twice.append(place)
    seeds = sorted(by_seed)
    whole = {**group[0], "seeds": seeds, "trials": [trial for seed in seeds for trial in by_seed[seed]]}
    for name, which in (("max_width", max), ("max_P", max), ("precision", min)):
        if name in whole:
            whole[name] = which(record[name] for record in group)
    return {**whole, **verdict(whole, whole["trials"])}, twice


def missing(planned: Sequence[Mapping[str, int]], records: Sequence[Record]) -> list[dict[str, int]]:
    """The {P, depth, seed} of a plan that no search is of."""
    there = {
        (record["P"], record.get("depth"), seed) for record in records for seed in record.get("seeds", [])
    }
    return [dict(cell) for cell in planned if (cell["P"], cell["depth"], cell["seed"]) not in there]


def _said(place: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in place.items())
