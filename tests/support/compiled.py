"""Kernels and engines that the tests of the compiled kernel share."""

from __future__ import annotations

import torch

from jamtools.engines.compiled_engine import CompiledEngine
from jamtools.engines.kernel.problem import KernelProblem
from jamtools.engines.optimizers import Adam
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from tests.support import oracle


def problem(shape, activation, P, name="hinge", epsilon=0.5):
    """A problem of (d, h, L, C) on P patterns, and random parameters [Ñ]."""
    d, h, L, C = shape
    arch = Architecture(d, h, L, activation, C)
    loss = Loss(name, epsilon if name == "hinge" else 0.0, P, C)
    return Problem(*oracle.sphere(P, d, outputs=C), arch, loss), oracle.random_theta(arch)


def gradient(problem, theta, threads=1):
    """The largest Δ and ∇L [Ñ] by the kernel."""
    kernel = KernelProblem(problem, theta.numpy())
    largest_gap = kernel.chunk_gradients(theta.numpy(), threads)
    return largest_gap, kernel.gradient()


def satisfied_side_engine(P=400, threads=1, **options):
    """An engine on a network that satisfies most of its patterns after some thousand steps of Adam."""
    data, arch = oracle.dataset(P, 5), Architecture(5, 20, 2)
    settings = with_options(TrainingOptions(), **{"lr": 1e-3, "stop": False} | options).resolve(P)
    loss = Loss("hinge", settings.epsilon, P)
    patterns = Problem(torch.from_numpy(data.x), torch.from_numpy(data.y), arch, loss)
    theta = torch.from_numpy(initial_parameters(arch, settings.init, 1))
    return CompiledEngine(patterns, theta, Adam(theta), settings, threads)
