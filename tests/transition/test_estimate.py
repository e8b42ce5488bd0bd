"""What trials say, by hand: widths that there are, patterns that fit, ends that are open."""

from __future__ import annotations

from typing import Any

import pytest

from jamtools.network.architecture import Architecture
from jamtools.transition.estimate import verdict

ASKED = {
    "d": 10,
    "depth": 2,
    "activation": "relu",
    "batch_norm": False,
    "level": 0.95,
    "precision": 0.2,
    "max_width": 9,
}


def N(width: int) -> int:
    return Architecture(10, width, 2).n_effective


def trials(counts: dict[int, str], size: str = "width", each: int = 20) -> list[dict[str, Any]]:
    """{size: outcomes}: s success, u undecided, f unsatisfied, each letter `each` times."""
    words = {"s": "success", "u": "undecided", "f": "unsatisfied"}
    return [
        {size: at, "outcome": words[c], "steps": 7} for at, letters in counts.items() for c in letters * each
    ]


def test_n_star_is_the_first_width_at_or_above_the_median_and_the_interval_is_of_widths():
    found = verdict(ASKED, trials({5: "f", 6: "sf", 7: "s"}))
    assert N(5) < found["median"] <= N(6) + 1 and found["width"] in (6, 7)
    assert found["n_star"] == N(found["width"])
    low, high = found["median_interval"]
    below, above = found["interval"]
    assert below < low and high <= above and {below, above} <= {N(h) for h in range(1, 10)}
    assert found["total_steps"] == 7 * 80 and found["n_undecided"] == 0


def test_width_one_that_always_fits_is_n_star():
    found = verdict(ASKED, trials({1: "s", 2: "s"}, each=1))
    assert (found["width"], found["n_star"], found["interval"]) == (1, N(1), [0, None])
    assert verdict(ASKED, trials({2: "s"}, each=1))["n_star"] is None, "width 1 was not tried"


def test_a_median_beyond_the_largest_width_is_no_n_star():
    """One success in five at width 9, the largest: the logistic would put the median anywhere beyond."""
    found = verdict(ASKED, trials({7: "f", 8: "f", 9: "ffffs"}, each=4))
    assert (found["n_star"], found["width"], found["median"], found["precise"]) == (None, None, None, False)
    assert found["interval"][0] >= N(7) and found["interval"][1] is None


PATTERNS = {**ASKED, "vary": "patterns", "max_P": 100, "N": 50}


def test_p_star_is_the_largest_number_of_patterns_not_above_the_median():
    found = verdict(PATTERNS, trials({20: "s", 30: "sf", 40: "f"}, "P"))
    assert found["P"] == int(found["median"]) and 20 < found["P"] < 40 and found["n_star"] == 50
    low, high = found["P_interval"]
    assert low <= found["median_interval"][0] < found["P"] <= found["median_interval"][1] <= high
    assert found["interval"] == pytest.approx(
        [50 * found["median"] / end for end in reversed(found["median_interval"])]
    )


@pytest.mark.parametrize(
    ("counts", "P"),
    [({100: "s"}, 100), ({1: "f", 9: "f"}, 0), ({1: "u", 9: "u"}, 0), ({90: "s", 100: "ssssf"}, 100)],
)
def test_without_a_median_p_is_all_or_nothing(counts: dict[int, str], P: int):
    found = verdict(PATTERNS, trials(counts, "P", each=5))
    assert (found["P"], found["n_star"], found["median"]) == (P, None, None)
    low, high = found["P_interval"]
    assert low <= P and (high is None or high >= P)


def test_at_a_time_a_trial_has_fitted_or_not():
    each = [
        {"width": h, "outcome": "success" if h > 5 else "undecided", "steps": 9, "fitted_at": [h > 7, h > 5]}
        for h in (4, 5, 6, 7, 8) * 9
    ]
    found = verdict({**ASKED, "times": [100, 900]}, each)
    early, late = found["at_times"]
    assert (early["steps"], late["steps"]) == (100, 900)
    assert N(7) < early["median"] <= N(8) and N(5) < late["median"] <= N(6)
    assert found["median"] is None, "no trial failed for certain at its end"
