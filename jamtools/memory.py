r"""What a run will take and what there is, before it starts: an allocation that fails at midnight fails too late.

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

import os
from pathlib import Path

import torch

from jamtools.errors import InputError
from jamtools.kernel import CHUNK
from jamtools.layout import Layout
from jamtools.network import Architecture
from jamtools.protocols import Settings
from jamtools.tiles import T

GIB = 2**30
#: Ñ × Ñ at one time with newton (6.7 were seen at Ñ = 1281), and Ñ × P (3, at N_Δ = P).
MATRICES, ROWS = 8, 3
CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")


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
    return alone + 8 * (P * (arch.d + arch.outputs) + -(-P // (CHUNK * T)) * n)


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


def afford(need: int, device: torch.device, most: int | None, what: str, remedy: str) -> None:
    """Raises InputError when `what` needs more bytes than there are, or than `most`."""
    free = available(device)
    if most is not None and most < free:
        free, where = most, "allowed by --max-memory"
    else:
        where = "available on the card" if device.type == "cuda" else "available in memory"
    if need > free:
        raise InputError(f"{what} need {need / GIB:.3g} GiB, got {free / GIB:.3g} GiB {where}; {remedy}")


def available(device: torch.device) -> int:
    """Bytes that may still be taken: on a card, or of the machine's memory and this process's share of it."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
            device
        )  # torch's, to be used again
        return free + held
    return min([_machine(), *_limits()])


def _machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # no Linux: all there is, since what is free cannot be told
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 1024 * kilobytes.get("MemAvailable", kilobytes["MemTotal"])


def _limits() -> list[int]:
    """What is left of the limits of this process's control groups, of either version."""
    left = []
    for folder in _groups():
        for limit, usage in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most, taken = _number(folder / limit), _number(folder / usage)
            if most is not None and taken is not None:
                left.append(max(0, most - taken + _reclaimable(folder)))
    return left


def _groups() -> list[Path]:
    """The folders of this process's groups for memory, each with those above it."""
    try:
        lines = PROCESS.read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "" or "memory" in controllers.split(","):
            root = CGROUPS / "memory" if controllers else CGROUPS
            inside = root / path.lstrip("/")
            folders += [inside, *(above for above in inside.parents if above.is_relative_to(root))]
    return folders


def _number(file: Path) -> int | None:
    """What a file says; None where there is no such file, or no limit."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable(folder: Path) -> int:
    """Pages of files that nobody uses: counted as taken, and given back when memory is asked for."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
