"""The distribution of hidden pre-activations z_jn(x_µ), on the training set and on fresh patterns.

On training patterns it has a delta at 0, the cusps; on fresh patterns it has none.

Source: arXiv:1809.09349, figure 12.
"""

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

#: Edges [bins + 1] of the density of pre-activations, in rms of the layer; the middle bin is centred at zero.
PREACTIVATION_EDGES = np.round(np.linspace(-4.05, 4.05, 82), 10)


@dataclass(frozen=True)
class Profile:
    """The pre-activations of a set of patterns, layer by layer, in the units of the training set.

    mass [L]: the fraction with |z| within the tolerance of the count; density [L, bins]: of z / rms over
    PREACTIVATION_EDGES.
    """

    mass: NDArray[np.float64]
    density: NDArray[np.float64]


def profile(theta: Tensor, x: Tensor, arch: Architecture, cusps: CuspCount) -> Profile:
    """The distribution of pre-activations of the network theta [Ñ] at x [P, d], training patterns or fresh ones.

    cusps: the count on the training set, with the scales of the neurons and the rms of each layer.
    """
    layers = layers_of(theta, arch)
    at_zero = np.zeros(arch.depth)
    counts = np.zeros((arch.depth, len(PREACTIVATION_EDGES) + 1))
    edges = torch.from_numpy(PREACTIVATION_EDGES).to(x)
    for part in x.split(CUSP_BLOCK_PATTERNS):
        for j, (z, layer) in enumerate(zip(forward(layers, part, arch).z[:-1], cusps.per_layer, strict=True)):
            at_zero[j] += int((z.abs() <= cusps.tolerance * z.new_tensor(layer.scales)).sum())
            bins = torch.bucketize((z / (layer.rms or 1.0)).flatten(), edges, right=True)
            counts[j] += torch.bincount(bins, minlength=len(PREACTIVATION_EDGES) + 1).cpu().numpy()
    n = len(x) * arch.width
    return Profile(at_zero / n, counts[:, 1:-1] / (n * np.diff(PREACTIVATION_EDGES)))


def fresh_patterns(data: Dataset, n: int | None, seed: int) -> tuple[NDArray[np.float64] | None, str | None]:
    """Patterns [n, d] outside the training set, and their source; (None, None) where there is none.

    They are the first n patterns of the test set (by default all). For random data without a test set they are n new
    patterns of the same distribution (by default P).
    """
    if data.x_test is not None:
        return data.x_test[:n], "test set"
    if data.info.get("source") != "random":
        return None, None
    drawn = generator(seed, FRESH_PATTERNS).standard_normal((n or data.P, data.d))
    steps = data.info.get("preprocessing") or {}
    return (drawn, "gaussian") if steps.get("distribution") == "gaussian" else (on_sphere(drawn), "sphere")
