"""The arrangement of a batch of runs in memory: slots, blocks and chunks of patterns, and the bytes that they need.

    slots R = 2^⌊log₂(W / (P Ñ))⌋, at least 1 and at most MAX_SLOTS;      theta [R, Ñ],  x [R, P, d],  a_j [R, n, h]

W is FULL_LOAD_MULTIPLICATIONS. The layout is a function of a run's own shape, device and dtype. It depends neither on the
number of runs nor on the free memory. For another number of slots, a library of matrix products might use another algorithm,
with sums in another order. So the bytes of a run do not depend on which other slots are in use.

The patterns are processed in blocks of n patterns, one after the other. This bounds the memory of the activations. The
weight gradient of a block is a sum over chunks. Each chunk is one matrix product, because a single product over all patterns
of the block would leave most of a GPU idle. Patterns are padded to whole blocks, and rows of parameters to whole cache
lines. Every slot then has the same alignment, so that vector instructions divide all slots in the same way.

Source: none, own design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from jamtools.network.architecture import Architecture

#: Multiplications P·Ñ of all slots together at which a device is fully used. A GPU needs about 10⁸, so that it computes for
#: longer than the launches of a step take. On the CPU larger batches save only the time that Python takes per step.
FULL_LOAD_MULTIPLICATIONS = {"cuda": 1e8, "cpu": 4e6}

#: Largest number of slots of a batch.
MAX_SLOTS = {"cuda": 64, "cpu": 4}

#: Rows are padded to a multiple of this many numbers.
ROW_ALIGNMENT = 64

#: Largest number of patterns in a chunk.
MAX_CHUNK_PATTERNS = 256

#: Largest memory of the activations of one block, in bytes.
MAX_ACTIVATION_BYTES = 2**30

#: Rows [Ñ] of one run with this optimiser: theta and the state of the optimiser.
OPTIMIZER_ROWS = {"adam": 3, "sgd": 2, "fire": 2}


@dataclass(frozen=True)
class Layout:
    """The arrangement of a batch in memory.

    slots: runs side by side. stride: numbers from one row of theta to the next. There are `blocks` blocks of `group`
    chunks of `chunk` patterns.
    """

    slots: int
    stride: int
    chunk: int
    group: int
    blocks: int

    @classmethod
    def of(cls, arch: Architecture, P: int, device: str, dtype: torch.dtype) -> Layout:
        """The layout of runs of this shape; device: "cuda" or "cpu"."""
        ratio = FULL_LOAD_MULTIPLICATIONS[device] / (P * arch.n_parameters)
        slots = min(MAX_SLOTS[device], 2 ** max(0, math.floor(math.log2(ratio))))
        chunk = min(MAX_CHUNK_PATTERNS, padded(P))
        chunks = -(-P // chunk)
        bytes_per_chunk = slots * chunk * _activation_numbers(arch) * dtype.itemsize
        blocks = -(-chunks // max(1, MAX_ACTIVATION_BYTES // bytes_per_chunk))
        return cls(slots, padded(arch.n_parameters), chunk, -(-chunks // blocks), blocks)

    @property
    def block(self) -> int:
        """n, the number of patterns in a block."""
        return self.chunk * self.group

    @property
    def padded(self) -> int:
        """The number of patterns in a slot, with the padding."""
        return self.block * self.blocks

    def bytes_needed(self, arch: Architecture, optimizer: str, dtype: torch.dtype) -> int:
        """Bytes of a batch, for any number of slots in use.

        R·[ stride·(2·rows + 1 + 3)            theta and optimiser, their next values, the gradient, three rows of scratch
          + padded·(d + C + 1)                 the patterns, labels and weights of all blocks
          + n·(L·h + 2·max(h, C) + 6·C)        activations, β of two layers, f with Δ and the loss's slope
          + (group + 1)·(largest weight) ]      the parts of its gradient, and their sum
        numbers of the dtype.
        """
        C, largest = arch.outputs, max(out * fan_in for out, fan_in in arch.shapes)
        numbers = self.stride * (2 * OPTIMIZER_ROWS[optimizer] + 4) + self.padded * (arch.d + C + 1)
        numbers += self.block * _activation_numbers(arch) + (self.group + 1) * padded(largest)
        return self.slots * numbers * dtype.itemsize


def padded(n: int) -> int:
    """The least multiple of ROW_ALIGNMENT that is not below n."""
    return -(-n // ROW_ALIGNMENT) * ROW_ALIGNMENT


def _activation_numbers(arch: Architecture) -> int:
    """Numbers per pattern of a block: a_1 … a_L, two β, and six of the outputs' width."""
    return arch.depth * arch.width + 2 * max(arch.width, arch.outputs) + 6 * arch.outputs
