"""Pooling of overlaps and gaps, and the lower cuts of the pooled samples."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.exponents.samples import overlap_noise, pool_gaps, pool_overlaps
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
