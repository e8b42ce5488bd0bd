"""Spectra of runs: eigenvalues and signs, and the checks that turn a wrong one into an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.cusps.counting import CuspCount, LayerCount
from jamtools.errors import CheckError, InputError
from jamtools.hessian import exact, summary
from jamtools.hessian.exact import ExactOptions, bounds, exact_spectrum
from jamtools.linalg.eigenvalues import symmetric_eigenvalues
from jamtools.network.architecture import Architecture
from jamtools.network.symmetry import scale_generators
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from tests.support import oracle
from tests.support.jammed import jammed
from tests.support.spectra import adam_jammed


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_spectrum_of_a_jammed_run_and_its_counts(activation):
    run, data = adam_jammed(activation)
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True))
    arch, y = Architecture.of(run.info), torch.from_numpy(data.y)[:, None]
    exact = torch.func.hessian(lambda t: oracle.hinge(oracle.f(arch, t, torch.from_numpy(data.x)), y))(
        torch.from_numpy(run.theta)
    )
    values = np.linalg.eigvalsh(exact.numpy())
    assert np.abs(spectrum["H"] - values).max() < 1e-9 * np.abs(values).max()
    info = spectrum.info
    assert info["rank_H0"] == np.linalg.matrix_rank(spectrum.matrices["H0"], hermitian=True)
    assert info["rank_H0"] + info["n_zero_H0"] == arch.n_parameters
    assert info["n_zero_H0"] >= (arch.n_hidden if activation == "relu" else 0)
    assert info["gap_H0"] == spectrum["H0"][info["n_zero_H0"]]
    assert info["c0"] == info["n_negative_Hp"] / arch.n_effective
    assert max(info["trace_error"], info["frobenius_error"]) < arch.n_parameters**2 * 1e-15


def test_negative_modes_are_counted_without_the_scale_generators():
    """The reference is the signs of Zᵀ Hp Z, with Z an orthonormal basis of the complement from an SVD."""
    run, data = adam_jammed(depth=3, width=4)
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True))
    arch = Architecture.of(run.info)
    generators = scale_generators(torch.from_numpy(run.theta), arch).numpy()
    u, _, _ = np.linalg.svd(generators, full_matrices=True)
    Z = u[:, arch.n_hidden :]
    Hp = spectrum.matrices["Hp"]
    tolerance = arch.n_parameters * np.finfo(float).eps * np.abs(spectrum["Hp"]).max()
    assert spectrum.info["n_negative_Hp"] == (np.linalg.eigvalsh(Z.T @ Hp @ Z) < -tolerance).sum()
    H = Hp + spectrum.matrices["H0"]
    tolerance = arch.n_parameters * np.finfo(float).eps * np.abs(spectrum["H"]).max()
    assert spectrum.info["n_negative_H"] == (np.linalg.eigvalsh(Z.T @ H @ Z) < -tolerance).sum()


@pytest.mark.parametrize("n_negative", [5, None])
@pytest.mark.parametrize(("n_cusps", "known"), [(4, True), (5, False)])
def test_the_bound_counts_convex_cusps_and_is_null_where_their_number_is_refused(n_cusps, known, n_negative):
    """Cusps hold 4 directions; 3 of them are convex, N_Δ = 1 and N_- = 5 or not known."""
    layer = LayerCount(1, 100, 1.0, (1.0,), 9, 8, 8.0 - n_cusps, n_cusps, 3)
    found = bounds({"n_negative_Hp": n_negative, "n_unsatisfied": 1}, CuspCount(1e-3, (layer,), 4))
    assert (found["n_cusps"], found["n_convex_cusps"]) == ((n_cusps, 3) if known else (None, None))
    assert (found["cusps_refused"] is None) == known
    bounded = known and n_negative is not None
    assert (found["bound"], found["bound_holds"]) == ((2, False) if bounded else (None, None))
    assert found["smooth_bound_holds"] is (None if n_negative is None else False)


def test_the_spectrum_of_a_certified_run_has_the_cusps_of_its_certificate():
    run, data = jammed()
    info = exact_spectrum(run, data, options=ExactOptions(("Hp",), signs_only=True)).info
    n = run.info["certificate"]["n_cusps"]
    assert info["n_cusps"] == info["n_convex_cusps"] == n > 0
    assert info["bound"] == info["n_negative_Hp"] - n and info["bound_holds"]


def test_a_diverged_run_is_refused():
    data = oracle.dataset(40, 4)
    settings = with_options(TrainingOptions(), steps=2000, optimizer="sgd", batch=0, lr=1e6)
    run = train(data, Architecture(4, 5, 3), settings, seed=0)
    assert run.info["n_unsatisfied"] > 0, "NaN is not satisfied"
    with pytest.raises(InputError, match="'diverged'"):
        exact_spectrum(run, data)


# --- parts of a spectrum ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_signs_alone_are_those_of_the_eigenvalues(activation, outputs):
    data = oracle.dataset(90, 4, outputs=outputs)
    settings = with_options(TrainingOptions(), steps=300, lr=3e-3, measurements=3)
    run = train(data, Architecture(4, 5, 2, activation, outputs), settings, seed=0)
    whole, signs = exact_spectrum(run, data), exact_spectrum(run, data, options=ExactOptions(signs_only=True))
    assert signs.eigenvalues == {}
    for name in (
        "n_negative_H",
        "n_negative_Hp",
        "n_zero_H0",
        "rank_H0",
        "c0",
        "bound_holds",
        "delta_weight_H0",
    ):
        assert signs.info[name] == whole.info[name], name
    assert signs.info["gap_H0"] is None


@pytest.mark.parametrize("parts", [("H0",), ("Hp",), ("H", "Hp"), ("H",)])
def test_a_part_alone_has_the_eigenvalues_that_it_has_among_all_parts(parts):
    run, data = adam_jammed()
    whole, part = exact_spectrum(run, data), exact_spectrum(run, data, options=ExactOptions(parts))
    assert set(part.eigenvalues) == set(parts)
    for name in parts:
        assert part[name].tobytes() == whole[name].tobytes()
    assert (part.info["gap_H0"] is None) == ("H0" not in parts)
    assert (part.info["c0"] is None) == (part.info["bound_holds"] is None) == ("Hp" not in parts)
    with pytest.raises(InputError, match="without the eigenvalues"):
        part[next(name for name in ("H", "H0", "Hp") if name not in parts)]


@pytest.mark.parametrize("k", [1, 3, 1000])
def test_vectors_are_eigenvectors_of_the_lowest_and_the_highest_eigenvalues(k):
    run, data = adam_jammed()
    spectrum = exact_spectrum(run, data, options=ExactOptions(matrices=True, vectors=k))
    matrices = {**spectrum.matrices, "H": spectrum.matrices["H0"] + spectrum.matrices["Hp"]}
    for name, rows in spectrum.vectors.items():
        values = spectrum[name]
        n = len(values)
        ends = values if 2 * k >= n else np.concatenate([values[:k], values[n - k :]])
        assert rows.shape == (min(n, 2 * k), n)
        off = matrices[name] @ rows.T - ends * rows.T
        assert np.abs(off).max() < n * 1e-15 * np.abs(values).max()
        assert np.abs(rows @ rows.T - np.eye(len(rows))).max() < n * 1e-15


@pytest.mark.parametrize("scale", [1e-12, 1e-200])
def test_a_scaled_matrix_has_the_same_counts(scale):
    """Counts have no absolute threshold, because near jamming all eigenvalues are small."""
    run, data = adam_jammed()
    matrices = exact_spectrum(run, data, options=ExactOptions(matrices=True)).matrices
    for name, matrix in matrices.items():
        small, large = (
            symmetric_eigenvalues(torch.from_numpy(matrix * factor), name) for factor in (scale, 1.0)
        )
        assert (small.n_zero, small.n_negative) == (large.n_zero, large.n_negative)
        moments = [summary._of_Hp(spectrum, {"final_loss": 0.0}) for spectrum in (small, large)]
        for field in ("asymmetry_Hp", "odd_moment_3_Hp", "odd_moment_5_Hp"):
            assert moments[0][field] == pytest.approx(moments[1][field])


# --- checks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 40, -1])
def test_a_wrong_eigenvalue_is_an_error(where, monkeypatch):
    run, data = adam_jammed()
    solver = torch.linalg.eigvalsh

    def wrong(matrix):
        values = solver(matrix)
        values[where] += 1e-9 * values.abs().max()
        return values

    monkeypatch.setattr(torch.linalg, "eigvalsh", wrong)
    with pytest.raises(CheckError, match="fail the check"):
        exact_spectrum(run, data)


def test_where_the_solver_of_a_gpu_fails_the_cpu_is_used_with_a_warning():
    """A matrix that pretends to be on a GPU, where its eigenvalues are wrong."""

    class Elsewhere:
        device = torch.device("cuda")

        def cpu(self):
            return torch.eye(3, dtype=torch.float64)

    def solver(matrix, name, vectors):
        if isinstance(matrix, Elsewhere):
            raise CheckError("garbage")
        return matrix.sum()

    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="the CPU takes over"):
        patch.setattr(exact, "symmetric_eigenvalues", solver)
        assert exact._eigenvalues(Elsewhere(), "H", 0) == 3


@pytest.mark.gpu
def test_the_spectrum_of_a_gpu_equals_that_of_the_cpu():
    run, data = adam_jammed()
    here, there = exact_spectrum(run, data), exact_spectrum(run, data, device="cuda")
    for name in ("H", "H0", "Hp"):
        a, b = here[name], there[name]
        assert np.abs(a - b).max() < len(a) * 1e-14 * np.abs(a).max()
