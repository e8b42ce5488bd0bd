"""Matrices whose eigenvalues are known: planted spectra, and products of a small network."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from jamtools.hessian.assembly import hessian
from jamtools.linalg.operator import Operator
from jamtools.linalg.quadrature import Counts, Quadrature
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from tests.support import oracle

#: The probability that a correct program fails one statistical test.
FAILURE_PROBABILITY = 1e-3


def planted(values, seed=0) -> Tensor:
    """A symmetric matrix [n, n] with these eigenvalues [n] in a random basis with the Haar measure."""
    rng = np.random.default_rng(seed)
    q, r = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    q *= np.sign(np.diag(r))
    return torch.from_numpy((q * np.asarray(values, dtype=float)) @ q.T)


def diagonal(values) -> Operator:
    """The operator of a diagonal matrix with these entries [n]."""
    column = torch.as_tensor(values, dtype=torch.float64)[:, None]
    return Operator(lambda V: column * V, len(column))


def kernel_gap_continuum(n=300, kernel=120) -> np.ndarray:
    """Eigenvalues [n]: a kernel, a gap, a continuum, and 30 equal ones."""
    return np.concatenate([np.zeros(kernel), np.linspace(0.3, 1, n - kernel - 30), np.full(30, 2.0)])


@functools.cache
def network(activation="relu", depth=3, width=14, P_per_parameter=1.0):
    """(theta, problem) of a random network with d = 12, and the exact eigenvalues [Ñ] of H0, Hp and H."""
    arch = Architecture(12, width, depth, activation)
    P = round(P_per_parameter * arch.n_parameters)
    x, y = oracle.sphere(P, 12)
    case = oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, P))
    parts = hessian(*case)
    return case, {name: torch.linalg.eigvalsh(getattr(parts, name)).numpy() for name in ("H0", "Hp", "H")}


def between(values: np.ndarray, number: int) -> np.ndarray:
    """Points between eigenvalues [n] (ascending), spread over their ranks, and one point outside on each side."""
    gaps = np.flatnonzero(np.diff(values) > 1e-9 * np.abs(values).max())
    chosen = gaps[np.unique(np.linspace(0, len(gaps) - 1, number).astype(int))]
    inside = (values[chosen] + values[chosen + 1]) / 2
    spread = values[-1] - values[0]
    return np.concatenate([[values[0] - spread], inside, [values[-1] + spread]])


def assert_counts_hold(quadrature: Quadrature, values: np.ndarray, x: np.ndarray | None = None) -> Counts:
    """Asserts that the intervals of the counts at x [points] contain the exact counts of the eigenvalues [n]."""
    x = between(values, 40) if x is None else x
    exact = np.searchsorted(values, x)
    counts = quadrature.counts(x, confidence=1 - FAILURE_PROBABILITY / len(x))
    assert ((counts.low <= exact) & (exact <= counts.high)).all()
    assert ((counts.low <= counts.value) & (counts.value <= counts.high)).all()
    return counts


def adam_jammed(activation: str = "relu", depth: int = 2, width: int = 5):
    data = oracle.dataset(120, 4)
    settings = with_options(TrainingOptions(), steps=1500, lr=3e-3, measurements=3)
    run = train(data, Architecture(4, width, depth, activation), settings, seed=0)
    assert run.info["n_unsatisfied"] > 0
    return run, data
