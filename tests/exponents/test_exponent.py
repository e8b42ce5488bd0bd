"""The exponent of one sample: its sign, histogram and curve, and the refusal of runs that still descend."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jamtools.cli.common.remedies import in_shell_words
from jamtools.errors import InputError
from jamtools.exponents.exponent import FitOptions, RefusedExponent, fit_exponent, fit_or_refuse
from jamtools.exponents.references import PLAIN_NUMBERS, THETA_REFERENCES, Origin
from jamtools.exponents.samples import Sample, pool_overlaps
from tests.support.planted_gaps import run_with_gaps


def test_the_fitted_curve_and_the_histogram_have_the_same_normalisation():
    rng = np.random.default_rng(2)
    sample = Sample(rng.gamma(1.4, size=20_000), None)
    result = fit_exponent(sample, FitOptions(share=0.8))
    edges, density = result.histogram.edges, result.histogram.density
    middle = np.sqrt(edges[1:] * edges[:-1])
    counted = (result.histogram.counts > 400) & (edges[1:] < result.fit.upper_cut)
    curve = np.interp(middle[counted], result.curve.x, result.curve.density)
    assert counted.sum() >= 3
    # 400 counts are known to 5%; a bin of a fifth of a decade is within 5% of its density at its middle
    assert np.abs(density[counted] / curve - 1).max() < 0.2


def test_runs_that_still_descend_are_refused_unless_the_cut_is_given():
    rng = np.random.default_rng(7)
    run = run_with_gaps(0.1 * rng.gamma(1.4, size=500), relative_descent=9.0)
    with pytest.raises(
        InputError, match="still descend: .* finish them with the newton optimiser, or pass lower_cut"
    ):
        fit_exponent(pool_overlaps([run]), FitOptions())
    result = fit_exponent(pool_overlaps([run]), FitOptions(lower_cut=0.0))
    assert (result.fit.n_total, result.cut_by) == (500, "given")


def test_a_negated_exponent_negates_its_intervals_and_stability_too():
    x = np.random.default_rng(6).gamma(0.7, size=3000)
    up, down = (fit_exponent(Sample(x, None), FitOptions(), sign).as_dict() for sign in (1, -1))
    assert down["exponent"] == -up["exponent"]
    for name in ("interval", "profile_interval", "reach"):
        negated = [-end for end in up[name]] if name != "reach" else up[name]
        assert down[name] == negated[::-1]
    assert [row["exponent"] for row in down["stability"]] == [-row["exponent"] for row in up["stability"]]
    assert down["p_null"] == up["p_null"]


def test_a_refusal_is_put_into_the_words_of_the_caller():
    run = run_with_gaps(0.1 * np.random.default_rng(7).gamma(1.4, size=500), relative_descent=9.0)
    refused = fit_or_refuse(pool_overlaps([run]), FitOptions(), 1, THETA_REFERENCES)
    assert isinstance(refused, RefusedExponent)
    assert refused.as_dict()["refused"].endswith("or pass lower_cut")
    assert refused.as_dict(in_shell_words)["refused"].endswith("or give --lower-cut")
    assert list(refused.as_dict()) == ["exponent", "interval", "n", "refused", "histogram"]
    assert sum(refused.as_dict()["histogram"]["counts"]) == 500


def test_an_empty_sample_is_refused():
    with pytest.raises(InputError, match="no values, expected at least 50"):
        fit_exponent(Sample(np.empty(0), None), FitOptions())


def test_the_record_of_an_exponent_is_plain_json():
    result = fit_exponent(Sample(np.random.default_rng(8).gamma(1.4, size=500), None), FitOptions())
    record = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert record == result.as_dict()
    assert record["range"] == [result.lowest, result.fit.upper_cut]


@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_values_of_one_run_are_refused(seed):
    x = np.random.default_rng(seed).gamma(1.42, size=100)
    sample = pool_overlaps([run_with_gaps(x)])
    words = "length 2 at most, which takes about|got 100 values of 1 run, expected 250 values, or 8 runs"
    with pytest.raises(InputError, match=words):
        fit_exponent(sample, FitOptions())


def test_the_number_that_it_takes_gives_a_shorter_interval():
    """The median length of ten samples: a single one scatters."""
    lengths = []
    for seed in range(10):
        x = np.random.default_rng(seed).gamma(1.42, size=1000)
        low, high = fit_exponent(Sample(x, None), FitOptions()).fit.interval
        lengths.append(high - low)
    assert np.median(lengths) < 2


def test_a_long_interval_from_the_scatter_of_eight_runs_is_given_without_a_claim():
    """The error of θ grows with θ: for θ = 8 the 240 values tell it to ± 2 at best."""
    rng = np.random.default_rng(0)
    runs = [run_with_gaps(0.01 * rng.gamma(9, size=30), seed=seed) for seed in range(8)]
    result = fit_exponent(pool_overlaps(runs), FitOptions(), origin=Origin("eight runs", "θ"))
    low, high = result.fit.interval
    assert high - low > 2
    assert result.comparison.verdict.startswith("eight runs: 240 values give the interval")
    assert "excludes" not in result.comparison.verdict and result.comparison.no_claim


def test_the_verdict_on_plain_numbers_says_so_and_keeps_the_comparison():
    x = np.random.default_rng(0).gamma(1.42, size=3000)
    verdict = fit_exponent(
        Sample(x, None), FitOptions(order=1, share=0.8), origin=PLAIN_NUMBERS
    ).comparison.verdict
    assert verdict.startswith("plain numbers: t = ")
    assert "(spheres)" in verdict and "no claim" not in verdict


@pytest.mark.parametrize("sign", [1, -1])
def test_log_normal_values_have_no_power_law_in_any_field(sign):
    """log p of a log-normal is quadratic in log x: its exponent grows without end as x → 0."""
    x = np.exp(2 * np.random.default_rng(1).standard_normal(10_000))
    result = fit_exponent(Sample(x, None), FitOptions(), sign, origin=PLAIN_NUMBERS)
    record = result.as_dict()
    start, end = record["drift"]
    assert sign * start < sign * end and record["p_drift"] < 0.01
    assert record["interval"] == ([-1.0, None] if sign > 0 else [None, 1.0])
    assert (record["settled"], record["p_null"], result.sound) == (False, None, False)
    told = f"no power law can be told: the exponent drifts from {start:.2f} to {end:.2f} as the share falls"
    assert record["verdict"].startswith(f"plain numbers: {told}")
    assert "compatible" not in record["verdict"] and "exclude" not in record["verdict"]
    assert record["no_claim"] == told
    json.dumps(record, allow_nan=False)


def test_a_drift_of_few_runs_is_told_and_not_refused_for_its_interval():
    x = np.exp(2 * np.random.default_rng(1).standard_normal(10_000))
    result = fit_exponent(Sample(x, np.arange(10_000) % 3, n_runs=3), FitOptions())
    assert result.fit.drift and "more numbers" not in result.comparison.verdict
