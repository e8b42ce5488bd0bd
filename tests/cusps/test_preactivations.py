"""The density of pre-activations against numpy's histogram, and where fresh patterns come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.cusps.counting import count
from jamtools.cusps.preactivations import PREACTIVATION_EDGES, fresh_patterns, profile
from jamtools.data.sphere import on_sphere, random_gaussian
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from tests.support import artefacts, oracle
from tests.support.cusps import network


def test_the_density_of_preactivations_equals_numpys_histogram():
    arch, theta, x, y, loss = network(2, P=400)
    counted = count(theta, Problem(x, y, arch, loss), 0.01)
    fresh = oracle.sphere(300, 4, 99)[0]
    got = profile(theta, fresh, arch, counted)
    for j, z in enumerate(forward(layers_of(theta, arch), fresh, arch).z[:-1]):
        counts = np.histogram(z / counted.per_layer[j].rms, PREACTIVATION_EDGES)[0]
        assert got.density[j] == pytest.approx(counts / (300 * 5 * 0.1))
        limits = 0.01 * torch.tensor(counted.per_layer[j].scales, dtype=z.dtype)
        assert got.mass[j] == (z.abs() <= limits).double().mean()


def test_fresh_patterns_are_the_test_set_or_new_ones_on_the_sphere():
    data = oracle.dataset(50, 4, test=20)
    x, source = fresh_patterns(data, None, 0)
    assert source == "test set" and (x == data.x_test).all()
    assert len(fresh_patterns(data, 5, 0)[0]) == 5
    x, source = fresh_patterns(oracle.dataset(50, 4), None, 0)
    assert source == "sphere" and x.shape == (50, 4)
    assert (x**2).sum(1) == pytest.approx(4.0)
    gaussian, source = fresh_patterns(random_gaussian(50, 4), None, 0)
    assert source == "gaussian" and (x == on_sphere(gaussian)).all() and not (x == gaussian).any()
    assert (x == fresh_patterns(oracle.dataset(50, 4), 50, 0)[0]).all()
    assert fresh_patterns(artefacts.dataset(), None, 0) == (None, None)


def test_fresh_patterns_are_not_those_of_the_dataset_with_the_same_seed():
    from jamtools.data.sphere import random_sphere

    x, _ = fresh_patterns(random_sphere(40, 6, seed=3), None, 3)
    drawn = random_sphere(40, 6, seed=3, P_test=40)
    for known in (drawn.x, drawn.x_test):
        assert np.abs(x @ known.T).max() < 6 * (1 - 1e-6)
