"""N* of datasets for which it is known, by width and by patterns, at several times, killed and not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import with_options
from jamtools.random_streams import FRESH_SEEDS
from jamtools.records import Dataset
from jamtools.transition.sampling import Goal
from jamtools.transition.search import search_all, search_widths, width_of
from jamtools.transition.trial import Question
from tests.support import oracle
from tests.support.searches import QUICK, separable

SILENT = lambda *_: None


def alternating() -> Dataset:
    """-1, 0, 1 on a line, labelled + - +: one ReLU bends once, which gives one change of sign at most; two do."""
    return Dataset(np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, -1.0, 1.0]))


def test_separable_data_need_one_neuron():
    found = search_all(separable(30), Question(1, "tanh", QUICK, (0, 1, 2)), [30], SILENT)[0]
    assert (found["width"], found["success"]) == (1, "satisfied")
    assert (
        found["n_star"] == Architecture(3, 1, 1, "tanh").n_effective == found["interval"][1]
        or found["interval"][1] is None
    )
    assert found["interval"] == [0, None] and found["median"] is None


def test_alternating_labels_need_two_neurons():
    question = Question(1, "relu", QUICK, tuple(range(5)), max_width=16)
    found = search_all(alternating(), question, [3], SILENT)[0]
    assert found["n_star"] > Architecture(1, 1, 1).n_effective
    assert found["interval"][0] < found["n_star"] <= found["interval"][1]
    assert 2 <= found["width"] <= 4
    assert all(trial["outcome"] != "success" for trial in found["trials"] if trial["width"] == 1)


def test_certify_decides_the_trials_that_a_short_budget_leaves_open():
    """Alternating labels on a line: one ReLU cannot, and there is a minimum that says so."""
    hasty = with_options(QUICK, steps=5)
    left = search_all(alternating(), Question(1, "relu", hasty, (0, 2), max_width=8), [3], SILENT)[0]
    assert all(trial["certified"] is None for trial in left["trials"])
    question = Question(1, "relu", hasty, (0, 2), max_width=8, certify=True)
    found = search_all(alternating(), question, [3], SILENT)[0]
    assert found["certify"] and not left["certify"]
    for trial in found["trials"]:
        assert trial["certified"] is (trial["outcome"] in ("success", "stationary"))
    left_open, decided = (
        sum(t["outcome"] in ("undecided", "unsatisfied") for t in one["trials"]) / len(one["trials"])
        for one in (left, found)
    )
    assert decided < left_open / 2
    assert all(trial["outcome"] == "stationary" for trial in found["trials"] if trial["width"] == 1)


def test_only_the_hinge_is_certified():
    with pytest.raises(InputError, match="cross-entropy, expected hinge"):
        Question(1, "relu", with_options(QUICK, loss="cross-entropy"), (0,), certify=True)


def N(width: int) -> int:
    return Architecture(5, width, 2).n_effective


def test_a_search_says_how_it_was_made_and_its_numbers_fit_together() -> None:
    question = Question(1, "relu", with_options(QUICK, steps=2000), (0, 1))
    (found,) = search_all(oracle.dataset(30, 5), question, [30], SILENT, goal=Goal(trials=30))
    assert found["width"] and found["n_star"] == Architecture(5, found["width"], 1).n_effective
    below = Architecture(5, found["width"] - 1, 1).n_effective
    assert below < found["median"] <= found["n_star"]
    low, high = found["median_interval"]
    assert low < found["median"] < high
    assert found["interval"][0] < low and high <= found["interval"][1]
    assert found["total_steps"] == sum(trial["steps"] for trial in found["trials"])
    assert found["n_undecided"] == sum(trial["outcome"] == "undecided" for trial in found["trials"])
    assert (found["method"], found["vary"], found["seeds"]) == ("bisect", "width", [0, 1])
    assert len(found["trials"]) <= 30 and max(t["seed"] for t in found["trials"]) >= FRESH_SEEDS


def test_a_budget_too_small_for_any_verdict_gives_none() -> None:
    question = Question(1, "relu", with_options(QUICK, steps=5), (0,))
    (found,) = search_all(oracle.dataset(30, 3), question, [30], SILENT, goal=Goal(trials=1))
    assert (found["n_star"], found["width"], found["median"], found["precise"]) == (None, None, None, False)
    assert found["interval"] == [0, None] and len(found["trials"]) == 1


def test_a_seed_that_never_succeeds_leaves_n_star_open() -> None:
    question = Question(1, "relu", with_options(QUICK, steps=3), tuple(range(12)), max_width=2)
    (found,) = search_all(oracle.dataset(60, 3), question, [60], SILENT)
    assert found["n_star"] is None and found["interval"][1] is None
    assert found["interval"][0] > 0, "twelve failures at either width say that it is larger than nothing"


def test_descending_starts_from_what_is_fitted_by_heart_and_records_its_way() -> None:
    question = Question(1, "relu", with_options(QUICK, steps=2000), (0,))
    goal = Goal(method="descend", precision=9.0)
    (found,) = search_all(oracle.dataset(40, 5), question, [40], SILENT, goal=goal)
    way = [trial for trial in found["trials"] if trial["seed"] == 0]
    assert found["method"] == "descend"
    assert way[0]["width"] == width_of(40, Architecture(5, 1, 1))
    assert [t["width"] for t in way] == list(range(way[0]["width"], way[-1]["width"] - 1, -1))
    assert way[-1]["n_unsatisfied"] > 0.1 * way[-1]["N"]
    assert all(t["n_unsatisfied"] <= 0.1 * t["N"] for t in way[:-1])


def test_patterns_vary_at_a_fixed_network_as_a_prefix_of_the_data() -> None:
    """Separable up to the 20th pattern, contradictory from there: the same x with both labels."""
    data = separable(20)
    x, y = (np.concatenate([array, array[::-1]]) for array in (data.x, data.y))
    y[20:] *= -1
    question = Question(1, "relu", QUICK, (0, 1, 2))
    (found,) = search_widths(Dataset(x, y), question, [4], SILENT, goal=Goal(trials=40))
    assert (found["vary"], found["width"], found["max_P"]) == ("patterns", 4, 40)
    assert found["n_star"] == found["N"] == Architecture(3, 4, 1).n_effective
    assert found["P"] in (19, 20, 21) and found["P_interval"][0] <= 20 <= found["P_interval"][1]
    for trial in found["trials"]:
        assert (trial["P"] <= 20 or trial["outcome"] != "success") and trial["width"] == 4


def test_where_all_patterns_fit_p_star_is_beyond_the_data() -> None:
    question = Question(1, "tanh", QUICK, tuple(range(6)))
    (found,) = search_widths(separable(30), question, [3], SILENT)
    assert (found["P"], found["n_star"], found["precise"]) == (30, None, False)
    assert found["P_interval"][1] is None and all(trial["outcome"] == "success" for trial in found["trials"])


def by_hand(data: Dataset, question: Question, trial: dict[str, Any], steps: int) -> bool:
    """Whether a trial, trained anew for so many steps alone, is satisfied."""
    from jamtools.training.ensemble import train

    arch = question.architecture(data, trial["width"])
    run = train(data, arch, with_options(question.settings, steps=steps), trial["seed"])
    return bool(run.info["n_unsatisfied"] == 0 or run.gaps.max() <= 0.5e-10)


def test_one_training_a_trial_gives_n_star_at_all_times() -> None:
    data = oracle.dataset(30, 5)
    question = Question(1, "relu", with_options(QUICK, steps=1600), (0, 1), times=(250, 600, 1600))
    (found,) = search_all(data, question, [30], SILENT, goal=Goal(trials=24))
    assert found["times"] == [one["steps"] for one in found["at_times"]] == [250, 600, 1600]
    medians = [one["median"] for one in found["at_times"]]
    assert medians == sorted(medians, reverse=True), "N* falls with time"
    for trial in found["trials"]:
        assert trial["fitted_at"] == sorted(trial["fitted_at"]), "a run that stops when satisfied stays so"
    for trial in found["trials"][::9]:
        for time, fitted in zip(found["times"], trial["fitted_at"]):
            assert by_hand(data, question, trial, time) is fitted


def test_cold_searches_of_one_seed_find_what_one_of_all_seeds_finds() -> None:
    data, settings = oracle.dataset(30, 3), with_options(QUICK, steps=200)
    goal = Goal(trials=12, cold=True)

    def searched(seeds: tuple[int, ...], patterns: list[int]) -> list[dict[str, Any]]:
        return search_all(data, Question(1, "relu", settings, seeds), patterns, SILENT, goal=goal)

    whole = searched((0, 1, 2), [20, 30])
    for i, P in enumerate((20, 30)):
        alone = [trial for seed in (0, 1, 2) for trial in searched((seed,), [P])[0]["trials"]]
        assert whole[i]["trials"] == alone


def test_a_search_starts_from_the_line_through_the_smaller_p() -> None:
    seen: list[tuple[int, int]] = []
    question = Question(1, "relu", with_options(QUICK, steps=2000), (0, 1))
    found = search_all(
        oracle.dataset(60, 5),
        question,
        [15, 30, 60],
        lambda P, width, seed: seen.append((P, width)),
        goal=Goal(trials=20),
    )
    P, N = ([record[name] for record in found[:2]] for name in ("P", "median"))
    slope = np.log(N[1] / N[0]) / np.log(P[1] / P[0])
    expected = width_of(N[1] * 2**slope, Architecture(5, 1, 1))
    assert next(width for P, width in seen if P == 60) == expected
    second = width_of(2 * N[0], Architecture(5, 1, 1))
    assert next(width for P, width in seen if P == 30) == second


def test_more_patterns_than_the_data_hold_are_refused():
    with pytest.raises(InputError, match="the dataset has 30"):
        search_all(separable(30), Question(1, "relu", QUICK, (0,)), [31], SILENT)


def test_width_of_is_the_first_width_with_enough_parameters():
    arch = Architecture(5, 1, 2)
    assert N(width_of(300, arch)) >= 300 > N(width_of(300, arch) - 1)
    with pytest.raises(InputError, match="same N at every width"):
        width_of(300, Architecture(5, 1, 2, "linear"))
