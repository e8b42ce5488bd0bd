"""Traces of ‖W‖ and L that are written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.minima.escape import ESCAPE_TRACE_FACTOR, Escape, balanced_norm, has_grown, may_escape
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.network.units import Units


def trace(points, origin=1.0):
    escape = Escape(origin)
    for norm, loss in points:
        escape = escape.with_point(norm, loss)
    return escape


def power_law(w, infimum=0.1, k=2.0):
    return infimum + w**-k


def test_a_power_law_towards_an_infimum_is_seen_once_it_has_levelled_off():
    """0.1 + w⁻² ≥ 0.9 (0.1 + 9 w⁻²) from w = √710 on; the point at w/3 may be a spacing of the trace below it."""
    norms = np.geomspace(2, 100, 200)
    seen = [trace((w, power_law(w)) for w in norms[: n + 1]).seen for n in range(len(norms))]
    first = norms[seen.index(True)]
    assert 710**0.5 <= first <= 710**0.5 * ESCAPE_TRACE_FACTOR * 1.05
    assert all(seen[seen.index(True) :])


def test_a_loss_that_falls_to_zero_with_the_norm_is_no_escape():
    assert not trace((w, w**-2) for w in np.geomspace(2, 1000, 500)).seen


def test_a_minimum_at_a_large_norm_is_no_escape_until_the_norm_has_grown_threefold_in_the_descent():
    assert not trace((w, 0.1 + 1 / w**2) for w in np.geomspace(20, 50, 50)).seen
    assert trace((w, 0.1 + 1 / w**2) for w in np.geomspace(20, 70, 50)).seen


def test_points_keep_their_distance_and_the_last_one_is_the_present():
    escape = trace((w, power_law(w)) for w in np.geomspace(1, 50, 1000))
    assert escape.norms[0] == 1 and escape.norms[-1] == pytest.approx(50)
    ratios = np.divide(escape.norms[1:], escape.norms[:-1])
    assert (ratios[:-1] >= ESCAPE_TRACE_FACTOR * (1 - 1e-12)).all()
    assert len(escape.norms) < 1 + np.log(50) / np.log(ESCAPE_TRACE_FACTOR) + 1


def test_a_norm_that_comes_back_is_forgotten():
    there_and_back = [(1, 9.0), (4, 8.0), (16, 7.0), (2, 6.0)]
    escape = trace(there_and_back)
    assert escape.norms == (1, 2) and escape.losses == (9.0, 6.0)
    assert not escape.seen


def test_a_loss_that_rose_on_the_way_is_no_evidence():
    assert not trace([(1, 5.0), (2, 5.1), (30, 5.0)]).seen


def test_only_networks_that_may_lack_a_minimum_may_escape():
    shapes = [("relu", 1), ("linear", 1), ("relu", 2), ("tanh", 1)]
    assert [may_escape(Architecture(3, 3, depth, rho)) for rho, depth in shapes] == [False, False, True, True]


def test_the_balanced_norm_is_the_same_along_a_scale_symmetry():
    """A power of two on one neuron, and its inverse on the weights out of it."""
    arch = Architecture(3, 4, 2)
    theta = torch.from_numpy(initial_parameters(arch, "torch", 0))
    scaled = theta.clone()
    scaled[:3] *= 2.0**7  # weights into neuron 0
    scaled[12] *= 2.0**7  # its bias
    scaled[16 + 4 * torch.arange(4)] /= 2.0**7  # weights out of it
    assert balanced_norm(scaled, arch) == pytest.approx(balanced_norm(theta, arch), rel=1e-12)


@pytest.mark.parametrize("epsilon, scale", [(0.5, 1.0), (4.0, 1.0), (0.5, 1e3)])
def test_growth_by_a_decade_is_told_in_the_units_of_the_patterns_and_of_the_margin(epsilon, scale):
    """f = u f' and W_1 = W_1'/s: what has grown tenfold in one pair of units has in every other one."""
    data = random_sphere(6, 3, 0)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    arch = Architecture(3, 4, 2, "tanh")
    unit = Problem(x, y, arch, Loss("hinge", 0.5, 6))
    problem = Problem(scale * x, y, arch, Loss("hinge", epsilon, 6))
    theta0 = torch.from_numpy(initial_parameters(arch, "torch", 0))
    for factor, expected in ((9.9, False), (10.1, True)):
        assert has_grown(factor * theta0, theta0, unit) is expected
        there = [Units.of(problem).outside(Units.of(unit).inside(w)) for w in (factor * theta0, theta0)]
        assert has_grown(*there, problem) is expected


def test_at_fixed_norm_and_with_one_layer_of_relu_nothing_is_said_to_grow():
    data = random_sphere(6, 3, 0)
    x, y, loss = torch.from_numpy(data.x), torch.from_numpy(data.y), Loss("hinge", 0.5, 6)
    for arch in (Architecture(3, 4, 1), Architecture(3, 4, 2, norm=5.0)):
        theta0 = torch.from_numpy(initial_parameters(arch, "torch", 0))
        assert not has_grown(100 * theta0, theta0, Problem(x, y, arch, loss))
