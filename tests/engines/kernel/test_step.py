"""One step of Adam by the kernel against the optimiser of the torch engine."""

from __future__ import annotations

import numpy as np
import torch

from jamtools.engines.kernel.problem import KernelProblem
from jamtools.engines.kernel.records import AdamMoments
from jamtools.engines.optimizers import Adam
from tests.support.compiled import problem

EPS = np.finfo(float).eps


def test_adam_of_the_kernel_takes_the_step_of_the_torch_engine():
    patterns, start = problem((5, 7, 3, 1), "relu", 50)
    kernel, optimizer = KernelProblem(patterns, start.numpy()), Adam(start)
    ours, m, v = start.numpy().copy(), np.zeros(len(start)), np.zeros(len(start))
    reference = start.clone()
    g = np.random.default_rng(0).standard_normal(len(start))
    for t in range(30):
        kernel.sums.gradients[0] = g * np.cos(t)
        kernel.adam_step(ours, AdamMoments(m, v, t, 1e-2, 0.0))
        optimizer.step(reference, torch.from_numpy(g * np.cos(t)), 1e-2)
    assert np.abs(ours - reference.numpy()).max() < 30 * 4 * EPS * 4
