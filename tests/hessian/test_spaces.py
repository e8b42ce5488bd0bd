"""H0, Hp and H at fixed norm against the loss on the sphere, differentiated by torch.func."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.errors import CheckError
from jamtools.hessian.assembly import bytes_needed as assembly_bytes
from jamtools.hessian.exact import ExactOptions, bytes_needed, exact_spectrum
from jamtools.hessian.matrix_free import LanczosOptions, estimate_density
from jamtools.hessian.products import Products
from jamtools.hessian.spaces import Space
from jamtools.linalg.eigenvalues import symmetric_eigenvalues
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.network.symmetry import scale_generators
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train
from tests.support import oracle
from tests.support.fixed_norm import NORM, at, loss_on_sphere, relu_minimum, run_of_fixed_norm, tanh_minimum

CASES = [("relu", 1), ("relu", 3), ("tanh", 1), ("tanh", 3)]
#: Round-off of a matrix that is a sum over 60 patterns, relative to its largest entry.
ROUNDING = 1e-12


def tangent_projector(theta: np.ndarray) -> np.ndarray:
    unit = theta / np.linalg.norm(theta)
    return np.eye(len(unit)) - np.outer(unit, unit)


@pytest.mark.parametrize(("activation", "outputs"), CASES)
def test_h_is_the_hessian_of_the_loss_on_the_sphere(activation, outputs):
    """On the tangent space the second derivatives of L(R u/‖u‖) at ‖u‖ = R are those along the sphere."""
    run, data = run_of_fixed_norm(activation, outputs)
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True))
    P = tangent_projector(run.theta)
    exact = P @ torch.func.hessian(loss_on_sphere(run, data))(torch.from_numpy(run.theta)).numpy() @ P
    H = spectrum.matrices["H0"] + spectrum.matrices["Hp"]
    assert np.abs(H - exact).max() < ROUNDING * np.abs(exact).max()
    basis = np.linalg.qr(run.theta[:, None], mode="complete")[0][:, 1:]
    values = np.linalg.eigvalsh(basis.T @ exact @ basis)
    assert spectrum["H"].shape == (run.info["n_parameters"] - 1,)
    assert np.abs(spectrum["H"] - values).max() < ROUNDING * np.abs(values).max()


@pytest.mark.parametrize(("activation", "outputs"), CASES)
def test_the_parts_have_the_eigenvalues_of_their_matrices_and_one_more_zero_along_theta(activation, outputs):
    run, data = run_of_fixed_norm(activation, outputs)
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True))
    for name, matrix in spectrum.matrices.items():
        scale = np.abs(spectrum[name]).max()
        assert np.abs(matrix @ run.theta).max() < ROUNDING * scale * NORM
        whole = np.sort(np.append(spectrum[name], 0.0))
        assert np.abs(np.linalg.eigvalsh(matrix) - whole).max() < ROUNDING * scale


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_vectors_are_tangent_and_the_loss_has_their_eigenvalues_along_great_circles(activation):
    run, data = run_of_fixed_norm(activation)
    spectrum = exact_spectrum(run, data, options=ExactOptions(vectors=2))
    loss, theta = loss_on_sphere(run, data), torch.from_numpy(run.theta)
    rows = spectrum.vectors["H"]
    assert rows.shape == (4, run.info["n_parameters"])
    assert np.abs(rows @ run.theta).max() < 1e-13 * NORM
    assert np.abs(rows @ rows.T - np.eye(4)).max() < 1e-13
    for row, value in zip(rows, spectrum["H"][[0, 1, -2, -1]]):
        v = torch.from_numpy(row) * NORM
        circle = lambda t, v=v: loss(theta * torch.cos(t) + v * torch.sin(t))
        second = torch.func.grad(torch.func.grad(circle))(torch.zeros((), dtype=torch.float64))
        assert float(second) / NORM**2 == pytest.approx(value, rel=1e-9, abs=1e-12 * spectrum["H"][-1])


def test_free_weights_have_no_multiplier_and_all_their_parameters():
    run, data = run_of_fixed_norm("tanh")
    free = replace(run, info={**run.info, "norm": None, "n_effective_expected": run.info["n_parameters"]})
    spectrum = exact_spectrum(free, data)
    assert spectrum.info["norm_multiplier"] is None
    assert len(spectrum["H"]) == run.info["n_parameters"]


def test_at_a_minimum_the_multiplier_is_the_force_along_theta():
    """∇L = -μ W, with ∇L of free weights from torch."""
    run, data = tanh_minimum()
    info = exact_spectrum(run, data).info
    theta = torch.from_numpy(run.theta).requires_grad_()
    problem = Problem.of(run, data)
    problem.loss.value(problem.forward(theta).f, problem.y).backward()
    assert info["norm_multiplier"] > 0
    assert theta.grad.numpy() == pytest.approx(-info["norm_multiplier"] * run.theta, abs=1e-9)


def test_at_a_minimum_scalings_are_in_the_kernel_of_h0_and_have_twice_the_multiplier_in_h():
    run, data = relu_minimum()
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True))
    arch, info = Architecture.of(run.info), spectrum.info
    root = np.sqrt(1.25)
    mu = (3 - root) * root / 2
    assert info["norm_multiplier"] == pytest.approx(mu) and info["n_unsatisfied"] == 2
    for v in scale_generators(torch.from_numpy(run.theta), arch).numpy().T:
        v = v / np.linalg.norm(v)
        assert v @ run.theta == pytest.approx(0, abs=1e-14), "a scaling does not change the norm there"
        assert np.linalg.norm(spectrum.matrices["H0"] @ v) < 1e-14
        assert spectrum.matrices["Hp"] @ v == pytest.approx(2 * mu * v)
    assert info["n_negative_H"] == 0, "it is a minimum"


def test_at_a_minimum_of_relu_the_counts_leave_out_the_scalings_and_the_radius():
    """Ñ = 6, N = 6 - 2 - 1 = 3; two patterns with one self-stress: H0 has rank 1, and four zeros, two of them scalings."""
    run, data = relu_minimum()
    info = exact_spectrum(run, data).info
    assert (info["n_parameters"], info["n_effective_expected"], info["n_symmetries"]) == (6, 3, 2)
    assert (info["rank_H0"], info["n_zero_H0"]) == (1, 4)
    assert info["delta_weight_H0"] == pytest.approx(2 / 3)
    assert info["c0"] == info["n_negative_Hp"] / 3


@pytest.mark.parametrize("minimum", [relu_minimum, tanh_minimum])
def test_at_a_minimum_with_few_unsatisfied_patterns_h0_has_one_self_stress(minimum):
    """Σ Δ P ∇Δ = 0 at a minimum: the rank of H0 is N_Δ - 1."""
    info = exact_spectrum(*minimum()).info
    assert info["n_unsatisfied"] < info["n_effective_expected"]
    assert info["rank_H0"] == info["n_unsatisfied"] - 1
    assert info["n_negative_H"] == 0


@pytest.mark.parametrize(("activation", "outputs"), CASES)
def test_signs_alone_are_those_of_the_eigenvalues_at_fixed_norm(activation, outputs):
    run, data = run_of_fixed_norm(activation, outputs)
    whole, signs = exact_spectrum(run, data), exact_spectrum(run, data, options=ExactOptions(signs_only=True))
    for name in ("n_negative_H", "n_negative_Hp", "n_zero_H0", "rank_H0", "c0", "norm_multiplier"):
        assert signs.info[name] == whole.info[name], name
    assert whole.info["n_negative_H"] == (whole["H"] < -1e-12).sum()
    assert whole.info["n_negative_Hp"] == (whole["Hp"] < -1e-12).sum()


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_a_wrong_trace_of_hp_at_fixed_norm_is_an_error(activation):
    run, data = run_of_fixed_norm(activation)
    spectrum = exact_spectrum(run, data, options=ExactOptions(("Hp",), matrices=True))
    values = symmetric_eigenvalues(torch.from_numpy(spectrum.matrices["Hp"]))
    problem = Problem.of(run, data)
    space = Space.of(Products(problem.tensor(run.theta), problem))
    space.check_trace(values)
    wrong = replace(space, trace_Hp=space.trace_Hp + 1e-9 * float(values.values.abs().sum()))
    with pytest.raises(CheckError, match="sum to"):
        wrong.check_trace(values)


def test_symmetry_and_scale_of_hp_are_measured_without_the_multiplier():
    run, data = run_of_fixed_norm("relu")
    spectrum = exact_spectrum(run, data)
    values = spectrum["Hp"] - spectrum.info["norm_multiplier"]
    expected = (values**3).sum() / np.sqrt((values**2).sum() * (values**4).sum())
    assert spectrum.info["odd_moment_3_Hp"] == pytest.approx(expected)
    scale = np.sqrt((values**2).mean() / run.info["final_loss"])
    assert spectrum.info["scale_Hp"] == pytest.approx(scale)


@pytest.mark.parametrize("delta", [1e-2, 1e-6, 1e-10])
def test_the_trace_of_hp_holds_however_small_the_gaps_are(delta):
    """Without biases f(s x) = s f(x) > 0 gives each pattern any Δ; then W·∇f = (depth + 1) f, and μ follows from Δ."""
    arch = Architecture(4, 6, 2, "relu", norm=NORM, bias=False)
    theta = oracle.random_theta(arch)
    theta *= NORM / theta.norm()
    x = oracle.sphere(40, 4)[0]
    f = oracle.f(arch, theta, x)[:, 0]
    x, f = x[f != 0], f[f != 0]
    gaps = delta * (1 + torch.linspace(0, 1, len(f), dtype=torch.float64))
    data = Dataset((x * ((1 - gaps) / f.abs())[:, None]).numpy(), f.sign().numpy(), info={"source": "scaled"})
    run = train(data, arch, with_options(TrainingOptions(), steps=1), seed=0)
    run = at(run, data, theta, 1.0)
    spectrum = exact_spectrum(run, data)
    mu = 3 * float((gaps * (1 - gaps)).mean()) / NORM**2
    assert spectrum.info["norm_multiplier"] == pytest.approx(mu, rel=1e-5)
    for part in ("H0", "Hp", "H"):
        assert len(spectrum[part]) == arch.n_parameters - 1
    estimate = estimate_density(run, data, options=LanczosOptions(probes=4, steps=20)).info["estimates"]
    assert estimate["Hp"]["trace"]["exact"] == pytest.approx(spectrum["Hp"].sum(), rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_single_precision_has_the_eigenvalues_of_double_precision(activation):
    run, data = run_of_fixed_norm(activation)
    double, single = (exact_spectrum(run, data, dtype=dtype) for dtype in (torch.float64, torch.float32))
    for part in ("H0", "Hp", "H"):
        n, scale = len(double[part]), np.abs(double["H"]).max()
        assert np.abs(double[part] - single[part]).max() < n * np.finfo(np.float32).eps * scale


def test_a_perceptron_has_the_multiplier_alone_in_place_of_hp():
    """f = W x: Hp = 0, and H0 = (1/P) Σ x xᵀ on the sphere, of the unsatisfied patterns."""
    data = oracle.dataset(60, 8)
    arch = Architecture(8, 1, 0, "linear", norm=1.0, bias=False)
    run = train(data, arch, with_options(TrainingOptions(), steps=100, lr=1e-2, epsilon=-0.3), seed=0)
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True))
    mu = spectrum.info["norm_multiplier"]
    assert spectrum["Hp"] == pytest.approx(np.full(7, mu)) and mu != 0
    x = data.x[run.unsatisfied] @ tangent_projector(run.theta)
    assert spectrum.matrices["H0"] == pytest.approx(x.T @ x / 60)
    assert spectrum["H"] == pytest.approx(spectrum["H0"] + mu)
    info = spectrum.info
    assert info["n_negative_Hp"] == (7 if mu < 0 else 0) and info["n_symmetries"] == 0
    assert info["asymmetry_Hp"] is info["odd_moment_3_Hp"] is info["scale_Hp"] is None


def test_memory_at_fixed_norm_has_two_more_matrices_for_h_alone():
    info = run_of_fixed_norm("tanh")[0].info
    square = 8 * info["n_parameters"] ** 2
    base = assembly_bytes(Architecture.of(info))
    assert bytes_needed(info, ExactOptions()) == base + 2 * square
    assert bytes_needed(info, ExactOptions(("H0", "Hp"))) == base
    assert bytes_needed(info, ExactOptions(vectors=1)) == base + 3 * square
    assert bytes_needed({**info, "norm": None}, ExactOptions()) == base
