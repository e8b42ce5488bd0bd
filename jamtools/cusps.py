r"""Cusps: pre-activations that sit at zero, and the smallest gradient they allow.

    N_c = #{(µ, j, n): z_{jn}(x_µ) = 0},  read as |z_{jn}(x_µ)| ≤ τ s_j,   s_j² = ⟨z_{jn}(x_µ)²⟩_{µ,n}

A minimum of the loss of a ReLU network sits on cusps, and there the gradient is a set:

    g(λ) = Σ_µ β_j ⊗ a_{j-1},   β_j = σ_j ∘ u_j,   u_j = W_{j+1}ᵀ β_{j+1} = ∂L/∂ρ(z_j),
    σ = θ(z) off the cusps, σ = λ ∈ [0, 1] on them;   ∂g/∂λ_i = u_i ∂z_i/∂W

min_λ ‖g(λ)‖ is 0 where ‖∇L‖, taken with ρ'(0) = 0, is not. A cusp with u_i ≥ 0 is convex: L has a kink like |z|.
g is multilinear in λ, and linear while a pattern has cusps in one layer only.
Source: arXiv:1809.09349, section III and figure 12; F. H. Clarke, Optimization and Nonsmooth Analysis (1983).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.data.sphere import on_sphere
from jamtools.errors import InputError
from jamtools.linalg.bounded_least_squares import box_least_squares
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column
from jamtools.network.passes import Layers, State, backward, forward, gradient, gradient_rows, layers_of
from jamtools.records import Dataset

#: The tolerances to choose from, in rms of the layer, when the user names none. A first-order run leaves its cusps
#: within a few learning rates of zero (Adam at 10⁻⁴: 10⁻⁵ to 3·10⁻⁴ rms; brought down to 10⁻⁷: 10⁻⁹ to 10⁻⁶), so no
#: single value holds them all and little of the smooth rest.
TOLERANCES = 10.0 ** (np.arange(-24, -11) / 4)
#: The smooth background within the tolerance is read off |z| between these many tolerances. Not further out: the
#: last layers of deep networks have a density that bends at 10⁻² rms.
OUTSIDE = (10**0.5, 10.0)
#: Edges of the density of pre-activations, in rms of the layer; the middle bin is centred at zero.
EDGES = np.round(np.linspace(-4.05, 4.05, 82), 10)
#: Patterns in one pass: it bounds the memory.
PATTERNS = 4096
#: Cusps times parameters, the size of a dense least-squares problem that is still solved: 1.6 GB.
LARGEST = 2e8
#: Linearisations of g(λ) at most; one is exact while a pattern has cusps in one layer only.
LINEARISATIONS = 50
#: A linearisation that shortens g by less than this part of it was the last.
LITTLE = 1e-6
#: A multiplier this close to 0 or 1 has reached it.
AT_BOUND = 1e-6
#: The stream of fresh patterns: apart from all those that made the dataset of the same seed.
FRESH = 1000


@dataclass(frozen=True)
class LayerCount:
    """One hidden layer (from 1), over n (pattern, neuron) pairs.

    scale: rms of z; limit: the largest |z| that counts as zero; n_at_zero: pairs within it, of which the
    smooth density around zero explains `background`; n_cusps: those pairs where ρ has a kink; n_with_gradient:
    at patterns with ∂L/∂f ≠ 0 (Δ > 0); n_convex: of these, with ∂L/∂ρ ≥ 0.
    """

    layer: int
    n: int
    scale: float
    limit: float
    n_at_zero: int
    background: float
    n_cusps: int
    n_with_gradient: int
    n_convex: int

    @property
    def n_without_gradient(self) -> int:
        return self.n_cusps - self.n_with_gradient


@dataclass(frozen=True)
class CuspCount:
    """N_c of a network over its training set, in all and by layer; `tolerance` is relative to each layer's rms."""

    tolerance: float
    per_layer: tuple[LayerCount, ...]

    @property
    def n_cusps(self) -> int:
        return sum(layer.n_cusps for layer in self.per_layer)

    @property
    def n_with_gradient(self) -> int:
        return sum(layer.n_with_gradient for layer in self.per_layer)

    @property
    def n_without_gradient(self) -> int:
        return self.n_cusps - self.n_with_gradient

    @property
    def n_convex(self) -> int:
        return sum(layer.n_convex for layer in self.per_layer)

    @property
    def background(self) -> float:
        """How many of the n_cusps a smooth density would put within the tolerance."""
        return sum(layer.background for layer in self.per_layer if layer.n_cusps)


def count(
    theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, tolerance: float | None = None
) -> CuspCount:
    """The cusps of the network theta [Ñ] at the patterns x [P, d] with labels y [P] or [P, C].

    tolerance: in rms of each layer; by default the one of TOLERANCES that holds most above the smooth
    background. A smooth ρ has no cusps, but its pre-activations at zero are counted as well (n_at_zero).
    """
    arch.require_plain()
    layers = layers_of(theta, arch)
    scales = _scales(layers, x, arch)
    tolerance = tolerance or _best_tolerance(layers, x, arch, scales)
    limits = tolerance * scales
    tally = torch.zeros(arch.depth, 4, dtype=torch.long, device=x.device)
    for x_part, y_part in zip(x.split(PATTERNS), column(y).split(PATTERNS), strict=True):
        tally += _tally(layers, x_part, y_part, arch, loss, limits)
    per_layer = []
    for j, (at_zero, outside, with_gradient, convex) in enumerate(tally.tolist()):
        background = outside / (OUTSIDE[1] - OUTSIDE[0])
        kinks = (at_zero, with_gradient, convex) if arch.activation == "relu" else (0, 0, 0)
        sizes = (len(x) * arch.width, float(scales[j]), float(limits[j]))
        per_layer.append(LayerCount(j + 1, *sizes, at_zero, background, *kinks))
    return CuspCount(tolerance, tuple(per_layer))


def _scales(layers: Layers, x: Tensor, arch: Architecture) -> Tensor:
    """The rms of the pre-activations of each hidden layer [L]."""
    squares = torch.zeros(arch.depth, dtype=x.dtype, device=x.device)
    for part in x.split(PATTERNS):
        squares += torch.stack([z.square().sum() for z in forward(layers, part, arch).z[:-1]])
    return (squares / (len(x) * arch.width)).sqrt()


def _best_tolerance(layers: Layers, x: Tensor, arch: Architecture, scales: Tensor) -> float:
    """The tolerance of the most cusps n - b less the smooth background b taken for cusps."""
    edges = np.outer([1.0, *OUTSIDE], TOLERANCES).ravel()
    within = torch.zeros(len(edges), dtype=torch.long, device=x.device)
    for part in x.split(PATTERNS):
        size = torch.stack(forward(layers, part, arch).z[:-1]).abs()  # [L, p, h]
        within += torch.stack([(size <= edge * scales[:, None, None]).sum() for edge in edges])
    n, low, high = within.cpu().numpy().reshape(3, -1)
    background = (high - low) / (OUTSIDE[1] - OUTSIDE[0])
    return float(TOLERANCES[np.argmax(n - 2 * background)])


def _tally(layers: Layers, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, limits: Tensor) -> Tensor:
    """[L, 4]: pre-activations at zero, between the OUTSIDE limits, at zero with gradient, and convex ones."""
    state = forward(layers, x, arch)
    signal = loss.slope(state.f, y)
    has_gradient = signal.ne(0).any(1, keepdim=True)
    beta = backward(layers, state, signal, arch)
    rows = []
    for j, limit in enumerate(limits):
        size = state.z[j].abs()
        at_zero = size <= limit
        outside = (size > OUTSIDE[0] * limit) & (size <= OUTSIDE[1] * limit)
        convex = beta[j + 1] @ layers[j + 1][0] >= 0
        kinds = (at_zero, outside, at_zero & has_gradient, at_zero & has_gradient & convex)
        rows.append(torch.stack([kind.sum() for kind in kinds]))
    return torch.stack(rows)


@dataclass(frozen=True)
class Profile:
    """Pre-activations of some patterns, layer by layer, measured with the training set's scales.

    mass [L]: the fraction within the limit; density [L, bins]: the density of z / scale over EDGES.
    """

    mass: NDArray[np.float64]
    density: NDArray[np.float64]


def profile(theta: Tensor, x: Tensor, arch: Architecture, cusps: CuspCount) -> Profile:
    """The distribution of pre-activations at x [P, d], training patterns or fresh ones (figure 12)."""
    layers = layers_of(theta, arch)
    at_zero = np.zeros(arch.depth)
    counts = np.zeros((arch.depth, len(EDGES) + 1))
    edges = torch.from_numpy(EDGES).to(x)
    for part in x.split(PATTERNS):
        for j, (z, layer) in enumerate(zip(forward(layers, part, arch).z[:-1], cusps.per_layer, strict=True)):
            at_zero[j] += int((z.abs() <= layer.limit).sum())
            bins = torch.bucketize((z / (layer.scale or 1.0)).flatten(), edges, right=True)
            counts[j] += torch.bincount(bins, minlength=len(EDGES) + 1).cpu().numpy()
    n = len(x) * arch.width
    return Profile(at_zero / n, counts[:, 1:-1] / (n * np.diff(EDGES)))


def fresh_patterns(data: Dataset, n: int | None, seed: int) -> tuple[NDArray[np.float64] | None, str | None]:
    """Patterns the network has not seen, and where they come from; (None, None) where there is no source.

    The first n of the test set (all by default), else for random data n (by default P) on the sphere.
    """
    if data.x_test is not None:
        return data.x_test[:n], "test set"
    if data.info.get("source") != "random":
        return None, None
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(FRESH,)))
    return on_sphere(rng.standard_normal((n or data.P, data.d))), "sphere"


@dataclass(frozen=True)
class Clarke:
    """The smallest element of the Clarke subdifferential of the loss over its cusps.

    norm: its length; gradient_norm: ‖∇L‖ with ρ' = θ(z); multipliers [cusps with gradient], layer after
    layer and pattern after pattern; converged: the last linearisation brought nothing.
    """

    norm: float
    gradient_norm: float
    multipliers: NDArray[np.float64]
    converged: bool

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The multipliers strictly between 0 and 1: their cusps hold a direction with force to spare."""
        return (self.multipliers > AT_BOUND) & (self.multipliers < 1 - AT_BOUND)

    @property
    def n_inside(self) -> int:
        return int(self.inside.sum())


def clarke(theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, cusps: CuspCount) -> Clarke:
    """min_{λ ∈ [0,1]} ‖g(λ)‖ over the cusps with gradient that `cusps` counted.

    Where a pattern has cusps in several layers the minimum is a local one, the better of two starts. For a
    smooth ρ it is the norm of the gradient. Raises InputError when there are too many cusps for it.
    """
    size = cusps.n_with_gradient * arch.n_parameters
    if size > LARGEST:
        raise InputError(
            f"{cusps.n_with_gradient} cusps times {arch.n_parameters} parameters, expected at most "
            f"{LARGEST:.0e} in all; lower --tolerance"
        )
    kinks = Kinks(layers_of(theta, arch), x, column(y), arch, loss, cusps)
    plain = float(kinks.gradient(kinks.signs).norm())
    if not len(kinks.signs):
        return Clarke(plain, plain, np.zeros(0), True)
    norm, multipliers, converged = _descend(kinks, torch.full_like(kinks.signs, 0.5))
    # where a first minimum is zero to round-off there is no better one
    if not kinks.linear and norm > arch.n_parameters * torch.finfo(theta.dtype).eps * plain:
        norm, multipliers, converged = min(
            (norm, multipliers, converged), _descend(kinks, kinks.signs), key=lambda end: end[0]
        )
    return Clarke(norm, plain, multipliers.cpu().numpy(), converged)


class Kinks:
    """The gradient of the loss as a function of the multipliers λ [n] of its cusps with gradient.

    patterns [m]: those that have gradient; state, y, signal: their pass, labels and ∂L/∂f; at: per layer the
    (pattern among these, neuron) of each cusp; signs [n]: the slopes θ(z) that a cusp has where it lies.
    """

    def __init__(
        self, layers: Layers, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, cusps: CuspCount
    ) -> None:
        state = forward(layers, x, arch)
        signal = loss.slope(state.f, y)
        active = signal.ne(0).any(1)
        self.arch, self.layers = arch, layers
        self.patterns = active.nonzero()[:, 0]
        self.state, self.y, self.signal = state.take(active), y[active], signal[active]
        z = self.state.z[:-1]
        self.slopes = [arch.rho.slope(layer) for layer in z]
        limits = [layer.limit if layer.n_cusps else -1.0 for layer in cusps.per_layer]
        self.at = [
            (layer.abs() <= limit).nonzero(as_tuple=True) for layer, limit in zip(z, limits, strict=True)
        ]
        self.signs = torch.cat([slope[at] for slope, at in zip(self.slopes, self.at, strict=True)])

    def only(self, keep: Tensor) -> Kinks:
        """The same with some of the cusps [n] for smooth."""
        fewer = copy(self)
        parts = keep.split([len(at[0]) for at in self.at])
        fewer.at = [(p[part], n[part]) for (p, n), part in zip(self.at, parts, strict=True)]
        fewer.signs = self.signs[keep]
        return fewer

    @property
    def linear(self) -> bool:
        """True when no pattern has cusps in more than one layer."""
        layers = torch.cat([patterns.unique() for patterns, _ in self.at])
        return len(layers.unique()) == len(layers)

    def moved(self, multipliers: Tensor) -> State:
        """The pass with the slopes σ: the multipliers on the cusps, θ(z) off them."""
        parts = multipliers.split([len(at[0]) for at in self.at])
        slopes = [slope.index_put(*put) for slope, *put in zip(self.slopes, self.at, parts, strict=True)]
        return replace(self.state, slopes=slopes)

    def gradient(self, multipliers: Tensor) -> Tensor:
        """g(λ) [Ñ]."""
        return gradient(backward(self.layers, self.moved(multipliers), self.signal, self.arch), self.state)

    def forces(self, multipliers: Tensor) -> list[Tensor]:
        """u_i = ∂L/∂ρ(z_i) of the cusps of each layer."""
        beta = backward(self.layers, self.moved(multipliers), self.signal, self.arch)
        upper = zip(beta[1:], self.layers[1:], strict=True)
        return [(b @ weight)[at] for at, (b, (weight, _)) in zip(self.at, upper, strict=True)]

    def jacobian(self, multipliers: Tensor) -> Tensor:
        """∂g/∂λ [n, Ñ], a row a cusp: u_i ∂z_i/∂W with the other multipliers as they are."""
        state, rows = self.moved(multipliers), []
        for j, ((patterns, neurons), u) in enumerate(zip(self.at, self.forces(multipliers), strict=True)):
            signal = u.new_zeros(len(u), self.arch.width).scatter(1, neurons[:, None], u[:, None])
            here = state.take(patterns)
            below = backward(self.layers[: j + 1], here, signal, self.arch)
            part = gradient_rows(below, State(here.inputs[: j + 1], []))
            rows.append(torch.nn.functional.pad(part, (0, self.arch.n_parameters - part.shape[1])))
        return torch.cat(rows)


def _descend(kinks: Kinks, multipliers: Tensor) -> tuple[float, Tensor, bool]:
    """‖g‖, λ and whether it converged, from one start: box-constrained least squares on g's linearisation."""
    g = kinks.gradient(multipliers)
    for _ in range(LINEARISATIONS):
        jacobian = kinks.jacobian(multipliers)
        step = box_least_squares(jacobian, jacobian.T @ multipliers - g) - multipliers
        for halving in range(30):
            trial = multipliers + 0.5**halving * step
            g_trial = kinks.gradient(trial)
            if g_trial.norm() < g.norm():
                break
        else:
            return float(g.norm()), multipliers, True
        gain = 1 - float(g_trial.norm() / g.norm())
        multipliers, g = trial, g_trial
        if gain < LITTLE or kinks.linear:
            return float(g.norm()), multipliers, True
    return float(g.norm()), multipliers, False
