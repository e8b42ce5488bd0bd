"""The table of random streams."""

import itertools

import numpy as np
import pytest

from jamtools import random_streams
from jamtools.random_streams import (
    BOOTSTRAP,
    DESCENT_TRIALS,
    FRESH_PATTERNS,
    GOODNESS_OF_FIT,
    INITIAL_PARAMETERS,
    LABELS,
    LANCZOS_PROBES,
    MINI_BATCHES,
    PATTERNS,
    SUBSET,
    TEST_LABELS,
    TEST_PATTERNS,
    generator,
    run_generator,
)

STREAMS = [
    (PATTERNS,), (LABELS,), (TEST_PATTERNS,), (TEST_LABELS,), (SUBSET,), (FRESH_PATTERNS,),
    (LANCZOS_PROBES, 0), (LANCZOS_PROBES, 1), (DESCENT_TRIALS, 0), (DESCENT_TRIALS, 1),
]  # fmt: skip


def test_streams_of_one_seed_are_independent():
    draws = [generator(3, *stream).standard_normal(2000) for stream in STREAMS]
    draws += [run_generator(3, stream).standard_normal(2000) for stream in (INITIAL_PARAMETERS, MINI_BATCHES)]
    for a, b in itertools.combinations(draws, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(2000)  # five standard errors


def test_a_stream_is_numpy_s_generator_of_a_spawned_seed():
    sequence = np.random.SeedSequence(7, spawn_key=(LANCZOS_PROBES, 4))
    expected = np.random.Generator(np.random.PCG64(sequence)).standard_normal(5)
    assert np.array_equal(generator(7, LANCZOS_PROBES, 4).standard_normal(5), expected)
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence([7, 1]))).standard_normal(5)
    assert np.array_equal(run_generator(7, MINI_BATCHES).standard_normal(5), expected)


@pytest.mark.parametrize(
    "name", ["PATTERNS", "FRESH_PATTERNS", "LANCZOS_PROBES", "DESCENT_TRIALS", "FRESH_SEEDS"]
)
def test_the_numbers_of_streams_never_change(name):
    numbers = {
        "PATTERNS": 0, "FRESH_PATTERNS": 1000, "LANCZOS_PROBES": 2000, "DESCENT_TRIALS": 3000, "FRESH_SEEDS": 10_000,
    }  # fmt: skip
    assert getattr(random_streams, name) == numbers[name]
    assert (BOOTSTRAP, GOODNESS_OF_FIT) == (0, 1)
