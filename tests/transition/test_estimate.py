"""N* and P* from trials made by hand: between widths, at the ends of the sizes, and at earlier times."""

from __future__ import annotations

from typing import Any

import pytest

from jamtools.network.architecture import Architecture
from jamtools.transition.estimate import estimate_fields
from jamtools.transition.search_record import SearchRecord
from jamtools.transition.trial import Outcome, Trial
from tests.support.searches import trial

SEARCH: SearchRecord = {
    "d": 10,
    "depth": 2,
    "activation": "relu",
    "batch_norm": False,
    "level": 0.95,
    "precision": 0.2,
    "max_width": 9,
    "success": "satisfied",
}

PATTERNS: SearchRecord = {**SEARCH, "vary": "patterns", "max_P": 100, "N": 50}

OUTCOMES: dict[str, Outcome] = {"s": "success", "u": "undecided", "f": "unsatisfied", "d": "dead"}


def N(width: int) -> int:
    return Architecture(10, width, 2).n_effective


def trials(letters_at: dict[int, str], size: str = "width", each: int = 20) -> list[Trial]:
    """{size: letters} -> trials there: s success, u undecided, f unsatisfied, d dead, each letter `each` times."""
    fields: list[tuple[str, dict[str, Any]]] = [
        (letter, {size: value}) for value, letters in letters_at.items() for letter in letters * each
    ]
    return [trial(OUTCOMES[letter], steps=7, n_unsatisfied=50, **size_field) for letter, size_field in fields]


def test_n_star_is_n_of_the_first_width_at_or_above_the_median_with_an_interval_of_widths():
    record = estimate_fields(SEARCH, trials({5: "f", 6: "sf", 7: "s"}))
    assert N(5) < record["median"] <= N(6) + 1 and record["width"] in (6, 7)
    assert record["n_star"] == N(record["width"])
    low, high = record["median_interval"]
    below, above = record["interval"]
    assert below < low and high <= above and {below, above} <= {N(h) for h in range(1, 10)}
    assert record["total_steps"] == 7 * 80 and record["n_undecided"] == 0


def test_width_one_is_n_star_where_all_trials_succeed_and_it_was_tried():
    record = estimate_fields(SEARCH, trials({1: "s", 2: "s"}, each=1))
    assert (record["width"], record["n_star"], record["median"]) == (1, N(1), None)
    assert record["interval"][0] == 0 and record["interval"][1] in (N(1), N(2))


def test_n_star_is_unknown_where_all_trials_succeed_and_width_one_was_not_tried():
    assert estimate_fields(SEARCH, trials({2: "s"}, each=1))["n_star"] is None


def test_a_median_beyond_the_largest_width_is_no_n_star():
    """One success in five at width 9, the largest: the logistic would put the median anywhere beyond."""
    record = estimate_fields(SEARCH, trials({7: "f", 8: "f", 9: "ffffs"}, each=4))
    assert (record["n_star"], record["width"], record["median"]) == (None, None, None)
    assert record["precise"] is False
    assert record["interval"][0] >= N(7) and record["interval"][1] is None


def test_p_star_is_the_largest_number_of_patterns_at_or_below_the_median():
    record = estimate_fields(PATTERNS, trials({20: "s", 30: "sf", 40: "f"}, "P"))
    assert record["P"] == int(record["median"]) and 20 < record["P"] < 40 and record["n_star"] == 50
    low, high = record["P_interval"]
    assert low <= record["median_interval"][0] < record["P"] <= record["median_interval"][1] <= high
    assert record["interval"] == pytest.approx(
        [50 * record["median"] / end for end in reversed(record["median_interval"])]
    )


@pytest.mark.parametrize(
    ("letters_at", "P"),
    [({100: "s"}, 100), ({1: "f", 9: "f"}, 0), ({1: "u", 9: "u"}, 0), ({90: "s", 100: "ssssf"}, 100)],
)
def test_without_a_median_p_star_is_all_patterns_or_none(letters_at: dict[int, str], P: int):
    record = estimate_fields(PATTERNS, trials(letters_at, "P", each=5))
    assert (record["P"], record["n_star"], record["median"]) == (P, None, None)
    low, high = record["P_interval"]
    assert low <= P and (high is None or high >= P)


def test_at_a_time_before_the_end_undecided_trials_count_as_failures():
    each = [
        trial("success" if h > 5 else "undecided", width=h, steps=9, fitted_at=(h > 7, h > 5))
        for h in (4, 5, 6, 7, 8) * 9
    ]
    record = estimate_fields({**SEARCH, "times": [100, 900]}, each)
    early, late = record["at_times"]
    assert (early["steps"], late["steps"]) == (100, 900)
    assert N(7) < early["median"] <= N(8) and N(5) < late["median"] <= N(6)
    assert record["median"] is None, "no trial failed for certain at its end"


def test_dead_trials_are_counted_and_change_no_estimate_unless_they_are_kept():
    living = trials({3: "f", 4: "ff", 6: "s", 7: "s"})
    dead = trials({5: "d", 6: "dd"})
    without, left_out = estimate_fields(SEARCH, living), estimate_fields(SEARCH, living + dead)
    kept = estimate_fields({**SEARCH, "keep_dead": True}, living + dead)
    for name in ("n_star", "interval", "median", "median_interval", "spread"):
        assert left_out[name] == without[name]
    assert (without["n_dead"], left_out["n_dead"], kept["n_dead"]) == (0, 60, 60)
    assert kept["n_star"] > left_out["n_star"]


def test_if_every_failure_is_dead_n_star_is_an_upper_bound():
    found = estimate_fields(SEARCH, trials({3: "d", 4: "sd", 6: "s"}))
    assert found["is_upper_bound"] and found["median"] is None
    assert (found["width"], found["n_star"], found["interval"]) == (4, N(4), [0, N(4)])
    nothing = estimate_fields(SEARCH, trials({3: "d"}))
    assert nothing["n_star"] is None and nothing["interval"] == [0, None]
