"""The memory that a run needs besides its dataset. It is compared with the free memory before the run starts.

    measurement   (9 L h + 5 h + d + 8 C) P     activations, pre-activations, both again for unsatisfied patterns, β
    torch         measurement + 8 Ñ             theta, theta0, the optimiser, the gradient and its parts, scratch
    compiled      torch + (d + C) P + chunks Ñ  the patterns in tiles, one gradient for each chunk of 1024 patterns
    batch         layout.Layout.bytes_needed + measurement + 3 Ñ for each slot
    newton        torch + 8 Ñ² + 3 Ñ P          matrices of BFGS and of Newton's method, rows for the rank of a certificate

All are counts of numbers, of 8 or 4 bytes each. The peak occurs in a measurement at which only some patterns are satisfied.
Then 5 L h + 3 h activations per pattern are in memory at once. The rest of the count is a margin for the allocator of the C
library. The allocator keeps arrays below 32 MiB in one heap, and cannot always place a new array in a gap: peaks of 1.5
times that number were seen, and once of 2 times. A history has about ten numbers per measurement, and theta if snapshots
are kept.

Source: none. The factors were measured; tests/training/test_memory.py repeats the measurement.
"""

from __future__ import annotations

import torch

from jamtools.engines.batch.layout import Layout
from jamtools.engines.kernel.step import TILES_PER_CHUNK
from jamtools.engines.kernel.tiles import TILE_SIZE
from jamtools.errors import InputError, Remedy
from jamtools.machine import GIB, available
from jamtools.network.architecture import Architecture
from jamtools.training.job import Job

#: Ñ × Ñ matrices that newton holds at once. 6.7 were measured at Ñ = 1281.
NEWTON_SQUARE_MATRICES = 8
#: Ñ × P matrices that newton holds at once. 3 were measured in runs in which no pattern is satisfied.
NEWTON_PATTERN_MATRICES = 3


def bytes_needed(job: Job) -> int:
    """The bytes that one run of `job` needs at its peak; for the batch engine, the bytes of all slots of its batch."""
    arch, settings, dtype = job.arch, job.settings, job.compute.dtype
    P = job.data.P
    P_test = 0 if job.data.x_test is None else len(job.data.x_test)
    n = arch.n_parameters
    rows = settings.measurements + len(settings.measure_at)
    snapshots = 8 * n * rows if settings.snapshots else 0
    measurement = _values_of_measurement(arch, max(P, P_test)) * dtype.itemsize
    if job.engine == "batch":
        layout = Layout.of(arch, P, torch.device(job.compute.device).type, dtype)
        per_slot = 3 * n * dtype.itemsize + snapshots
        return layout.bytes_needed(arch, settings.optimizer, dtype) + layout.slots * per_slot + measurement
    torch_engine = measurement + snapshots + 8 * n * dtype.itemsize
    if job.engine == "newton":
        matrices = NEWTON_SQUARE_MATRICES * n**2 + NEWTON_PATTERN_MATRICES * n * P * arch.outputs
        return torch_engine + matrices * dtype.itemsize
    if job.engine == "torch":
        return torch_engine
    chunks = -(-P // (TILES_PER_CHUNK * TILE_SIZE))
    return torch_engine + 8 * (P * (arch.d + arch.outputs) + chunks * n)


def _values_of_measurement(arch: Architecture, P: int) -> int:
    """The count of numbers that are in memory at the peak of a measurement on P patterns."""
    return P * (9 * arch.n_hidden + 5 * arch.width + arch.d + 8 * arch.outputs)


def runs_at_once(job: Job, wanted: int) -> int:
    """How many runs like `job` fit in memory at once, at most `wanted`. Raises InputError when a single run does not fit."""
    device = torch.device(job.compute.device)
    need, free = bytes_needed(job), available(device)
    if need > free:
        batch = job.engine == "batch"
        what = "a batch of runs" if batch else "a run"
        where = "on the card" if device.type == "cuda" else "in memory"
        raise InputError(
            f"P={job.data.P} patterns and Ñ={job.arch.n_parameters} parameters: {what} needs {need / GIB:.3g} GiB, got "
            f"{free / GIB:.3g} GiB available {where}",
            Remedy.NO_BATCH_OR_SMALLER_RUN if batch else Remedy.SMALLER_RUN,
        )
    return max(1, min(wanted, free // max(1, need)))
