"""rank G: the columns of G against torch.func, the rank against numpy's SVD of all columns, and what lowers it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jacfwd, jacrev

from jamtools.network.architecture import Architecture
from jamtools.network.effective import Rank, columns, effective_parameters, stuck_neurons
from jamtools.network.passes import layers_of
from jamtools.network.symmetry import scale_generators
from tests.support import oracle
from tests.support.networks import healthy, with_equal_norms

EPS = torch.finfo(torch.float64).eps


def columns_by_autograd(arch: Architecture, theta: Tensor, x: Tensor) -> Tensor:
    """∂_W f_c(x) and ∂_W f_c(x) + ê_n·∇_x ∂_W f_c(x), pattern after pattern [P (d+1) C, Ñ]."""
    rows = []
    for pattern in x:
        slope = jacrev(lambda t, p: oracle.f(arch, t, p), 0)  # [C, Ñ]
        plain = slope(theta, pattern)
        moved = jacfwd(slope, 1)(theta, pattern)  # [C, Ñ, d]
        rows += [plain, *(plain + moved[..., n] for n in range(arch.d))]
    return torch.cat(rows)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_columns_of_g_equal_torch_func(activation, depth, outputs):
    arch = Architecture(3, 4, depth, activation, outputs)
    theta, x = oracle.random_theta(arch, depth), oracle.sphere(7, 3)[0]
    exact = columns_by_autograd(arch, theta, x)
    assert columns(layers_of(theta, arch), x, arch) == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("arch", oracle.BARE, ids=str)
def test_columns_of_g_equal_torch_func_without_hidden_layers_and_without_biases(arch):
    theta, x = oracle.random_theta(arch, 1), oracle.sphere(7, arch.d)[0]
    exact = columns_by_autograd(arch, theta, x)
    assert columns(layers_of(theta, arch), x, arch) == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("arch", oracle.BARE, ids=str)
def test_the_rank_without_hidden_layers_and_without_biases_is_the_generic_n(arch):
    """Neurons of narrow ReLU layers are often stuck, which lowers the rank; N is the largest rank of many networks."""
    x, ranks = oracle.sphere(400, arch.d)[0], []
    for seed in range(20):
        theta = oracle.random_theta(arch, seed)
        ranks.append(effective_parameters(theta, x, arch, whole=True).n_effective)
        assert ranks[-1] == np.linalg.matrix_rank(columns(layers_of(theta, arch), x, arch).numpy())
    assert max(ranks) == arch.n_effective and (arch.activation == "relu" or min(ranks) == max(ranks))


def test_a_pattern_without_any_gradient_adds_nothing_to_the_rank():
    """Without biases a pattern at which all neurons are off has columns of zeros."""
    arch = Architecture(2, 2, 1, bias=False)
    theta = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, -3.0], [-1.0, -1.0]], dtype=torch.float64)
    rank = effective_parameters(theta, x, arch)
    assert (columns(layers_of(theta, arch), x[3:], arch) == 0).all()
    assert rank.n_effective == arch.n_effective and bool(rank.singular_values.isfinite().all())


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_relu_network_without_stuck_neurons_has_one_scale_symmetry_per_neuron(depth):
    arch, theta, x = healthy("relu", depth)
    rank = effective_parameters(theta, x, arch, whole=True)
    assert rank.n_effective == arch.n_parameters - arch.n_hidden
    assert rank.rank_gap > 1e9 and rank.n_silent == 0


def test_the_scale_generators_are_orthogonal_to_every_column():
    arch, theta, x = healthy("relu", 3, outputs=2)
    rows = columns(layers_of(theta, arch), x, arch)
    symmetric = rows @ scale_generators(theta, arch)
    assert symmetric.abs().max() < 1e-13 * rows.norm(dim=1).max() * theta.norm()


@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (2, 1), (3, 1), (2, 3)])
def test_n_eff_of_tanh_is_all_parameters_and_of_a_linear_network_its_affine_map(depth, outputs):
    arch, theta, x = healthy("tanh", depth, outputs=outputs)
    assert effective_parameters(theta, x, arch).n_effective == arch.n_parameters
    arch, theta, x = healthy("linear", depth, outputs=outputs)
    assert effective_parameters(theta, x, arch).n_effective == outputs * (arch.d + 1)


@pytest.mark.parametrize(("activation", "outputs"), [("relu", 1), ("relu", 3), ("tanh", 1), ("linear", 2)])
def test_streamed_singular_values_equal_those_of_the_whole_matrix(activation, outputs):
    arch, theta, x = healthy(activation, 2, outputs=outputs)
    G = columns(layers_of(theta, arch), x, arch).numpy().T
    G = G / np.linalg.norm(G, axis=0)
    G = G / np.linalg.norm(G, axis=1, keepdims=True)
    streamed = effective_parameters(theta, x, arch, whole=True)
    values = np.linalg.svd(G, compute_uv=False)
    assert streamed.singular_values.numpy() == pytest.approx(values, abs=arch.n_parameters * EPS * values[0])
    assert streamed.n_effective == np.linalg.matrix_rank(G, tol=streamed.tolerance * values[0])
    assert streamed.n_columns == G.shape[1] == 400 * 7 * outputs


@pytest.mark.parametrize("depth", [1, 2])
def test_a_dead_neuron_lowers_the_rank_by_its_parameters(depth):
    arch, theta, x = healthy("relu", depth)
    whole = effective_parameters(theta, x, arch).n_effective
    layers_of(theta, arch)[0][1][4] = -100.0
    rank = effective_parameters(theta, x, arch)
    incoming, outgoing = arch.d + 1, layers_of(theta, arch)[1][0].shape[0]
    assert rank.n_silent == incoming + outgoing
    assert rank.n_effective == whole - (incoming + outgoing - 1)  # its scale symmetry disappears too
    assert stuck_neurons(theta, x, arch) == ([(1, 4)], [])


def test_a_neuron_that_is_always_on_counts_only_as_an_affine_map():
    """The d+2 parameters of the neuron give the d+1 affine functions; the output bias gives one of these already."""
    arch, theta, x = healthy("relu", 1)
    whole = effective_parameters(theta, x, arch).n_effective
    layers_of(theta, arch)[0][1][4] = 100.0
    assert effective_parameters(theta, x, arch).n_effective == whole - 1
    assert stuck_neurons(theta, x, arch) == ([], [(1, 4)])


def test_a_smooth_network_has_no_stuck_neurons():
    arch, theta, x = healthy("tanh", 1)
    layers_of(theta, arch)[0][1][4] = -100.0
    assert stuck_neurons(theta, x, arch) == ([], [])


@pytest.mark.parametrize("factor", [1e-12, 1e12])
@pytest.mark.parametrize(("activation", "layer"), [("relu", -1), ("tanh", -1), ("relu", 0)])
def test_the_rank_does_not_depend_on_the_scale_of_a_layer(activation, layer, factor):
    arch, theta, x = healthy(activation, 2)
    expected = effective_parameters(theta, x, arch).n_effective
    weight, bias = layers_of(theta, arch)[layer]
    weight *= factor
    bias *= factor if layer == 0 else 1.0
    if layer == 0:  # otherwise the biases of the next layer alone decide which neurons are active
        layers_of(theta, arch)[1][1].mul_(factor)
    rank = effective_parameters(theta, x, arch)
    assert rank.n_effective == expected and rank.rank_gap > 1e6


@pytest.mark.parametrize("seed", range(6))
def test_the_early_stop_agrees_with_all_columns(seed):
    """With random biases some neurons are active at few patterns, and two blocks that add no rank are not enough."""
    arch = Architecture(4 + seed, 6, 1 + seed % 3, "relu", 1 + 2 * (seed % 2))
    theta, x = oracle.random_theta(arch, seed), oracle.sphere(2500, arch.d, seed)[0]
    early, whole = (effective_parameters(theta, x, arch, all_of_it) for all_of_it in (False, True))
    assert early.stopped_early and early.n_columns < whole.n_columns / 2
    assert not whole.stopped_early and whole.n_patterns == 2500
    assert early.n_effective == whole.n_effective
    assert early.n_silent == whole.n_silent


def test_a_neuron_active_on_one_pattern_of_many_is_not_missed():
    arch, theta, _ = healthy("relu", 1)
    x = oracle.sphere(3000, arch.d)[0]
    layers_of(theta, arch)[0][1][4] = -100.0
    dead = effective_parameters(theta, x, arch)
    z = x @ layers_of(theta, arch)[0][0][4]
    layers_of(theta, arch)[0][1][4] = -z.sort().values[-2:].mean()
    rank = effective_parameters(theta, x, arch)
    assert dead.stopped_early and rank.stopped_early
    assert rank.n_effective == dead.n_effective + arch.d + 1


def test_all_columns_are_used_where_they_are_few():
    arch, theta, x = healthy("relu", 2)
    few = x[: 4 * arch.n_parameters // (arch.d + 1)]
    rank = effective_parameters(theta, few, arch)
    assert len(few) < len(x) and not rank.stopped_early and rank.n_patterns == len(few)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_matrices_of_the_rank_do_not_grow_with_the_patterns(outputs, monkeypatch):
    """For any P only the triangle and one block are factored at one time, in O(Ñ²) memory."""
    arch = Architecture(6, 12, 2, "relu", outputs)
    theta, qr, factored = oracle.random_theta(arch, 3), torch.linalg.qr, []

    def watched(rows: Tensor, mode: str) -> object:
        factored.append(len(rows))
        return qr(rows, mode=mode)

    monkeypatch.setattr(torch.linalg, "qr", watched)
    largest = []
    for P in (400, 1600):
        factored.clear()
        assert effective_parameters(theta, oracle.sphere(P, 6)[0], arch, whole=True).n_patterns == P
        largest.append(max(factored))
    block = max(500, arch.n_parameters) + (arch.d + 1) * outputs
    assert largest[0] == largest[1] <= arch.n_parameters + block


def test_the_rank_gap_is_the_ratio_of_the_singular_values_at_the_rank():
    values = torch.tensor([10.0, 1.0, 1e-14], dtype=torch.float64)
    assert Rank(2, 1e-13, values, 0, 9, 9, False).rank_gap == pytest.approx(1e14)
    assert Rank(3, 1e-16, values, 0, 9, 9, False).rank_gap == pytest.approx(1e-14 / (10 * EPS))


def rank_on_the_sphere(arch: Architecture, theta: Tensor, x: Tensor) -> int:
    """The rank of G on the tangent space, by numpy from all columns."""
    G = columns(layers_of(theta, arch), x, arch).numpy().T
    unit = (theta / theta.norm()).numpy()
    G = G - np.outer(unit, unit @ G)
    return int(np.linalg.matrix_rank(G / np.linalg.norm(G, axis=0)))


def at_fixed_norm(arch: Architecture, theta: Tensor) -> Architecture:
    return replace(arch, norm=float(theta.norm()))


@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (2, 1), (3, 1), (2, 3)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_at_fixed_norm_n_eff_is_that_of_the_architecture_where_the_norm_is_the_smallest(
    activation, depth, outputs
):
    """tanh: Ñ - 1; ReLU: Ñ - hidden - 1; linear: still every affine map."""
    arch, theta, x = healthy(activation, depth, outputs=outputs)
    theta = with_equal_norms(theta, arch) if activation == "relu" else theta
    arch = at_fixed_norm(arch, theta)
    rank = effective_parameters(theta, x, arch)
    assert rank.n_effective == arch.n_effective == rank_on_the_sphere(arch, theta, x)
    assert rank.rank_gap > 1e8
    less = {"relu": arch.n_hidden + 1, "tanh": 1, "linear": arch.n_parameters - outputs * (arch.d + 1)}
    assert rank.n_effective == arch.n_parameters - less[activation]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_sphere_excludes_no_direction_of_f_where_scalings_change_the_norm(depth):
    """Away from the smallest norm of an f its scalings give back what the sphere takes."""
    arch, theta, x = healthy("relu", depth)
    arch = at_fixed_norm(arch, theta)
    rank = effective_parameters(theta, x, arch)
    assert rank.n_effective == rank_on_the_sphere(arch, theta, x) == arch.n_parameters - arch.n_hidden


def test_at_fixed_norm_silent_parameters_and_an_early_stop_are_those_of_free_weights():
    arch, theta, _ = healthy("relu", 2)
    x = oracle.sphere(2500, arch.d)[0]
    layers_of(theta, arch)[0][1][4] = -100.0
    free = effective_parameters(theta, x, arch)
    fixed = effective_parameters(theta, x, at_fixed_norm(arch, theta))
    assert free.n_silent == fixed.n_silent == arch.d + 1 + arch.width
    assert free.stopped_early and fixed.stopped_early
    assert fixed.n_effective == effective_parameters(theta, x, at_fixed_norm(arch, theta), True).n_effective


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_rank_at_fixed_norm_does_not_depend_on_the_scale_of_a_layer(factor):
    arch, theta, x = healthy("tanh", 2)
    layers_of(theta, arch)[-1][0].mul_(factor)
    rank = effective_parameters(theta, x, at_fixed_norm(arch, theta))
    assert rank.n_effective == arch.n_parameters - 1 and rank.rank_gap > 1e3
