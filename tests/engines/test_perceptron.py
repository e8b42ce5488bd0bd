"""The perceptron of fixed norm by hand: f = W·x with ‖W‖ = 1, at margins of both signs.

Patterns that surround the origin evenly have minima by symmetry. With k of them at the same Δ = δ, L = k δ² / (2 P). At
δ = 0 they jam, with k = N + 1 = d contacts.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from jamtools.data.sphere import random_gaussian
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train
from jamtools.training.job import Compute

ENGINES = ["compiled", "torch", "batch"]


def perceptron(x, epsilon, compute=None, seed=0):
    """A run of the perceptron without bias and ‖W‖ = 1 on patterns x [P, d] whose labels are +1."""
    d = x.shape[1]
    # Adam ends in cycles of the size of its rate, so the rate falls to 1e-9 by decades
    quick = {"steps": 6000, "lr": 1e-2, "every": 800, "floor": 1e-12, "measurements": 2}
    settings = with_options(TrainingOptions(), epsilon=epsilon, **quick)
    data = Dataset(np.ascontiguousarray(x), np.ones(len(x)), info={"source": "by hand"})
    return train(data, Architecture(d, d, 0, norm=1.0, bias=False), settings, seed, compute)


def on_circle(*degrees):
    """Unit vectors at these angles [n, 2]."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)

#: Patterns and the largest margin that some W satisfies, by symmetry.
POLYTOPES = {
    "two patterns 120° apart": (on_circle(-60, 60), 0.5),  # W between them
    "a triangle": (
        on_circle(0, 120, 240),
        -0.5,
    ),  # W at a corner, or between two of them: the other two are at 120°
    "a tetrahedron": (TETRAHEDRON, -1 / 3),  # W at a corner
    "a square": (on_circle(0, 90, 180, 270), -np.sqrt(0.5)),  # W between two corners
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(POLYTOPES))
def test_polytopes_jam_at_their_margin_with_as_many_contacts_as_dimensions(name, engine):
    """Above the margin by δ, N + 1 = d patterns overlap by δ and L = d δ²/(2P); below it all patterns are satisfied."""
    (x, margin), delta = POLYTOPES[name], 1e-2
    P, d = x.shape
    above, below = (perceptron(x, margin + sign * delta, Compute(engine=engine)) for sign in (1, -1))
    assert below.info["status"] == "satisfied" and d - 1 == below.N
    assert above.n_unsatisfied == d
    # the rate 1e-9 of the last steps leaves W within some 1e-8 of the minimum, and Δ is linear in it
    np.testing.assert_allclose(np.sort(above.gaps)[-d:], delta, atol=1e-7)
    assert above.info["final_loss"] == pytest.approx(d * delta**2 / (2 * P), rel=1e-4)
    assert np.linalg.norm(above.theta) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("engine", ["torch", "batch"])
def test_single_precision_finds_the_same_minimum(engine):
    x, margin = POLYTOPES["a tetrahedron"]
    run = perceptron(x, margin + 0.01, Compute(dtype=torch.float32, engine=engine))
    assert run.n_unsatisfied == 3
    # Δ = 0.01 is a difference of numbers of order 1, each with a round-off of 1e-7
    np.testing.assert_allclose(np.sort(run.gaps)[-3:], 0.01, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.5, 0.0, -0.3, -0.8])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_two_dimensions_is_a_minimum_of_a_function_of_one_angle(epsilon, seed):
    data = random_gaussian(40, 2, seed)
    x = data.x * data.y[:, None]

    def loss(angle):
        return 0.5 * np.mean(np.clip(epsilon - x @ [np.cos(angle), np.sin(angle)], 0, None) ** 2)

    run = perceptron(x, epsilon, seed=seed)
    found = np.arctan2(run.theta[1], run.theta[0])
    nearest = minimize_scalar(
        loss, bounds=(found - 0.1, found + 0.1), method="bounded", options={"xatol": 1e-10}
    )
    # L is flat at its minimum: 1e-8 off in the angle is 1e-16 in L
    assert run.info["final_loss"] == pytest.approx(nearest.fun, rel=1e-10, abs=1e-20)
    assert run.info["final_loss"] == pytest.approx(loss(found), rel=1e-12, abs=1e-25)
