"""Counts of cusps against a plain loop, and for planted cusps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import jamtools.cusps.counting
import jamtools.cusps.preactivations
import jamtools.cusps.subgradient
import jamtools.linalg.bounded_least_squares
from jamtools.cusps.counting import (
    ACTIVE_CUSP_TOLERANCE,
    BACKGROUND_TOLERANCES,
    CuspCount,
    count,
    count_of_run,
)
from jamtools.cusps.preactivations import profile
from jamtools.cusps.subgradient import CuspGradient
from jamtools.minima.certificate import certify
from jamtools.minima.state import state_of
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from jamtools.records import Dataset, Run
from tests.support import oracle
from tests.support.cusps import made_run, network, plant
from tests.support.jammed import jammed
from tests.support.one_neuron import minimum


def counts_by_loop(arch, theta, x, y, tolerance) -> list[tuple[int, int, float, int, int]]:
    """(at zero, with gradient, background, N_c, convex) of each layer, by the definitions; ∂L/∂ρ by autograd."""
    z, rho, scales = [], [x], []
    for weight, bias in layers_of(theta, arch):
        z.append(torch.nn.functional.linear(rho[-1], weight, bias))
        terms = np.abs(rho[-1].detach().numpy()) @ np.abs(weight.numpy()).T + np.abs(bias.numpy())
        scales.append(np.sort(terms, axis=0)[len(x) // 2])
        rho.append(torch.relu(z[-1]).detach().requires_grad_())
    limits = [tolerance * scale for scale in scales]
    counted = []
    for j in range(arch.depth):
        out = rho[j + 1]
        for weight, bias in layers_of(theta, arch)[j + 1 :]:
            out = torch.nn.functional.linear(out if out is rho[j + 1] else torch.relu(out), weight, bias)
        (force,) = torch.autograd.grad(oracle.hinge(out, y), rho[j + 1])
        at_zero, seen = 0, {(inside, convex): 0 for inside in (True, False) for convex in (True, False)}
        for pattern in range(len(x)):
            unsatisfied = bool((0.5 - y[pattern] * z[-1][pattern].detach() > 0).any())
            passed_on = all(
                (z[k][pattern].detach().numpy() >= -limits[k]).any() for k in range(j + 1, arch.depth)
            )
            for neuron in range(arch.width):
                size, limit = abs(float(z[j][pattern, neuron].detach())), limits[j][neuron]
                at_zero += size <= limit
                near = (
                    size <= limit
                    or BACKGROUND_TOLERANCES[0] * limit < size <= BACKGROUND_TOLERANCES[1] * limit
                )
                if near and unsatisfied and passed_on:
                    seen[bool(size <= limit), float(force[pattern, neuron]) >= 0] += 1
        share = BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0]
        n, background = seen[True, True] + seen[True, False], (seen[False, True] + seen[False, False]) / share
        n_cusps = max(0, round(n - background))
        n_convex = min(n_cusps, max(0, round(seen[True, True] - seen[False, True] / share)))
        counted.append((at_zero, n, background, n_cusps, n_convex))
    return counted


@pytest.mark.parametrize("tolerance", [0.02, 0.07])
@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (2, 1), (4, 1), (2, 3)])
def test_counts_equal_a_plain_loop_layer_by_layer(depth, outputs, tolerance):
    arch, theta, x, y, loss = network(depth, outputs=outputs)
    counted = count(theta, Problem(x, y, arch, loss), tolerance)
    names = ("n_at_zero", "n_with_gradient", "background", "n_cusps", "n_convex")
    layers = [[getattr(layer, name) for name in names] for layer in counted.per_layer]
    assert np.array(layers) == pytest.approx(np.array(counts_by_loop(arch, theta, x, y, tolerance)))
    assert [c.layer for c in counted.per_layer] == list(range(1, depth + 1))
    assert [getattr(counted, name) for name in names] == pytest.approx(np.sum(layers, axis=0))
    assert counted.n_without_gradient == counted.n_at_zero - counted.n_with_gradient


def test_counts_and_densities_do_not_depend_on_the_blocks_of_patterns(monkeypatch):
    arch, theta, x, y, loss = network()
    whole = count(theta, Problem(x, y, arch, loss))
    both = profile(theta, x, arch, whole)
    monkeypatch.setattr(jamtools.cusps.counting, "CUSP_BLOCK_PATTERNS", 7)
    monkeypatch.setattr(jamtools.cusps.preactivations, "CUSP_BLOCK_PATTERNS", 7)
    parts = count(theta, Problem(x, y[:, 0], arch, loss))
    assert parts.per_layer == tuple(
        replace(a, rms=pytest.approx(a.rms), scales=pytest.approx(a.scales)) for a in whole.per_layer
    )
    assert (profile(theta, x, arch, parts).density == both.density).all()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_planted_zero_is_found_in_its_layer(layer):
    arch, theta, x, y, loss = network(3)
    plant(theta, arch, x, layer, 7, 2)
    counted = count(theta, Problem(x, y, arch, replace(loss, epsilon=100.0)), 1e-12)
    assert [c.n_cusps for c in counted.per_layer] == [int(j == layer) for j in (1, 2, 3)]
    assert profile(theta, x, arch, counted).mass.tolist() == [(j == layer) / 300 for j in (1, 2, 3)]


def counts(counted: CuspCount) -> list[tuple[float, ...]]:
    """All counts of all layers."""
    names = ("n_at_zero", "n_with_gradient", "background", "n_cusps", "n_convex")
    return [tuple(getattr(layer, name) for name in names) for layer in counted.per_layer]


def rescaled(theta: torch.Tensor, arch: Architecture, seed: int, decades: float = 8) -> torch.Tensor:
    """The same function: each hidden neuron is scaled by a random factor, of up to so many decades."""
    rng, theta = np.random.default_rng(seed), theta.clone()
    layers = layers_of(theta, arch)
    for j in range(arch.depth):
        factors = torch.from_numpy(10 ** rng.uniform(-decades, decades, arch.width))
        for tensor in layers[j]:
            tensor.mul_(factors[:, None] if tensor.ndim == 2 else factors)
        layers[j + 1][0].div_(factors)
    return theta


@pytest.mark.parametrize("seed", range(5))
def test_no_count_changes_when_neurons_are_rescaled(seed):
    arch, theta, x, y, loss = network(3, P=300)
    for pattern in range(20):
        plant(theta, arch, x, 1 + pattern % 3, pattern, pattern % 5)
    problem = Problem(x, y, arch, loss)
    before, after = (count(t, problem) for t in (theta, rescaled(theta, arch, seed)))
    assert after.tolerance == before.tolerance and counts(after) == counts(before)
    assert counts(before)[0][3] > 0


def test_a_neuron_that_ran_away_does_not_set_the_scale_of_the_others():
    """Its weights are 10⁶ times larger and f does not depend on it, so that nothing else changes."""
    arch, theta, x, y, loss = network(1)
    plant(theta, arch, x, 1, 7, 2)
    layers_of(theta, arch)[1][0][:, 0] = 0
    far = theta.clone()
    for tensor in layers_of(far, arch)[0]:
        tensor[0] *= 1e6
    problem = Problem(x, y, arch, replace(loss, epsilon=100.0))
    assert counts(count(far, problem)) == counts(count(theta, problem))
    assert count(far, problem, 1e-9).n_cusps == 1


def test_a_cusp_below_a_layer_that_passes_nothing_on_is_not_counted():
    """f = ρ(ρ(x) - 1) at x = 0 and 2: at x = 0 the second neuron is off, and L does not depend on the cusp of the first."""
    arch = Architecture(1, 1, 2)
    theta = torch.tensor([1.0, 0.0, 1.0, -1.0, 1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    problem = Problem(x, torch.ones(2, 1, dtype=torch.float64), arch, Loss("hinge", 5.0, 2))
    counted = count(theta, problem, 1e-9)
    assert (counted.n_at_zero, counted.n_with_gradient, counted.n_cusps) == (1, 0, 0)
    layers_of(theta, arch)[1][1][:] = 1.0
    assert count(theta, problem, 1e-9).n_cusps == 1


def test_more_cusps_than_directions_are_refused_with_the_reason():
    """A neuron without weights is at zero at all patterns, while cusps of d = 4, h = 5, L = 1 hold 20 directions."""
    arch, theta, x, y, loss = network(1)
    for tensor in layers_of(theta, arch)[0]:
        tensor[0] = 0
    counted = count(theta, Problem(x, y, arch, replace(loss, epsilon=100.0)))
    fields = counted.fields()
    assert counted.n_most == 31 - 5 - 6 and counted.n_cusps >= 60
    assert fields["n_cusps"] is fields["n_convex_cusps"] is None
    assert (
        fields["cusps_refused"]
        == f"{counted.n_cusps} pre-activations at zero, more than the 20 directions that cusps can hold"
    )


def run_of(theta: torch.Tensor, problem: Problem, **fields) -> tuple[Run, Dataset]:
    """The record of a run that ended at theta [Ñ], and its patterns."""
    data = Dataset(problem.x.numpy(), problem.y[:, 0].numpy())
    return made_run(problem.arch, theta, data, epsilon=problem.loss.epsilon, **fields), data


def test_at_a_minimum_calculated_by_hand_the_cusps_are_those_of_its_proof():
    """The minimum of tests/support/one_neuron.py has one cusp, with λ = ½ and a convex kink."""
    theta, problem = minimum()
    counted = count_of_run(*run_of(theta, problem, status="stationary"))
    assert counted.tolerance == ACTIVE_CUSP_TOLERANCE
    assert (counted.n_cusps, counted.n_convex, counted.background, counted.refused) == (1, 1, 0, None)


def test_at_a_certified_minimum_the_count_is_that_of_the_certificate_in_every_gauge():
    run, data = jammed()
    arch, expected = Architecture.of(run.info), run.info["certificate"]["n_cusps"]
    theta = torch.from_numpy(run.theta)
    # the factors are not powers of two and round z to about 10⁻¹⁵ of its scale, far below the tolerance of 10⁻¹⁰
    for theta_of in (theta, *(rescaled(theta, arch, seed) for seed in range(3))):
        counted = count_of_run(replace(run, theta=theta_of.numpy()), data)
        assert counted.n_cusps == counted.n_convex == expected > 0
        assert counted.background == 0 and counted.refused is None


def test_a_satisfied_run_has_no_cusps():
    arch, theta, x, y, loss = network(2)
    plant(theta, arch, x, 2, 7, 2)
    problem = Problem(x, y, arch, replace(loss, epsilon=100.0))
    run, data = run_of(theta, problem)
    assert count_of_run(run, data, tolerance=1e-9).n_cusps == 1
    counted = count_of_run(replace(run, info={**run.info, "status": "satisfied"}), data, tolerance=1e-9)
    assert (counted.n_at_zero, counted.n_with_gradient, counted.n_cusps, counted.background) == (1, 0, 0, 0)


def test_a_smooth_activation_has_no_cusps_but_keeps_its_zeros():
    arch, theta, x, y, loss = network(2, "tanh")
    plant(theta, arch, x, 2, 7, 2)
    counted = count(theta, Problem(x, y, arch, loss), 1e-12)
    assert (counted.n_cusps, counted.n_with_gradient, counted.n_convex, counted.background) == (0, 0, 0, 0)
    assert [c.n_at_zero for c in counted.per_layer] == [0, 1]


@pytest.mark.parametrize("width", [0.0, 1e-13, 1e-6, 2e-4])
def test_the_default_tolerance_separates_planted_cusps_from_a_smooth_density(width):
    """Of 20 000 pre-activations z = x, 5% are within `width` of zero; the others have a uniform density."""
    arch, rng = Architecture(10, 10, 1), np.random.default_rng(0)
    z = rng.uniform(-1, 1, (2000, 10))
    planted = rng.random(z.shape) < 0.05
    z[planted] = width * rng.uniform(-1, 1, planted.sum())
    theta = torch.cat([torch.eye(10).flatten(), torch.zeros(10), torch.ones(11)]).double()
    loss = Loss("hinge", 100.0, 2000)  # all patterns have a gradient
    counted = count(theta, Problem(torch.from_numpy(z), torch.ones(2000).double(), arch, loss))
    limit = counted.tolerance * np.median(np.abs(z))
    assert width < limit
    smooth = limit * (~planted).sum()
    assert smooth < 0.02 * planted.sum()
    assert counted.background == pytest.approx(smooth, abs=3 * np.sqrt(smooth + 1))
    assert counted.n_cusps == pytest.approx(planted.sum(), abs=4 * np.sqrt(smooth + 1))
    assert counted.n_with_gradient == pytest.approx(counted.n_cusps + counted.background, abs=0.5)


def test_without_biases_a_pattern_that_is_dead_below_has_no_cusps():
    """f = ρ(ρ(x)) of one neuron each: at x = -1 the second z is 0 for every W near this one, at x = 0 both are for all W."""
    arch = Architecture(1, 1, 2, bias=False)
    theta = torch.ones(3, dtype=torch.float64)
    x = torch.tensor([[-1.0], [0.0], [1e-12], [1.0]], dtype=torch.float64)
    problem = Problem(x, torch.ones(4, 1, dtype=torch.float64), arch, Loss("hinge", 5.0, 4))
    counted = count(theta, problem, 1e-10)
    # the scale of a neuron is the median of its |terms|, 1 and 1e-12, so that 1e-12 is at zero in the first layer alone
    assert [layer.n_at_zero for layer in counted.per_layer] == [1, 0]
    cusps = CuspGradient(theta, problem, counted)
    assert [at[0].tolist() for at in cusps.at] == [[2], []]


def test_without_biases_a_network_whose_unsatisfied_patterns_are_dead_is_not_certified():
    arch = Architecture(1, 1, 2, bias=False)
    theta, x = torch.ones(3, dtype=torch.float64), torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    problem = Problem(x, torch.ones(2, 1, dtype=torch.float64), arch, Loss("hinge", 0.5, 2))
    state = state_of(theta, problem, problem.evaluate(theta))
    assert (state.status, state.n_unsatisfied, state.share) == ("dead", 1, None)
    certificate = certify(theta, problem)
    assert not certificate.certified and certificate.obstacle == "no unsatisfied pattern has a gradient"
