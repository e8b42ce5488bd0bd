"""An independent network and loss, written with torch's own layers: what the library is held against."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from jamtools.network.architecture import Architecture
from jamtools.records import Dataset

RHO = {"relu": nn.ReLU, "tanh": nn.Tanh, "linear": nn.Identity}


def module(arch: Architecture, theta: Tensor) -> nn.Sequential:
    """torch's own nn.Sequential of Linear layers, with theta as its parameters in torch's own order."""
    layers: list[nn.Module] = []
    sizes = [arch.d] + [arch.width] * arch.depth + [arch.outputs]
    for i, (fan_in, out) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(fan_in, out, dtype=theta.dtype)]
        layers += [RHO[arch.activation]()] if i < arch.depth else []
    net = nn.Sequential(*layers)
    nn.utils.vector_to_parameters(theta, net.parameters())
    return net


def f(arch: Architecture, theta: Tensor, x: Tensor) -> Tensor:
    """f(x; theta) [P, C], for torch.func: a module cannot be made inside its transforms."""
    sizes = [arch.d] + [arch.width] * arch.depth + [arch.outputs]
    for i, (fan_in, out) in enumerate(itertools.pairwise(sizes)):
        weight, bias, theta = torch.split(theta, [out * fan_in, out, len(theta) - out * (fan_in + 1)])
        x = nn.functional.linear(x, weight.view(out, fan_in), bias)
        x = RHO[arch.activation]()(x) if i < arch.depth else x
    return x


def hinge(out: Tensor, y: Tensor, epsilon: float = 0.5) -> Tensor:
    """science.md's hinge: 1/P Σ ½Δ²θ(Δ), and 1/(C P) Σ Δ²θ(Δ) with several outputs."""
    delta = torch.relu(epsilon - y * out)
    P, C = y.shape
    return (delta**2).sum() / (2 * P if C == 1 else C * P)


def sphere(P: int, d: int, seed: int = 0, outputs: int = 1) -> tuple[Tensor, Tensor]:
    """Random patterns [P, d] on the sphere of radius √d with labels [P, C]."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((P, d))
    x *= np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True)
    if outputs == 1:
        y = rng.choice([-1.0, 1.0], (P, 1))
    else:
        y = 2 * np.eye(outputs)[rng.integers(0, outputs, P)] - 1
    return torch.from_numpy(x), torch.from_numpy(y)


def dataset(P: int, d: int, seed: int = 0, outputs: int = 1, test: int = 0) -> Dataset:
    x, y = (t.numpy() for t in sphere(P + test, d, seed, outputs))
    y = y[:, 0] if outputs == 1 else y
    held = (x[P:], y[P:]) if test else (None, None)
    return Dataset(x[:P], y[:P], *held, info={"source": "random", "seed": seed})


def random_theta(arch: Architecture, seed: int = 0) -> Tensor:
    """Parameters of order 1/√fan-in, biases too."""
    rng = np.random.default_rng([seed, 7])
    parts = [rng.standard_normal(out * (fan_in + 1)) / np.sqrt(fan_in) for out, fan_in in arch.shapes]
    return torch.from_numpy(np.concatenate(parts))
