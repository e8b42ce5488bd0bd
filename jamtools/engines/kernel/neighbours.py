"""The list of neighbours: which patterns may have become unsatisfied since all were evaluated. A part of the kernel.

    |δΔ| ≤ |δf| ≤ Σ_j K_j (‖δW_j‖ ‖a_{j-1}‖ + ‖δb_j‖),   K_j = Π_{k>j} (‖W_k‖ + ‖δW_k‖)

δ is the change since the list was made. The bound holds for every ρ with |ρ'| ≤ 1: layer j passes on at most
‖W_j + δW_j‖ ‖δa_{j-1}‖ + ‖δW_j‖ ‖a_{j-1}‖ + ‖δb_j‖. The patterns are sorted by how soon the bound allows them to reach
Δ = 0, and cut into tiles. A tile sleeps, and is not evaluated, while the bound is below its margin, the least -Δ of its
patterns. This is exact at every step, for any step size. The list is made again when the tiles that were evaluated
without need have cost more than making it, times a patience ≥ 1.

Instead of the bound, an estimated list uses a multiple of the largest drift that it has observed. This is about a hundred
times smaller. Its tiles sleep longer, but it may miss a crossing. It counts the crossings that it notices too late.

Source: none, own derivation above.
"""

from __future__ import annotations

import math

import numpy as np

from jamtools.engines.kernel.compilation import inlined, standalone
from jamtools.engines.kernel.records import Counter, Indices, ListState, StepScratch, Tally
from jamtools.engines.kernel.tiles import TILE_SIZE
from jamtools.records import Array

#: Cost of sorting the patterns, in units of evaluating all of them (measured, approximate).
SORT_COST = 0.5

#: Largest patience (Counter.PATIENCE), in units of the cost of making the list.
MAX_PATIENCE = 64.0

#: An estimated list assumes this many times the largest drift that it observed, but at least half of the previous value.
DRIFT_SAFETY = 2.0

#: The least drift that an estimated list assumes, in units of the bound.
MIN_DRIFT_FACTOR = 1e-4

#: Steps after which an estimated list is made again.
ESTIMATED_LIST_MAX_AGE = 1000.0

#: Number of bins of the counting sort, and of bins per octave (factor 2) of the key.
SORT_BINS, SORT_BINS_PER_OCTAVE = 97, 8

#: Relative round-off of one float64 operation, 2⁻⁵³.
UNIT_ROUND_OFF = 1.1102230246251565e-16


@standalone
def norm_upper_bound(theta: Array, start: int, n_out: int, n_in: int, gram: Array, power: Array) -> float:
    """An upper bound of ‖W‖, the largest singular value of the W [out, in] that begins at theta[start]; theta [Ñ].

    ‖W‖ ≤ (Σ σ¹⁶)^(1/16), from the Frobenius norm of (W Wᵀ)⁴. gram, power [h, h] are scratch. The last factor covers
    the round-off.
    """
    size = euclidean_norm(theta, start, start + n_out * n_in)
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


@standalone
def euclidean_norm(theta: Array, start: int, stop: int) -> float:
    """The Euclidean norm of theta[start:stop]; theta [Ñ]."""
    s = 0.0
    for i in range(start, stop):
        s += theta[i] * theta[i]
    return math.sqrt(s)


@standalone
def drift_coefficients(
    theta: Array, sizes: Indices, biases: Indices, reference: Array, norms: Array, drift: Array
) -> None:
    """drift [L' + 1] ← |f - f at the reference| ≤ drift[:-1]·(norms at the inputs of the layers) + drift[-1].

    theta, reference [Ñ]; the norms at the inputs are those at the reference. norms [3, L'] holds, at the reference,
    ‖W_j‖ and the round-off errors of ‖δW_j‖ and ‖δb_j‖.
    """
    L = len(sizes) - 1
    stop, K = len(theta), 1.0
    drift[L] = 0.0
    for j in range(L, 0, -1):
        middle = stop - biases[j - 1]
        start = middle - sizes[j] * sizes[j - 1]
        s = 0.0
        for i in range(start, middle):
            s += (theta[i] - reference[i]) * (theta[i] - reference[i])
        b = 0.0
        for i in range(middle, stop):
            b += (theta[i] - reference[i]) * (theta[i] - reference[i])
        change = math.sqrt(s) + norms[1, j - 1]
        drift[j - 1] = K * change
        drift[L] += K * (math.sqrt(b) + norms[2, j - 1])
        K *= norms[0, j - 1] + change
        stop = start


@standalone
def find_awake_tiles(
    theta: Array, sizes: Indices, biases: Indices, neighbours: ListState, scratch: StepScratch
) -> None:
    """scratch.awake [tiles] ← the tiles in which a pattern may be unsatisfied at theta [Ñ].

    It also decides whether this step makes the list again. Such a step evaluates all tiles.
    """
    margin, reach, count = neighbours.margin, neighbours.reach, neighbours.counters
    drift = scratch.drift
    L, tiles = len(sizes) - 1, len(margin)
    drift_coefficients(theta, sizes, biases, neighbours.reference, neighbours.norms, drift)
    factor = count[Counter.DRIFT_FACTOR] * (1.0 + 1e-9)
    asleep = 0
    for tile in range(tiles):
        bound = drift[L]
        for j in range(L):
            bound += drift[j] * reach[tile, j]
        scratch.awake[tile] = not factor * bound < margin[tile]  # a tile whose bound is NaN is awake
        asleep += not scratch.awake[tile]
    accepted = count[Counter.PATIENCE] * (asleep + tiles * SORT_COST)
    count[Counter.SORTS_NOW] = (
        count[Counter.SORT_REQUESTED] > 0.0
        or count[Counter.NEEDLESS_TILES] > accepted
        or (factor < 1.0 and count[Counter.AGE] >= ESTIMATED_LIST_MAX_AGE)
    )
    count[Counter.ASLEEP] = 0.0 if count[Counter.SORTS_NOW] > 0.0 else asleep


@inlined
def input_norms(sizes: Indices, a: Array, norms: Array) -> None:
    """norms [L', T] ← the norms at the input of each layer, from the activations a [L' + 1, h, T] of a tile."""
    for j in range(len(sizes) - 1):
        r = norms[j]
        r[:] = 0.0
        for i in range(sizes[j]):
            aji = a[j, i]
            for k in range(TILE_SIZE):
                r[k] += aji[k] * aji[k]
        for k in range(TILE_SIZE):
            r[k] = math.sqrt(r[k])


@inlined
def record_tile(tile: int, inside: int, neighbours: ListState, scratch: StepScratch, tally: Array) -> None:
    """Updates the sort keys, the number of missed crossings and the largest drift for a tile that was just evaluated.

    inside: the number of patterns in the tile; tally [3].
    """
    order, drift, gap = neighbours.order, scratch.drift, scratch.gap
    L = len(drift) - 1
    bound = drift[L]
    for j in range(L):
        bound += drift[j] * neighbours.reach[tile, j]
    for k in range(inside):
        s = drift[L]
        for j in range(L):
            s += drift[j] * scratch.input_norm[tile, j, k]
        scratch.key[order[tile * TILE_SIZE + k]] = -gap[tile, k] / s if s > 0.0 else -gap[tile, k]
        if gap[tile, k] > 0.0 and not scratch.awake[tile]:
            tally[Tally.MISSED] += 1.0
        change = abs(gap[tile, k] - neighbours.gap[tile, k])
        if change > tally[Tally.LARGEST_DRIFT] * bound and change < np.inf:
            tally[Tally.LARGEST_DRIFT] = change / bound


@standalone
def update_list(
    sizes: Indices, biases: Indices, theta: Array, tallies: Array, neighbours: ListState, scratch: StepScratch
) -> None:
    """Updates the counters after a step's gradient, and makes the list if the step evaluated all patterns for it.

    theta [Ñ]; tallies [chunks, 3].
    """
    count, tiles = neighbours.counters, len(neighbours.margin)
    active, asleep = 0.0, 0.0
    for c in range(len(tallies)):
        active += tallies[c, Tally.ACTIVE]
    for tile in range(tiles):
        asleep += not scratch.awake[tile]
    count[Counter.AGE] += 1.0
    count[Counter.SKIPPED_TILES] += asleep
    # the active patterns need active/T tiles, rounded up; one more tile may be partly filled
    count[Counter.NEEDLESS_TILES] += max(0.0, tiles - asleep - math.ceil(active / TILE_SIZE) - 1.0)
    if count[Counter.SORTS_NOW] > 0.0:
        make_list(sizes, biases, theta, neighbours, scratch)
        reset_counters(count, tallies, tiles)


@standalone
def reset_counters(count: Array, tallies: Array, tiles: int) -> None:
    """Prepares count [11] for a list that was just made; tallies [chunks, 3] are those of the step that made it.

    The patience doubles after a list that did not save its own cost, and is halved after a list that did.
    """
    largest_drift = 0.0
    for c in range(len(tallies)):
        count[Counter.MISSED] += tallies[c, Tally.MISSED]
        largest_drift = max(largest_drift, tallies[c, Tally.LARGEST_DRIFT])
    if count[Counter.ESTIMATED] > 0.0:
        count[Counter.DRIFT_FACTOR] = min(
            1.0, max(DRIFT_SAFETY * largest_drift, count[Counter.DRIFT_FACTOR] / 2, MIN_DRIFT_FACTOR)
        )
    patience = count[Counter.PATIENCE]
    paid = count[Counter.SKIPPED_TILES] > tiles * SORT_COST
    count[Counter.PATIENCE] = max(1.0, patience / 2) if paid else min(MAX_PATIENCE, patience * 2)
    count[Counter.SORT_REQUESTED] = count[Counter.AGE] = 0.0
    count[Counter.SKIPPED_TILES] = count[Counter.NEEDLESS_TILES] = 0.0
    count[Counter.LISTS_MADE] += 1.0


@standalone
def make_list(
    sizes: Indices, biases: Indices, theta: Array, neighbours: ListState, scratch: StepScratch
) -> None:
    """Makes the list at theta [Ñ]: patterns in the order in which they may reach Δ = 0, unsatisfied ones first."""
    order, margin, reach = neighbours.order, neighbours.margin, neighbours.reach
    own_gap, own_norm = scratch.own_gap, scratch.own_norm
    L, P = len(sizes) - 1, len(order)
    # gaps and norms follow their patterns to new places, through arrays in the patterns' own order
    for p in range(P):
        own_gap[order[p]] = scratch.gap[p // TILE_SIZE, p % TILE_SIZE]
        for j in range(L):
            own_norm[order[p], j] = scratch.input_norm[p // TILE_SIZE, j, p % TILE_SIZE]
    sort_by_key(scratch.key, order, scratch.bins, scratch.bin_ends)
    for tile in range(len(margin)):
        margin[tile] = np.inf
        for j in range(L):
            reach[tile, j] = 0.0
    for p in range(P):
        tile = p // TILE_SIZE
        q = order[p]
        neighbours.gap[tile, p % TILE_SIZE] = own_gap[q]
        margin[tile] = min(margin[tile], -own_gap[q])
        for j in range(L):
            reach[tile, j] = max(reach[tile, j], own_norm[q, j])
    for i in range(len(theta)):
        neighbours.reference[i] = theta[i]
    reference_norms(sizes, biases, theta, neighbours.norms, scratch.gram, scratch.gram_power)


@standalone
def reference_norms(
    sizes: Indices, biases: Indices, theta: Array, norms: Array, gram: Array, gram_power: Array
) -> None:
    """norms [3, L'] ← bounds of ‖W_j‖ and the round-off of ‖δW_j‖ and ‖δb_j‖, at theta [Ñ]; gram, gram_power [h, h]."""
    start = 0
    for j in range(len(sizes) - 1):
        n_out, n_in = sizes[j + 1], sizes[j]
        middle = start + n_out * n_in
        stop = middle + biases[j]
        round_off = 4 * (n_in + 2) * UNIT_ROUND_OFF
        norms[1, j] = round_off * euclidean_norm(theta, start, middle)
        norms[2, j] = round_off * euclidean_norm(theta, middle, stop)
        # the norm of the first layer multiplies nothing
        norms[0, j] = norm_upper_bound(theta, start, n_out, n_in, gram, gram_power) if j > 0 else 0.0
        start = stop


@standalone
def sort_by_key(key: Array, order: Indices, bins: Indices, bin_ends: Indices) -> None:
    """order [P] ← the patterns by key [P], by a counting sort into SORT_BINS bins. Keys ≤ 0 come first.

    The bins are 1/8 octave wide and end at the largest key. bins [P] and bin_ends [SORT_BINS + 1] are scratch.
    """
    P, highest = len(key), 0.0
    for p in range(P):
        highest = max(highest, key[p])
    for c in range(len(bin_ends)):
        bin_ends[c] = 0
    for p in range(P):
        fraction = key[p] / highest if key[p] > 0.0 else 0.0
        bins[p] = 0
        if fraction > 0.0:
            bins[p] = max(0, SORT_BINS - 1 + math.floor(SORT_BINS_PER_OCTAVE * math.log2(fraction)))
        bin_ends[bins[p] + 1] += 1
    for c in range(SORT_BINS):
        bin_ends[c + 1] += bin_ends[c]
    for p in range(P):
        order[bin_ends[bins[p]]] = p
        bin_ends[bins[p]] += 1


@standalone
def copy_to_tiles(rows: Array, order: Indices, tiles: Array) -> None:
    """tiles [tiles, n, T] ← rows [P, n] in the order [P]."""
    for p in range(len(order)):
        row = rows[order[p]]
        for i in range(len(row)):
            tiles[p // TILE_SIZE, i, p % TILE_SIZE] = row[i]
