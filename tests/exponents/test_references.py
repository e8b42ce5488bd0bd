"""Comparison of constructed exponents with known values, in numbers and in words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jamtools.exponents.powerlaw import fit_power_law as fit
from jamtools.exponents.references import (
    THETA_REFERENCES,
    MeasuredExponent,
    Origin,
    Reference,
    compare_with_references,
    distance,
    rounded_up,
    too_long,
    values_needed,
)

SPHERES, PAPER, TANH = THETA_REFERENCES
SHARP = MeasuredExponent(0.42, (0.40, 0.45), 0.95, 0.01, (0.0, 0.01), 20_000, 1e-9, 0.5, True)
BROAD = MeasuredExponent(0.35, (0.25, 0.47), 0.95, 0.05, (0.0, 0.02), 1_200, 1e-5, 0.5, True)


def test_distances_are_in_standard_errors_beyond_the_reach_on_their_side() -> None:
    assert distance(SHARP, 0.38) == pytest.approx(4)
    assert distance(SHARP, 0.48) == pytest.approx(-5)
    assert distance(SHARP, 0.425) == 0
    assert distance(replace(SHARP, standard_error=0.0), 0.3) is None


def test_distances_do_not_depend_on_the_level() -> None:
    assert distance(replace(SHARP, level=0.5, interval=(0.41, 0.43)), 0.3) == distance(SHARP, 0.3)


def test_values_inside_the_interval_are_compatible_and_others_are_excluded() -> None:
    result = compare_with_references(SHARP, THETA_REFERENCES)
    assert [known.compatible for known in result.references] == [True, False, False]
    assert result.separate == ()
    assert result.verdict == "compatible with 0.42 (spheres); excludes 0.30 (paper, ReLU), 0.20 (paper, tanh)"


def test_two_values_inside_the_interval_have_a_sample_size_that_separates_them() -> None:
    result = compare_with_references(BROAD, THETA_REFERENCES)
    n = values_needed(BROAD, SPHERES.value, PAPER.value)
    assert n == 2100  # 1200 ((0.02 + 2.80 · 0.05) / 0.123)² = 2029
    assert result.as_dict()["separate"] == [{"pair": [SPHERES.value, PAPER.value], "n_needed": n}]
    assert (
        f"cannot separate 0.42 (spheres) with 1200 numbers from 0.30 (paper, ReLU), about {n} needed"
        in result.verdict
    )
    assert "excludes 0.20 (paper, tanh)" in result.verdict


@pytest.mark.parametrize("half_width", [0.07, 0.1, 0.3])
def test_the_number_that_separates_two_compatible_values_exceeds_the_sample_size(half_width: float) -> None:
    result = replace(
        BROAD,
        interval=(0.36 - half_width, 0.36 + half_width),
        exponent=0.36,
        standard_error=half_width / 2,
        reach=(0.0, 0.0),
    )
    assert (values_needed(result, SPHERES.value, PAPER.value) or 0) > result.n


@pytest.mark.statistical
def test_the_number_needed_separates_two_exponents_in_four_cases_of_five() -> None:
    """x^0.42 e^−x with a given model: the sample size, computed from fits to 500 values, is tested on 200 samples."""
    rng, other, trials = np.random.default_rng(0), 0.15, 200
    short = [fit(rng.gamma(1.42, size=500), order=1, share=0.8, n_gof=0) for _ in range(50)]
    error = float(np.mean([result.standard_error for result in short]))
    n = values_needed(
        MeasuredExponent(0.42, (0.42 - 2 * error, 0.42 + 2 * error), 0.95, error, (0.0, 0.0), 500),
        0.42,
        other,
    )
    assert n is not None and n > 500
    fits = [fit(rng.gamma(1.42, size=n), order=1, share=0.8, n_gof=0) for _ in range(trials)]
    excluded = sum(result.interval[0] > other for result in fits)
    assert stats.binom.ppf(1e-3, trials, 0.75) <= excluded <= stats.binom.ppf(1 - 1e-3, trials, 0.85)


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"settled": False}, "not settled"),
        ({"p_null": 0.3, "interval": (-0.1, 0.9)}, "exponent 0, is not excluded (p = 0.3)"),
        ({"p_null": None, "interval": (-0.1, 0.9)}, "exponent 0, is not excluded"),
        ({"p_fit": 0.01}, "the fit is rejected (p = 0.01)"),
    ],
)
def test_each_doubt_is_in_the_verdict(change: dict[str, float], doubt: str) -> None:
    assert doubt in compare_with_references(replace(SHARP, **change), THETA_REFERENCES).verdict
    assert doubt not in compare_with_references(SHARP, THETA_REFERENCES).verdict


def test_an_infinite_interval_gives_no_sample_size_that_separates() -> None:
    result = compare_with_references(
        replace(BROAD, interval=(0.25, math.inf)), [SPHERES, Reference("elsewhere", 0.9)]
    )
    assert result.separate[0].n_needed is None
    assert "cannot separate 0.42 (spheres) with 1200 numbers from 0.90 (elsewhere)" in result.verdict


@pytest.mark.parametrize("change", [{"settled": False}, {"p_fit": 0.01}])
def test_a_fit_that_is_not_sound_excludes_nothing(change: dict[str, float]) -> None:
    assert (
        "would exclude, if the fit held, 0.30"
        in compare_with_references(replace(SHARP, **change), THETA_REFERENCES).verdict
    )


def test_a_verdict_begins_with_what_the_values_are_and_their_exponent() -> None:
    verdict = compare_with_references(SHARP, THETA_REFERENCES, Origin("36 jammed runs", "θ")).verdict
    assert verdict == (
        "36 jammed runs: θ = 0.42 [0.40, 0.45]; compatible with 0.42 (spheres); "
        "excludes 0.30 (paper, ReLU), 0.20 (paper, tanh)"
    )


def test_values_that_allow_no_claim_have_none_in_their_verdict() -> None:
    origin = Origin("36 runs on their way", "θ", "not near jamming")
    result = compare_with_references(replace(SHARP, p_fit=0.01), THETA_REFERENCES, origin)
    assert result.verdict == (
        "36 runs on their way: not near jamming, so no claim about spheres or the paper: θ = 0.42 [0.40, 0.45]; "
        "the fit is rejected (p = 0.01)"
    )
    assert result.as_dict()["no_claim"] == "not near jamming"


def test_an_interval_longer_than_two_says_nothing_and_has_the_number_that_it_takes() -> None:
    assert too_long((-0.5, 1.5), 100) is None
    assert too_long((-1.0, 5.78), 100) == (
        "100 values give the interval [-1.00, 5.78], expected one of length 2 at most, which takes about 1200"
    )  # 100 (6.78 / 2)² = 1149
    assert (too_long((-1.0, math.inf), 100, 1.0) or "").endswith("takes about 390")  # 100 · 1.96² = 384
    assert (too_long((-1.0, math.inf), 100) or "").endswith("length 2 at most")


def test_numbers_are_rounded_up_to_two_digits() -> None:
    assert [rounded_up(n) for n in (0.3, 7, 99, 101, 1149, 2000)] == [1, 7, 99, 110, 1200, 2000]


def test_an_exponent_that_drifts_is_compared_with_nothing() -> None:
    drifting = replace(
        SHARP, interval=(-1.0, math.inf), p_null=None, settled=False, drift=(-0.07, 0.57), p_fit=0.01
    )
    words = "no power law can be told: the exponent drifts from -0.07 to 0.57 as the share falls"
    result = compare_with_references(drifting, THETA_REFERENCES, Origin("36 jammed runs", "θ"))
    assert result.verdict == f"36 jammed runs: {words}; the fit is rejected (p = 0.01)"
    assert result.no_claim == words
    assert [known.distance for known in result.references] == [None, None, None]
    assert {separation.n_needed for separation in result.separate} == {None}
    assert compare_with_references(replace(drifting, p_fit=None), THETA_REFERENCES).verdict == words


def test_a_drift_does_not_hide_what_the_runs_are() -> None:
    origin = Origin("36 runs on their way", "θ", "not near jamming")
    result = compare_with_references(
        replace(SHARP, settled=False, drift=(1.0, 2.0)), THETA_REFERENCES, origin
    )
    assert result.verdict.startswith("36 runs on their way: not near jamming, so no claim")
    assert result.verdict.endswith(
        "no power law can be told: the exponent drifts from 1.00 to 2.00 as the share falls"
    )
    assert "not near jamming" in (result.no_claim or "") and "drifts" in (result.no_claim or "")
