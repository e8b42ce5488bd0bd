"""Every stream of random numbers, in one table: what is drawn from one does not depend on how much another gave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]

#: One stream of random numbers for each thing drawn, so that none depends on how much another took.
PATTERNS, LABELS, TEST_PATTERNS, TEST_LABELS, SUBSET = range(5)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
