"""Cusps counted against a plain loop, planted where they are known, and the smallest subgradient by brute force."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.func import jacrev

import jamtools.cusps.counting
import jamtools.cusps.preactivations
import jamtools.cusps.subgradient
import jamtools.linalg.bounded_least_squares
from jamtools.cusps.counting import BACKGROUND_TOLERANCES, CuspCount, count
from jamtools.cusps.preactivations import PREACTIVATION_EDGES, fresh_patterns, profile
from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient, smallest_subgradient
from jamtools.errors import InputError
from jamtools.io.write import dataset_bytes, runs_bytes
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.records import Runs
from tests.support import artefacts, oracle
from tests.support.commands import jam, refusal
from tests.support.cusps import made_run, plant


def network(depth: int = 2, activation: str = "relu", outputs: int = 1, P: int = 60, width: int = 5):
    """arch, theta, x, y [P, C] and a hinge loss with some patterns satisfied."""
    arch = Architecture(4, width, depth, activation, outputs)
    x, y = oracle.sphere(P, 4, depth, outputs)
    theta = oracle.random_theta(arch, depth)
    for _, bias in layers_of(theta, arch):
        bias *= 0.2  # or some patterns turn a whole layer off
    return arch, theta, x, y, Loss("hinge", 0.5, P, outputs)


# --- counting -----------------------------------------------------------------------------------------------


def counts_by_loop(arch, theta, x, y, loss, tolerance) -> list[tuple[int, int, int, float]]:
    """(N_c, with gradient, convex, background) of each layer, by the definitions; ∂L/∂ρ by autograd."""
    z, rho = [], [x]
    for weight, bias in layers_of(theta, arch):
        z.append(torch.nn.functional.linear(rho[-1], weight, bias))
        rho.append(torch.relu(z[-1]).detach().requires_grad_())
    found = []
    for j in range(arch.depth):
        out = rho[j + 1]
        for weight, bias in layers_of(theta, arch)[j + 1 :]:
            out = torch.nn.functional.linear(out if out is rho[j + 1] else torch.relu(out), weight, bias)
        (force,) = torch.autograd.grad(oracle.hinge(out, y), rho[j + 1])
        limit = tolerance * float(np.sqrt(np.mean(z[j].detach().numpy() ** 2)))
        n, n_gradient, n_convex, outside = 0, 0, 0, 0
        for pattern in range(len(x)):
            for neuron in range(arch.width):
                size = abs(float(z[j][pattern, neuron].detach()))
                outside += BACKGROUND_TOLERANCES[0] * limit < size <= BACKGROUND_TOLERANCES[1] * limit
                if size <= limit:
                    n += 1
                    unsatisfied = bool((0.5 - y[pattern] * z[-1][pattern].detach() > 0).any())
                    n_gradient += unsatisfied
                    n_convex += unsatisfied and float(force[pattern, neuron]) >= 0
        found.append(
            (n, n_gradient, n_convex, outside / (BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0]))
        )
    return found


@pytest.mark.parametrize("tolerance", [0.02, 0.3])
@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (2, 1), (4, 1), (2, 3)])
def test_counts_equal_a_plain_loop_layer_by_layer(depth, outputs, tolerance):
    arch, theta, x, y, loss = network(depth, outputs=outputs)
    found = count(theta, Problem(x, y, arch, loss), tolerance)
    layers = [(c.n_cusps, c.n_with_gradient, c.n_convex, c.background) for c in found.per_layer]
    assert np.array(layers) == pytest.approx(np.array(counts_by_loop(arch, theta, x, y, loss, tolerance)))
    assert [c.layer for c in found.per_layer] == list(range(1, depth + 1))
    assert found.n_cusps == sum(layer[0] for layer in layers) > 0
    assert found.n_convex < found.n_with_gradient <= found.n_cusps


def test_blocks_of_patterns_add_up(monkeypatch):
    arch, theta, x, y, loss = network()
    whole = count(theta, Problem(x, y, arch, loss))
    both = profile(theta, x, arch, whole)
    monkeypatch.setattr(jamtools.cusps.counting, "CUSP_BLOCK_PATTERNS", 7)
    monkeypatch.setattr(jamtools.cusps.preactivations, "CUSP_BLOCK_PATTERNS", 7)
    parts = count(theta, Problem(x, y[:, 0], arch, loss))
    assert parts.per_layer == tuple(
        replace(a, scale=pytest.approx(a.scale), limit=pytest.approx(a.limit)) for a in whole.per_layer
    )
    assert (profile(theta, x, arch, parts).density == both.density).all()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_planted_zero_is_found_in_its_layer(layer):
    arch, theta, x, y, loss = network(3)
    plant(theta, arch, x, layer, 7, 2)
    found = count(theta, Problem(x, y, arch, loss), 1e-12)
    assert [c.n_cusps for c in found.per_layer] == [int(j == layer) for j in (1, 2, 3)]
    assert profile(theta, x, arch, found).mass.tolist() == [(j == layer) / 300 for j in (1, 2, 3)]


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_counts_do_not_depend_on_the_scale_of_a_layer(factor):
    arch, theta, x, y, loss = network(2)
    plant(theta, arch, x, 1, 3, 1)
    before = count(theta, Problem(x, y, arch, loss))
    layers = layers_of(theta, arch)
    for tensor in layers[0]:
        tensor *= factor
    layers[1][0].div_(factor)
    after = count(theta, Problem(x, y, arch, loss))
    assert after.tolerance == before.tolerance
    assert after.per_layer[0].limit == pytest.approx(factor * before.per_layer[0].limit, rel=1e-9)
    assert [(c.n_cusps, c.n_convex) for c in after.per_layer] == [
        (c.n_cusps, c.n_convex) for c in before.per_layer
    ]


def test_a_smooth_activation_has_no_cusps_but_keeps_its_zeros():
    arch, theta, x, y, loss = network(2, "tanh")
    plant(theta, arch, x, 2, 7, 2)
    found = count(theta, Problem(x, y, arch, loss), 1e-12)
    assert (found.n_cusps, found.n_with_gradient, found.n_convex, found.background) == (0, 0, 0, 0)
    assert [c.n_at_zero for c in found.per_layer] == [0, 1]


@pytest.mark.parametrize("width", [0.0, 1e-13, 1e-6, 2e-4])
def test_the_default_tolerance_tells_planted_cusps_from_the_rest(width):
    """5% of 20 000 pre-activations within `width` of zero, on top of a uniform density: z = x."""
    arch, rng = Architecture(10, 10, 1), np.random.default_rng(0)
    z = rng.uniform(-1, 1, (2000, 10))
    planted = rng.random(z.shape) < 0.05
    z[planted] = width * rng.uniform(-1, 1, planted.sum())
    theta = torch.cat([torch.eye(10).flatten(), torch.zeros(10), torch.ones(11)]).double()
    found = count(
        theta, Problem(torch.from_numpy(z), torch.ones(2000).double(), arch, Loss("hinge", 0.5, 2000))
    )
    assert width < found.per_layer[0].limit
    smooth = found.per_layer[0].limit * (~planted).sum()
    assert smooth < 0.02 * planted.sum()
    assert found.background == pytest.approx(smooth, abs=3 * np.sqrt(smooth + 1))
    assert found.n_cusps - found.background == pytest.approx(planted.sum(), abs=4 * np.sqrt(smooth + 1))


# --- the density of pre-activations ---------------------------------------------------------------------------


def test_the_density_equals_numpys_histogram():
    arch, theta, x, y, loss = network(2, P=400)
    found = count(theta, Problem(x, y, arch, loss), 0.01)
    fresh = oracle.sphere(300, 4, 99)[0]
    got = profile(theta, fresh, arch, found)
    for j, z in enumerate(forward(layers_of(theta, arch), fresh, arch).z[:-1]):
        counts = np.histogram(z / found.per_layer[j].scale, PREACTIVATION_EDGES)[0]
        assert got.density[j] == pytest.approx(counts / (300 * 5 * 0.1))
        assert got.mass[j] == (z.abs() <= found.per_layer[j].limit).double().mean()


def test_fresh_patterns_are_the_test_set_or_new_ones_on_the_sphere():
    data = oracle.dataset(50, 4, test=20)
    x, source = fresh_patterns(data, None, 0)
    assert source == "test set" and (x == data.x_test).all()
    assert len(fresh_patterns(data, 5, 0)[0]) == 5
    x, source = fresh_patterns(oracle.dataset(50, 4), None, 0)
    assert source == "sphere" and x.shape == (50, 4)
    assert (x**2).sum(1) == pytest.approx(4.0)
    assert (x == fresh_patterns(oracle.dataset(50, 4), 50, 0)[0]).all()
    assert fresh_patterns(artefacts.dataset(), None, 0) == (None, None)


def test_fresh_patterns_are_not_those_of_the_dataset_with_the_same_seed():
    from jamtools.data.sphere import random_sphere

    x, _ = fresh_patterns(random_sphere(40, 6, seed=3), None, 3)
    drawn = random_sphere(40, 6, seed=3, P_test=40)
    for known in (drawn.x, drawn.x_test):
        assert np.abs(x @ known.T).max() < 6 * (1 - 1e-6)


# --- the smallest element of the subdifferential --------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """A loss whose slope in f is whatever y says: gradients as a test wants them."""

    def slope(self, f: Tensor, y: Tensor) -> Tensor:
        return y


def smallest(theta: Tensor, problem: Problem, counted: CuspCount) -> SmallestSubgradient:
    return smallest_subgradient(CuspGradient(theta, problem, counted))


def gradient_by_autograd(arch, theta, x, slopes, kinks, multipliers) -> Tensor:
    """Σ_µ s_µ ∇f(x_µ) with ρ(z) = λ z at the cusps `kinks` [L][P, h], filled layer after layer."""

    def f(t: Tensor) -> Tensor:
        a, start = x, 0
        for j, (weight, bias) in enumerate(layers_of(t, arch)):
            a = torch.nn.functional.linear(a, weight, bias)
            if j < arch.depth:
                n = int(kinks[j].sum())
                sigma = (a > 0).double().masked_scatter(kinks[j], multipliers[start : start + n])
                a, start = sigma * a, start + n
        return (slopes * a).sum()

    return torch.func.grad(f)(theta)


def kinks_of(theta, x, arch, found) -> list[Tensor]:
    z = forward(layers_of(theta, arch), x, arch).z[:-1]
    return [layer.abs() <= c.limit for layer, c in zip(z, found.per_layer, strict=True)]


def test_one_neuron_whose_subdifferential_contains_zero():
    """f = ρ(x) at x = 0, 1, 2, -1 and slopes -1, ½, -¼, ¾: g = 0 needs ½ - ¼ - λ = 0."""
    arch = Architecture(1, 1, 1)
    theta = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[0.0], [1.0], [2.0], [-1.0]], dtype=torch.float64)
    slopes = torch.tensor([[-1.0], [0.5], [-0.25], [0.75]], dtype=torch.float64)
    end = smallest(
        theta, Problem(x, slopes, arch, Given()), count(theta, Problem(x, slopes, arch, Given()), 1e-9)
    )
    assert end.multipliers == pytest.approx([0.25])
    assert end.norm == pytest.approx(0, abs=1e-15) and end.gradient_norm == pytest.approx(0.25)
    assert end.n_inside == 1 and end.converged


def test_planted_multipliers_are_recovered():
    """Slopes from the null space of ∂g/∂s at known multipliers, so that g vanishes there."""
    arch, theta, x, _, _ = network(2, P=80)
    for layer, pattern, neuron in [(1, 3, 0), (1, 8, 1), (1, 8, 2), (2, 20, 0), (2, 21, 3)]:
        plant(theta, arch, x, layer, pattern, neuron)
    found = count(theta, Problem(x, torch.ones(80, 1).double(), arch, Given()), 1e-9)
    planted = torch.tensor([0.3, 0.6, 0.0, 0.9, 0.45], dtype=torch.float64)
    kinks = kinks_of(theta, x, arch, found)
    rows = jacrev(lambda s: gradient_by_autograd(arch, theta, x, s, kinks, planted))(x.new_ones(80, 1))[
        ..., 0
    ]
    slopes = torch.linalg.svd(rows).Vh[-1:].T  # [P, 1]
    end = smallest(theta, Problem(x, slopes, arch, Given()), found)
    assert end.norm < 1e-13 < 1e-4 < end.gradient_norm
    assert end.multipliers == pytest.approx(planted.numpy(), abs=1e-10)
    assert end.n_inside == 4 and end.converged


@pytest.mark.parametrize("seed", range(4))
def test_smallest_element_with_cusps_in_several_layers_equals_brute_force(seed):
    """Three patterns with cusps in both layers. g is multilinear there, with local minima 10⁻⁴ apart."""
    arch = Architecture(3, 4, 2)
    theta, x = oracle.random_theta(arch, seed), oracle.sphere(6, 3, seed)[0]
    slopes = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 1)))
    for layer, pattern in itertools.product((1, 2), range(3)):
        plant(theta, arch, x, layer, pattern, pattern)
    found = count(theta, Problem(x, slopes, arch, Given()), 1e-9)
    kinks = kinks_of(theta, x, arch, found)
    n = sum(int(k.sum()) for k in kinks)
    assert all(k.any(1)[:3].all() for k in kinks)

    def square(values: np.ndarray) -> tuple[float, np.ndarray]:
        multipliers = torch.from_numpy(values).requires_grad_()
        value = gradient_by_autograd(arch, theta, x, slopes, kinks, multipliers).square().sum()
        return float(value.detach()), torch.autograd.grad(value, multipliers)[0].numpy()

    def descended(start: np.ndarray) -> float:
        options = {"ftol": 1e-15, "gtol": 1e-12}
        end = minimize(square, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * n, options=options)
        return end.fun**0.5

    rng = np.random.default_rng(seed)
    got = smallest(theta, Problem(x, slopes, arch, Given()), found)
    assert got.norm == pytest.approx(min(descended(rng.random(n)) for _ in range(12)), rel=1e-4)
    assert got.norm == pytest.approx(descended(got.multipliers), rel=1e-5)
    assert square(got.multipliers)[0] ** 0.5 == pytest.approx(got.norm, rel=1e-9)
    assert got.norm < got.gradient_norm


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_without_cusps_it_is_the_gradient(activation):
    arch, theta, x, y, loss = network(2, activation, outputs=3)
    end = smallest(theta, Problem(x, y, arch, loss), count(theta, Problem(x, y, arch, loss), 1e-12))
    exact = torch.func.grad(lambda t: oracle.hinge(oracle.f(arch, t, x), y))(theta).norm()
    assert end.norm == end.gradient_norm == pytest.approx(float(exact), rel=1e-12)


def test_many_cusps_at_a_large_scale_or_a_tiny_one(monkeypatch):
    """The other solver, for more multipliers than ACTIVE_SET_MAX_MULTIPLIERS, and no absolute tolerance in either."""
    arch, theta, x, y, loss = network(1, P=200, width=6)
    found = count(theta, Problem(x, y, arch, loss), 0.1)
    end = smallest(theta, Problem(x, y, arch, loss), found)
    assert len(end.multipliers) == found.n_with_gradient > 10
    slopes = loss.slope(oracle.f(arch, theta, x), y)
    for active_set in (0, 1000):
        monkeypatch.setattr(jamtools.linalg.bounded_least_squares, "ACTIVE_SET_MAX_MULTIPLIERS", active_set)
        for scale in (1e-20, 1e20):
            scaled = smallest(theta, Problem(x, scale * slopes, arch, Given()), found)
            assert scaled.norm == pytest.approx(scale * end.norm, rel=1e-7)


def test_too_many_cusps_are_refused(monkeypatch):
    arch, theta, x, y, loss = network()
    monkeypatch.setattr(jamtools.cusps.subgradient, "LEAST_SQUARES_MAX_NUMBERS", 100)
    with pytest.raises(InputError, match=r"cusps times 61 parameters, expected at most"):
        smallest(theta, Problem(x, y, arch, loss), count(theta, Problem(x, y, arch, loss), 0.3))


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The command's lines for a ReLU run with a planted zero, a tanh run, a satisfied and a diverged one."""
    folder = tmp_path_factory.mktemp("cusps")
    arch, theta, _, _, _ = network(2)
    data = oracle.dataset(60, 4)
    plant(theta, arch, torch.from_numpy(data.x), 2, 8, 2)
    smooth = Architecture(4, 5, 2, "tanh")
    members = (
        made_run(arch, theta, data),
        made_run(smooth, theta, data),
        made_run(arch, theta, data, n_unsatisfied=0, status="satisfied"),
        made_run(arch, theta * torch.nan, data),
        made_run(arch, theta, data, loss="cross-entropy", epsilon=0.0),
    )
    (folder / "runs.safetensors").write_bytes(runs_bytes(Runs(data, members), []))
    done = jam("cusps", folder / "runs.safetensors", "--tolerance", "1e-9", "--fresh", "2k", check=True)
    assert "N_c/N" in done.stderr and "r0003: the run diverged: its parameters are not finite" in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_line_holds_the_counts_and_the_layers(records):
    line = records[0]
    assert list(line)[:2] == ["kind", "run"] and line["kind"] == "cusps"
    assert [record["run"] for record in records] == [f"r{i:04d}" for i in range(5)]
    assert line["n_cusps"] == 1 and line["tolerance"] == 1e-9 and line["background"] == 0
    assert line["n_cusps_per_parameter"] == 1 / line["n_effective_expected"]
    assert line["fresh"] == {"source": "sphere", "n": 2000}
    assert [layer["layer"] for layer in line["layers"]] == [1, 2]
    assert [layer["mass_train"] for layer in line["layers"]] == [0, 1 / 300]
    assert [layer["mass_fresh"] for layer in line["layers"]] == [0, 0]


def test_histograms_are_densities(records):
    for layer in records[0]["layers"]:
        histogram = layer["histogram"]
        assert len(histogram["edges"]) == len(histogram["train"]) + 1 == len(histogram["fresh"]) + 1
        for which in ("train", "fresh"):
            assert 0.9 < sum(histogram[which]) * 0.1 < 1 + 1e-5
        assert layer["tolerance"] == pytest.approx(1e-9 * layer["scale"])


def test_the_clarke_norm_is_asked_of_unsatisfied_hinge_runs(records):
    relu, tanh, satisfied, diverged, entropy = records
    assert 0 < relu["clarke_norm"] <= relu["gradient_norm"]
    assert tanh["clarke_norm"] == tanh["gradient_norm"] and tanh["n_cusps"] == 0
    assert satisfied["clarke_norm"] is None and satisfied["n_cusps"] == 1
    assert diverged["n_cusps"] is None and diverged["layers"] == []
    assert entropy["clarke_norm"] is None and entropy["n_with_gradient"] == 1


def test_the_same_command_writes_the_same_bytes_without_a_source_of_fresh_patterns():
    data = replace(oracle.dataset(60, 4), info={"source": "arrays"})
    arch, theta, _, _, _ = network(2)
    runs = runs_bytes(Runs(data, (made_run(arch, theta, data),)), [])
    first = jam("cusps", "--quiet", input=runs, check=True)
    line = json.loads(first.stdout)
    assert line["fresh"] is None and line["layers"][0]["mass_fresh"] is None
    assert line["layers"][1]["histogram"]["fresh"] is None
    assert first.stderr == ""
    assert jam("cusps", "-q", "-", input=runs, check=True).stdout == first.stdout


def test_bad_options_and_other_kinds_are_refused():
    refusal(jam("cusps", "--tolerance", "-1"), 2)
    refusal(jam("cusps", "--fresh", "0"), 2)
    data = dataset_bytes(oracle.dataset(5, 3), [])
    assert "got a dataset, expected runs" in refusal(jam("cusps", input=data))
