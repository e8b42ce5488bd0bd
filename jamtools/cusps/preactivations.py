"""The distribution of hidden pre-activations, on the training set and on patterns never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import CUSP_BLOCK_PATTERNS, CuspCount
from jamtools.data.sphere import on_sphere
from jamtools.network.architecture import Architecture
from jamtools.network.passes import forward, layers_of
from jamtools.random_streams import FRESH_PATTERNS, generator
from jamtools.records import Dataset

#: Edges of the density of pre-activations, in rms of the layer; the middle bin is centred at zero.
PREACTIVATION_EDGES = np.round(np.linspace(-4.05, 4.05, 82), 10)


@dataclass(frozen=True)
class Profile:
    """Pre-activations of some patterns, layer by layer, measured with the training set's scales.

    mass [L]: the fraction within the limit; density [L, bins]: the density of z / scale over PREACTIVATION_EDGES.
    """

    mass: NDArray[np.float64]
    density: NDArray[np.float64]


def profile(theta: Tensor, x: Tensor, arch: Architecture, cusps: CuspCount) -> Profile:
    """The distribution of pre-activations at x [P, d], training patterns or fresh ones (figure 12)."""
    layers = layers_of(theta, arch)
    at_zero = np.zeros(arch.depth)
    counts = np.zeros((arch.depth, len(PREACTIVATION_EDGES) + 1))
    edges = torch.from_numpy(PREACTIVATION_EDGES).to(x)
    for part in x.split(CUSP_BLOCK_PATTERNS):
        for j, (z, layer) in enumerate(zip(forward(layers, part, arch).z[:-1], cusps.per_layer, strict=True)):
            at_zero[j] += int((z.abs() <= layer.limit).sum())
            bins = torch.bucketize((z / (layer.scale or 1.0)).flatten(), edges, right=True)
            counts[j] += torch.bincount(bins, minlength=len(PREACTIVATION_EDGES) + 1).cpu().numpy()
    n = len(x) * arch.width
    return Profile(at_zero / n, counts[:, 1:-1] / (n * np.diff(PREACTIVATION_EDGES)))


def fresh_patterns(data: Dataset, n: int | None, seed: int) -> tuple[NDArray[np.float64] | None, str | None]:
    """Patterns the network has not seen, and where they come from; (None, None) where there is no source.

    The first n of the test set (all by default), else for random data n (by default P) on the sphere.
    """
    if data.x_test is not None:
        return data.x_test[:n], "test set"
    if data.info.get("source") != "random":
        return None, None
    rng = generator(seed, FRESH_PATTERNS)
    return on_sphere(rng.standard_normal((n or data.P, data.d))), "sphere"
