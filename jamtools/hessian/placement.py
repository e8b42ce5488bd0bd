"""Where the sums over patterns belong in Hp: the block of two layers, and its order of weights and biases.

    (j, p, q), (k, r, s) → place in theta:        weights [out, in] row-major, then the biases, layer after layer

A sum keeps the layout of the matrix product that made it (assembly.py). It is added to its block of Hp once.

Source: none, own layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture

#: Numbers that are copied at one time, so that a copy takes little memory (64 MB in float64).
PLACEMENT_BLOCK_NUMBERS = 1 << 23

#: The kind of a sum, and the layers j ≤ k of its block. "near": β_k a_j ⊗ diag T_kj for k = j + 1; "far": β_k a_j ⊗ T_kj for
#: k > j + 1; "curved": M_jk ⊗ a_j a_k for j < k; "same": a triangle of M_jj ⊗ a triangle of a_j a_j; "diagonal": the
#: diagonal M_jj of the last hidden layer ⊗ a triangle of a_j a_j.
Key = tuple[str, int, int]


def place(Hp: Tensor, total: Tensor, key: Key, arch: Architecture) -> None:
    """Adds one sum, of any shape that its kind has, to the block (j, k) of Hp [Ñ, Ñ]."""
    kind, j, k = key
    (out_j, in_j), (out_k, in_k) = arch.shapes[j], arch.shapes[k]
    for block, q, s in _block_parts(Hp, arch, j, k):
        if kind == "curved":
            block += total.view(out_j, out_k, in_j + 1, in_k + 1)[:, :, q, s].transpose(1, 2)
        elif kind == "same":
            places = _symmetric_places(in_j + 1, Hp.device)[q, s]
            step = max(
                1, PLACEMENT_BLOCK_NUMBERS // (2 * out_j * (in_j + 1) ** 2)
            )  # rows p at one time, so that the copy has at most a block of numbers
            rows = _symmetric_places(out_j, Hp.device).split(step)
            for rows_of_block, places_of_rows in zip(block.split(step), rows, strict=True):
                rows_of_block += total[places_of_rows][:, :, places].transpose(1, 2)
        elif kind == "diagonal":
            places = _symmetric_places(in_j + 1, Hp.device)[q, s]
            block.diagonal(0, 0, 2).add_(total[:, places].permute(1, 2, 0))
        elif s.start == 0 and kind == "far":  # the 1 of a bias does not depend on z_j
            block += total.view(out_k, in_j + 1, in_k, out_j)[:, q].permute(3, 1, 0, 2)
        elif s.start == 0:
            block.diagonal(0, 0, 3).add_(total.view(out_k, in_j + 1, out_j)[:, q].transpose(0, 1))


def _block_parts(Hp: Tensor, arch: Architecture, j: int, k: int) -> Iterator[tuple[Tensor, slice, slice]]:
    """The parts of the block (j, k) as views [p, q, r, s], with their ranges of q and s: weights, and biases if any."""
    for q, rows in _layer_parts(arch, j):
        for s, columns in _layer_parts(arch, k):
            part = Hp[rows, columns].unflatten(1, (arch.shapes[k][0], -1))
            yield part.unflatten(0, (arch.shapes[j][0], -1)), q, s


@lru_cache(maxsize=256)
def _layer_parts(arch: Architecture, layer: int) -> list[tuple[slice, slice]]:
    """For the weights and for the biases of a layer, if it has some: their inputs, and their place in theta."""
    start = sum(out * (fan_in + arch.bias) for out, fan_in in arch.shapes[:layer])
    out, fan_in = arch.shapes[layer]
    middle = start + out * fan_in
    weights = slice(0, fan_in), slice(start, middle)
    return [weights, (slice(fan_in, fan_in + 1), slice(middle, middle + out))] if arch.bias else [weights]


@lru_cache(maxsize=64)
def _symmetric_places(n: int, device: torch.device) -> Tensor:
    """[n, n]: the place of (p, r) and of (r, p) among the pairs p ≤ r. Nobody writes to it."""
    places = torch.zeros(n, n, dtype=torch.long, device=device)
    p, r = torch.triu_indices(n, n, device=device)
    places[p, r] = places[r, p] = torch.arange(len(p), device=device)
    return places
