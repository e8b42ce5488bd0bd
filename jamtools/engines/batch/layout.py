"""How a batch of runs lies in memory: slots, blocks and chunks of patterns, and the bytes that they take.

    slots R = 2^⌊log₂(WORK / (P Ñ))⌋, at least 1 and at most MOST;      theta [R, Ñ],  x [R, P, d],  a_j [R, n, h]

All of it is a function of a run's own shape, device and dtype, never of how many runs there are or how much memory is
free: a library of matrix products may take another algorithm, with sums in another order, for another batch count. So a
run finds the same neighbours' places around it whether they are taken or not, and its bytes are its own.

Patterns come in `blocks` of n, one after the other, which bounds the activations; a block's weight gradient is a sum over
chunks of it, each a matrix product of its own, since one product whose long axis is summed over would leave most of a card
idle. Patterns are filled up to whole blocks, and rows of parameters to whole lines of the cache, so that every slot starts
at the same alignment: vector instructions then cut all slots alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from jamtools.network.architecture import Architecture

#: Multiplications P·Ñ of all slots together that fill the device, and the most slots there are. A card needs some 10⁸ to be
#: busy for longer than the launches of a step take; on the CPU nothing is gained beyond sparing Python's time.
WORK = {"cuda": 1e8, "cpu": 4e6}

MOST = {"cuda": 64, "cpu": 4}

#: Numbers to which rows are filled up.
LINE = 64

#: Patterns of a chunk, at most.
CHUNK = 256

#: Bytes that the activations of one block may take.
ACTIVATIONS = 2**30

#: Rows of theta's length that an optimiser holds: theta and its state.
ROWS = {"adam": 3, "sgd": 2, "fire": 2}


@dataclass(frozen=True)
class Layout:
    """slots; stride: numbers between two rows of theta; a block is `group` chunks of `chunk` patterns; `blocks` of them."""

    slots: int
    stride: int
    chunk: int
    group: int
    blocks: int

    @classmethod
    def of(cls, arch: Architecture, P: int, device: str, dtype: torch.dtype) -> Layout:
        """The layout of runs of this shape; device: cuda or cpu."""
        room = WORK[device] / (P * arch.n_parameters)
        slots = min(MOST[device], 2 ** max(0, math.floor(math.log2(room))))
        chunk = min(CHUNK, filled(P))
        chunks = -(-P // chunk)
        of_a_chunk = slots * chunk * _activations(arch) * dtype.itemsize
        blocks = -(-chunks // max(1, ACTIVATIONS // of_a_chunk))
        return cls(slots, filled(arch.n_parameters), chunk, -(-chunks // blocks), blocks)

    @property
    def block(self) -> int:
        """n, the patterns of a block."""
        return self.chunk * self.group

    @property
    def padded(self) -> int:
        """Patterns of a slot, the filling included."""
        return self.block * self.blocks

    def bytes(self, arch: Architecture, optimizer: str, dtype: torch.dtype) -> int:
        """What a batch takes, whether its slots are taken or not.

        R·[ stride·(2·rows + 1 + 3)            theta and optimiser, their successors, the gradient, three rows of scratch
          + padded·(d + C + 1)                 the patterns, labels and weights of all blocks
          + n·(L·h + 2·max(h, C) + 6·C)        activations, β of two layers, f with Δ and the loss's slope
          + (group + 1)·(largest weight) ]      the parts of its gradient, and their sum
        numbers of the dtype.
        """
        C, largest = arch.outputs, max(out * fan_in for out, fan_in in arch.shapes)
        numbers = self.stride * (2 * ROWS[optimizer] + 4) + self.padded * (arch.d + C + 1)
        numbers += self.block * _activations(arch) + (self.group + 1) * filled(largest)
        return self.slots * numbers * dtype.itemsize


def filled(n: int) -> int:
    """n numbers, filled up to whole lines."""
    return -(-n // LINE) * LINE


def _activations(arch: Architecture) -> int:
    """Numbers per pattern of a block: a_1 … a_L, two β, and six of the outputs' width."""
    return arch.depth * arch.width + 2 * max(arch.width, arch.outputs) + 6 * arch.outputs
