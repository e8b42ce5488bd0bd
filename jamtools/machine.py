"""The machine's cores and its free memory, as far as this process may use them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from jamtools.errors import InputError

if TYPE_CHECKING:
    import torch


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


GIB = 2**30

CGROUPS = Path("/sys/fs/cgroup")

PROCESS = Path("/proc/self/cgroup")


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
        import torch

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
