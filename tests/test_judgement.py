"""Verdicts on exponents whose intervals are made up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jamtools.judgement import THETA, Found, Reference, distance, judge, needed
from jamtools.powerlaw import fit

SPHERES, PAPER, TANH = THETA
SHARP = Found(0.42, (0.40, 0.45), 0.95, 20_000, 1e-9, 0.5, True)
BROAD = Found(0.35, (0.25, 0.47), 0.95, 1_200, 1e-5, 0.5, True)


def test_distances_are_in_standard_errors_of_the_side_they_lie_on() -> None:
    z = stats.norm.ppf(0.975)
    assert distance(SHARP, 0.38) == pytest.approx(z * 0.04 / 0.02)
    assert distance(SHARP, 0.48) == pytest.approx(-z * 0.06 / 0.03)
    assert distance(replace(SHARP, interval=(-math.inf, 0.45)), 0.3) is None


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
    assert found["separate"] == [{"pair": [SPHERES.value, PAPER.value], "n_needed": n}]
    assert f"cannot separate 0.30 from 0.42 with 1200 numbers; about {n} needed" in found["verdict"]
    assert "excludes 0.20 (paper, tanh)" in found["verdict"]


def test_so_many_numbers_do_tell_them_apart_in_four_cases_of_five() -> None:
    """x^0.42 e^−x by one model: the number that intervals from 500 values ask for, tried out 200 times."""
    rng, wrong, trials = np.random.default_rng(0), 0.15, 200
    short = [fit(rng.gamma(1.42, size=500), order=1, share=0.8, n_gof=0) for _ in range(50)]
    width = float(np.mean([one.exponent - one.interval[0] for one in short]))
    n = needed(Found(0.42, (0.42 - width, 0.42 + width), 0.95, 500, 0.0), 0.42, wrong)
    assert n is not None and n > 500
    fits = [fit(rng.gamma(1.42, size=n), order=1, share=0.8, n_gof=0) for _ in range(trials)]
    excluded = sum(one.interval[0] > wrong for one in fits)
    assert stats.binom.ppf(1e-3, trials, 0.75) <= excluded <= stats.binom.ppf(1 - 1e-3, trials, 0.85)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settled": False}, "not settled"),
        ({"p_null": 0.3}, "exponent 0, is not excluded (p = 0.3)"),
        ({"p_null": None}, "exponent 0, is not excluded"),
        ({"p_fit": 0.01}, "the fit is rejected (p = 0.01)"),
    ],
)
def test_each_doubt_is_put_in_words(change: dict[str, float], words: str) -> None:
    assert words in judge(replace(SHARP, **change), THETA)["verdict"]
    assert words not in judge(SHARP, THETA)["verdict"]


def test_without_an_end_no_number_is_named() -> None:
    found = judge(replace(BROAD, interval=(0.25, math.inf)), [SPHERES, Reference("there", 0.9)])
    assert found["separate"][0]["n_needed"] is None
    assert "cannot separate 0.42 from 0.90 with 1200 numbers" in found["verdict"]
