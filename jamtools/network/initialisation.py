"""The initial parameters of a run: a function of the architecture, the rule and the seed alone.

    orthogonal: Haar-distributed weights, zero biases;      torch: U(-σ, σ) with σ² = 1/fan-in, weights and biases;
    normal: N(0, 1/fan-in) weights, zero biases;            without biases: the same weights alone
    at fixed norm: these parameters, scaled to ‖W‖ = R

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import parsed_norm
from jamtools.random_streams import INITIAL_PARAMETERS, run_generator

#: The rules by name.
INITIALISATIONS = ("orthogonal", "torch", "normal")


def initial_parameters(arch: Architecture, init: str, seed: int) -> np.ndarray:
    """theta0 [Ñ], a function of (architecture, init, seed) alone; InputError for another `init`.

    orthogonal: Haar weights, zero biases (the paper's hinge protocol); torch: U(-σ, σ) with
    σ² = 1/fan-in for weights and biases; normal: N(0, 1/fan-in) weights, zero biases. Gains are 1, shifts 0.
    At a fixed norm the parameters are scaled to it.
    """
    if init not in INITIALISATIONS:
        raise InputError(f"initialisation {init!r}, expected one of {', '.join(INITIALISATIONS)}")
    rng = run_generator(seed, INITIAL_PARAMETERS)
    parts = []
    for j, (out, fan_in) in enumerate(arch.shapes):
        bias = np.zeros(out)
        if init == "orthogonal":
            weight = _orthogonal(rng, out, fan_in)
        elif init == "torch":
            weight = rng.uniform(-1, 1, (out, fan_in)) / np.sqrt(fan_in)
            bias = rng.uniform(-1, 1, out) / np.sqrt(fan_in)
        else:
            weight = rng.standard_normal((out, fan_in)) / np.sqrt(fan_in)
        parts += [weight.ravel(), bias] if arch.bias else [weight.ravel()]
        if arch.normalised(j):
            parts += [np.ones(out), np.zeros(out)]
    theta = np.concatenate(parts)
    return theta if arch.norm is None else theta * (arch.norm / np.linalg.norm(theta))


def with_norm(arch: Architecture, norm: str, init: str, seed: int) -> Architecture:
    """The architecture at a fixed norm, which `protocols.parsed_norm` reads: R, or a multiple of the norm at this seed."""
    value, multiple = parsed_norm(norm)
    if multiple:
        value *= float(np.linalg.norm(initial_parameters(replace(arch, norm=None), init, seed)))
    return replace(arch, norm=value)


def _orthogonal(rng: np.random.Generator, out: int, fan_in: int) -> np.ndarray:
    """A matrix [out, fan_in] with orthonormal rows in blocks of `fan_in`: a tall matrix is a stack of Haar matrices."""
    blocks = []
    for start in range(0, out, fan_in):
        rows = min(fan_in, out - start)
        q, r = np.linalg.qr(rng.standard_normal((fan_in, rows)))
        blocks.append((q * np.sign(np.diag(r))).T)  # the sign fix makes q Haar-distributed
    return np.concatenate(blocks)
