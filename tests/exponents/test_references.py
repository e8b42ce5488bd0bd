"""Verdicts on exponents whose intervals are made up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jamtools.exponents.powerlaw import fit
from jamtools.exponents.references import THETA, Found, Reference, distance, judge, needed

SPHERES, PAPER, TANH = THETA
SHARP = Found(0.42, (0.40, 0.45), 0.95, 0.01, (0.0, 0.01), 20_000, 1e-9, 0.5, True)
BROAD = Found(0.35, (0.25, 0.47), 0.95, 0.05, (0.0, 0.02), 1_200, 1e-5, 0.5, True)


def test_distances_are_in_standard_errors_beyond_the_reach_of_the_side_they_lie_on() -> None:
    assert distance(SHARP, 0.38) == pytest.approx(4)
    assert distance(SHARP, 0.48) == pytest.approx(-5)
    assert distance(SHARP, 0.425) == 0
    assert distance(replace(SHARP, standard_error=0.0), 0.3) is None


def test_distances_do_not_depend_on_the_level() -> None:
    assert distance(replace(SHARP, level=0.5, interval=(0.41, 0.43)), 0.3) == distance(SHARP, 0.3)


def test_what_lies_in_the_interval_is_compatible_and_what_does_not_is_excluded() -> None:
    found = judge(SHARP, THETA)
    assert [row["compatible"] for row in found["references"]] == [True, False, False]
    assert found["separate"] == []
    assert (
        found["verdict"] == "compatible with 0.42 (spheres); excludes 0.30 (paper, ReLU), 0.20 (paper, tanh)"
    )


def test_what_cannot_be_told_apart_says_how_many_numbers_would() -> None:
    found = judge(BROAD, THETA)
    n = needed(BROAD, SPHERES.value, PAPER.value)
    assert n == 2100  # 1200 ((0.02 + 2.80 · 0.05) / 0.123)² = 2029
    assert found["separate"] == [{"pair": [SPHERES.value, PAPER.value], "n_needed": n}]
    assert (
        f"cannot separate 0.42 (spheres) with 1200 numbers from 0.30 (paper, ReLU), about {n} needed"
        in found["verdict"]
    )
    assert "excludes 0.20 (paper, tanh)" in found["verdict"]


@pytest.mark.parametrize("half", [0.07, 0.1, 0.3])
def test_never_fewer_numbers_are_asked_for_than_there_are(half: float) -> None:
    found = replace(
        BROAD, interval=(0.36 - half, 0.36 + half), exponent=0.36, standard_error=half / 2, reach=(0.0, 0.0)
    )
    assert (needed(found, SPHERES.value, PAPER.value) or 0) > found.n


def test_so_many_numbers_do_tell_them_apart_in_four_cases_of_five() -> None:
    """x^0.42 e^−x by one model: the number that intervals from 500 values ask for, tried out 200 times."""
    rng, wrong, trials = np.random.default_rng(0), 0.15, 200
    short = [fit(rng.gamma(1.42, size=500), order=1, share=0.8, n_gof=0) for _ in range(50)]
    error = float(np.mean([one.standard_error for one in short]))
    n = needed(Found(0.42, (0.42 - 2 * error, 0.42 + 2 * error), 0.95, error, (0.0, 0.0), 500), 0.42, wrong)
    assert n is not None and n > 500
    fits = [fit(rng.gamma(1.42, size=n), order=1, share=0.8, n_gof=0) for _ in range(trials)]
    excluded = sum(one.interval[0] > wrong for one in fits)
    assert stats.binom.ppf(1e-3, trials, 0.75) <= excluded <= stats.binom.ppf(1 - 1e-3, trials, 0.85)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settled": False}, "not settled"),
        ({"p_null": 0.3, "interval": (-0.1, 0.9)}, "exponent 0, is not excluded (p = 0.3)"),
        ({"p_null": None, "interval": (-0.1, 0.9)}, "exponent 0, is not excluded"),
        ({"p_fit": 0.01}, "the fit is rejected (p = 0.01)"),
    ],
)
def test_each_doubt_is_put_in_words(change: dict[str, float], words: str) -> None:
    assert words in judge(replace(SHARP, **change), THETA)["verdict"]
    assert words not in judge(SHARP, THETA)["verdict"]


def test_without_an_end_no_number_is_named() -> None:
    found = judge(replace(BROAD, interval=(0.25, math.inf)), [SPHERES, Reference("there", 0.9)])
    assert found["separate"][0]["n_needed"] is None
    assert "cannot separate 0.42 (spheres) with 1200 numbers from 0.90 (there)" in found["verdict"]


@pytest.mark.parametrize("change", [{"settled": False}, {"p_fit": 0.01}])
def test_a_fit_that_does_not_stand_excludes_nothing(change: dict[str, float]) -> None:
    assert "would exclude, if the fit held, 0.30" in judge(replace(SHARP, **change), THETA)["verdict"]
