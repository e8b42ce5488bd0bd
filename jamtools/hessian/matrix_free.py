"""The spectra of H, H0 and Hp estimated from products with vectors: for networks whose matrices do not fit.

    density(λ) = Ñ Σ_i w_i δ_σ(λ - θ_i),    N(λ < x) = Ñ Σ_{θ_i < x} w_i,    mass at zero of H0: no smearing

with θ, w the nodes and weights of stochastic Lanczos quadrature over `probes` vectors, each number with its error. H and
Hp are taken without the scale generators of ReLU, as their signs are counted. Only the extreme eigenvalues are exact, each
with the residual that says so. Memory is that of the data, a block of patterns and some vectors [Ñ].

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from jamtools.cusps.counting import count
from jamtools.hessian.products import Products
from jamtools.linalg.extreme_eigenvalues import RitzPairs, extremes
from jamtools.linalg.lanczos import probe
from jamtools.linalg.operator import Operator
from jamtools.linalg.quadrature import Quadrature
from jamtools.linalg.spectral_density import Density, smeared_density
from jamtools.linalg.spectral_mass import zero_mass
from jamtools.network.problem import Problem
from jamtools.network.symmetry import ScaleGenerators
from jamtools.records import HESSIAN_PARTS, SPECTRUM_FIELDS, Array, Dataset, Run, Spectrum, check_finite

#: Of the Krylov basis of the extreme eigenvalues and of a product, in vectors [Ñ].
LANCZOS_VECTORS = 40


@dataclass(frozen=True)
class LanczosOptions:
    """How much is spent: probes, Lanczos steps of each, extreme eigenvalues at both ends, the seed of the probes.

    parts: of HESSIAN_PARTS; layers: their diagonal blocks of each layer too; vectors: keep the extreme eigenvectors.
    """

    parts: tuple[str, ...] = HESSIAN_PARTS
    probes: int = 10
    steps: int = 100
    extremes: int = 1
    seed: int = 0
    layers: bool = False
    vectors: bool = False


def estimate_density(
    run: Run,
    data: Dataset,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    options: LanczosOptions | None = None,
) -> Spectrum:
    """The densities of a run's spectra, with counts, masses, extreme eigenvalues and their errors as `estimates`.

    The counts of the exact method are None: what is estimated does not take their names. Raises CheckError when a trace or
    a known kernel is contradicted by the probes, InputError for a run that diverged or another loss.
    """
    options = options or LanczosOptions()
    check_finite(run)
    problem = Problem.of(run, data, device, dtype)
    theta = problem.tensor(run.theta)
    products = Products(theta, problem)
    generators = ScaleGenerators(theta, problem.arch)
    cusps = count(theta, problem)
    estimates: dict[str, Any] = {}
    densities: dict[str, Mapping[str, Array]] = {}
    vectors: dict[str, Array] = {}
    for part in options.parts:
        for name, operator, known in _operators(products, generators, part, options.layers):
            quadrature = probe(operator, options.probes, options.steps, options.seed)
            density, estimates[name] = _read(quadrature, part, known)
            densities[name] = {"x": density.x, "y": density.y, "error": density.error}
            ends, rows = _ends(operator, options)
            estimates[name] |= ends
            if options.vectors and rows is not None:
                vectors[name] = rows
    unknown = dict.fromkeys(SPECTRUM_FIELDS) | {"n_cusps": cusps.n_cusps, "n_convex_cusps": cusps.n_convex}
    info = {**unknown, **run.info, "method": "lanczos", "estimates": estimates}
    return Spectrum({}, info, vectors=vectors, densities=densities)


@dataclass(frozen=True)
class _Known:
    """Exact facts of an operator, to hold the probes against: its trace, a dimension its kernel has at least."""

    trace: float | None
    kernel: int


def _operators(
    products: Products, generators: ScaleGenerators, part: str, layers: bool
) -> list[tuple[str, Operator, _Known]]:
    """A part on all parameters, and with `layers` its block of each of them."""
    traces = products.traces_h0() if part == "H0" else None
    piecewise_linear = products.arch.activation != "tanh"
    whole = products.operator(part, generators=None if part == "H0" else generators)
    # what is projected out takes its part of the trace of Hp with it
    traceless = part == "Hp" and piecewise_linear and generators.rank == 0
    trace = sum(traces) if traces else 0.0 if traceless else None
    found = [(part, whole, _known(part, whole, trace, products.n_unsatisfied))]
    for j in range(len(products.layers) if layers else 0):
        block = products.operator(part, layer=j)
        trace = traces[j] if traces else 0.0 if part == "Hp" and piecewise_linear else None
        found.append((f"{part}/layer{j + 1}", block, _known(part, block, trace, products.n_unsatisfied)))
    return found


def _known(part: str, operator: Operator, trace: float | None, rank: int) -> _Known:
    return _Known(trace, max(0, operator.dimension - rank) if part == "H0" else 0)


def _read(quadrature: Quadrature, part: str, known: _Known) -> tuple[Density, dict[str, Any]]:
    """The density, and the numbers beside it; checked."""
    if known.trace is not None:
        quadrature.check_trace(known.trace, part, nonnegative=part == "H0")
    zero = zero_mass(quadrature, at_least=known.kernel)
    density = smeared_density(quadrature, zero=zero)
    below = quadrature.counts(-quadrature.round_off)
    trace, trace_error = quadrature.trace()
    return density, {
        "dimension": quadrature.dimension,
        "probes": quadrature.probes,
        "steps": quadrature.steps,
        "width": density.width,
        "zero": {
            "value": zero.value, "error": zero.error, "interval": [zero.low, zero.high], "resolved": zero.resolved,
            "threshold": zero.threshold,
        },
        "negative": {
            "value": float(below.value[0]), "error": float(below.error[0]),
            "interval": [float(below.low[0]), float(below.high[0])],
        },
        "trace": {"value": trace, "error": trace_error, "exact": known.trace},
    }  # fmt: skip


def _ends(operator: Operator, options: LanczosOptions) -> tuple[dict[str, Any], Array | None]:
    """The extreme eigenvalues with their residuals, and their vectors [2K, n]."""
    K = min(options.extremes, operator.dimension // 2)
    if K == 0:
        return {"lowest": [], "highest": []}, None
    found = extremes(operator, K, K, seed=options.seed)
    rows = torch.cat([found.lowest.vectors, found.highest.vectors], 1).T
    return {"lowest": _listed(found.lowest), "highest": _listed(found.highest)}, rows.double().cpu().numpy()


def _listed(ritz: RitzPairs) -> list[dict[str, Any]]:
    return [
        {"value": float(value), "residual": float(residual), "converged": bool(converged)}
        for value, residual, converged in zip(ritz.values, ritz.residuals, ritz.converged)
    ]


def bytes_needed(info: Mapping[str, Any]) -> int:
    """Bytes in float64 for a run of this shape, beside its data: vectors, a block of patterns, three [hidden, hidden]."""
    return 8 * (LANCZOS_VECTORS * info["n_parameters"] + 3 * info["n_hidden"] ** 2) + 2**28
