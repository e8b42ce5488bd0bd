"""The kernel's own tanh against numpy's."""

from __future__ import annotations

import numpy as np

from jamtools.engines.kernel.tiles import TILE_SIZE, tanh

EPS = np.finfo(float).eps


def kernel_tanh(z):
    """tanh z [n, T] by the kernel, tile by tile."""
    out = z.copy()
    for row in out:
        tanh(row, np.zeros(TILE_SIZE), np.zeros(TILE_SIZE, np.int64))
    return out


def test_tanh_is_exact_to_four_units_in_the_last_place():
    """The path from e^{2z} - 1 to the quotient has about eight roundings, each of at most ε/2."""
    z = np.concatenate(
        [np.linspace(-25, 25, 4001), np.geomspace(1e-300, 30, 4001), -np.geomspace(1e-18, 1e-3, 190)]
    )
    z = z[: len(z) // TILE_SIZE * TILE_SIZE].reshape(-1, TILE_SIZE)
    exact = np.tanh(z)
    assert (np.abs(kernel_tanh(z) - exact) <= 4 * EPS * np.abs(exact)).all()


def test_tanh_of_infinity_is_one_and_nan_stays_nan():
    special = np.zeros((1, TILE_SIZE))
    special[0, :3] = np.nan, np.inf, -np.inf
    out = kernel_tanh(special)[0]
    assert np.isnan(out[0])
    assert out[1:3].tolist() == [1.0, -1.0]
