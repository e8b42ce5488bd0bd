"""Searches of one P put together: against the search over all seeds at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.protocols import TrainingOptions
from jamtools.random_streams import FRESH_SEEDS
from jamtools.transition.merging import merge, missing
from jamtools.transition.sampling import Goal
from jamtools.transition.scaling import fit
from jamtools.transition.search import search
from jamtools.transition.trial import Question, Trials
from tests.support import oracle

THRESHOLDS = [7, 9, 8, 12, 8, 10_000]


class Planted(Trials):
    """Simulated trials: those of seed s, and what it samples, succeed from a width that grows with P."""

    def make(self, wanted: Sequence[tuple[int, int, int]]) -> list[Mapping[str, Any]]:
        return [self.trial(*one) for one in wanted]

    def trial(self, P: int, width: int, seed: int) -> dict[str, Any]:
        N = self.question.architecture(self.data, width).n_effective
        noise = np.random.default_rng([P, width, seed]).logistic(scale=1.0)
        won = width + noise >= THRESHOLDS[seed % FRESH_SEEDS] * P / 300
        outcome = "success" if won else "undecided" if noise > 1.5 else "unsatisfied"
        return {"P": P, "width": width, "N": N, "seed": seed, "outcome": outcome, "steps": 10 + width}


def planted(P: int, seeds: list[int], **goal: Any) -> dict[str, Any]:
    """A cold search on simulated trials."""
    question = Question(2, "relu", TrainingOptions(), tuple(seeds), max_width=60)
    trials = Planted(oracle.dataset(P, 5), question)
    return search(trials, P, 10, Goal(**{"trials": 14, "cold": True, **goal}))


def test_the_tasks_of_an_array_merge_to_the_search_over_all_seeds() -> None:
    tasks = [planted(P, [seed]) for P in (300, 600) for seed in range(6)]
    whole = [planted(P, list(range(6))) for P in (300, 600)]
    shuffled = [tasks[i] for i in np.random.default_rng(0).permutation(12)]
    merged, twice = merge(shuffled)
    assert sorted(merged, key=lambda record: record["P"]) == whole and twice == []
    assert all(
        record["n_star"] and max(t["seed"] for t in record["trials"]) >= FRESH_SEEDS for record in whole
    )
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
    other = {**one, "trials": [*one["trials"][:-1], {**one["trials"][-1], "outcome": "diverged"}]}
    with pytest.raises(InputError, match="two searches of P 300, depth 2, seed 0 that differ"):
        merge([one, other])


def test_a_search_that_was_gone_on_with_supersedes_the_one_before() -> None:
    """Made more precise by running it again: the same trials and some more, which count once."""
    before, after = (planted(300, [0], trials=40, precision=precision) for precision in (0.9, 0.01))
    assert after["trials"][: len(before["trials"])] == before["trials"] != after["trials"]
    for given in ([before, after], [after, before]):
        merged, twice = merge(given)
        assert merged == [after] and twice == [{"P": 300, "depth": 2, "seed": 0}]


def test_searches_of_other_things_are_not_put_together() -> None:
    one = planted(300, [0])
    for change in (
        {"steps": 7},
        {"d": 9},
        {"depth": 5},
        {"activation": "tanh"},
        {"method": "descend"},
        {"data": "other"},
    ):
        assert len(merge([one, {**planted(300, [1]), **change}])[0]) == 2


@pytest.mark.parametrize(
    "change", [{"trials": []}, {"trials": None}, {"trials": [{"width": 3}]}, {"seeds": [1, 5]}]
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
