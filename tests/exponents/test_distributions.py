"""θ and γ of ensembles with known exponents: the fits, several sizes, bounds of stability, and single runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.errors import InputError, Remedy
from jamtools.exponents.distributions import fit_distributions, fit_each_run
from jamtools.exponents.exponent import FitOptions, FittedExponent, RefusedExponent
from tests.support.planted_gaps import run_with_gaps, runs_near_jamming, runs_of_sizes

#: One fit instead of a choice among eight.
FAST = FitOptions(order=1, share=0.8, lower_cut=0.0)


def test_planted_exponents_are_recovered_with_their_signs():
    """Δ > 0 ~ x^0.42 e^-x and -Δ ~ x^-0.3 e^-x over 12 runs whose losses differ."""
    rng = np.random.default_rng(1)
    runs = []
    for seed in range(12):
        loss = rng.uniform(0.5, 2) * 1e-3
        overlaps, gaps = rng.gamma(1.42, size=800) * np.sqrt(loss), rng.gamma(0.7, size=800)
        runs.append(run_with_gaps(np.concatenate([overlaps, -gaps]), final_loss=loss, seed=seed))
    fits = fit_distributions(runs, FitOptions(lower_cut=0.0))
    for result, true in ((fits.overlaps, 0.42), (fits.gaps, 0.3)):
        low, high = result.fit.interval
        assert low < result.fit.exponent < high
        assert abs(result.fit.exponent - true) < 4 * result.fit.standard_error
        assert result.fit.p_null < 0.01
        assert result.fit.n == round(result.fit.share * 9600)
    assert fits.n_runs == 12


def test_too_few_overlaps_are_refused_beside_a_fit_of_the_gaps():
    rng = np.random.default_rng(3)
    satisfied = run_with_gaps(-rng.gamma(0.7, size=500), final_loss=0.0)
    fits = fit_distributions([satisfied], FitOptions())
    assert isinstance(fits.overlaps, RefusedExponent)
    assert "expected at least 50" in fits.as_dict()["overlaps"]["refused"]
    assert isinstance(fits.gaps, FittedExponent)


@pytest.mark.parametrize(
    ("fields", "delta"),
    [({"loss": "cross-entropy"}, [0.1]), ({"status": "diverged"}, [np.nan])],
    ids=["entropy", "diverged"],
)
def test_runs_without_meaningful_gaps_are_refused(fields, delta):
    with pytest.raises(InputError, match="got a run"):
        fit_distributions([run_with_gaps(delta, **fields)], FitOptions())


def test_a_run_given_twice_counts_once():
    runs = runs_of_sizes((200,), seeds=9)
    once, repeated = (fit_distributions(given, FitOptions()) for given in (runs, [*runs, runs[1], runs[1]]))
    assert (repeated.n_runs, repeated.n_repeated, once.n_repeated) == (9, 2, 0)
    for name in ("overlaps", "gaps"):
        assert repeated.as_dict()[name] == once.as_dict()[name]


# --- several sizes -------------------------------------------------------------------------------------


def test_runs_of_several_sizes_give_a_trend_and_its_limit():
    fits = fit_distributions(runs_of_sizes((200, 800, 3200), seeds=16), FitOptions(lower_cut=0.0)).as_dict()[
        "gaps"
    ]
    assert [(row["N"], row["n_runs"]) for row in fits["sizes"]] == [(200, 16), (800, 16), (3200, 16)]
    for row in fits["sizes"]:
        low, high = row["interval"]
        assert low <= 0.4 - 3 / np.sqrt(row["N"]) <= high
    limit = fits["extrapolated"]
    assert limit["interval"][0] <= 0.4 <= limit["interval"][1]
    assert limit["n_sizes"] == 3 and limit["p_constant"] < 0.05


def test_each_size_has_a_cut_of_its_own():
    fits = fit_distributions(runs_of_sizes((200, 800)), FitOptions(order=2, share=0.8)).as_dict()["gaps"]
    cuts = [row["lower_cut"] for row in fits["sizes"]]
    assert cuts[0] / cuts[1] == pytest.approx(
        4 ** (1 / (1 - 0.41269)), rel=0.3
    )  # the medians differ a little
    assert fits["lower_cut"] == pytest.approx(cuts[0], rel=0.1)


def test_runs_of_one_size_have_no_trend():
    fits = fit_distributions(runs_of_sizes((200,)), FitOptions())
    assert fits.by_size is None
    assert not {"sizes", "extrapolated"} & set(fits.as_dict()["gaps"])


def test_where_the_sizes_differ_the_verdict_is_that_of_the_limit():
    fits = fit_distributions(
        runs_of_sizes((100, 400, 6400), seeds=20), FitOptions(lower_cut=0.0, order=1, share=0.8)
    )
    gaps = fits.as_dict()["gaps"]
    assert gaps["extrapolated"]["p_constant"] < 0.05
    assert gaps["verdict"].startswith(gaps["extrapolated"]["verdict"] + "; the sizes differ (p = ")
    assert "γ for N → ∞ = " in gaps["verdict"]


# --- bounds --------------------------------------------------------------------------------------------


def test_exponents_on_the_mean_field_curve_saturate_the_bound_and_low_exponents_break_both_bounds():
    """θ and γ on the curve γ = 1/(2+θ) are compatible with it. A γ far below (1-θ)/2 breaks both bounds.

    N seeds the planted values. At N = 3000 the test of the fit rejects the second sample, as it does once in 20 times.
    """

    def bounds(theta, gamma):
        runs = runs_near_jamming(theta, gamma, n_runs=10, n=1000, N=3001)
        return fit_distributions(runs, FitOptions(order=1, share=0.8, lower_cut=0.0)).bounds

    good, bad = bounds(0.423, 0.4127), bounds(0.1, -0.2)
    assert good.extended.gamma_at_least == pytest.approx(1 / 2.423, abs=0.03)
    assert good.extended.saturated and good.extended.kept and good.local.kept
    assert bad.local.gamma_at_least == pytest.approx(0.45, abs=0.1)
    assert not (bad.extended.saturated or bad.extended.kept or bad.local.kept)


def test_exponents_that_are_zero_by_their_own_test_have_no_bounds():
    """The bounds relate two power laws. At (θ, γ) = (0, 0), (0, γ) or (θ, 0) there may be none."""

    def fits(theta, gamma):
        runs = runs_near_jamming(theta, gamma, n_runs=10, n=1000, N=3001)
        return fit_distributions(runs, FitOptions(order=1, share=0.8, lower_cut=0.0))

    for theta, gamma in ((0.0, 0.0), (0.0, 0.4), (0.4, 0.0)):
        found = fits(theta, gamma)
        for fit, planted in ((found.overlaps.fit, theta), (found.gaps.fit, gamma)):
            low, high = fit.interval
            assert (low <= 0 <= high) == (planted == 0)
        assert found.bounds is None
    assert fits(0.4, 0.4).bounds is not None


def test_overlaps_without_a_power_law_allow_neither_a_claim_nor_bounds():
    rng, runs = np.random.default_rng(5), []
    for run in runs_near_jamming(n=800):
        values = np.exp(1.5 * rng.standard_normal(800)) * np.sqrt(run.info["final_loss"])
        runs.append(replace(run, gaps=np.concatenate([values, run.gaps[run.gaps < 0]])))
    fits = fit_distributions(runs, FitOptions(lower_cut=0.0))
    assert fits.overlaps.fit.drift and fits.overlaps.fit.settled is False
    verdict = fits.overlaps.comparison.verdict
    assert verdict.startswith("12 jammed runs, N = 3000") and "no power law can be told" in verdict
    assert "compatible" not in verdict and fits.bounds is None


# --- each run ------------------------------------------------------------------------------------------


def test_the_fits_of_each_run_equal_those_of_an_ensemble_of_that_run():
    runs = runs_of_sizes((200,), seeds=3)
    options = FitOptions(order=2, share=0.8)
    records = [fits.as_dict() for fits in fit_each_run(runs, options)]
    assert [(record["run"], record["seed"], record["N"]) for record in records] == [
        ("r0000", 0, 200), ("r0001", 1, 200), ("r0002", 2, 200)
    ]  # fmt: skip
    for record, run in zip(records, runs):
        alone = fit_distributions([run], options).as_dict()
        assert record["gaps"] == alone["gaps"] and record["overlaps"] == alone["overlaps"]
        assert "1 runs" in record["gaps"]["note"]


def test_an_ensemble_in_which_neither_exponent_is_fitted_is_an_error_with_both_reasons():
    with pytest.raises(InputError, match="overlaps: 1 of 1 values .*; gaps: .* of 1 values"):
        fit_distributions([run_with_gaps([0.1, -0.1])])


def test_an_ensemble_that_still_descends_is_refused_with_the_remedy_of_a_run():
    rng = np.random.default_rng(7)
    delta = 0.1 * rng.gamma(1.4, size=500)
    with pytest.raises(
        InputError, match="overlaps: got runs that still descend.*; gaps: no values"
    ) as refusal:
        fit_distributions([run_with_gaps(delta, relative_descent=9.0)])
    assert refusal.value.remedy is Remedy.FINISH_DESCENT


def test_without_a_sound_fit_of_the_overlaps_there_are_no_bounds():
    satisfied = run_with_gaps(-np.random.default_rng(3).gamma(0.7, size=500), final_loss=0.0)
    fits = fit_distributions([satisfied])
    assert fits.bounds is None and fits.as_dict()["bounds"] is None


def test_the_record_has_the_fields_of_an_artefact_in_their_order():
    record = fit_distributions(runs_of_sizes((200, 800))).as_dict()
    assert list(record) == [
        "kind", "n_runs", "n_repeated", "n_dead_runs", "n_dead_patterns", "keep_dead", "runs", "fits", "overlaps",
        "gaps", "bounds",
    ]  # fmt: skip
    assert list(record["gaps"])[-2:] == ["sizes", "extrapolated"]
    assert record["fits"]["n_effective_expected"] == [200, 800]


# --- what the runs are ---------------------------------------------------------------------------------


def test_jammed_runs_near_jamming_allow_a_comparison_with_spheres_and_the_paper():
    fits = fit_distributions(runs_near_jamming(), FAST)
    for result, symbol in ((fits.overlaps, "θ"), (fits.gaps, "γ")):
        verdict = result.comparison.verdict
        assert verdict.startswith("12 jammed runs, N = 3000, P/N = 0.53, N_Δ/N = 0.27, L/ε² = ")
        assert f": {symbol} = " in verdict
        assert "(spheres)" in verdict and "no claim" not in verdict
        assert result.comparison.no_claim is None
    assert fits.bounds is not None
    assert fits.runs.n_jammed == 12


def test_the_same_values_from_runs_on_their_way_allow_none():
    fits = fit_distributions(runs_near_jamming(status="budget"), FAST)
    for result in (fits.overlaps, fits.gaps):
        verdict = result.comparison.verdict
        assert verdict.startswith("12 runs on their way (none at a minimum), N = 3000")
        assert "so no claim about spheres or the paper" in verdict
        assert not any(words in verdict for words in ("excludes", "exclude", "compatible", "separate"))
    assert fits.bounds is None


def test_a_single_small_size_allows_no_claim_about_gamma():
    fits = fit_distributions(runs_near_jamming(N=1500), FAST)
    assert fits.overlaps.comparison.no_claim is None
    assert "γ depends on N below 2000" in fits.gaps.comparison.no_claim
    assert fits.bounds is None


def test_several_small_sizes_allow_a_claim_about_their_limit():
    runs = [run for N in (600, 1400) for run in runs_near_jamming(N=N)]
    fits = fit_distributions(runs, FAST)
    assert fits.by_size.limit is not None and not fits.by_size.sizes_differ
    assert fits.gaps.comparison.no_claim is None
    assert "γ for N → ∞ = " in fits.gaps.comparison.verdict
    assert fits.gaps.comparison.verdict.endswith("is that of finite systems")


def test_overlaps_of_runs_on_their_way_do_not_mix_with_those_of_jammed_runs():
    jammed = runs_near_jamming(theta=0.42)
    others = runs_near_jamming(theta=2.0, gamma=-1.0, status="budget")
    mixed, alone = fit_distributions([*jammed, *others], FAST), fit_distributions(jammed, FAST)
    assert mixed.overlaps.as_dict() == alone.overlaps.as_dict()
    assert mixed.gaps.as_dict() == alone.gaps.as_dict()
    assert (mixed.runs.n_jammed, mixed.runs.n_budget) == (12, 12)


def test_dead_runs_and_patterns_are_left_out_and_counted_unless_they_are_kept():
    rng = np.random.default_rng(2)
    alive = runs_near_jamming()
    partly = [
        run_with_gaps(
            np.concatenate([run.gaps, np.full(50, 0.1)]),
            final_loss=run.info["final_loss"] + 50 * 0.1**2 / 2,
            dead=range(1600, 1650),
            seed=run.info["seed"],
            status="stationary",
            n_effective_expected=3000,
        )
        for run in alive
    ]
    dead = [
        run_with_gaps(np.append(-rng.gamma(0.7, size=300), 0.3), status="dead", dead=[300]) for _ in range(3)
    ]
    fits = fit_distributions([*partly, *dead], FAST)
    assert (fits.n_runs, fits.n_dead_runs, fits.n_dead_patterns, fits.runs.n_dead) == (12, 3, 600, 3)
    assert fits.overlaps.fit.n_total == 9600 and "differ" not in fits.overlaps.fit.note
    kept = fit_distributions([*partly, *dead], FAST, keep_dead=True)
    assert (kept.n_runs, kept.n_dead_runs, kept.overlaps.fit.n_total) == (15, 3, 9600 + 600)
    assert kept.overlaps.comparison.no_claim and "dead patterns" in kept.overlaps.comparison.no_claim


def test_dead_runs_alone_are_refused_with_the_remedy_to_keep_them():
    dead = [run_with_gaps([0.1 + seed, -0.1], status="dead", dead=[0], seed=seed) for seed in range(3)]
    with pytest.raises(InputError, match="all 3 runs are dead") as refusal:
        fit_distributions(dead)
    assert refusal.value.remedy is Remedy.KEEP_DEAD
    (first, *_) = fit_each_run(dead, FitOptions())
    assert "the run is dead" in first.as_dict()["overlaps"]["refused"]


def test_one_run_allows_no_claim_and_says_how_many_it_takes():
    (fits,) = fit_each_run(runs_near_jamming(n_runs=1), FAST)
    for result in (fits.overlaps, fits.gaps):
        assert result.comparison.verdict.startswith("1 jammed run, N = 3000")
        assert "an interval over runs takes 8 of them" in result.comparison.no_claim
