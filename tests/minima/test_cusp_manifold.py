"""The manifold of the cusps: its points, its tangent space, the Lagrangian on it and its flat directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.cusps.subgradient import CuspGradient
from jamtools.minima.cusp_manifold import CuspManifold
from jamtools.minima.second_order import in_units
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.network.symmetry import scale_generators
from tests.support import oracle
from tests.support.curvature import cusps_of, planted


def manifold(depth: int = 2) -> tuple[CuspGradient, torch.Tensor, CuspManifold]:
    """The manifold of the planted cusps with random multipliers inside (0, 1)."""
    cusps = cusps_of(*planted(depth))
    multipliers = torch.from_numpy(np.random.default_rng(depth).uniform(0.2, 0.8, len(cusps.signs)))
    return (
        cusps,
        multipliers,
        CuspManifold(cusps, multipliers, torch.ones(len(multipliers), dtype=torch.bool)),
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_displaced_point_is_brought_back_onto_the_cusps(depth):
    cusps, _, M = manifold(depth)
    kick = torch.from_numpy(np.random.default_rng(0).standard_normal(len(cusps.theta)))
    back = M.onto(cusps.theta + 1e-4 * kick)
    z = torch.cat([layer[at] for layer, at in zip(M.forward_pass(back).z, cusps.at)])
    assert z.abs().max() < 1e-13


def test_the_projector_removes_the_normals_and_the_scale_symmetries():
    cusps, multipliers, M = manifold()
    V = torch.from_numpy(np.random.default_rng(0).standard_normal((len(cusps.theta), 5)))
    inside = M.project(V)
    assert torch.allclose(M.project(inside), inside, atol=1e-13)
    assert (cusps.jacobian(multipliers) @ inside).abs().max() < 1e-12
    assert (scale_generators(cusps.theta, cusps.arch).T @ inside).abs().max() < 1e-12


def test_the_gradient_of_the_lagrangian_is_g_at_the_multipliers():
    cusps, multipliers, M = manifold()
    assert torch.allclose(M.gradient(cusps.theta), cusps.gradient(multipliers), atol=1e-14)


def test_the_curvature_by_differences_is_the_projected_matrix():
    cusps, multipliers, M = manifold()
    matrix, units = in_units(cusps, multipliers)
    H = matrix / units[:, None] / units
    P = M.project(torch.eye(len(units), dtype=torch.float64))
    curvature = P.T @ M.curvature()(P)
    assert (
        curvature - P.T @ H @ P
    ).abs().max() < 1e-7 * H.abs().max()  # the error of the differences: (10⁻⁵)² and round-off / 10⁻⁵


def test_a_neuron_that_is_off_everywhere_makes_flat_directions():
    arch = Architecture(3, 4, 1)
    x, y = oracle.sphere(60, 3)
    theta = oracle.random_theta(arch)
    theta[
        12
    ] = (
        -100.0
    )  # bias of the first neuron: none of its 3 + 1 + 1 parameters changes f; one of them is the symmetry
    cusps = cusps_of(theta, Problem(x, y, arch, Loss("hinge", 3.0, 60)))
    M = CuspManifold(cusps, cusps.signs, torch.zeros(0, dtype=torch.bool))
    assert M.flat(np.random.default_rng(0)) == 4


def test_where_the_rank_changes_nearby_the_flat_directions_are_not_known():
    arch = Architecture(3, 3, 2, "tanh")
    x, y = oracle.sphere(20, 3)
    theta = torch.zeros(arch.n_parameters, dtype=torch.float64)
    cusps = cusps_of(theta, Problem(x, y, arch, Loss("hinge", 0.5, 20)))
    M = CuspManifold(cusps, cusps.signs, torch.zeros(0, dtype=torch.bool))
    assert M.flat(np.random.default_rng(0)) is None


@pytest.mark.parametrize("depth", [1, 2])
def test_a_displacement_to_an_edge_leads_along_the_cusps_to_a_concave_kink_or_to_the_end_of_a_gap(depth):
    cusps, multipliers, M = manifold(depth)
    z, gaps = M.forward_pass(cusps.theta).z, cusps.active.loss.gaps(cusps.forward_pass.f, cusps.active.y)
    n_reached = 0
    for displacement in M.edges(8):
        assert (cusps.normals(multipliers) @ displacement).abs().max() < 1e-9 * displacement.norm()
        small = 1e-6  # the estimate is linear, and holds for a small part of the way
        ahead = M.forward_pass(cusps.theta + small * displacement)
        rate = torch.cat([(b / a - 1).flatten() for a, b in zip(z[:-1], ahead.z[:-1])])
        gap = cusps.active.loss.gaps(ahead.f, cusps.active.y) / gaps - 1
        nearest = (torch.cat([rate, gap.flatten()]) + small).abs().nan_to_num(torch.inf).min()
        n_reached += bool(nearest < 1e-3 * small)
    assert n_reached == len(M.edges(8)) > 8


def test_the_steepest_direction_leaves_all_cusps():
    cusps, multipliers, M = manifold()
    v = M.steepest(np.random.default_rng(0))
    assert float(v.norm()) == pytest.approx(1)
    assert float(M.project(v[:, None]).norm()) < 1e-12
