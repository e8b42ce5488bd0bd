"""The spectra of H, H0 and Hp, estimated from products with vectors, for networks whose matrices do not fit in memory.

    density(λ) = Ñ Σ_i w_i δ_σ(λ - θ_i),    N(λ < x) = Ñ Σ_{θ_i < x} w_i,    mass at zero of H0: no smearing

θ and w are the nodes and weights of stochastic Lanczos quadrature over `probes` random vectors. Each number has an error.
The scale generators of ReLU are projected out of H and Hp, as for the exact count of signs. Only the extreme eigenvalues
are exact, each with its residual. Memory is that of the data, a block of patterns and some vectors [Ñ].

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from jamtools.cusps.counting import count_of_run
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

#: Memory of the Krylov basis of the extreme eigenvalues and of a product, in vectors [Ñ].
LANCZOS_VECTORS = 40


@dataclass(frozen=True)
class LanczosOptions:
    """The cost and the contents of an estimate.

    parts: which of H, H0 and Hp; probes: the number of random vectors, drawn with this seed; steps: the number of Lanczos
    steps of each; extremes: the number of eigenvalues at each end; layers: whether to estimate the diagonal block of each
    layer too; vectors: whether to keep the extreme eigenvectors.
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
    """The densities of the spectra of a run; counts, masses and extreme eigenvalues with their errors are in `estimates`.

    `data` holds the run's own P patterns. The fields of the exact counts are None. Raises CheckError when the probes
    contradict a trace or a known kernel, InputError for a run that diverged or another loss.
    """
    options = options or LanczosOptions()
    check_finite(run)
    problem = Problem.of(run, data, device, dtype)
    theta = problem.tensor(run.theta)
    products = Products(theta, problem)
    generators = ScaleGenerators(theta, problem.arch)
    cusps = count_of_run(run, data, device)
    estimates: dict[str, Any] = {}
    densities: dict[str, Mapping[str, Array]] = {}
    vectors: dict[str, Array] = {}
    for part in options.parts:
        for name, operator, known in _operators(products, generators, part, options.layers):
            quadrature = probe(operator, options.probes, options.steps, options.seed)
            density, estimates[name] = _checked(quadrature, part, known)
            densities[name] = {"x": density.x, "y": density.y, "error": density.error}
            ends, rows = _extreme_eigenvalues(operator, options)
            estimates[name] |= ends
            if options.vectors and rows is not None:
                vectors[name] = rows
    unknown = dict.fromkeys(SPECTRUM_FIELDS) | cusps.fields()
    info = {**unknown, **run.info, "method": "lanczos", "estimates": estimates}
    return Spectrum({}, info, vectors=vectors, densities=densities)


@dataclass(frozen=True)
class _Known:
    """Exact facts with which the probes must agree: the trace, and a lower bound of the kernel's dimension."""

    trace: float | None
    kernel: int


def _operators(
    products: Products, generators: ScaleGenerators, part: str, layers: bool
) -> list[tuple[str, Operator, _Known]]:
    """A part as an operator on all parameters; with `layers`, its diagonal block of each layer too."""
    traces = products.traces_h0() if part == "H0" else None
    piecewise_linear = products.arch.activation != "tanh"
    whole = products.operator(part, generators=None if part == "H0" else generators)
    # the projection changes the trace of Hp
    traceless = part == "Hp" and piecewise_linear and generators.rank == 0
    trace = sum(traces) if traces else 0.0 if traceless else None
    operators = [(part, whole, _known(part, whole, trace, products.n_unsatisfied))]
    for j in range(len(products.layers) if layers else 0):
        block = products.operator(part, layer=j)
        trace = traces[j] if traces else 0.0 if part == "Hp" and piecewise_linear else None
        operators.append((f"{part}/layer{j + 1}", block, _known(part, block, trace, products.n_unsatisfied)))
    return operators


def _known(part: str, operator: Operator, trace: float | None, rank: int) -> _Known:
    return _Known(trace, max(0, operator.dimension - rank) if part == "H0" else 0)


def _checked(quadrature: Quadrature, part: str, known: _Known) -> tuple[Density, dict[str, Any]]:
    """The checked density, and the numbers of the estimate."""
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


def _extreme_eigenvalues(operator: Operator, options: LanczosOptions) -> tuple[dict[str, Any], Array | None]:
    """The extreme eigenvalues with their residuals, and their eigenvectors [2K, n]."""
    K = min(options.extremes, operator.dimension // 2)
    if K == 0:
        return {"lowest": [], "highest": []}, None
    ritz = extremes(operator, K, K, seed=options.seed)
    rows = torch.cat([ritz.lowest.vectors, ritz.highest.vectors], 1).T
    return {"lowest": _listed(ritz.lowest), "highest": _listed(ritz.highest)}, rows.double().cpu().numpy()


def _listed(ritz: RitzPairs) -> list[dict[str, Any]]:
    return [
        {"value": float(value), "residual": float(residual), "converged": bool(converged)}
        for value, residual, converged in zip(ritz.values, ritz.residuals, ritz.converged)
    ]


def bytes_needed(info: Mapping[str, Any]) -> int:
    """Bytes in float64 for a run of this shape, without its data: vectors, a block of patterns, three [hidden, hidden]."""
    return 8 * (LANCZOS_VECTORS * info["n_parameters"] + 3 * info["n_hidden"] ** 2) + 2**28
