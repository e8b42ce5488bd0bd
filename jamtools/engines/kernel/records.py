"""The records that the compiled kernel takes and changes in place. numba treats a NamedTuple like a tuple of its fields.

Symbols of the shapes: P patterns, d inputs, C outputs, Ñ parameters, L' = L + 1 layers of weights, h the widest layer
(inputs and outputs included), T = TILE_SIZE patterns per tile. All arrays are float64 unless said otherwise.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jamtools.records import Array

Indices = NDArray[np.int64]


class Network(NamedTuple):
    """The network and its loss."""

    sizes: Indices  # [L' + 1]: d, the hidden widths, C
    biases: Indices  # [L']: the number of biases of each layer, that of its outputs or 0
    activation: int  # RELU, TANH or LINEAR
    loss: int  # HINGE or CROSS_ENTROPY
    epsilon: float  # the margin ε in Δ = ε - y f
    curvature: float  # the factor of ∂L/∂f: that of Δ for the hinge loss, 1/P for the cross-entropy


class Patterns(NamedTuple):
    """The patterns in their own order, and in the order of the list as tiles. Zeros fill the last tile."""

    x: Array  # [P, d]
    y: Array  # [P, C]
    x_tiles: Array  # [tiles, d, T]
    y_tiles: Array  # [tiles, C, T]


class Workspace(NamedTuple):
    """Scratch arrays of one thread."""

    activations: Array  # [L' + 1, h, T], of the tile under evaluation
    gathered_activations: Array  # [L', h, T], of the unsatisfied patterns that wait for a backward pass
    signal: Array  # [C, T], ∂L/∂f of the tile
    gathered_signal: Array  # [C, T]
    beta: Array  # [2, h, T], ∂L/∂z of two layers
    scratch: Array  # [T]
    bits: Indices  # int64 [T]
    zeros: Array  # [h], the biases of a layer without them


class ChunkSums(NamedTuple):
    """The results of a gradient for each chunk of tiles."""

    gradients: Array  # [chunks, Ñ]
    tallies: Array  # [chunks, 3], indexed by Tally


class Tally(IntEnum):
    """Columns of ChunkSums.tallies."""

    ACTIVE = 0  # patterns that contribute to the gradient
    MISSED = 1  # patterns found unsatisfied in a tile that was asleep
    LARGEST_DRIFT = 2  # the largest |change of Δ| since the list was made, in units of its bound


class AdamMoments(NamedTuple):
    """Adam's state, its rate and the norm of theta. The state changes in place."""

    m: Array  # [Ñ]
    v: Array  # [Ñ]
    t: int  # steps taken
    lr: float
    norm: float  # ‖W‖ that every step keeps; 0 for free weights


class StepLimits(NamedTuple):
    """The conditions that end a loop of steps."""

    steps: int  # the largest number of steps
    stop: bool  # whether the loop ends where all patterns are satisfied
    contact: float  # the largest Δ of a satisfied pattern
    max_awake: int  # the loop ends before a step that has more awake tiles than this


class ListState(NamedTuple):
    """The list of neighbours: the part of it that the next step depends on. A checkpoint keeps it."""

    order: Indices  # int64 [P]: the pattern at each place of the list
    margin: Array  # [tiles]: the least -Δ of a tile's patterns when the list was made
    reach: Array  # [tiles, L']: the largest norm of a tile's patterns at the input of each layer
    gap: Array  # [tiles, T]: Δ when the list was made
    norms: Array  # [3, L']: ‖W_j‖, and the round-off of ‖δW_j‖ and of ‖δb_j‖
    reference: Array  # [Ñ]: theta when the list was made
    counters: Array  # [11], indexed by Counter; "count" in a checkpoint


class Counter(IntEnum):
    """Entries of ListState.counters; flags are 0 or 1."""

    SORTS_NOW = 0  # flag: the present step evaluates all patterns and makes the list again
    SORT_REQUESTED = 1  # flag: the next step must make the list again
    NEEDLESS_TILES = 2  # tiles evaluated since the list was made, beyond those that the active patterns need
    SKIPPED_TILES = 3  # tiles not evaluated, summed over the steps since the list was made
    AGE = 4  # steps since the list was made
    PATIENCE = (
        5  # needless tiles that are accepted before the list is made again, in units of the cost of making it
    )
    DRIFT_FACTOR = 6  # multiplies the bound of the drift; 1 unless the list is estimated
    ESTIMATED = 7  # flag: the list is estimated
    MISSED = 8  # patterns found unsatisfied in a tile that was asleep
    LISTS_MADE = 9  # lists made so far
    ASLEEP = 10  # tiles that the present step does not evaluate


class StepScratch(NamedTuple):
    """Arrays of the present step. Its threads share them; only one thread writes to each tile."""

    awake: NDArray[np.bool_]  # bool [tiles]
    drift: Array  # [L' + 1]: |δf| ≤ drift[:-1]·(norms at the inputs of the layers) + drift[-1]
    gap: Array  # [tiles, T]: Δ at theta
    input_norm: Array  # [tiles, L', T]: norms at the inputs of the layers, at theta
    key: Array  # [P]: -Δ over the drift; the list is sorted by it
    own_gap: Array  # [P]: gap in the patterns' own order
    own_norm: Array  # [P, L']: input_norm in the patterns' own order
    bins: Indices  # int64 [P]: the bin of each pattern's key
    bin_ends: Indices  # int64 [SORT_BINS + 1]
    gram: Array  # [h, h], for norm_upper_bound
    gram_power: Array  # [h, h], for norm_upper_bound
