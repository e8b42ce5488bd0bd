"""Random patterns on the sphere and their labels, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from jamtools.data.sphere import on_sphere, random_gaussian, random_sphere
from jamtools.errors import InputError, Remedy
from jamtools.random_streams import PATTERNS, TEST_PATTERNS, generator
from tests.support.spheres import assert_on_sphere


@pytest.mark.parametrize("d", [1, 2, 25, 1000])
def test_random_patterns_lie_on_the_sphere(d: int) -> None:
    assert_on_sphere(random_sphere(200, d).x)


@pytest.mark.statistical
def test_each_coordinate_on_the_sphere_in_three_dimensions_is_uniform() -> None:
    """Archimedes: a coordinate of a uniform point on the unit sphere in R³ is uniform in [-1, 1]."""
    x = random_sphere(4000, 3).x / np.sqrt(3)
    for axis in range(3):
        assert kstest(x[:, axis], "uniform", args=(-1, 2)).pvalue > 1e-3


@pytest.mark.statistical
def test_random_patterns_have_no_preferred_direction() -> None:
    """E xᵢxⱼ = δᵢⱼ; the standard deviation of an entry is at most √2/√P."""
    P = 20000
    x = random_sphere(P, 4, seed=7).x
    np.testing.assert_allclose(x.T @ x / P, np.eye(4), atol=5 * np.sqrt(2 / P))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=5 / np.sqrt(P))


@given(
    small=st.integers(1, 40),
    more=st.integers(0, 300),
    d=st.integers(1, 9),
    seed=st.integers(0, 2**70),
    labels=st.sampled_from(["random", "balanced"]),
)
@settings(max_examples=60, deadline=None)
def test_a_smaller_dataset_is_the_beginning_of_a_larger_one(
    small: int, more: int, d: int, seed: int, labels: str
) -> None:
    few, many = (random_sphere(P, d, seed, labels, P_test=5) for P in (small, small + more))
    for name in ("x", "y"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:small])
        assert np.array_equal(getattr(few, f"{name}_test"), getattr(many, f"{name}_test"))


def test_patterns_labels_and_test_sets_have_different_random_streams() -> None:
    data, other = (random_sphere(64, 3, seed, P_test=64) for seed in (0, 1))
    for a, b in [(data.x, data.x_test), (data.y, data.y_test), (data.x, other.x), (data.y, other.y)]:
        assert not np.array_equal(a, b)


def test_seeds_beyond_32_bits_differ_from_smaller_ones() -> None:
    assert len({random_sphere(1, 1, seed).x.tobytes() + random_sphere(3, 5, seed).x.tobytes()
                for seed in (0, 1, 2**32, 2**32 + 1, 2**64)}) == 5  # fmt: skip


@pytest.mark.statistical
def test_random_labels_are_fair_coins() -> None:
    y = random_sphere(10000, 2).y
    assert set(y) == {-1.0, 1.0}
    assert abs(y.mean()) < 5 / np.sqrt(10000)
    assert abs((y[1:] * y[:-1]).mean()) < 5 / np.sqrt(10000)


def test_balanced_labels_are_balanced_in_every_prefix() -> None:
    y = random_sphere(101, 2, labels="balanced").y
    assert set(y) == {-1.0, 1.0}
    assert np.abs(np.cumsum(y)).max() == 1


def test_unknown_kinds_of_labels_are_refused() -> None:
    with pytest.raises(InputError, match="expected random or balanced"):
        random_sphere(2, 2, labels="parity")


def test_the_metadata_of_a_random_dataset_reproduce_it() -> None:
    data = random_sphere(12, 3, seed=5, labels="balanced", P_test=2)
    info = dict(data.info)
    recipe = info.pop("preprocessing")
    assert info == {"source": "random", "seed": 5, "P": 12, "d": 3, "classes": 2}
    remade = random_sphere(info["P"], info["d"], info["seed"], recipe["labels"], recipe["P_test"])
    assert np.array_equal(remade.x, data.x) and np.array_equal(remade.y_test, data.y_test)


def test_a_pattern_at_the_centre_is_refused() -> None:
    with pytest.raises(InputError, match="pattern 1 is at the centre") as refusal:
        on_sphere(np.array([[1.0, 2.0], [0.0, 0.0]]))
    assert refusal.value.remedy is Remedy.KEEP_OFF_SPHERE


@pytest.mark.statistical
def test_gaussian_components_are_standard_normal_and_independent() -> None:
    """E x = 0, E xᵢxⱼ = δᵢⱼ, E x⁴ = 3; one draw of these has the variance 1, 1 + δᵢⱼ, and 96 since E x⁸ = 105."""
    P, d = 20000, 4
    x = random_gaussian(P, d, seed=7).x
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=5 / np.sqrt(P))
    np.testing.assert_allclose(x.T @ x / P, np.eye(d), atol=5 * np.sqrt(2 / P))
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / (P * d))
    assert kstest(x.ravel(), "norm").pvalue > 1e-3


def test_gaussian_and_spherical_patterns_of_one_seed_have_the_same_directions_and_labels() -> None:
    sphere, gaussian = (make(30, 4, 3, "random", 5) for make in (random_sphere, random_gaussian))
    for name in ("x", "x_test"):
        assert np.array_equal(on_sphere(getattr(gaussian, name)), getattr(sphere, name))
    assert np.array_equal(gaussian.y, sphere.y) and np.array_equal(gaussian.y_test, sphere.y_test)


def test_the_patterns_are_those_of_their_streams_to_the_last_bit() -> None:
    for stream, name in ((PATTERNS, "x"), (TEST_PATTERNS, "x_test")):
        g = generator(3, stream).standard_normal((30, 4))
        assert np.array_equal(getattr(random_gaussian(30, 4, 3, P_test=30), name), g)
        on_radius = g * (2.0 / np.linalg.norm(g, axis=1, keepdims=True))
        assert np.array_equal(getattr(random_sphere(30, 4, 3, P_test=30), name), on_radius)


def test_the_metadata_of_a_gaussian_dataset_say_so() -> None:
    info = random_gaussian(12, 3, seed=5, labels="balanced", P_test=2).info
    assert info["preprocessing"] == {"distribution": "gaussian", "labels": "balanced", "P_test": 2}
    assert info["source"] == "random"
