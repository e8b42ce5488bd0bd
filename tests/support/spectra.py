"""Matrices whose spectra are known: planted eigenvalues, and products of a small network."""

from __future__ import annotations

import functools

import numpy as np
import torch

from jamtools.hessian.assembly import hessian
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support import oracle


def planted(values, seed=0):
    """A symmetric matrix with these eigenvalues, in a Haar basis."""
    rng = np.random.default_rng(seed)
    q, r = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    q *= np.sign(np.diag(r))
    return torch.from_numpy((q * np.asarray(values, dtype=float)) @ q.T)


@functools.cache
def network(activation="relu", depth=3, width=14, P_per_parameter=1.0):
    """Products of a network of Ñ = 14·13 + … parameters at random, and the exact eigenvalues of its matrices."""
    arch = Architecture(12, width, depth, activation)
    P = round(P_per_parameter * arch.n_parameters)
    x, y = oracle.sphere(P, 12)
    case = oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, P))
    parts = hessian(*case)
    return case, {name: torch.linalg.eigvalsh(getattr(parts, name)).numpy() for name in ("H0", "Hp", "H")}
