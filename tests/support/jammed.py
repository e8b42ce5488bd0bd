"""Small problems for the minimisers, and a certified minimum with L > 0."""

from __future__ import annotations

import functools

import torch

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train


def small_problem(activation, P, width=4, depth=2, seed=0):
    arch, data = Architecture(3, width, depth, activation), random_sphere(P, 3, seed)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    theta = torch.from_numpy(initial_parameters(arch, "torch", seed))
    return theta, Problem(x, y, arch, Loss("hinge", 0.5, P))


ARCH = Architecture(4, 4, 2)


def newton(**options):
    return with_options(TrainingOptions(), optimizer="newton", **options)


def problem_of(data, arch):
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    return Problem(x, y, arch, Loss("hinge", 0.5, data.P, arch.outputs))


@functools.cache
def jammed():
    """A certified run in the jammed phase, and its patterns."""
    for seed in range(6):
        data = random_sphere(170, 4, seed)
        run = train(data, ARCH, newton(), seed)
        if run.info["certified"] and run.info["final_loss"] > 0:
            return run, data
    raise AssertionError("no seed of six ended on a certified minimum with L > 0")
