"""The scale symmetries of ReLU networks: the balanced gauge, the generators, and the projector on their complement.

    (W_j)_n, (b_j)_n → s (W_j)_n, s (b_j)_n,      (W_{j+1})_·n → (W_{j+1})_·n / s,      s = 2^k,    z_n → s z_n

does not change f(x; W), not even in the last bit, because powers of two do not change rounding. In the balanced gauge, k is
such that the weights into a neuron and those out of it have norms within a factor of 2 of each other. Norms of all
parameters, random displacements and the rms of the pre-activations of a layer depend on s, although f does not: they are
meaningful in a fixed gauge only. Likewise (W_{L+1}, b_{L+1}, ε) → (W_{L+1}, b_{L+1}, ε) / 2^k takes Δ → Δ / 2^k and L → L /
4^k, and brings ε into [½, 1). Likewise (x_·m, (W_1)_·m) → (x_·m / 2^k, 2^k (W_1)_·m), with k such that component m of x has
an rms near 1: a displacement of all parameters then moves weights of small and of large components alike.

The generators A W of the symmetries are orthogonal within a layer and overlap between neighbouring layers, so that their
Gram matrix [hidden, hidden] suffices to project them out.

Source: arXiv:1809.09349, section II, for the symmetry; none for the gauge, own definition above.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of

#: A neuron is off balance where | |in|² - |out|² | is more than this part of |in|² + |out|².
OFF_BALANCE = 1e-4


def balanced(theta: Tensor, arch: Architecture) -> tuple[Tensor, Tensor]:
    """The same network in the balanced gauge [Ñ], and s [L, h] of each neuron; for ρ other than ReLU, theta itself and ones.

    A neuron without weights into it, or without weights out of it, is not scaled.
    """
    theta = theta.clone()
    scales = theta.new_ones(arch.depth, arch.width)
    moved = arch.activation == "relu"
    # The loop ends: each pass that scales a neuron lowers Σ ‖W‖² + ‖b‖², and there are finitely many powers of two.
    while moved:
        moved = False
        for j in range(arch.depth):
            factors = _factors(theta, arch, j)
            moved |= bool((factors != 1).any())
            _rescale(theta, arch, j, factors)
            scales[j] *= factors
    return theta, scales


def normalised(theta: Tensor, arch: Architecture, loss: Loss) -> tuple[Tensor, Loss, float]:
    """theta [Ñ] and the hinge loss with |ε| in [½, 1), and the unit 2^k in which they measure Δ; ε = 0: the unit 1."""
    unit = 2.0 ** math.frexp(loss.epsilon)[1]
    theta = theta.clone()
    for tensor in layers_of(theta, arch)[-1]:
        tensor /= unit
    return theta, replace(loss, epsilon=loss.epsilon / unit), unit


def even_inputs(theta: Tensor, arch: Architecture, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """theta [Ñ] and x [P, d] with components of x whose rms is near 1, and the 2^k [d] by which W_1 was multiplied.

    A component that vanishes at all patterns is not scaled.
    """
    largest = x.abs().amax(0)
    unit = torch.where(largest > 0, largest, 1.0)
    rms = unit * (x / unit).square().mean(0).sqrt()  # the square of x itself may underflow
    factors = torch.exp2(torch.where(largest > 0, rms, 1.0).log2().round())
    theta = theta.clone()
    layers_of(theta, arch)[0][0].mul_(factors)
    return theta, x / factors, factors


def gauge_factors(arch: Architecture, inputs: Tensor, scales: Tensor, unit: float) -> Tensor:
    """The factor [Ñ] of each parameter: inputs [d] of W_1, scales [L, h] of the neurons, 1/unit of the outputs."""
    theta = torch.ones(arch.n_parameters, dtype=scales.dtype, device=scales.device)
    layers = layers_of(theta, arch)
    layers[0][0].mul_(inputs)
    for j, scale in enumerate(scales):
        layers[j][0].mul_(scale[:, None])
        layers[j][1].mul_(scale)
        layers[j + 1][0].div_(scale)
    for tensor in layers[-1]:
        tensor /= unit
    return theta


def _factors(theta: Tensor, arch: Architecture, j: int) -> Tensor:
    """2^round(½ log₂(‖out‖/‖in‖)) [h] of the neurons of hidden layer j (from 0)."""
    layers = layers_of(theta, arch)
    into = torch.cat([layers[j][0], layers[j][1][:, None]], 1).norm(dim=1)
    out = layers[j + 1][0].norm(dim=0)
    ratio = torch.where((into > 0) & (out > 0), out / into, 1.0)
    return torch.exp2((0.5 * ratio.log2()).round())


def _rescale(theta: Tensor, arch: Architecture, j: int, factors: Tensor) -> None:
    """Scales the neurons of hidden layer j (from 0) by factors [h], in place."""
    layers = layers_of(theta, arch)
    layers[j][0].mul_(factors[:, None])
    layers[j][1].mul_(factors)
    layers[j + 1][0].div_(factors)


def scale_generators(theta: Tensor, arch: Architecture) -> Tensor:
    """A W [Ñ, hidden] at theta [Ñ]: for each hidden neuron, the weights into it and its bias, and minus those out of it.

    With ReLU f does not change along A W, so that ∇f · A W = 0 at every pattern. The result is [Ñ, 0] for other ρ.
    """
    if arch.activation != "relu":
        return theta.new_zeros(theta.numel(), 0)
    columns = theta.new_zeros(arch.n_hidden, theta.numel())
    for neuron in range(arch.n_hidden):
        layer, n = divmod(neuron, arch.width)
        layers = layers_of(theta, arch)
        generator = layers_of(columns[neuron], arch)
        generator[layer][0][n] = layers[layer][0][n]
        generator[layer][1][n] = layers[layer][1][n]
        generator[layer + 1][0][:, n] = -layers[layer + 1][0][:, n]
    return columns.T


def unmoved_directions(theta: Tensor, arch: Architecture) -> Tensor:
    """The directions [Ñ, k] in which no step goes: those of the symmetries, and W itself at fixed norm."""
    symmetries = symmetry_directions(theta, arch)
    return symmetries if arch.norm is None else torch.cat([theta[:, None], symmetries], 1)


def symmetry_directions(theta: Tensor, arch: Architecture) -> Tensor:
    """The directions [Ñ, k] along which f is constant: the scale generators, at fixed norm those that keep the norm.

    Where every neuron is balanced, no scaling keeps the norm beyond first order, and there are none.
    """
    generators = scale_generators(theta, arch)
    if arch.norm is None or not generators.shape[1]:
        return generators
    along, sizes = theta @ generators, generators.square().sum(0)
    if not bool((along.abs() > OFF_BALANCE * sizes).any()):
        return generators[:, :0]
    return generators @ torch.linalg.qr(along[:, None], mode="complete")[0][:, 1:]


#: (weights [k, out, in], biases [k, out]) of each layer.
Views = list[tuple[Tensor, Tensor]]


def views_of(rows: Tensor, arch: Architecture) -> Views:
    """Views of k parameter vectors [k, Ñ] as (weights [k, out, in], biases [k, out]) of each layer.

    Biases that the vectors lack are new zeros: what is added to them has no effect.
    """
    views, start = [], 0
    for out, fan_in in arch.shapes:
        middle = start + out * fan_in
        weights = rows[:, start:middle].unflatten(1, (out, fan_in))
        start = middle + out * arch.bias
        views.append((weights, rows[:, middle:start] if arch.bias else rows.new_zeros(len(rows), out)))
    return views


class ScaleGenerators:
    """The span of the scale generators A W of a ReLU network at theta [Ñ], for projections; empty for other ρ.

    rank: its dimension, generically one for each hidden neuron.
    """

    def __init__(self, theta: Tensor, arch: Architecture) -> None:
        self.arch, self.layers = arch, layers_of(theta, arch)
        self._inverse = (
            self._pseudo_inverse() if arch.activation == "relu" else theta.new_zeros(arch.n_hidden, 0)
        )

    def _pseudo_inverse(self) -> Tensor:
        """B [hidden, rank] with B Bᵀ the pseudo-inverse of the Gram matrix."""
        gram = self._gram()
        norms = gram.diagonal().sqrt()
        inverse = torch.where(norms > 0, 1 / norms, 0.0)  # a neuron without weights has no generator
        values, vectors = torch.linalg.eigh(gram * inverse[:, None] * inverse)
        kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
        return inverse[:, None] * vectors[:, kept] / values[kept].sqrt()

    def _gram(self) -> Tensor:
        """The Gram matrix: ‖in‖² + ‖out‖² of a neuron; neurons of neighbouring layers share one weight, of opposite sign."""
        h, squares = self.arch.width, [weight.square() for weight, _ in self.layers]
        gram = squares[0].new_zeros(self.arch.n_hidden, self.arch.n_hidden)
        for j in range(self.arch.depth):
            layer, next_layer = slice(j * h, (j + 1) * h), slice((j + 1) * h, (j + 2) * h)
            norms = squares[j].sum(1) + self.layers[j][1].square() + squares[j + 1].sum(0)
            gram[layer, layer] = norms.diag()
            if j + 1 < self.arch.depth:
                gram[next_layer, layer] = -squares[j + 1]
                gram[layer, next_layer] = -squares[j + 1].T
        return gram

    @property
    def rank(self) -> int:
        """The dimension of the span."""
        return self._inverse.shape[1]

    def project(self, V: Tensor) -> Tensor:
        """V [Ñ, k] without its components along the generators; the second pass removes what round-off left."""
        rows = V.T.clone(memory_format=torch.contiguous_format)
        for _ in range(2):
            views = views_of(rows, self.arch)
            self._subtract(views, (self._overlaps(views) @ self._inverse) @ self._inverse.T)
        return rows.T

    def _overlaps(self, V: Views) -> Tensor:
        """The scalar products [k, hidden] of k vectors with the generators."""
        parts = []
        for j in range(self.arch.depth):
            into = torch.einsum("kni,ni->kn", V[j][0], self.layers[j][0]) + V[j][1] * self.layers[j][1]
            parts.append(into - torch.einsum("kon,on->kn", V[j + 1][0], self.layers[j + 1][0]))
        return torch.cat(parts, 1) if parts else V[0][0].new_zeros(len(V[0][0]), 0)

    def _subtract(self, V: Views, coefficients: Tensor) -> None:
        """Subtracts the generators times coefficients [k, hidden], in place."""
        h = self.arch.width
        for j in range(self.arch.depth):
            c = coefficients[:, j * h : (j + 1) * h]
            V[j][0].sub_(c[:, :, None] * self.layers[j][0])
            V[j][1].sub_(c * self.layers[j][1])
            V[j + 1][0].add_(c[:, None, :] * self.layers[j + 1][0])
