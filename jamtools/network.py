r"""The network f(x; W) on a flat parameter vector, its gradient, and the parameter counts.

    z_1 = W_1 x + b_1,   z_j = W_j ρ(z_{j-1}) + b_j,   f = z_{L+1}           (L hidden layers of h neurons)

    β_{L+1} = ∂g/∂f,     β_j = ρ'(z_j) ∘ W_{j+1}ᵀ β_{j+1},     ∂g/∂W_j = β_j ⊗ ρ(z_{j-1}),   ∂g/∂b_j = β_j

theta holds, layer after layer, the weight [out, in] row-major and then the bias. The paper writes the
bias with a minus sign; the model is the same. ρ'(0) = 0 for ReLU. With batch normalisation (batchnorm.py) a hidden
layer's gain and shift follow its bias.

    Ñ = h(d+1) + (L-1) h (h+1) + C (h+1), and 2 h L more with batch normalisation;
    N = Ñ - (hidden neurons) for ReLU, one scale symmetry each (ρ(Λz) = Λρ(z)); N = Ñ for tanh; a linear ρ leaves the
    C (d+1) parameters of an affine map. Batch normalisation adds nothing to N: on a given training set a normalised
    neuron is some affine map of its inputs, as a plain one is, with two parameters more than that needs.

Source: arXiv:1809.09349, section II and appendix A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import InputError


@dataclass(frozen=True)
class Activation:
    """ρ with its first two derivatives, all as functions of the pre-activation z."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _tanh_curvature(z: Tensor) -> Tensor:
    t = torch.tanh(z)
    return -2 * t * (1 - t.square())


ACTIVATIONS = {
    "relu": Activation(torch.relu, lambda z: (z > 0).to(z.dtype), torch.zeros_like),
    "tanh": Activation(torch.tanh, _tanh_slope, _tanh_curvature),
    "linear": Activation(lambda z: z, torch.ones_like, torch.zeros_like),
}


@dataclass(frozen=True)
class Architecture:
    """A fully connected network of `depth` hidden layers of `width` neurons, d inputs, C outputs."""

    d: int
    width: int
    depth: int
    activation: str = "relu"
    outputs: int = 1
    batch_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("d", "width", "depth", "outputs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Architecture:
        """The architecture a run's metadata describes; InputError when its own count of parameters disagrees."""
        arch = cls(
            info["d"],
            info["width"],
            info["depth"],
            info["activation"],
            info.get("outputs", 1),
            info["batch_norm"],
        )
        if arch.n_parameters != info["n_parameters"]:
            raise InputError(
                f"a run of {info['n_parameters']} parameters, expected {arch.n_parameters} for its d, width and "
                "depth; the file is damaged, make it again"
            )
        return arch

    @property
    def rho(self) -> Activation:
        return ACTIVATIONS[self.activation]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer's weight."""
        sizes = [self.d] + [self.width] * self.depth + [self.outputs]
        return list(zip(sizes[1:], sizes[:-1], strict=True))

    @property
    def n_parameters(self) -> int:
        """Ñ."""
        return self._n_plain + (2 * self.n_hidden if self.batch_norm else 0)

    @property
    def _n_plain(self) -> int:
        """Weights and biases alone."""
        return sum(out * (fan_in + 1) for out, fan_in in self.shapes)

    @property
    def n_hidden(self) -> int:
        return self.width * self.depth

    @property
    def n_effective(self) -> int:
        """N, the generic number of effective parameters."""
        if self.activation == "linear":
            return min(self._n_plain, self.outputs * (self.d + 1))
        return self._n_plain - (self.n_hidden if self.activation == "relu" else 0)

    def normalised(self, layer: int) -> bool:
        """Whether a layer (from 0) carries a gain and a shift."""
        return self.batch_norm and layer < self.depth

    def require_plain(self) -> None:
        """Raises InputError with batch normalisation, which couples the patterns of a batch."""
        if self.batch_norm:
            raise InputError(
                "got a run with batch normalisation, expected one whose patterns do not depend on each other; "
                "train with --no-batch-norm"
            )


Layers = list[tuple[Tensor, Tensor]]


def layers_of(theta: Tensor, arch: Architecture) -> Layers:
    """Views of theta [Ñ] as (weight [out, in], bias [out]) per layer."""
    layers, start = [], 0
    for j, (out, fan_in) in enumerate(arch.shapes):
        weight = theta[start : start + out * fan_in].view(out, fan_in)
        start += out * fan_in
        layers.append((weight, theta[start : start + out]))
        start += 3 * out if arch.normalised(j) else out
    return layers


@dataclass(frozen=True)
class State:
    """A forward pass: inputs[j] [P, in] enters layer j, z[j] [P, out] leaves it; z[-1] is f [P, C].

    slopes: what stands for ρ'(z) in each hidden layer [L][P, h], where that is not ρ'(z) itself.
    """

    inputs: list[Tensor]
    z: list[Tensor]
    slopes: list[Tensor] | None = None

    @property
    def f(self) -> Tensor:
        return self.z[-1]

    def take(self, patterns: Tensor) -> State:
        """The same pass for some patterns only: `patterns` is an index or a boolean mask."""
        slopes = None if self.slopes is None else [slope[patterns] for slope in self.slopes]
        return State([a[patterns] for a in self.inputs], [z[patterns] for z in self.z], slopes)

    def slope(self, j: int, arch: Architecture) -> Tensor:
        """The slope of hidden layer j (from 0) [P, h]."""
        return arch.rho.slope(self.z[j]) if self.slopes is None else self.slopes[j]


def forward(layers: Layers, x: Tensor, arch: Architecture, rho: Sequence[Activation] | None = None) -> State:
    """x [P, d] through all layers; batchnorm.forward is the one of a normalised network.

    rho: the activation of each hidden layer, where it is not the architecture's.
    """
    arch.require_plain()
    inputs, z = [x], []
    for weight, bias in layers:
        z.append(torch.addmm(bias, inputs[-1], weight.T))
        if len(z) < len(layers):
            inputs.append((rho[len(z) - 1] if rho else arch.rho).value(z[-1]))
    slopes = [one.slope(v) for one, v in zip(rho, z)] if rho else None
    return State(inputs, z, slopes)


def backward(layers: Layers, state: State, signal: Tensor, arch: Architecture) -> list[Tensor]:
    """β_j [P, out] of every layer, from signal = ∂g/∂f [P, C] at the output."""
    beta = [signal]
    for j in range(len(layers) - 2, -1, -1):
        beta.append((beta[-1] @ layers[j + 1][0]) * state.slope(j, arch))
    return beta[::-1]


def gradient(beta: list[Tensor], state: State) -> Tensor:
    """Σ_µ ∂g_µ/∂W [Ñ]."""
    parts = []
    for b, a in zip(beta, state.inputs, strict=True):
        parts += [(b.T @ a).reshape(-1), b.sum(0)]
    return torch.cat(parts)


def gradient_rows(beta: list[Tensor], state: State) -> Tensor:
    """∂g_µ/∂W, one row a pattern [P, Ñ]."""
    parts = []
    for b, a in zip(beta, state.inputs, strict=True):
        parts += [(b[:, :, None] * a[:, None, :]).flatten(1), b]
    return torch.cat(parts, dim=1)


def scale_generators(theta: Tensor, arch: Architecture) -> Tensor:
    """A W for every hidden neuron [Ñ, hidden]: its incoming weights and bias grow, its outgoing ones shrink.

    With a ReLU f does not change along them, so ∇f · A W = 0 at every pattern. Empty for other ρ.
    """
    if arch.activation != "relu":
        return theta.new_zeros(theta.numel(), 0)
    columns = theta.new_zeros(arch.n_hidden, theta.numel())
    for neuron in range(arch.n_hidden):
        layer, n = divmod(neuron, arch.width)
        here = layers_of(theta, arch)
        there = layers_of(columns[neuron], arch)
        there[layer][0][n] = here[layer][0][n]
        there[layer][1][n] = here[layer][1][n]
        there[layer + 1][0][:, n] = -here[layer + 1][0][:, n]
    return columns.T


INITIALISATIONS = ("orthogonal", "torch", "normal")


def initial_parameters(arch: Architecture, init: str, seed: int) -> np.ndarray:
    """theta0 [Ñ], a function of (architecture, init, seed) alone.

    orthogonal: Haar weights, zero biases (the paper's hinge protocol); torch: U(-σ, σ) with
    σ² = 1/fan-in for weights and biases; normal: N(0, 1/fan-in) weights, zero biases. Gains are 1, shifts 0.
    """
    if init not in INITIALISATIONS:
        raise InputError(f"initialisation {init!r}, expected one of {', '.join(INITIALISATIONS)}")
    rng = np.random.default_rng([seed, 0])
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
        parts += [weight.ravel(), bias]
        if arch.normalised(j):
            parts += [np.ones(out), np.zeros(out)]
    return np.concatenate(parts)


def _orthogonal(rng: np.random.Generator, out: int, fan_in: int) -> np.ndarray:
    """Rows orthonormal in blocks of `fan_in`: a tall matrix is a stack of Haar matrices."""
    blocks = []
    for start in range(0, out, fan_in):
        rows = min(fan_in, out - start)
        q, r = np.linalg.qr(rng.standard_normal((fan_in, rows)))
        blocks.append((q * np.sign(np.diag(r))).T)  # the sign fix makes q Haar-distributed
    return np.concatenate(blocks)
