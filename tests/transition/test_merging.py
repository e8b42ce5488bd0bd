"""Searches for one P merged, compared with the search over all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.protocols import TrainingOptions
from jamtools.random_streams import FRESH_SEEDS
from jamtools.transition.merging import merge, missing_cells
from jamtools.transition.options import SearchOptions, TrialSpec
from jamtools.transition.scaling import fit_scaling
from jamtools.transition.search import search_width
from jamtools.transition.search_record import SearchRecord
from jamtools.transition.trainer import TrialTrainer
from jamtools.transition.trial import Trial, TrialKey
from tests.support import oracle
from tests.support.searches import trial

#: The width at which trials of each seed begin to succeed at P = 300; those of the last seed never do.
THRESHOLDS = [7, 9, 8, 12, 8, 10_000]


class SimulatedTrainer(TrialTrainer):
    """Trials with a seed s, and with the fresh seeds drawn for it, succeed from a width that grows with P."""

    def train(self, keys: Sequence[TrialKey]) -> list[Trial]:
        return [self.simulated(*key) for key in keys]

    def simulated(self, P: int, width: int, seed: int) -> Trial:
        N = self.spec.architecture(self.data, width).n_effective
        noise = np.random.default_rng([P, width, seed]).logistic(scale=1.0)
        succeeds = width + noise >= THRESHOLDS[seed % FRESH_SEEDS] * P / 300
        outcome = "success" if succeeds else "undecided" if noise > 1.5 else "unsatisfied"
        return trial(outcome, P=P, width=width, N=N, seed=seed, steps=10 + width)


def search(P: int, seeds: list[int], **options: Any) -> SearchRecord:
    """A cold search with simulated trials."""
    spec = TrialSpec(2, "relu", TrainingOptions(), tuple(seeds), max_width=60)
    trainer = SimulatedTrainer(oracle.dataset(P, 5), spec)
    return search_width(trainer, P, SearchOptions(**{"trials": 14, "cold": True, **options}), N=10)


@pytest.fixture(scope="module")
def tasks() -> list[SearchRecord]:
    """The searches of a job array, one for each P and seed, in random order."""
    records = [search(P, [seed]) for P in (300, 600) for seed in range(6)]
    return [records[i] for i in np.random.default_rng(0).permutation(12)]


@pytest.fixture(scope="module")
def whole() -> list[SearchRecord]:
    """One search for each P over all seeds."""
    return [search(P, list(range(6))) for P in (300, 600)]


def test_the_tasks_of_an_array_merge_to_the_search_over_all_seeds(tasks, whole) -> None:
    merged, duplicates = merge(tasks)
    assert sorted(merged, key=lambda record: record["P"]) == whole and duplicates == []
    assert all(record["n_star"] for record in whole)
    assert all(max(trial["seed"] for trial in record["trials"]) >= FRESH_SEEDS for record in whole)


def test_a_fit_of_the_tasks_of_an_array_is_that_of_the_search_over_all_seeds(tasks, whole) -> None:
    fits = fit_scaling(tasks), fit_scaling(whole)
    of_tasks, of_whole = ({k: v for k, v in fit.items() if k != "points"} for fit in fits)
    assert of_tasks == of_whole


def test_a_search_given_twice_counts_once_and_is_named() -> None:
    tasks = [search(300, [seed]) for seed in (0, 1, 2)]
    merged, duplicates = merge([*tasks, tasks[1], search(300, [2, 3])])
    assert merged == [search(300, [0, 1, 2, 3])]
    assert duplicates == [(300, 2, 1), (300, 2, 2)]
    assert fit_scaling([*tasks, tasks[1]])["duplicates"] == [{"P": 300, "depth": 2, "seed": 1}]


def test_two_searches_of_a_seed_that_differ_are_refused() -> None:
    first = search(300, [0])
    second = {**first, "trials": [*first["trials"][:-1], {**first["trials"][-1], "outcome": "diverged"}]}
    with pytest.raises(InputError, match="two searches of P 300, depth 2, seed 0 that differ"):
        merge([first, second])


@pytest.mark.parametrize("order", [1, -1])
def test_a_continued_search_replaces_its_shorter_version(order: int) -> None:
    """A search run again with a smaller precision has the same trials and some more."""
    before, after = (search(300, [0], trials=40, precision=precision) for precision in (0.9, 0.01))
    assert after["trials"][: len(before["trials"])] == before["trials"] != after["trials"]
    assert merge([before, after][::order]) == ([after], [(300, 2, 0)])


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 7}, {"d": 9}, {"depth": 5}, {"activation": "tanh"}, {"method": "descend"}, {"data": "other"},
    ],
    ids=str,
)  # fmt: skip
def test_searches_that_differ_in_more_than_their_seeds_are_not_merged(change: dict[str, Any]) -> None:
    assert len(merge([search(300, [0]), {**search(300, [1]), **change}])[0]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"trials": []}, {"trials": None}, {"trials": [3]}, {"trials": [{"width": 3}]}, {"seeds": [1, 5]},
        {"times": [100]},
    ],
    ids=str,
)  # fmt: skip
def test_searches_that_lack_trials_are_not_merged(change: dict[str, Any]) -> None:
    record = {**search(300, [0]), **change}
    assert merge([record, record]) == ([record, record], [])


def test_cells_of_a_plan_without_a_search_are_missing() -> None:
    planned = [{"P": P, "depth": 2, "seed": seed} for P in (300, 600) for seed in (0, 1)]
    records = [search(300, [0, 1]), search(600, [1])]
    assert missing_cells(planned, records) == [(600, 2, 0)]
    assert fit_scaling(records, planned=planned)["missing"] == [{"P": 600, "depth": 2, "seed": 0}]


def test_a_fit_without_a_plan_names_no_missing_searches() -> None:
    assert "missing" not in fit_scaling([search(300, [0])])


def test_a_search_that_does_not_name_its_data_is_merged_with_one_that_does() -> None:
    """The digest of the patterns decides; older searches have no name."""
    old, new = search(300, [0]), {**search(300, [1]), "dataset": "random d=5"}
    old.pop("dataset", None)
    for records in ([old, new], [new, old]):
        ((merged,), _) = merge(records)
        assert merged["dataset"] == "random d=5" and merged["seeds"] == [0, 1]
