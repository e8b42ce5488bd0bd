"""What a run will take and what there is, before it starts: an allocation that fails at midnight fails too late.

    measurement   (9 L h + 5 h + d + 8 C) P     activations, pre-activations, again those of unsatisfied patterns, β
    torch         measurement + 8 Ñ             theta and where it began, optimiser, gradient and its parts, scratch
    compiled      torch + (d + C) P + chunks Ñ  patterns in tiles, a gradient for every chunk of 1024 of them
    batch         layout.Layout.bytes + measurement + 3 Ñ for each slot
    newton        torch + 8 Ñ² + 3 Ñ P         BFGS's matrix and those of Newton's method; the rows of a certificate's rank

numbers of 8 or 4 bytes: what a run needs beside its dataset. The largest moment is a measurement while only some patterns
are satisfied, with 5 L h + 3 h numbers of activations a pattern alive at once; the rest is for the C library, which gives
arrays below 32 MiB from one heap and does not always fit new ones into its gaps (half as much again was seen, once twice).
A history is some ten numbers a measurement, and theta with --snapshots.
"""

from __future__ import annotations

import torch

from jamtools.engines.batch.layout import Layout
from jamtools.engines.kernel.step import TILES_PER_CHUNK
from jamtools.engines.kernel.tiles import TILE_SIZE
from jamtools.errors import InputError
from jamtools.machine import GIB, available
from jamtools.network.architecture import Architecture
from jamtools.protocols import Settings

#: Ñ × Ñ at one time with newton (6.7 were seen at Ñ = 1281), and Ñ × P (3, at N_Δ = P).
MATRICES, ROWS = 8, 3


def needed(
    engine: str, arch: Architecture, P: int, P_test: int, settings: Settings, place: tuple[str, torch.dtype]
) -> int:
    """Bytes of one run, or with engine "batch" of all slots of its batch; place: cpu or cuda, and the dtype."""
    device, dtype = place
    n = arch.n_parameters
    snapshots = 8 * n * (settings.measurements + len(settings.measure_at)) if settings.snapshots else 0
    measurement = _measurement(arch, max(P, P_test)) * dtype.itemsize
    if engine == "batch":
        layout = Layout.of(arch, P, device, dtype)
        own = layout.slots * (3 * n * dtype.itemsize + snapshots)
        return layout.bytes(arch, settings.optimizer, dtype) + own + measurement
    alone = measurement + snapshots + 8 * n * dtype.itemsize
    if engine == "newton":
        return alone + (MATRICES * n**2 + ROWS * n * P * arch.outputs) * dtype.itemsize
    if engine == "torch":
        return alone
    return alone + 8 * (P * (arch.d + arch.outputs) + -(-P // (TILES_PER_CHUNK * TILE_SIZE)) * n)


def _measurement(arch: Architecture, P: int) -> int:
    return P * (9 * arch.n_hidden + 5 * arch.width + arch.d + 8 * arch.outputs)


def affordable(need: int, most: int, device: torch.device, arch: Architecture, P: int, what: str) -> int:
    """How many runs that need so many bytes go at once, at most `most`; InputError if not even one does."""
    free = available(device)
    if need > free:
        where = "on the card" if device.type == "cuda" else "in memory"
        raise InputError(
            f"P={P} patterns and Ñ={arch.n_parameters} parameters: {what} needs {need / GIB:.3g} GiB, got "
            f"{free / GIB:.3g} GiB available {where}; {_remedy(what)}"
        )
    return max(1, min(most, free // max(1, need)))


def _remedy(what: str) -> str:
    single = "take fewer --patterns, a smaller --width or --dtype float32"
    return f"use --engine torch, one run at a time, or {single}" if what.startswith("a batch") else single
