r"""N* from the trials of any number of seeds, and the searches of one P put together.

    h*(seed) = the smallest width that succeeded,       N(h* − 1) < N*(seed) ≤ N(h*),       N* = median over seeds

The interval runs from below the smallest to the largest, which for k seeds covers the median of the distribution
with probability 1 − 2^(1−k). The trials say it all, so that the searches of a job array, a seed each, make the
record that one search over all seeds makes. Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jamtools.errors import InputError

Record = Mapping[str, Any]
#: What a trial tells.
NEEDED = {"width", "N", "seed", "outcome"}
#: What follows from the trials, or says which were asked for; the rest of a record says what was searched.
FOUND = ("n_star", "width", "interval", "coverage", "seeds", "trials", "max_width")


def verdict(seeds: Sequence[int], trials: Sequence[Record]) -> dict[str, Any]:
    """n_star, width, interval and coverage from the `trials` of all `seeds`.

    A seed that never succeeded counts as beyond the largest width. Raises InputError for a seed without trials.
    """
    ends = sorted(_threshold(seed, [trial for trial in trials if trial["seed"] == seed]) for seed in seeds)
    width, N, _ = ends[len(ends) // 2]  # of an even number the upper of the two in the middle
    interval = [ends[0][2], ends[-1][1]]
    return {
        "n_star": None if math.isinf(N) else N,
        "width": None if math.isinf(width) else width,
        "interval": [None if math.isinf(end) else end for end in interval],
        "coverage": 1 - 2.0 ** (1 - len(ends)),
    }


def _threshold(seed: int, trials: Sequence[Record]) -> tuple[float, float, float]:
    """h*, N(h*) and N(h* − 1), or infinities."""
    if not trials:
        raise InputError(f"got a search without a trial of its seed {seed}; run it again")
    won = [trial for trial in trials if trial["outcome"] == "success"]
    if not won:
        return math.inf, math.inf, math.inf
    least = min(won, key=lambda trial: trial["width"])
    below = max((trial["N"] for trial in trials if trial["width"] < least["width"]), default=0)
    return least["width"], least["N"], below


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
        isinstance(trials, list)
        and isinstance(seeds, list)
        and all(isinstance(trial, dict) and set(trial) >= NEEDED for trial in trials)
        and set(seeds) == {trial["seed"] for trial in trials}
        and {"P", "depth", "max_width"} <= set(record)
    )


def _cell(record: Record) -> str:
    return json.dumps({name: value for name, value in record.items() if name not in FOUND}, sort_keys=True)


def _together(group: Sequence[Record]) -> tuple[dict[str, Any], list[dict[str, int]]]:
    by_seed: dict[int, list[Record]] = {}
    twice = []
    for record in group:
        for seed in record["seeds"]:
            trials = [trial for trial in record["trials"] if trial["seed"] == seed]
            if seed not in by_seed:
                by_seed[seed] = trials
                continue
            place = {"P": record["P"], "depth": record["depth"], "seed": seed}
            if by_seed[seed] != trials:
                raise InputError(
                    f"got two searches of {_said(place)} that differ, expected one and the same; search with --cold"
                )
            twice.append(place)
    seeds = sorted(by_seed)
    trials = [trial for seed in seeds for trial in by_seed[seed]]
    largest = max(record["max_width"] for record in group)
    return {
        **group[0],
        **verdict(seeds, trials),
        "max_width": largest,
        "seeds": seeds,
        "trials": trials,
    }, twice


def missing(planned: Sequence[Mapping[str, int]], records: Sequence[Record]) -> list[dict[str, int]]:
    """The {P, depth, seed} of a plan that no search is of."""
    there = {
        (record["P"], record.get("depth"), seed) for record in records for seed in record.get("seeds", [])
    }
    return [dict(cell) for cell in planned if (cell["P"], cell["depth"], cell["seed"]) not in there]


def _said(place: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in place.items())
