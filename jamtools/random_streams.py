"""The table of all streams of random numbers.

Each random quantity has its own stream, so that it does not depend on how many random numbers other quantities use. A stream
is numpy's PCG64, seeded with the seed and the number of the stream. Never change the numbers of the streams: the bytes of
every result depend on them.
"""

from __future__ import annotations

import numpy as np

# Streams of `generator`.
PATTERNS, LABELS, TEST_PATTERNS, TEST_LABELS, SUBSET = range(5)  # of a dataset
FRESH_PATTERNS = 1000  # patterns that the network has never seen
LANCZOS_PROBES = 2000  # the k-th probe has the stream (LANCZOS_PROBES, k)
KERNEL_CHECK = 2001  # a vector on parameters that should be in a kernel
GAP_SIGNS = 2002  # signs of the round-off of the gaps
DESCENT_TRIALS = 3000  # the k-th descent has the stream (DESCENT_TRIALS, k)
RADIUS_TRIALS = 4000  # of the kicks that try to refute the radius of a certificate

# Streams of `run_generator`.
INITIAL_PARAMETERS, MINI_BATCHES = range(2)  # of a training run
BOOTSTRAP, GOODNESS_OF_FIT = range(2)  # of the fit of an exponent

#: Seeds of a search for N*: the k-th new seed that is drawn for the seed s is s + k·FRESH_SEEDS.
FRESH_SEEDS = 10_000

#: Seeds that replace those of dead trials in a bracket: the k-th replacement of the seed s is s + REPLACEMENT_SEEDS +
#: k·FRESH_SEEDS. No search draws so many new seeds that they overlap.
REPLACEMENT_SEEDS = 1_000 * FRESH_SEEDS


def generator(seed: int, *stream: int) -> np.random.Generator:
    """A stream of random numbers, spawned from the seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def run_generator(seed: int, stream: int) -> np.random.Generator:
    """A stream of a training run or of a fit: the stream's number is part of the seed."""
    return np.random.default_rng([seed, stream])
