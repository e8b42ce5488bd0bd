"""N* and P* of datasets for which they are known, at several times, and by cold searches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from jamtools.data.sphere import random_gaussian
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import with_options
from jamtools.random_streams import FRESH_SEEDS
from jamtools.records import Dataset
from jamtools.training.ensemble import train
from jamtools.transition.options import SearchOptions, TrialSpec
from jamtools.transition.search import search_transition, smallest_width
from jamtools.transition.search_record import SearchRecord
from jamtools.transition.trial import TrialKey
from tests.support import oracle
from tests.support.searches import QUICK, separable


def alternating() -> Dataset:
    """-1, 0, 1 on a line, labelled + - +: one ReLU changes sign at most once, two ReLUs change it twice."""
    return Dataset(np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, -1.0, 1.0]))


def test_separable_data_need_one_neuron():
    (record,) = search_transition(separable(30), TrialSpec(1, "tanh", QUICK, (0, 1, 2)), [30])
    assert (record["width"], record["success"]) == (1, "satisfied")
    assert record["n_star"] == Architecture(3, 1, 1, "tanh").n_effective
    assert record["interval"][0] == 0 and record["median"] is None
    assert record["n_star"] <= record["interval"][1] < 2 * record["n_star"]


def test_alternating_labels_need_two_neurons():
    spec = TrialSpec(1, "relu", QUICK, tuple(range(5)), max_width=16)
    (record,) = search_transition(alternating(), spec, [3])
    assert record["n_star"] > Architecture(1, 1, 1).n_effective
    assert record["interval"][0] < record["n_star"] <= record["interval"][1]
    assert 2 <= record["width"] <= 4
    assert all(trial["outcome"] != "success" for trial in record["trials"] if trial["width"] == 1)


def share_undecided(record: SearchRecord) -> float:
    """The share of the trials that a longer training may decide."""
    outcomes = [trial["outcome"] for trial in record["trials"]]
    return sum(outcome in ("undecided", "unsatisfied") for outcome in outcomes) / len(outcomes)


def test_certificates_decide_trials_that_used_up_their_steps():
    """Alternating labels on a line: one ReLU cannot fit them, and a minimum proves it."""
    short = with_options(QUICK, steps=5)
    (without,) = search_transition(alternating(), TrialSpec(1, "relu", short, (0, 2), max_width=8), [3])
    spec = TrialSpec(1, "relu", short, (0, 2), max_width=8, certify=True)
    (record,) = search_transition(alternating(), spec, [3])
    assert record["certify"] and not without["certify"]
    assert all(trial["certified"] is None for trial in without["trials"])
    for trial in record["trials"]:
        assert trial["certified"] or trial["outcome"] not in ("success", "stationary")
    assert share_undecided(record) < share_undecided(without) / 2
    of_one_neuron = [trial["outcome"] for trial in record["trials"] if trial["width"] == 1]
    assert "success" not in of_one_neuron
    decided = sum(outcome in ("stationary", "dead") for outcome in of_one_neuron)
    assert decided > len(of_one_neuron) / 2, "a few certificates fail by round-off"


def test_the_numbers_of_a_search_agree_with_each_other_and_with_its_trials() -> None:
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=2000), (0, 1))
    (record,) = search_transition(oracle.dataset(30, 5), spec, [30], options=SearchOptions(trials=30))
    assert record["width"] and record["n_star"] == Architecture(5, record["width"], 1).n_effective
    below = Architecture(5, record["width"] - 1, 1).n_effective
    assert below < record["median"] <= record["n_star"]
    low, high = record["median_interval"]
    assert low < record["median"] < high
    assert record["interval"][0] < low and high <= record["interval"][1]
    assert record["total_steps"] == sum(trial["steps"] for trial in record["trials"])
    assert record["n_undecided"] == sum(trial["outcome"] == "undecided" for trial in record["trials"])
    assert (record["method"], record["vary"], record["seeds"]) == ("bisect", "width", [0, 1])
    assert len(record["trials"]) <= 30 and max(t["seed"] for t in record["trials"]) >= FRESH_SEEDS


def test_one_undecided_trial_gives_no_n_star() -> None:
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=5), (0,))
    (record,) = search_transition(oracle.dataset(30, 3), spec, [30], options=SearchOptions(trials=1))
    assert (record["n_star"], record["width"], record["median"]) == (None, None, None)
    assert record["precise"] is False
    assert record["interval"] == [0, None] and len(record["trials"]) == 1


def test_searches_without_a_success_leave_n_star_open_above() -> None:
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=3), tuple(range(12)), max_width=2)
    (record,) = search_transition(oracle.dataset(60, 3), spec, [60])
    assert record["n_star"] is None and record["interval"][1] is None
    assert record["interval"][0] > 0, "twelve failures at either width give a lower end"


def test_descending_starts_at_one_parameter_per_pattern_and_ends_at_a_clear_failure() -> None:
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=2000), (0,))
    options = SearchOptions(method="descend", precision=9.0)
    (record,) = search_transition(oracle.dataset(40, 5), spec, [40], options=options)
    descent = [trial for trial in record["trials"] if trial["seed"] == 0]
    first, last = descent[0]["width"], descent[-1]["width"]
    assert record["method"] == "descend"
    assert first == smallest_width(40, Architecture(5, 1, 1))
    assert [trial["width"] for trial in descent] == list(range(first, last - 1, -1))
    assert descent[-1]["n_unsatisfied"] > 0.1 * descent[-1]["N"]
    assert all(trial["n_unsatisfied"] <= 0.1 * trial["N"] for trial in descent[:-1])


def test_p_star_is_the_number_of_first_patterns_that_can_be_fitted() -> None:
    """Separable up to the 20th pattern, contradictory from there: the same x with both labels."""
    data = separable(20)
    x, y = (np.concatenate([array, array[::-1]]) for array in (data.x, data.y))
    y[20:] *= -1
    spec = TrialSpec(1, "relu", QUICK, (0, 1, 2))
    (record,) = search_transition(Dataset(x, y), spec, [4], "patterns", SearchOptions(trials=40))
    assert (record["vary"], record["width"], record["max_P"]) == ("patterns", 4, 40)
    assert record["n_star"] == record["N"] == Architecture(3, 4, 1).n_effective
    assert record["P"] in (19, 20, 21) and record["P_interval"][0] <= 20 <= record["P_interval"][1]
    for trial in record["trials"]:
        assert (trial["P"] <= 20 or trial["outcome"] != "success") and trial["width"] == 4


def test_p_star_is_open_above_where_all_patterns_are_fitted() -> None:
    spec = TrialSpec(1, "tanh", QUICK, tuple(range(6)))
    (record,) = search_transition(separable(30), spec, [3], "patterns")
    assert (record["P"], record["n_star"], record["precise"]) == (30, None, False)
    assert record["P_interval"][1] is None
    assert all(trial["outcome"] == "success" for trial in record["trials"])


def is_satisfied_after(data: Dataset, spec: TrialSpec, width: int, seed: int, steps: int) -> bool:
    """Whether a training of so many steps alone satisfies all patterns."""
    settings = with_options(spec.settings, steps=steps)
    run = train(data, spec.architecture(data, width), settings, seed)
    return bool(run.info["n_unsatisfied"] == 0 or run.gaps.max() <= 0.5e-10)


def test_one_training_per_trial_gives_n_star_at_all_times() -> None:
    data = oracle.dataset(30, 5)
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=1600), (0, 1), times=(250, 600, 1600))
    (record,) = search_transition(data, spec, [30], options=SearchOptions(trials=24))
    assert record["times"] == [estimate["steps"] for estimate in record["at_times"]] == [250, 600, 1600]
    medians = [estimate["median"] for estimate in record["at_times"]]
    assert medians == sorted(medians, reverse=True), "N* falls with time"
    for trial in record["trials"]:
        assert trial["fitted_at"] == sorted(trial["fitted_at"]), "a run stops when it is satisfied"
    for trial in record["trials"][::9]:
        for time, fitted in zip(record["times"], trial["fitted_at"]):
            assert is_satisfied_after(data, spec, trial["width"], trial["seed"], time) is fitted


def test_cold_searches_of_one_seed_make_the_trials_of_a_cold_search_of_all_seeds() -> None:
    data, settings = oracle.dataset(30, 3), with_options(QUICK, steps=200)

    def cold(seeds: tuple[int, ...], patterns: list[int]) -> list[SearchRecord]:
        options = SearchOptions(trials=12, cold=True)
        return search_transition(data, TrialSpec(1, "relu", settings, seeds), patterns, options=options)

    whole = cold((0, 1, 2), [20, 30])
    for i, P in enumerate((20, 30)):
        alone = [trial for seed in (0, 1, 2) for trial in cold((seed,), [P])[0]["trials"]]
        assert whole[i]["trials"] == alone


def test_a_search_starts_on_the_line_through_the_smaller_p() -> None:
    seen: list[TrialKey] = []
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=2000), (0, 1))
    options = SearchOptions(trials=20)
    records = search_transition(
        oracle.dataset(120, 5), spec, [30, 60, 120], options=options, watch=seen.append
    )
    first_width = {key.P: key.width for key in reversed(seen)}
    P, N = ([record[name] for record in records[:2]] for name in ("P", "median"))
    slope = np.log(N[1] / N[0]) / np.log(P[1] / P[0])
    assert first_width[120] == smallest_width(N[1] * 2**slope, Architecture(5, 1, 1))
    assert first_width[60] == smallest_width(2 * N[0], Architecture(5, 1, 1))


def test_more_patterns_than_the_dataset_has_are_refused():
    with pytest.raises(InputError, match="the dataset has 30"):
        search_transition(separable(30), TrialSpec(1, "relu", QUICK, (0,)), [31])


def test_the_smallest_width_is_the_first_with_enough_parameters():
    arch = Architecture(5, 1, 2)
    width = smallest_width(300, arch)
    assert Architecture(5, width, 2).n_effective >= 300 > Architecture(5, width - 1, 2).n_effective


def test_a_linear_network_has_no_smallest_width():
    with pytest.raises(InputError, match="same N at every width"):
        smallest_width(300, Architecture(5, 1, 2, "linear"))


def largest_separable(data: Dataset) -> int:
    """How many of the first patterns some W separates, y W·x ≥ 1 for all of them, by linear programming."""
    rows = -data.x * data.y[:, None]
    fits = [
        linprog(np.zeros(data.d), rows[:P], -np.ones(P), bounds=(None, None)).status == 0
        for P in range(1, data.P + 1)
    ]
    return fits.index(False) if False in fits else data.P


@pytest.mark.parametrize("seed", [0, 3])
def test_the_largest_p_of_a_perceptron_is_that_of_a_linear_program(seed):
    """Its loss is convex, so that all seeds end alike. The search brackets P* to the precision that it reports."""
    data = random_gaussian(40, 8, seed)
    options = with_options(QUICK, steps=20_000, lr=1e-2, every=5000, measurements=20)
    spec = TrialSpec(0, "relu", options, (0,), bias=False)
    (record,) = search_transition(data, spec, [8], "patterns", SearchOptions(trials=10))
    exact = largest_separable(data)
    assert (record["width"], record["N"], record["bias"], record["activation"]) == (8, 8, False, "linear")
    low, high = record["P_interval"]
    assert low <= exact <= high and record["n_undecided"] == 0
    assert all((trial["outcome"] == "success") == (trial["P"] <= exact) for trial in record["trials"])
