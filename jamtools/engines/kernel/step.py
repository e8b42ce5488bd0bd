"""Full-batch steps of one network, compiled: forward, loss slope, backward and Adam in one loop without Python.

    step t:   ∇L(W) = Σ_{µ∈m} ∂L/∂f(x_µ) · ∂f(x_µ)/∂W   over the tiles awake,   then Adam (optimizers.py)

A tile's unsatisfied patterns alone take part in the backward pass: they are gathered until 64 are together. Sums run over
chunks of some 16 tiles in a fixed order, chunk by chunk, whatever the number of threads: a run's bytes do not depend on
its company. numba caches what it compiles, and watches this file and not those of its pieces: hence PIECES.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from jamtools.engines.kernel.neighbours import ASLEEP, DUE, SORTS, gather, judge_tile, reaches, settle, wake
from jamtools.engines.kernel.tiles import (
    ENTROPY,
    FAST,
    HINGE,
    LOWEST,
    TILE_SIZE,
    Sizes,
    backward,
    forward,
    loss_signal,
    piece,
)
from jamtools.records import Array

#: The SHA-256 of tiles.py and near.py, beginning. Who changes these writes the new one here, and so makes the cache anew; a
#: test holds it.
PIECES = "43e13bfa48bef02b"

TILES_PER_CHUNK = 16

#: In place of the largest Δ, where a step was not begun; neither satisfied nor diverged.
UNKNOWN = 1.0

STEPS, LOOK, SHARE, SETTLE, UPDATE = 0, 1, 2, 3, 4

#: Above this many unsatisfied patterns a tile goes backward whole: gathering costs more than the work it saves.
FULL = 40

compiled = numba.njit(fastmath=FAST, nogil=True, cache=True, error_model="numpy")


@piece
def adam(theta: Array, m: Array, v: Array, g: Array, t: int, lr: float) -> None:
    """One step of Adam at time t (from 1), in place."""
    root2 = math.sqrt(1.0 - 0.999**t)
    rate = lr / (1.0 - 0.9**t)
    for i in range(len(theta)):
        m[i] += 0.1 * (g[i] - m[i])
        v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i]
        theta[i] -= rate * m[i] / (math.sqrt(v[i]) / root2 + 1e-8)


@piece
def chunk_gradient(
    chunk: int, chunks: int, theta: Array, sizes: Sizes, rho: int, kind: int, epsilon: float, curvature: float,
    P: int, X: Array, Y: Array, work: Any, gradient: Array, tally: Array, near: Any, look: Any,
) -> float:  # fmt: skip
    """gradient [Ñ] ← ∇L of one chunk's tiles awake, or of all when the list is made anew; tally [3] of them; max Δ."""
    a, kept, signal, gathered, beta, scratch, bits, nothing = work
    awake, fresh, entering = look[0], look[2], look[3]
    L, tiles, sorts = len(sizes) - 1, len(X), near[6][SORTS] > 0.0
    top = LOWEST
    gradient[:] = 0.0
    tally[:] = 0.0
    n_kept, inside, gap = 0, 0, fresh[0]
    # the tiles awake are the list's first: every chunk has its part of them; the last turn brings home the gathered rest
    for tile in range(chunk, tiles + chunks, chunks):
        n_active = 0
        if tile < tiles:
            if not (sorts or awake[tile]):
                continue
            a[0, : sizes[0]] = X[tile]
            forward(theta, sizes, rho, a, scratch, bits)
            inside, gap = min(TILE_SIZE, P - tile * TILE_SIZE), fresh[tile]
            loss_signal(kind, epsilon, curvature, a[L], Y[tile], inside, signal, gap)
            for k in range(inside):
                if gap[k] > top or gap[k] != gap[k]:
                    top = gap[k]
            n_active = inside if kind == ENTROPY else np.sum(gap > 0.0)
            tally[0] += n_active
            if sorts:
                reaches(sizes, a, entering[tile])
                judge_tile(tile, inside, near, look, tally)
        whole = n_active > FULL
        if whole or n_kept + n_active > TILE_SIZE or (tile >= tiles and n_kept > 0):
            # one call for all three, since it is compiled into each place where it stands
            gathered[:, n_kept:] = 0.0
            backward(
                theta,
                sizes,
                rho,
                a if whole else kept,
                signal if whole else gathered,
                beta,
                nothing,
                gradient,
            )
            n_kept = n_kept if whole else 0
        if whole or n_active == 0:
            continue
        for k in range(inside):
            if kind == ENTROPY or gap[k] > 0.0:
                for j in range(L):
                    for i in range(sizes[j]):
                        kept[j, i, n_kept] = a[j, i, k]
                gathered[:, n_kept] = signal[:, k]
                n_kept += 1
    return top


@compiled
def run(
    task: int, theta: Array, m: Array, v: Array, t: int, lr: float, steps: int, stop: bool, most: int, thread: int,
    threads: int,
    sizes: Sizes, rho: int, kind: int, epsilon: float, curvature: float, x: Array, y: Array, X: Array, Y: Array,
    work: Any, parts: Array, tally: Array, near: Any, look: Any,
) -> tuple[int, float]:  # fmt: skip
    """One of several tasks, in one function so that they share their code, and with it the order of their sums.

    STEPS: up to `steps` steps of Adam in place from its time t; ends before the step at which the largest Δ is ≤ 0 (if
    `stop`) or not finite, or which has more than `most` tiles awake (giving UNKNOWN). The other tasks are the parts of a
    step, for chunks shared by threads and other optimisers: LOOK: which tiles are awake. SHARE: parts [chunks, Ñ] ← ∇L of
    the chunks thread, thread + threads, …, tally [chunks, 3] ← their unsatisfied patterns, those found by chance, the
    largest drift. SETTLE: what follows for the list. UPDATE: the step of Adam that parts make. Returns the steps taken
    and the largest Δ (NaN if any is).

    x [P, d], y [P, C]: the patterns; X [tiles, d, T], Y [tiles, C, T]: the same in the list's order; work: arrays of
    activations, gathered activations, signals, gathered signals, β, scratch and zeros; near: order [P], margin [tiles],
    reach [tiles, L], gap [tiles, T], norms [3, L], reference [Ñ] and counts of the list; look: of one step, awake [tiles],
    pull [L + 1], fresh gaps [tiles, T], norms [tiles, L, T] and keys [P].
    """
    count, P, chunks = near[6], len(x), len(parts)
    done, top = 0, LOWEST
    while done < steps:
        if kind == HINGE and task in (STEPS, LOOK):
            wake(theta, sizes, near, look)
        if task == STEPS and len(X) - count[ASLEEP] > most:
            top = UNKNOWN
            break
        if task in (STEPS, SHARE):
            top = LOWEST
            for c in range(thread, chunks, threads):
                here = chunk_gradient(
                    c, chunks, theta, sizes, rho, kind, epsilon, curvature, P, X, Y, work, parts[c], tally[c], near, look
                )  # fmt: skip
                if here > top or here != here:
                    top = here
        if task == STEPS and not np.isfinite(top):
            break
        if task == STEPS and stop and top <= 0.0:
            if kind == ENTROPY or count[SORTS] > 0.0:
                break
            count[DUE] = 1.0  # the verdict is one over all patterns
            continue
        if kind == HINGE and task in (STEPS, SETTLE):
            sorts = count[SORTS] > 0.0
            settle(sizes, theta, tally, near, look)
            if sorts:
                gather(x, near[0], X)
                gather(y, near[0], Y)
        if task in (STEPS, UPDATE):
            g = parts[0]
            for c in range(1, chunks):
                for i in range(len(g)):
                    g[i] += parts[c, i]
            adam(theta, m, v, g, t + done + 1, lr)
        done += 1
        if task != STEPS:
            break
    return done, top
