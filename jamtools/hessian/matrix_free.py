"""The spectra of H, H0 and Hp, estimated from products with vectors, for networks whose matrices do not fit in memory.

    density(λ) = Ñ Σ_i w_i δ_σ(λ - θ_i),    N_- by negative_count.py,    mass at zero of H0: no smearing

θ and w are the nodes and weights of stochastic Lanczos quadrature over `probes` random vectors. Each number has an error.
The scale generators of ReLU are projected out of H and Hp, as for the exact count of signs. At fixed norm the matrices are
those on the tangent space, and H and Hp have μ 1 more (spaces.py); the block of a layer is that of free weights.

Exact are the facts of known_counts.py and the extreme eigenvalues, each with its residual. Memory is that of the data, a
block of patterns and some vectors [Ñ].

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from jamtools.cusps.counting import count_of_run
from jamtools.hessian.known_counts import MAX_GRAM_ROWS, KnownCounts, known_h, known_h0
from jamtools.hessian.products import Products
from jamtools.linalg.extreme_eigenvalues import Extremes, RitzPairs, extremes
from jamtools.linalg.lanczos import probe
from jamtools.linalg.negative_count import NO_NEGATIVE, LowEnd, negative_count
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
            ritz = _extreme_eigenvalues(operator, options)
            low_end = LowEnd.of(ritz.lowest, quadrature.round_off) if ritz else LowEnd()
            density, estimates[name] = _checked(quadrature, part, known, low_end)
            densities[name] = {"x": density.x, "y": density.y, "error": density.error}
            estimates[name]["lowest"] = _listed(ritz.lowest) if ritz else []
            estimates[name]["highest"] = _listed(ritz.highest) if ritz else []
            if options.vectors and ritz:
                pairs = torch.cat([ritz.lowest.vectors, ritz.highest.vectors], 1)
                vectors[name] = pairs.T.double().cpu().numpy()
    unknown = dict.fromkeys(SPECTRUM_FIELDS) | cusps.fields()
    mu = None if problem.arch.norm is None else products.norm_multiplier.value
    info = {**unknown, **run.info, "method": "lanczos", "norm_multiplier": mu, "estimates": estimates}
    return Spectrum({}, info, vectors=vectors, densities=densities)


def _operators(
    products: Products, generators: ScaleGenerators, part: str, layers: bool
) -> list[tuple[str, Operator, KnownCounts]]:
    """A part as an operator on all parameters; with `layers`, its diagonal block of each layer too."""
    if part == "H0":
        operators = [(part, products.operator(part), known_h0(products))]
    else:
        whole = products.operator(part, generators=generators)
        operators = [(part, whole, known_h(products, part, generators))]
    traceless = part == "Hp" and products.arch.activation != "tanh"
    for j in range(len(products.layers) if layers else 0):
        block = KnownCounts(0.0 if traceless else None, 0, False, False)
        known = known_h0(products, j) if part == "H0" else block
        operators.append((f"{part}/layer{j + 1}", products.operator(part, layer=j), known))
    return operators


def _checked(
    quadrature: Quadrature, part: str, known: KnownCounts, low_end: LowEnd
) -> tuple[Density, dict[str, Any]]:
    """The checked density, and the numbers of the estimate."""
    if known.trace is not None:
        quadrature.check_trace(known.trace, part, nonnegative=known.nonnegative)
    zero = zero_mass(quadrature, at_least=known.kernel)
    zero = zero.known(known.kernel) if known.exact else zero
    density = smeared_density(quadrature, zero=zero)
    below = NO_NEGATIVE if known.nonnegative else negative_count(quadrature, zero, low_end, known.kernel)
    trace, trace_error = quadrature.trace()
    return density, {
        "dimension": quadrature.dimension,
        "probes": quadrature.probes,
        "steps": quadrature.steps,
        "width": density.width,
        "zero": {
            "value": zero.value, "error": zero.error, "interval": [zero.low, zero.high], "resolved": zero.resolved,
            "exact": zero.exact, "threshold": zero.threshold,
        },
        "negative": {
            "value": below.value, "error": below.error, "interval": [below.low, below.high],
            "bounds": list(below.bounds),
        },
        "trace": {"value": trace, "error": trace_error, "exact": known.trace},
    }  # fmt: skip


def _extreme_eigenvalues(operator: Operator, options: LanczosOptions) -> Extremes | None:
    """The extreme eigenvalues with their residuals and eigenvectors; None if none are wanted, or n is 1."""
    K = min(options.extremes, operator.dimension // 2)
    return extremes(operator, K, K, seed=options.seed) if K else None


def _listed(ritz: RitzPairs) -> list[dict[str, Any]]:
    return [
        {"value": float(value), "residual": float(residual), "converged": bool(converged)}
        for value, residual, converged in zip(ritz.values, ritz.residuals, ritz.converged)
    ]


def bytes_needed(info: Mapping[str, Any]) -> int:
    """Bytes in float64 for a run of this shape, without its data.

    Vectors, a block of patterns, three matrices [hidden, hidden], and three of the unsatisfied patterns for the rank of H0.
    """
    squares = 3 * info["n_hidden"] ** 2 + 3 * MAX_GRAM_ROWS**2
    return 8 * (LANCZOS_VECTORS * info["n_parameters"] + squares) + 2**28
