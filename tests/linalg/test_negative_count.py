"""The number of negative eigenvalues against spectra that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg.extreme_eigenvalues import RitzPairs, extremes
from jamtools.linalg.lanczos import probe
from jamtools.linalg.negative_count import LowEnd, NegativeCount, negative_count
from jamtools.linalg.operator import dense
from jamtools.linalg.spectral_mass import zero_mass
from tests.support.spectra import diagonal, kernel_gap_continuum, planted


def counted(values, probes=4, steps=30, seed=0, kernel=0, low_end=None) -> NegativeCount:
    quadrature = probe(diagonal(values), probes, steps, seed)
    low_end = LowEnd(float(np.min(values)), 1) if low_end is None else low_end
    return negative_count(quadrature, zero_mass(quadrature, at_least=kernel), low_end, kernel)


def semicircle(n=300, shift=0.0) -> np.ndarray:
    """Quantiles [n] of a semicircle of radius 1, shifted."""
    x = np.linspace(-1, 1, 20001)
    law = np.cumsum(np.sqrt(1 - x**2))
    return np.interp((np.arange(n) + 0.5) / n, law / law[-1], x) + shift


def many_scales(n=300, negative=130) -> np.ndarray:
    """Eigenvalues [n] over six decades: negative ones down to -0.1, and positive ones up to 1, all dense at zero."""
    return np.concatenate([-np.geomspace(1e-6, 0.1, negative), np.geomspace(1e-6, 1, n - negative)])


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("values", "longest"),
    [(semicircle(), 0.4), (semicircle(shift=0.6), 0.5), (many_scales(), 0.6)],
    ids=["symmetric", "few negative", "many scales"],
)
def test_short_intervals_contain_the_number_where_zero_lies_in_a_dense_part(values, longest):
    """At least 88 of 100, where 95 are expected (P < 0.004 by the binomial law), and far shorter than the worst case."""
    exact = int((values < 0).sum())
    counts = [counted(values, seed=seed) for seed in range(100)]
    assert sum(c.low <= exact <= c.high for c in counts) >= 88
    assert all(c.bounds[0] <= c.low <= c.value <= c.high <= c.bounds[1] for c in counts)
    lengths = np.array([(c.high - c.low, c.bounds[1] - c.bounds[0]) for c in counts]).mean(0)
    assert lengths[0] < longest * lengths[1]


def test_the_worst_case_bounds_contain_the_number():
    for values in (semicircle(), semicircle(shift=0.6), many_scales()):
        low, high = counted(values, seed=5).bounds
        assert low <= (values < 0).sum() <= high


@pytest.mark.statistical
def test_known_zero_eigenvalues_are_not_counted_as_negative():
    """A node at zero cannot be told from one below: half of 60 zero eigenvalues is 15 standard errors of 100 probes."""
    values = np.concatenate([semicircle(240), np.zeros(60)])
    values = values + 0.0
    exact = int((values < 0).sum())
    smeared = np.where(values == 0, np.linspace(-1e-9, 1e-9, 300), values)  # no gap: 30 of them are negative
    with_kernel = counted(smeared, 100, 30, kernel=60, low_end=LowEnd(-1.0, 1))
    without = counted(smeared, 100, 30, low_end=LowEnd(-1.0, 1))
    assert abs(with_kernel.value - exact) < 8
    assert abs(without.value - exact - 30) < 8


def test_a_smallest_eigenvalue_that_is_not_negative_means_that_none_is():
    values = np.linspace(0.01, 1, 100)
    ritz = extremes(diagonal(values), 1, 1)
    quadrature = probe(diagonal(values), 2, 10)
    low_end = LowEnd.of(ritz.lowest, quadrature.round_off)
    count = negative_count(quadrature, zero_mass(quadrature), low_end)
    assert low_end.complete and (count.value, count.low, count.high, count.error) == (0, 0, 0, 0)


def test_lowest_ritz_values_give_a_lower_bound_or_all_negative_eigenvalues():
    def low_end(values, converged):
        pairs = RitzPairs(np.array(values), np.zeros(len(values)), np.array(converged), torch.empty(3, 0))
        return LowEnd.of(pairs, 1e-3)

    assert low_end([-2.0, -1.0], [True, True]) == LowEnd(-2.0, 2, False)
    assert low_end([-2.0, -1.0, 5.0], [True] * 3) == LowEnd(-2.0, 2, True)
    assert low_end([-2.0, 1e-4], [True, True]) == LowEnd(-2.0, 1, True)
    assert low_end([-2.0, 3.0], [True, False]) == LowEnd(-2.0, 1, False)


def test_all_negative_eigenvalues_among_the_ritz_values_are_the_exact_number():
    count = counted(np.linspace(-0.1, 1, 100), low_end=LowEnd(-0.1, 10, True))
    assert (count.value, count.low, count.high) == (10, 10, 10)


def test_the_count_beside_a_gap_is_that_in_the_gap():
    values = np.concatenate([kernel_gap_continuum(), -np.linspace(0.1, 0.5, 50)])
    quadrature = probe(dense(planted(values)), 6, 60)
    zero = zero_mass(quadrature)
    count = negative_count(quadrature, zero, LowEnd(-0.5, 1))
    gap = quadrature.counts(-zero.threshold)
    assert zero.at_round_off
    assert (count.value, count.low, count.high) == (gap.value[0], gap.low[0], gap.high[0])
    assert count.low <= 50 <= count.high


def test_small_eigenvalues_behind_a_gap_may_be_negative():
    """Twenty of 1e-9, half of them negative, look like a kernel: the interval must hold ten."""
    values = np.concatenate([np.linspace(-1e-9, 1e-9, 20), np.linspace(0.5, 1, 180)])
    quadrature = probe(diagonal(values), 4, 12)
    zero = zero_mass(quadrature)
    count = negative_count(quadrature, zero, LowEnd(-1e-9, 1))
    assert zero.resolved and not zero.at_round_off and zero.low == 0
    assert count.low <= 10 <= count.high


def test_without_a_smallest_eigenvalue_negative_ones_below_all_nodes_are_allowed_for():
    values = np.concatenate([-np.geomspace(1e-7, 1e-5, 8), np.linspace(1e-4, 1, 292)])
    count = counted(values, 4, 15, low_end=LowEnd())
    assert count.low == 0 and count.high >= 8


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 1e200])
def test_a_scaled_matrix_has_the_same_count(scale):
    plain = counted(many_scales(), low_end=LowEnd(-0.1, 1))
    scaled = counted(many_scales() * scale, low_end=LowEnd(-0.1 * scale, 1))
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_the_counts_of_a_matrix_and_of_its_opposite_add_up_to_the_dimension():
    values = semicircle()
    plain, opposite = counted(values), counted(-values)
    assert plain.value + opposite.value == pytest.approx(len(values))
    assert opposite.error == pytest.approx(plain.error)
