"""The search for N*: bisection against an oracle, and datasets whose N* is known."""

from __future__ import annotations

import artefacts
import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.network import Architecture
from jamtools.protocols import Settings, with_options
from jamtools.records import Dataset
from jamtools.transition import Question, describe, search, search_all, smallest_width, width_of
from tests import oracle

SILENT = lambda *_: None


@pytest.mark.parametrize("first", [1, 3, 17, 64, 100])
@pytest.mark.parametrize("true", [1, 2, 5, 16, 17, 63, 64])
def test_bisection_finds_the_threshold_from_anywhere_and_tries_no_width_twice(first, true):
    tried = []

    def trial(width):
        tried.append(width)
        return width >= true

    assert smallest_width(trial, first, 64) == true
    assert len(tried) == len(set(tried))
    assert len(tried) <= 2 * 7 + 2  # a bracket by doubling, then a bisection: 2 log₂ 64 and the ends


def test_bisection_gives_up_beyond_the_largest_width():
    assert smallest_width(lambda width: False, 4, 50) is None
    assert smallest_width(lambda width: width >= 50, 4, 50) == 50


def planted(thresholds, **fields):
    """A search on simulated trials: seed i succeeds from width thresholds[i] on."""
    question = Question(2, "relu", Settings(), tuple(range(len(thresholds))), **fields)

    def trial(width, seed):
        return {
            "width": width,
            "N": N(width),
            "seed": seed,
            "outcome": "success" if width >= thresholds[seed] else "undecided",
        }

    return search(oracle.dataset(300, 5), question, 10, trial)


def N(width):
    return Architecture(5, width, 2).n_effective


def test_n_star_is_the_median_over_seeds_and_the_interval_reaches_below_the_smallest():
    found = planted([7, 9, 8, 12, 8])
    assert (found["n_star"], found["width"]) == (N(8), 8)
    assert found["interval"] == [N(6), N(12)]
    assert found["coverage"] == 1 - 2**-4


def test_a_seed_that_never_succeeds_leaves_the_interval_open():
    found = planted([7, 8, 10_000], max_width=40)
    assert found["n_star"] == N(8)
    assert found["interval"] == [N(6), None]
    assert planted([10_000], max_width=40)["n_star"] is None


def test_the_interval_of_the_median_covers_as_often_as_it_says():
    """Simulated thresholds: log-normal around width 20, five seeds, nominal coverage 15/16 and more for the grid."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        true_widths = 20 * np.exp(0.15 * rng.standard_normal(5))
        low, high = planted(np.ceil(true_widths))["interval"]
        hits += low < N(20) <= high
    # binomial: 200 tries at 0.9375 give 187.5 ± 3.4
    assert hits >= 187.5 - 4 * 3.4


def separable(P: int) -> Dataset:
    """Labels by the sign of the first coordinate, with a margin: one neuron is enough."""
    x, _ = oracle.sphere(P, 3)
    x = x.numpy()
    x[:, 0] += np.where(x[:, 0] > 0, 1.0, -1.0)
    return Dataset(x, np.where(x[:, 0] > 0, 1.0, -1.0))


def alternating() -> Dataset:
    """-1, 0, 1 on a line, labelled + - +: one ReLU bends once, which gives one change of sign at most; two do."""
    return Dataset(np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, -1.0, 1.0]))


QUICK = with_options(Settings(), lr=1e-2, steps=3000, measurements=2, init="torch")


def test_separable_data_need_one_neuron():
    found = search_all(separable(30), Question(1, "tanh", QUICK, (0, 1, 2)), [30], SILENT)[0]
    assert (found["width"], found["success"]) == (1, "satisfied")
    assert found["n_star"] == Architecture(3, 1, 1, "tanh").n_effective


def test_alternating_labels_need_two_neurons():
    found = search_all(alternating(), Question(1, "relu", QUICK, tuple(range(5)), max_width=16), [3], SILENT)[
        0
    ]
    assert found["interval"][0] >= Architecture(1, 1, 1).n_effective
    assert 2 <= found["width"] <= 4
    assert all(trial["outcome"] != "success" for trial in found["trials"] if trial["width"] == 1)


def test_a_trial_on_its_budget_is_undecided_and_classified_is_the_weaker_verdict():
    from jamtools.descent import train

    run = train(separable(30), Architecture(3, 2, 1), with_options(QUICK, steps=60), seed=1)
    strict, weak = describe(run, "satisfied"), describe(run, "classified")
    assert run.info["n_misclassified"] == 0 < run.info["n_unsatisfied"], "the planted state"
    assert (strict["outcome"], weak["outcome"]) == ("undecided", "success")
    assert strict["classified"]
    assert not strict["satisfied"]


@pytest.mark.parametrize(
    ("status", "certified", "outcome"),
    [
        ("stationary", True, "stationary"),
        ("stationary", False, "undecided"),
        ("budget", False, "undecided"),
        ("budget", None, "undecided"),
        ("diverged", False, "diverged"),
    ],
)
def test_only_a_certified_minimum_is_a_failure_for_certain(status, certified, outcome):
    trial = describe(artefacts.run(status=status, certified=certified), "satisfied")
    assert (trial["outcome"], trial["certified"]) == (outcome, certified)


def test_certify_decides_the_trials_that_a_short_budget_leaves_open():
    """Alternating labels on a line: one ReLU cannot, and there is a minimum that says so."""
    hasty = with_options(QUICK, steps=5)
    left = search_all(alternating(), Question(1, "relu", hasty, (0, 2), max_width=8), [3], SILENT)[0]
    assert "undecided" in {trial["outcome"] for trial in left["trials"]}
    question = Question(1, "relu", hasty, (0, 2), max_width=8, certify=True)
    found = search_all(alternating(), question, [3], SILENT)[0]
    assert found["certify"] and not left["certify"]
    for trial in found["trials"]:
        assert trial["certified"] is (trial["outcome"] != "undecided")
    undecided = [
        sum(t["outcome"] == "undecided" for t in one["trials"]) / len(one["trials"]) for one in (left, found)
    ]
    assert undecided[1] < undecided[0] / 2
    assert all(trial["outcome"] == "stationary" for trial in found["trials"] if trial["width"] == 1)


def test_only_the_hinge_is_certified():
    with pytest.raises(InputError, match="cross-entropy, expected hinge"):
        Question(1, "relu", with_options(QUICK, loss="cross-entropy"), (0,), certify=True)


def test_more_patterns_than_the_data_hold_are_refused():
    with pytest.raises(InputError, match="the dataset has 30"):
        search_all(separable(30), Question(1, "relu", QUICK, (0,)), [31], SILENT)


def test_width_of_is_the_first_width_with_enough_parameters():
    arch = Architecture(5, 1, 2)
    assert N(width_of(300, arch)) >= 300 > N(width_of(300, arch) - 1)
    with pytest.raises(InputError, match="same N at every width"):
        width_of(300, Architecture(5, 1, 2, "linear"))
