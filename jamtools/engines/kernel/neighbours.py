"""The list of nearby patterns: which may have crossed Δ = 0 since all were last looked at. Pieces of the compiled kernel.

    |δΔ| ≤ |δf| ≤ Σ_j K_j (‖δW_j‖ ‖a_{j-1}‖ + ‖δb_j‖),   K_j = Π_{k>j} (‖W_k‖ + ‖δW_k‖)

holds for every ρ that stretches nothing (|ρ'| ≤ 1), with δ the change since the list was made: layer j hands on at most
‖W_j + δW_j‖ ‖δa_{j-1}‖ + ‖δW_j‖ ‖a_{j-1}‖ + ‖δb_j‖. Patterns are sorted by how soon the bound lets them cross, and cut
into tiles. A tile sleeps, and costs nothing, while the bound for it is below its margin, the least -Δ of its patterns:
exact, at each step, whatever the step. The list is made anew once the tiles looked at in vain have cost as much as
making it.

An estimated list takes, in place of the bound, a multiple of the drifts it has seen, which are some hundred times smaller:
it sleeps longer, and may miss a crossing; it counts those it finds out.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from jamtools.engines.kernel.tiles import TILE_SIZE, Sizes, piece
from jamtools.records import Array

#: These keep a symbol of their own (a piece may not, see tiles.py): with no freedom in their sums they give the same bytes
#: from wherever they are taken.
strict = numba.njit(nogil=True, cache=True, error_model="numpy")

#: The counts of the list. SORTS: whether this step goes over all patterns and sorts them; DUE: asked for; EXCESS, SAVED:
#: tiles looked at in vain and tiles not looked at since it was made, AGE steps ago; PATIENCE: excess waited for, over its
#: price; FACTOR: on the bound of the drift, 1 unless ESTIMATED; MISSED: patterns found unsatisfied in a tile asleep;
#: SORTED: lists made; ASLEEP: tiles that are not looked at in this step.
SORTS, DUE, EXCESS, SAVED, AGE, PATIENCE, FACTOR, ESTIMATED, MISSED, SORTED, ASLEEP = range(11)

#: To sort the patterns costs about this share of a look at all of them.
SORTING = 0.5

LONGEST = 64.0

#: An estimated list trusts drifts up to this many times the largest it saw, never less than LEAST of the bound, and is made
#: anew after OLD steps.
SAFETY, LEAST, OLD = 2.0, 1e-4, 1000.0

CLASSES = 97

ROUND_OFF = 1.1102230246251565e-16


@strict
def bound_norm(theta: Array, start: int, n_out: int, n_in: int, gram: Array, power: Array) -> float:
    """An upper bound of the largest singular value of W [out, in] at theta[start]: (Σ σ¹⁶)^(1/16), by powers of W Wᵀ."""
    size = length(theta, start, start + n_out * n_in)
    if not size > 0.0:
        return size
    for i in range(n_out):
        for k in range(i + 1):
            s = 0.0
            for l in range(n_in):
                s += theta[start + i * n_in + l] * theta[start + k * n_in + l]
            gram[i, k] = gram[k, i] = s / (size * size)
    for _ in range(2):
        for i in range(n_out):
            for k in range(i + 1):
                s = 0.0
                for l in range(n_out):
                    s += gram[i, l] * gram[k, l]
                power[i, k] = power[k, i] = s
        gram, power = power, gram
    s = 0.0
    for i in range(n_out):
        for k in range(n_out):
            s += gram[i, k] * gram[i, k]
    return size * s ** (1 / 16) * (1.0 + 1e-9)


@strict
def length(theta: Array, start: int, stop: int) -> float:
    """The Euclidean norm of theta[start:stop]."""
    s = 0.0
    for i in range(start, stop):
        s += theta[i] * theta[i]
    return math.sqrt(s)


@strict
def bound_drift(theta: Array, sizes: Sizes, reference: Array, norms: Array, pull: Array) -> None:
    """pull [L' + 1], L' layers: |f - f at the reference| ≤ pull[:-1]·(norms there of what enters the layers) + pull[-1].

    norms [3, L'] hold, for the reference, ‖W_j‖ and what round-off adds to ‖δW_j‖ and ‖δb_j‖.
    """
    L = len(sizes) - 1
    stop, K = len(theta), 1.0
    pull[L] = 0.0
    for j in range(L, 0, -1):
        middle = stop - sizes[j]
        start = middle - sizes[j] * sizes[j - 1]
        s = 0.0
        for i in range(start, middle):
            s += (theta[i] - reference[i]) * (theta[i] - reference[i])
        b = 0.0
        for i in range(middle, stop):
            b += (theta[i] - reference[i]) * (theta[i] - reference[i])
        step = math.sqrt(s) + norms[1, j - 1]
        pull[j - 1] = K * step
        pull[L] += K * (math.sqrt(b) + norms[2, j - 1])
        K *= norms[0, j - 1] + step
        stop = start


@strict
def wake(theta: Array, sizes: Sizes, near: Any, look: Any) -> None:
    """Which tiles are awake at theta: those of which a pattern may be unsatisfied; and whether to sort the patterns anew."""
    _, margin, reach, _, norms, reference, count = near
    awake, pull = look[0], look[1]
    L, tiles = len(sizes) - 1, len(margin)
    bound_drift(theta, sizes, reference, norms, pull)
    factor = count[FACTOR] * (1.0 + 1e-9)
    asleep = 0
    for tile in range(tiles):
        bound = pull[L]
        for j in range(L):
            bound += pull[j] * reach[tile, j]
        awake[tile] = not factor * bound < margin[tile]  # a NaN wakes
        asleep += not awake[tile]
    price = count[PATIENCE] * (asleep + tiles * SORTING)
    count[SORTS] = count[DUE] > 0.0 or count[EXCESS] > price or (factor < 1.0 and count[AGE] >= OLD)
    count[ASLEEP] = 0.0 if count[SORTS] > 0.0 else asleep


@piece
def reaches(sizes: Sizes, a: Array, reach: Array) -> None:
    """reach [L, T] ← the norms of what enters each layer."""
    for j in range(len(sizes) - 1):
        r = reach[j]
        r[:] = 0.0
        for i in range(sizes[j]):
            aji = a[j, i]
            for k in range(TILE_SIZE):
                r[k] += aji[k] * aji[k]
        for k in range(TILE_SIZE):
            r[k] = math.sqrt(r[k])


@piece
def judge_tile(tile: int, inside: int, near: Any, look: Any, tally: Array) -> None:
    """Of a tile seen afresh: how soon its patterns may cross (key), which crossed unseen, how far they went."""
    order, _, reach, gap, _, _, count = near
    awake, pull, fresh, entering, key = look[:5]
    L = len(pull) - 1
    bound = pull[L]
    for j in range(L):
        bound += pull[j] * reach[tile, j]
    for k in range(inside):
        s = pull[L]
        for j in range(L):
            s += pull[j] * entering[tile, j, k]
        key[order[tile * TILE_SIZE + k]] = -fresh[tile, k] / s if s > 0.0 else -fresh[tile, k]
        if fresh[tile, k] > 0.0 and not awake[tile]:
            tally[1] += 1.0
        went = abs(fresh[tile, k] - gap[tile, k])
        if went > tally[2] * bound and went < np.inf:
            tally[2] = went / bound


@strict
def settle(sizes: Sizes, theta: Array, tally: Array, near: Any, look: Any) -> None:
    """What a step's work says of the list, and after one over all patterns the list anew."""
    count, tiles, awake = near[6], len(near[1]), look[0]
    active, asleep = 0.0, 0.0
    for c in range(len(tally)):
        active += tally[c, 0]
    for tile in range(tiles):
        asleep += not awake[tile]
    count[AGE] += 1.0
    count[SAVED] += asleep
    # one tile is begun by whatever is active
    count[EXCESS] += max(0.0, tiles - asleep - math.ceil(active / TILE_SIZE) - 1.0)
    if count[SORTS] > 0.0:
        make_list(sizes, theta, near, look)
        went = 0.0
        for c in range(len(tally)):
            count[MISSED] += tally[c, 1]
            went = max(went, tally[c, 2])
        if count[ESTIMATED] > 0.0:
            count[FACTOR] = min(1.0, max(SAFETY * went, count[FACTOR] / 2, LEAST))
        worth = count[SAVED] > tiles * SORTING
        count[PATIENCE] = max(1.0, count[PATIENCE] / 2) if worth else min(LONGEST, count[PATIENCE] * 2)
        count[DUE] = count[AGE] = count[SAVED] = count[EXCESS] = 0.0
        count[SORTED] += 1.0


@strict
def make_list(sizes: Sizes, theta: Array, near: Any, look: Any) -> None:
    """The list as of theta: patterns in the order in which they may cross Δ = 0, unsatisfied ones first."""
    order, margin, reach, gap, norms, reference, _ = near
    _, _, fresh, entering, key, own_gap, own_norm, classes, ends, gram, power = look
    L, P = len(sizes) - 1, len(order)
    # gaps and norms move with their patterns: through arrays in the patterns' own order
    for p in range(P):
        own_gap[order[p]] = fresh[p // TILE_SIZE, p % TILE_SIZE]
        for j in range(L):
            own_norm[order[p], j] = entering[p // TILE_SIZE, j, p % TILE_SIZE]
    by_key(key, order, classes, ends)
    for tile in range(len(margin)):
        margin[tile] = np.inf
        for j in range(L):
            reach[tile, j] = 0.0
    for p in range(P):
        tile = p // TILE_SIZE
        q = order[p]
        gap[tile, p % TILE_SIZE] = own_gap[q]
        margin[tile] = min(margin[tile], -own_gap[q])
        for j in range(L):
            reach[tile, j] = max(reach[tile, j], own_norm[q, j])
    for i in range(len(theta)):
        reference[i] = theta[i]
    start = 0
    for j in range(L):
        n_out, n_in = sizes[j + 1], sizes[j]
        middle = start + n_out * n_in
        stop = middle + n_out
        round_off = 4 * (n_in + 2) * ROUND_OFF
        norms[1, j] = round_off * length(theta, start, middle)
        norms[2, j] = round_off * length(theta, middle, stop)
        # the first layer's norm multiplies nothing
        norms[0, j] = bound_norm(theta, start, n_out, n_in, gram, power) if j > 0 else 0.0
        start = stop


@strict
def by_key(key: Array, order: Sizes, classes: Sizes, ends: Sizes) -> None:
    """order [P] ← the patterns by key, in 8 classes an octave below the largest; keys ≤ 0 come first. By counting."""
    P, highest = len(key), 0.0
    for p in range(P):
        highest = max(highest, key[p])
    for c in range(len(ends)):
        ends[c] = 0
    for p in range(P):
        fraction = key[p] / highest if key[p] > 0.0 else 0.0
        classes[p] = max(0, CLASSES - 1 + math.floor(8 * math.log2(fraction))) if fraction > 0.0 else 0
        ends[classes[p] + 1] += 1
    for c in range(CLASSES):
        ends[c + 1] += ends[c]
    for p in range(P):
        order[ends[classes[p]]] = p
        ends[classes[p]] += 1


@strict
def gather(rows: Array, order: Sizes, tiles: Array) -> None:
    """tiles [tiles, n, T] ← rows [P, n] in a new order."""
    for p in range(len(order)):
        row = rows[order[p]]
        for i in range(len(row)):
            tiles[p // TILE_SIZE, i, p % TILE_SIZE] = row[i]
