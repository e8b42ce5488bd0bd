"""Pooling of overlaps and gaps, and the lower cuts of the pooled samples."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.exponents.samples import gap_noise, overlap_noise, overlaps_of, pool_gaps, pool_overlaps
from tests.support.planted_gaps import run_with_gaps


def test_overlaps_are_divided_by_the_root_of_the_loss_of_their_run():
    runs = [run_with_gaps([0.3, -0.2, 0.1], final_loss=0.04), run_with_gaps([0.5, -1.0], final_loss=0.25)]
    sample = pool_overlaps(runs)
    assert sample.values == pytest.approx([1.5, 0.5, 1.0])
    assert sample.runs.tolist() == [0, 0, 1]


def test_contacts_are_neither_gaps_nor_overlaps():
    runs = [
        run_with_gaps([0.3, -0.2, 1e-12, -1e-12]),
        run_with_gaps([-0.4, -0.1], final_loss=0.0, status="satisfied"),
    ]
    assert pool_gaps(runs).values == pytest.approx([0.2, 0.4, 0.1])
    assert pool_overlaps(runs).values == pytest.approx([3.0])


@pytest.mark.parametrize("epsilon", [-0.5, 0.0])
def test_margins_of_fixed_norm_give_the_same_overlaps_and_gaps(epsilon):
    """Δ/√L and -Δ do not have ε in them."""
    deltas = [0.3, -0.2, 1e-12, -1e-12, -0.7]
    there, here = run_with_gaps(deltas), run_with_gaps(deltas, epsilon=epsilon)
    for pool in (pool_gaps, pool_overlaps):
        assert pool([here]).values.tolist() == pool([there]).values.tolist()
        assert pool([here]).lower_cut == pool([there]).lower_cut


def test_the_cut_of_gaps_is_the_finite_size_cut_of_the_smallest_n():
    delta = -np.linspace(0.1, 1.0, 101)
    cut = pool_gaps(
        [run_with_gaps(delta, n_effective_expected=1000), run_with_gaps(delta, n_effective_expected=200)]
    ).lower_cut
    assert cut == pytest.approx(10 * 0.55 * 200 ** (-1 / (1 - 0.41269)))


def test_a_run_without_gaps_does_not_affect_their_cut():
    runs = [
        run_with_gaps(-np.linspace(0.1, 1.0, 101), n_effective_expected=1000),
        run_with_gaps([0.1] * 9, n_effective_expected=3),
    ]
    assert pool_gaps(runs).lower_cut == pool_gaps(runs[:1]).lower_cut


@pytest.mark.parametrize("step", [1e-4, 0.1, 3.0])
def test_overlaps_of_a_run_that_still_descends_are_cut_at_the_lower_bound_of_their_change(step):
    """Δ = 0.2 + step → 0.2 for all unsatisfied patterns: the bound is attained for every step."""
    P, before, after = 50, 0.5 * 10 * (0.2 + step) ** 2 / 50, 0.5 * 10 * 0.2**2 / 50
    run = run_with_gaps([0.2] * 10 + [-1.0] * (P - 10), final_loss=after, relative_descent=before / after - 1)
    assert overlap_noise(run) == pytest.approx(step / np.sqrt(after), rel=1e-6)
    assert pool_overlaps([run]).lower_cut == overlap_noise(run)


def test_the_noise_of_a_certified_minimum_is_that_of_its_subgradient():
    certificate = {"gradient": 3e-13, "scale": 2e-2}
    run = run_with_gaps([0.2, -0.1], relative_descent=0.5, certified=True, certificate=certificate)
    assert overlap_noise(run) == pytest.approx(1.5e-11)
    assert overlap_noise(run_with_gaps([-0.2, -0.1], final_loss=0.0)) == 0.0


def test_the_cut_of_overlaps_is_the_noise_of_the_median_run():
    runs = [
        run_with_gaps([0.1, -0.3], relative_descent=descent, seed=k)
        for k, descent in enumerate((1e-6, 1e-6, 0.9))
    ]
    noise = [overlap_noise(run) for run in runs]
    assert pool_overlaps(runs).lower_cut == noise[0] < 1e-5 < noise[2]


def test_gaps_come_from_jammed_and_from_satisfied_runs():
    runs = [run_with_gaps([0.3, -0.2]), run_with_gaps([-0.4, -0.1], final_loss=0.0, status="satisfied")]
    sample = pool_gaps(runs)
    assert sample.values == pytest.approx([0.2, 0.4, 0.1])
    assert sample.runs.tolist() == [0, 1, 1]


def test_the_noise_of_a_run_without_loss_is_zero():
    assert overlap_noise(run_with_gaps([-0.2, -0.1], final_loss=0.0)) == 0.0


def test_runs_without_gaps_give_an_empty_sample():
    sample = pool_gaps([run_with_gaps([0.1, 0.2])])
    assert (len(sample.values), sample.lower_cut, sample.cut_by) == (0, 0.0, "nothing")


# --- dead patterns -------------------------------------------------------------------------------------


def test_dead_patterns_are_left_out_of_the_overlaps_and_of_the_loss_that_scales_them():
    """L = (1/P) Σ ½Δ² with P = 4: without the dead pattern of Δ = 0.4 it is (0.3² + 0.1²)/8."""
    delta = [0.3, 0.4, 0.1, -0.2]
    run = run_with_gaps(delta, final_loss=(0.3**2 + 0.4**2 + 0.1**2) / 8, dead=[1])
    assert overlaps_of(run).loss == pytest.approx((0.3**2 + 0.1**2) / 8)
    assert pool_overlaps([run]).values == pytest.approx(np.array([0.3, 0.1]) / np.sqrt(0.1 / 8))
    kept = pool_overlaps([run], keep_dead=True)
    assert kept.values == pytest.approx(np.array([0.3, 0.4, 0.1]) / np.sqrt(0.26 / 8))


def test_a_run_whose_unsatisfied_patterns_are_all_dead_has_no_overlaps():
    run = run_with_gaps([0.3, 0.4, -0.2], dead=[0, 1], relative_descent=1.0)
    assert len(pool_overlaps([run]).values) == 0
    assert (overlaps_of(run).loss, overlap_noise(run), gap_noise(run)) == (0.0, 0.0, 0.0)


def test_patterns_of_one_run_with_equal_gaps_are_left_out_and_counted():
    """f is one constant at the patterns that are dead in one layer. Equal Δ of different runs are no sign of that."""
    delta = [-0.3, -0.1, -0.3 * (1 + 1e-15), -0.2, 0.5, 0.5, 0.4]
    runs = [run_with_gaps(delta), run_with_gaps([-0.1, -0.7])]
    gaps, overlaps = pool_gaps(runs), pool_overlaps(runs)
    assert gaps.values == pytest.approx([0.1, 0.2, 0.1, 0.7])
    assert gaps.runs.tolist() == [0, 0, 1, 1]
    assert (gaps.n_equal, overlaps.n_equal) == (2, 2)
    assert overlaps.values == pytest.approx([4.0])
    assert len(pool_gaps(runs, keep_dead=True).values) == 6
    assert len(pool_overlaps(runs, keep_dead=True).values) == 3


def test_dead_rows_of_several_outputs_are_left_out_whole():
    delta = np.array([[0.1, 0.2, -0.3], [0.4, 0.5, -0.6], [-0.1, -0.2, -0.4]])
    run = run_with_gaps(delta, final_loss=1.0, dead=[1])
    assert overlaps_of(run).gaps == pytest.approx([0.1, 0.2])


def test_the_noise_does_not_shrink_when_dead_patterns_add_a_constant_to_the_loss():
    alive, dead = [0.1, 0.2, -1.0], [0.1, 0.2, -1.0, 0.9]
    loss, constant = 0.05 / 6, 0.81 / 6
    before = 0.2  # relative to the loss of the patterns alive
    one = run_with_gaps(alive, final_loss=loss, relative_descent=before)
    two = run_with_gaps(
        dead, final_loss=loss + constant, relative_descent=before * loss / (loss + constant), dead=[3]
    )
    assert overlap_noise(two) == pytest.approx(overlap_noise(one))
    assert overlap_noise(one) > 0


def test_the_noise_of_a_jammed_run_without_certificate_is_its_subgradient():
    run = run_with_gaps([0.2, -0.1], relative_descent=0.5, status="stationary", subgradient_share=1e-8)
    assert overlap_noise(run) == 1e-8
    assert gap_noise(run) == pytest.approx(1e-8 * np.sqrt(0.01))
