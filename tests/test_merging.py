"""N* from trials, and searches of one P put together: against the search over all seeds at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.merging import merge, missing, verdict
from jamtools.protocols import Settings
from jamtools.scaling import fit
from jamtools.transition import Question, search
from tests import oracle

THRESHOLDS = [7, 9, 8, 12, 8, 10_000]


def N(width: float) -> int:
    """Of no network in particular: 0 at width 0, and growing."""
    return 3 * int(width) ** 2


def trials_of(seed: int, threshold: float, widths: list[int]) -> list[dict[str, Any]]:
    won = {True: "success", False: "undecided"}
    return [{"width": h, "N": N(h), "seed": seed, "outcome": won[h >= threshold]} for h in widths]


@pytest.mark.parametrize(
    ("thresholds", "n_star", "interval"),
    [
        ([7], N(7), [N(6), N(7)]),
        ([7, 9], N(9), [N(6), N(9)]),
        ([7, 9, 8], N(8), [N(6), N(9)]),
        ([7, math.inf, 8], N(8), [N(6), None]),
        ([math.inf, math.inf, 8], None, [N(7), None]),
        ([1, 2, 3], N(2), [0, N(3)]),
    ],
)
def test_the_median_and_the_interval_follow_from_the_trials(
    thresholds: list[float], n_star: int | None, interval: list[int | None]
) -> None:
    trials = [t for seed, h in enumerate(thresholds) for t in trials_of(seed, h, list(range(1, 20)))]
    found = verdict(range(len(thresholds)), trials)
    assert (found["n_star"], found["interval"]) == (n_star, interval)
    assert found["coverage"] == 1 - 2.0 ** (1 - len(thresholds))


def test_a_seed_without_trials_is_refused() -> None:
    with pytest.raises(InputError, match="without a trial of its seed 1"):
        verdict([0, 1], trials_of(0, 3, [3]))


def planted(P: int, seeds: list[int]) -> dict[str, Any]:
    """A cold search on simulated trials whose thresholds grow with P."""
    question = Question(2, "relu", Settings(), tuple(seeds), max_width=60)

    def trial(width: int, seed: int) -> dict[str, Any]:
        N = question.architecture(oracle.dataset(P, 5), width).n_effective
        won = width >= THRESHOLDS[seed] * P / 300
        return {"width": width, "N": N, "seed": seed, "outcome": "success" if won else "undecided"}

    return search(oracle.dataset(P, 5), question, 10, trial, cold=True)


def test_the_tasks_of_an_array_merge_to_the_search_over_all_seeds() -> None:
    tasks = [planted(P, [seed]) for P in (300, 600) for seed in range(6)]
    whole = [planted(P, list(range(6))) for P in (300, 600)]
    shuffled = [tasks[i] for i in np.random.default_rng(0).permutation(12)]
    merged, twice = merge(shuffled)
    assert sorted(merged, key=lambda record: record["P"]) == whole and twice == []
    assert {k: v for k, v in fit(shuffled).items() if k != "points"} == {
        k: v for k, v in fit(whole).items() if k != "points"
    }


def test_what_is_given_twice_counts_once_and_is_named() -> None:
    tasks = [planted(300, [seed]) for seed in (0, 1, 2)]
    merged, twice = merge([*tasks, tasks[1], planted(300, [2, 3])])
    assert merged == [planted(300, [0, 1, 2, 3])]
    assert twice == [{"P": 300, "depth": 2, "seed": 1}, {"P": 300, "depth": 2, "seed": 2}]
    assert fit([*tasks, tasks[1]])["duplicates"] == twice[:1]


def test_two_searches_of_a_seed_that_differ_are_refused() -> None:
    one = planted(300, [0])
    other = {**one, "trials": one["trials"][:-1]}
    with pytest.raises(InputError, match="two searches of P 300, depth 2, seed 0 that differ"):
        merge([one, other])


def test_searches_of_other_things_are_not_put_together() -> None:
    one = planted(300, [0])
    for change in ({"steps": 7}, {"d": 9}, {"depth": 5}, {"activation": "tanh"}):
        assert len(merge([one, {**planted(300, [1]), **change}])[0]) == 2


@pytest.mark.parametrize(
    "change", [{"trials": []}, {"trials": None}, {"trials": [{"width": 3}]}, {"seeds": [0, 5]}]
)
def test_searches_that_do_not_tell_their_trials_stay_as_they_are(change: dict[str, Any]) -> None:
    told = {**planted(300, [0]), **change}
    assert merge([told, told]) == ([told, told], [])


def test_what_a_plan_names_and_nobody_searched_is_missing() -> None:
    planned = [{"P": P, "depth": 2, "seed": seed} for P in (300, 600) for seed in (0, 1)]
    there = [planted(300, [0, 1]), planted(600, [1])]
    assert missing(planned, there) == [{"P": 600, "depth": 2, "seed": 0}]
    assert fit(there, planned=planned)["missing"] == [{"P": 600, "depth": 2, "seed": 0}]
    assert "missing" not in fit(there)
