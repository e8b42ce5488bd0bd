"""A network and loss that are independent of the library: written with the layers of torch."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from jamtools.network.architecture import Architecture
from jamtools.records import Dataset

ACTIVATION_MODULES = {"relu": nn.ReLU, "tanh": nn.Tanh, "linear": nn.Identity}

#: Networks without hidden layers or without biases.
BARE = [
    Architecture(4, 4, 0),
    Architecture(4, 4, 0, outputs=3, bias=False),
    Architecture(4, 5, 1, bias=False),
    Architecture(4, 5, 1, "tanh", bias=False),
    Architecture(3, 4, 2, outputs=3, bias=False),
    Architecture(3, 5, 2, "tanh", outputs=2, bias=False),
    Architecture(4, 3, 3, bias=False),
    Architecture(4, 5, 3, "tanh", bias=False),
    Architecture(3, 3, 3, "linear", bias=False),
]


def module(arch: Architecture, theta: Tensor) -> nn.Sequential:
    """An nn.Sequential of Linear layers whose parameters are theta [Ñ], in the order of torch."""
    layers: list[nn.Module] = []
    sizes = [arch.d] + [arch.width] * arch.depth + [arch.outputs]
    for i, (fan_in, out) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(fan_in, out, arch.bias, dtype=theta.dtype)]
        layers += [ACTIVATION_MODULES[arch.activation]()] if i < arch.depth else []
    net = nn.Sequential(*layers)
    nn.utils.vector_to_parameters(theta, net.parameters())
    return net


def f(arch: Architecture, theta: Tensor, x: Tensor) -> Tensor:
    """f(x; theta) [P, C] for theta [Ñ] and x [P, d]. torch.func can differentiate it: it builds no module."""
    sizes = [arch.d] + [arch.width] * arch.depth + [arch.outputs]
    for i, (fan_in, out) in enumerate(itertools.pairwise(sizes)):
        n_biases = out if arch.bias else 0
        sizes_of_parts = [out * fan_in, n_biases, len(theta) - out * fan_in - n_biases]
        weight, bias, theta = torch.split(theta, sizes_of_parts)
        x = nn.functional.linear(x, weight.view(out, fan_in), bias if arch.bias else None)
        x = ACTIVATION_MODULES[arch.activation]()(x) if i < arch.depth else x
    return x


def hinge(out: Tensor, y: Tensor, epsilon: float = 0.5) -> Tensor:
    """The quadratic hinge loss of out and y [P, C]: 1/P Σ ½Δ²θ(Δ) for C = 1, otherwise 1/(C P) Σ Δ²θ(Δ)."""
    delta = torch.relu(epsilon - y * out)
    P, C = y.shape
    return (delta**2).sum() / (2 * P if C == 1 else C * P)


def sphere(P: int, d: int, seed: int = 0, outputs: int = 1) -> tuple[Tensor, Tensor]:
    """Random patterns [P, d] on the sphere of radius √d, and random labels [P, C]."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((P, d))
    x *= np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True)
    if outputs == 1:
        y = rng.choice([-1.0, 1.0], (P, 1))
    else:
        y = 2 * np.eye(outputs)[rng.integers(0, outputs, P)] - 1
    return torch.from_numpy(x), torch.from_numpy(y)


def dataset(P: int, d: int, seed: int = 0, outputs: int = 1, test: int = 0) -> Dataset:
    """A dataset of patterns from `sphere`, the last `test` of them as its test set."""
    x, y = (t.numpy() for t in sphere(P + test, d, seed, outputs))
    y = y[:, 0] if outputs == 1 else y
    held = (x[P:], y[P:]) if test else (None, None)
    return Dataset(x[:P], y[:P], *held, info={"source": "random", "seed": seed})


def random_theta(arch: Architecture, seed: int = 0) -> Tensor:
    """Random weights and biases [Ñ] of order 1/√fan-in."""
    rng = np.random.default_rng([seed, 7])
    parts = [rng.standard_normal(out * (fan_in + arch.bias)) / np.sqrt(fan_in) for out, fan_in in arch.shapes]
    return torch.from_numpy(np.concatenate(parts))
