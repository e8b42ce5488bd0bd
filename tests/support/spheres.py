"""A check that patterns lie on the sphere of radius √d."""

from __future__ import annotations

import numpy as np

EPS = np.finfo(np.float64).eps


def assert_on_sphere(x: np.ndarray) -> None:
    """Asserts |x| = √d. The error is that of two sums of d squares, d·eps/2 each, and of a few roundings."""
    d = x.shape[1]
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.sqrt(d), rtol=(d + 4) * EPS)
