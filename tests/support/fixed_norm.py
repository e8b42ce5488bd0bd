"""Runs of fixed norm, and the loss on the sphere as torch differentiates it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.ensemble import train
from tests.support import oracle

NORM = 5.0


@functools.cache
def run_of_fixed_norm(activation: str, outputs: int = 1, depth: int = 2) -> tuple[Run, Dataset]:
    """A run of Adam with ‖W‖ = NORM and unsatisfied patterns, on its way, and its patterns."""
    data = oracle.dataset(60, 3, outputs=outputs)
    settings = with_options(TrainingOptions(), steps=150, lr=1e-2, measurements=3)
    run = train(data, Architecture(3, 4, depth, activation, outputs, norm=NORM), settings, seed=0)
    assert run.info["n_unsatisfied"] > 0
    return run, data


def loss_on_sphere(run: Run, data: Dataset) -> Callable[[Tensor], Tensor]:
    """u [Ñ] → L(R u/‖u‖), independent of the library."""
    arch, x = Architecture.of(run.info), torch.from_numpy(data.x)
    y = torch.from_numpy(data.y).reshape(data.P, arch.outputs)
    return lambda u: oracle.hinge(oracle.f(arch, u * (NORM / u.norm()), x), y, run.epsilon)


def at(run: Run, data: Dataset, theta: Tensor, epsilon: float) -> Run:
    """The run at another point theta [Ñ] and margin, with the numbers that depend on them."""
    arch = Architecture.of(run.info)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    problem = Problem(x, y, arch, Loss("hinge", epsilon, data.P, arch.outputs))
    end = problem.evaluate(theta)
    info = {
        **run.info,
        "epsilon": epsilon,
        "final_loss": end.value,
        "n_unsatisfied": end.n_unsatisfied,
        "grad_norm": float(end.gradient.norm()),
    }
    gaps = end.gaps[:, 0] if arch.outputs == 1 else end.gaps
    return replace(run, theta=theta.numpy(), gaps=gaps.numpy(), info=info)


@functools.cache
def tanh_minimum() -> tuple[Run, Dataset]:
    """A certified run of fixed norm with L > 0: d = 6, two neurons of tanh, ten patterns, ε = 3."""
    data = random_sphere(10, 6, 5)
    settings = with_options(TrainingOptions(), optimizer="newton", epsilon=3.0)
    run = train(data, Architecture(6, 2, 1, "tanh", norm=4.0), settings, seed=5)
    assert run.info["certified"] and run.info["n_unsatisfied"]
    return run, data


def relu_minimum() -> tuple[Run, Dataset]:
    """A run of two ReLU neurons without biases at a minimum on the sphere that is known in closed form, with R = 2, ε = 3.

    Each neuron is active at one of two patterns x and along it: f(x) = w |a| |x|, with w = |a| = 1 and |x|² = 1.25. So
    Δ = 3 - |x|, ∇L = -½ Δ |x| W, and μ = ½ Δ |x|.
    """
    x = np.array([[1.0, -0.5], [-0.5, 1.0]])
    data = Dataset(x, np.ones(2), info={"source": "two patterns"})
    arch = Architecture(2, 2, 1, "relu", norm=2.0, bias=False)
    run = train(data, arch, with_options(TrainingOptions(), steps=1), seed=0)
    theta = np.concatenate([(x / np.linalg.norm(x, axis=1, keepdims=True)).ravel(), np.ones(2)])
    return at(run, data, torch.from_numpy(theta), 3.0), data
