"""How many runs a batch holds, and how their patterns are divided into blocks."""

from __future__ import annotations

import torch

from jamtools.engines.batch.layout import Layout, padded
from jamtools.network.architecture import Architecture
from tests.support.batch import ARCH


def test_a_gpu_holds_64_small_runs_or_one_large_run():
    """64 runs of N ~ 700 fill a GPU, and so does one of N ~ 8000."""
    small, large = Architecture(15, 15, 3), Architecture(51, 51, 3)
    assert Layout.of(small, 2000, "cuda", torch.float64).slots == 64
    shape = Layout.of(large, 23_000, "cuda", torch.float64)
    assert (shape.slots, shape.blocks) == (1, 1)
    huge = Layout.of(Architecture(784, 100, 5), 10**6, "cuda", torch.float64)
    assert huge.blocks > 1
    assert 10**6 <= huge.padded < 10**6 + huge.blocks * huge.chunk + huge.chunk


def test_the_padding_ends_at_a_whole_cache_line():
    assert [padded(n) for n in (1, 64, 65)] == [64, 64, 128]


def test_few_patterns_are_one_chunk():
    layout = Layout.of(ARCH, 40, "cpu", torch.float64)
    assert (layout.chunk, layout.group, layout.blocks) == (64, 1, 1)


def test_the_bytes_needed_grow_with_the_state_of_the_optimizer():
    layout = Layout.of(ARCH, 40, "cpu", torch.float64)
    adam, sgd = (layout.bytes_needed(ARCH, name, torch.float64) for name in ("adam", "sgd"))
    assert adam - sgd == layout.slots * layout.stride * 2 * 8
