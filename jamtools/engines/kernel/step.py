"""Full-batch steps of one network, compiled: forward, slope of the loss, backward and Adam in one loop without Python.

    step t:   ∇L(W) = Σ_{µ∈m} ∂L/∂f(x_µ) · ∂f(x_µ)/∂W   over the tiles awake,   then Adam (engines/optimizers.py)

Only the unsatisfied patterns of a tile take part in the backward pass: they are gathered until a tile of 64 is full. Sums
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

#: Up to limits.steps steps of Adam in place. They end before a step at which the largest Δ is ≤ limits.contact (if
#: limits.stop) or not finite, or which has more than limits.max_awake tiles awake (the largest Δ is then UNKNOWN_GAP).
TASK_STEPS = 0

#: The parts of a step, for other optimisers and for threads that share a step. In this order: find the awake tiles; compute
#: the sums of the chunks thread, thread + threads, …; update the list; take the step of Adam with the sum of all chunks.
TASK_FIND_AWAKE, TASK_CHUNKS, TASK_UPDATE_LIST, TASK_UPDATE_THETA = 1, 2, 3, 4

#: A tile with more unsatisfied patterns than this takes the backward pass as a whole, because gathering would cost more.
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
    a, gathered_a = workspace.activations, workspace.gathered_activations
    signal, gathered_signal = workspace.signal, workspace.gathered_signal
    sizes, x, y = network.sizes, patterns.x_tiles, patterns.y_tiles
    P, L, n_tiles = len(patterns.x), len(sizes) - 1, len(x)
    sorts = neighbours.counters[Counter.SORTS_NOW] > 0.0
    max_gap = LOWEST_GAP
    gradient[:] = 0.0
    tally[:] = 0.0
    n_gathered, inside, gap = 0, 0, scratch.gap[0]
    # the awake tiles come first in the list: this stride gives some to every chunk; the last turn has no tile of its own
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
                if gap[k] > max_gap or gap[k] != gap[k]:
                    max_gap = gap[k]
            n_active = inside if network.loss == CROSS_ENTROPY else np.sum(gap > 0.0)
            tally[Tally.ACTIVE] += n_active
            if sorts:
                input_norms(sizes, a, scratch.input_norm[tile])
                record_tile(tile, inside, neighbours, scratch, tally)
        whole = n_active > GATHER_MAX_PATTERNS
        if whole or n_gathered + n_active > TILE_SIZE or (tile >= n_tiles and n_gathered > 0):
            gathered_signal[:, n_gathered:] = 0.0
            # one call serves the three cases, because each call is a copy of the inlined code
            backward(
                theta,
                network,
                a if whole else gathered_a,
                signal if whole else gathered_signal,
                workspace,
                gradient,
            )
            n_gathered = n_gathered if whole else 0
        if whole or n_active == 0:
            continue
        for k in range(inside):
            if network.loss == CROSS_ENTROPY or gap[k] > 0.0:
                for j in range(L):
                    for i in range(sizes[j]):
                        gathered_a[j, i, n_gathered] = a[j, i, k]
                gathered_signal[:, n_gathered] = signal[:, k]
                n_gathered += 1
    return max_gap


@inlined
def update_list_and_tiles(
    theta: Array, network: Network, patterns: Patterns, sums: ChunkSums, neighbours: ListState, scratch: StepScratch
) -> None:  # fmt: skip
    """Updates the list after the gradient at theta [Ñ]. If the step made the list, also fills the tiles in its order."""
    sorts = neighbours.counters[Counter.SORTS_NOW] > 0.0
    update_list(network.sizes, network.biases, theta, sums.tallies, neighbours, scratch)
    if sorts:
        copy_to_tiles(patterns.x, neighbours.order, patterns.x_tiles)
        copy_to_tiles(patterns.y, neighbours.order, patterns.y_tiles)


@inlined
def update_theta(theta: Array, adam: AdamMoments, gradients: Array, t: int) -> None:
    """Step t (from 1) of Adam with the sum of gradients [chunks, Ñ]; theta [Ñ]. At fixed norm, its tangent part."""
    g = gradients[0]
    for c in range(1, len(gradients)):
        for i in range(len(g)):
            g[i] += gradients[c, i]
    if adam.norm > 0.0:
        along, square = 0.0, 0.0
        for i in range(len(g)):
            along += theta[i] * g[i]
            square += theta[i] * theta[i]
        for i in range(len(g)):
            g[i] -= along / square * theta[i]
    adam_step(theta, adam.m, adam.v, g, t, adam.lr)
    if adam.norm > 0.0:
        square = 0.0
        for i in range(len(g)):
            square += theta[i] * theta[i]
        scale = adam.norm / math.sqrt(square)
        for i in range(len(g)):
            theta[i] *= scale


def compile_kernel(sources: int) -> Any:
    """The compiled kernel. sources: the hash of the files that are compiled into it; it enters the key of numba's cache."""

    @entry_point
    def run(
        task: int, theta: Array, adam: AdamMoments, limits: StepLimits, thread: int, threads: int,
        network: Network, patterns: Patterns, workspace: Workspace, sums: ChunkSums,
        neighbours: ListState, scratch: StepScratch,
    ) -> tuple[int, float]:  # fmt: skip
        """Does a task on theta [Ñ]; returns the number of steps taken and the largest Δ, NaN if one is NaN.

        One function does all tasks: they share the code, and so the order of the sums.
        """
        _ = sources
        count, hinge, chunks = neighbours.counters, network.loss == HINGE, len(sums.gradients)
        done, max_gap = 0, LOWEST_GAP
        while done < limits.steps:
            if hinge and task in (TASK_STEPS, TASK_FIND_AWAKE):
                find_awake_tiles(theta, network.sizes, network.biases, neighbours, scratch)
            if task == TASK_STEPS and len(patterns.x_tiles) - count[Counter.ASLEEP] > limits.max_awake:
                max_gap = UNKNOWN_GAP
                break
            if task in (TASK_STEPS, TASK_CHUNKS):
                max_gap = LOWEST_GAP
                for c in range(thread, chunks, threads):
                    chunk_max_gap = chunk_gradient(
                        c, chunks, theta, network, patterns, workspace, sums.gradients[c], sums.tallies[c],
                        neighbours, scratch,
                    )  # fmt: skip
                    if chunk_max_gap > max_gap or chunk_max_gap != chunk_max_gap:
                        max_gap = chunk_max_gap
            if task == TASK_STEPS and not np.isfinite(max_gap):
                break
            if task == TASK_STEPS and limits.stop and max_gap <= limits.contact:
                if not hinge or count[Counter.SORTS_NOW] > 0.0:
                    break
                # a run is satisfied only if the same step evaluated all patterns
                count[Counter.SORT_REQUESTED] = 1.0
                continue
            if hinge and task in (TASK_STEPS, TASK_UPDATE_LIST):
                update_list_and_tiles(theta, network, patterns, sums, neighbours, scratch)
            if task in (TASK_STEPS, TASK_UPDATE_THETA):
                update_theta(theta, adam, sums.gradients, adam.t + done + 1)
            done += 1
            if task != TASK_STEPS:
                break
        return done, max_gap

    return run


run = compile_kernel(source_hash(compilation, constants, neighbours, records, tiles))
