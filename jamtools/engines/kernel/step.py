"""Full-batch steps of one network, compiled: forward, slope of the loss, backward and Adam in one loop without Python.

    step t:   ∇L(W) = Σ_{µ∈m} ∂L/∂f(x_µ) · ∂f(x_µ)/∂W   over the tiles awake,   then Adam (engines/optimizers.py)

Only the unsatisfied patterns of a tile take part in the backward pass: they are gathered until 64 are together. Sums
run over chunks of about 16 tiles, chunk by chunk in a fixed order, for any number of threads. So a run's bytes depend
neither on the number of threads nor on the other runs.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jamtools.engines import constants
from jamtools.engines.constants import (
    ADAM_BETA1,
    ADAM_BETA2,
    ADAM_EPSILON,
    ADAM_GAIN1,
    ADAM_GAIN2,
    UNKNOWN_GAP,
)
from jamtools.engines.kernel import compilation, neighbours, records, tiles
from jamtools.engines.kernel.compilation import entry_point, inlined, source_hash
from jamtools.engines.kernel.neighbours import (
    copy_to_tiles,
    find_awake_tiles,
    input_norms,
    record_tile,
    update_list,
)
from jamtools.engines.kernel.records import (
    AdamMoments,
    ChunkSums,
    Counter,
    ListState,
    Network,
    Patterns,
    StepLimits,
    StepScratch,
    Tally,
    Workspace,
)
from jamtools.engines.kernel.tiles import (
    CROSS_ENTROPY,
    HINGE,
    LOWEST_GAP,
    TILE_SIZE,
    backward,
    forward,
    loss_signal,
)
from jamtools.records import Array

#: Tiles per chunk, on average. The gradient of a chunk is one sum; threads share the chunks.
TILES_PER_CHUNK = 16

#: Up to limits.steps steps of Adam in place. They end before a step at which the largest Δ is ≤ 0 (if limits.stop) or not
#: finite, or which has more than limits.max_awake tiles awake (the largest Δ is then UNKNOWN_GAP).
TASK_STEPS = 0

#: The parts of a step, for other optimisers and for threads that share a step: which tiles are awake; the sums of the chunks
#: thread, thread + threads, …; what follows for the list; the step of Adam with the sum of all chunks.
TASK_FIND_AWAKE, TASK_CHUNKS, TASK_UPDATE_LIST, TASK_UPDATE_THETA = 1, 2, 3, 4

#: A tile with more unsatisfied patterns than this goes backward as a whole: to gather them would cost more than it saves.
GATHER_MAX_PATTERNS = 40


@inlined
def adam_step(theta: Array, m: Array, v: Array, g: Array, t: int, lr: float) -> None:
    """Step t (from 1) of Adam in place; theta, m, v, g: [Ñ]."""
    root2 = math.sqrt(1.0 - ADAM_BETA2**t)
    rate = lr / (1.0 - ADAM_BETA1**t)
    for i in range(len(theta)):
        m[i] += ADAM_GAIN1 * (g[i] - m[i])
        v[i] = ADAM_BETA2 * v[i] + ADAM_GAIN2 * g[i] * g[i]
        theta[i] -= rate * m[i] / (math.sqrt(v[i]) / root2 + ADAM_EPSILON)


@inlined
def chunk_gradient(
    chunk: int, chunks: int, theta: Array, network: Network, patterns: Patterns, workspace: Workspace,
    gradient: Array, tally: Array, neighbours: ListState, scratch: StepScratch,
) -> float:  # fmt: skip
    """gradient [Ñ] ← ∇L of the chunk's tiles awake, or of all its tiles in a step that makes the list; tally [3].

    theta [Ñ]. Returns the largest Δ of the tiles that were evaluated, NaN if one is NaN.
    """
    a, kept = workspace.activations, workspace.gathered_activations
    signal, gathered = workspace.signal, workspace.gathered_signal
    sizes, x, y = network.sizes, patterns.x_tiles, patterns.y_tiles
    P, L, n_tiles = len(patterns.x), len(sizes) - 1, len(x)
    sorts = neighbours.counters[Counter.SORTS_NOW] > 0.0
    top = LOWEST_GAP
    gradient[:] = 0.0
    tally[:] = 0.0
    n_kept, inside, gap = 0, 0, scratch.gap[0]
    # tiles awake are the first of the list, so that every chunk has some; the last turn is for the gathered rest
    for tile in range(chunk, n_tiles + chunks, chunks):
        n_active = 0
        if tile < n_tiles:
            if not (sorts or scratch.awake[tile]):
                continue
            a[0, : sizes[0]] = x[tile]
            forward(theta, network, workspace)
            inside, gap = min(TILE_SIZE, P - tile * TILE_SIZE), scratch.gap[tile]
            loss_signal(network, a[L], y[tile], inside, signal, gap)
            for k in range(inside):
                if gap[k] > top or gap[k] != gap[k]:
                    top = gap[k]
            n_active = inside if network.loss == CROSS_ENTROPY else np.sum(gap > 0.0)
            tally[Tally.ACTIVE] += n_active
            if sorts:
                input_norms(sizes, a, scratch.input_norm[tile])
                record_tile(tile, inside, neighbours, scratch, tally)
        whole = n_active > GATHER_MAX_PATTERNS
        if whole or n_kept + n_active > TILE_SIZE or (tile >= n_tiles and n_kept > 0):
            gathered[:, n_kept:] = 0.0
            # one call for the three cases, because every call is a copy of the code
            backward(theta, network, a if whole else kept, signal if whole else gathered, workspace, gradient)
            n_kept = n_kept if whole else 0
        if whole or n_active == 0:
            continue
        for k in range(inside):
            if network.loss == CROSS_ENTROPY or gap[k] > 0.0:
                for j in range(L):
                    for i in range(sizes[j]):
                        kept[j, i, n_kept] = a[j, i, k]
                gathered[:, n_kept] = signal[:, k]
                n_kept += 1
    return top


@inlined
def settle(
    theta: Array, network: Network, patterns: Patterns, sums: ChunkSums, neighbours: ListState, scratch: StepScratch
) -> None:  # fmt: skip
    """Updates the list after a step's gradient; after a step that made the list also the order of the tiles."""
    sorts = neighbours.counters[Counter.SORTS_NOW] > 0.0
    update_list(network.sizes, theta, sums.tallies, neighbours, scratch)
    if sorts:
        copy_to_tiles(patterns.x, neighbours.order, patterns.x_tiles)
        copy_to_tiles(patterns.y, neighbours.order, patterns.y_tiles)


@inlined
def update_theta(theta: Array, adam: AdamMoments, gradients: Array, t: int) -> None:
    """Step t (from 1) of Adam with the sum of gradients [chunks, Ñ], which is left in gradients[0]; theta [Ñ]."""
    g = gradients[0]
    for c in range(1, len(gradients)):
        for i in range(len(g)):
            g[i] += gradients[c, i]
    adam_step(theta, adam.m, adam.v, g, t, adam.lr)


def compile_kernel(sources: int) -> Any:
    """The compiled kernel. sources: the hash of the files that are compiled into it, a part of the key of numba's cache."""

    @entry_point
    def run(
        task: int, theta: Array, adam: AdamMoments, limits: StepLimits, thread: int, threads: int,
        network: Network, patterns: Patterns, workspace: Workspace, sums: ChunkSums,
        neighbours: ListState, scratch: StepScratch,
    ) -> tuple[int, float]:  # fmt: skip
        """Does a task on theta [Ñ]; returns the number of steps taken and the largest Δ, NaN if one is NaN.

        One function does all tasks, so that they share their code and with it the order of their sums.
        """
        _ = sources
        count, hinge, chunks = neighbours.counters, network.loss == HINGE, len(sums.gradients)
        done, top = 0, LOWEST_GAP
        while done < limits.steps:
            if hinge and task in (TASK_STEPS, TASK_FIND_AWAKE):
                find_awake_tiles(theta, network.sizes, neighbours, scratch)
            if task == TASK_STEPS and len(patterns.x_tiles) - count[Counter.ASLEEP] > limits.max_awake:
                top = UNKNOWN_GAP
                break
            if task in (TASK_STEPS, TASK_CHUNKS):
                top = LOWEST_GAP
                for c in range(thread, chunks, threads):
                    chunk_top = chunk_gradient(
                        c, chunks, theta, network, patterns, workspace, sums.gradients[c], sums.tallies[c],
                        neighbours, scratch,
                    )  # fmt: skip
                    if chunk_top > top or chunk_top != chunk_top:
                        top = chunk_top
            if task == TASK_STEPS and not np.isfinite(top):
                break
            if task == TASK_STEPS and limits.stop and top <= 0.0:
                if not hinge or count[Counter.SORTS_NOW] > 0.0:
                    break
                count[Counter.SORT_REQUESTED] = (
                    1.0  # a run is satisfied only where all patterns were evaluated
                )
                continue
            if hinge and task in (TASK_STEPS, TASK_UPDATE_LIST):
                settle(theta, network, patterns, sums, neighbours, scratch)
            if task in (TASK_STEPS, TASK_UPDATE_THETA):
                update_theta(theta, adam, sums.gradients, adam.t + done + 1)
            done += 1
            if task != TASK_STEPS:
                break
        return done, top

    return run


run = compile_kernel(source_hash(compilation, constants, neighbours, records, tiles))
