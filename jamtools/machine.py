"""The cores and the free memory of the machine, as far as this process may use them.

    free = min(free memory of the machine,  limit - use of each control group of this process)        [bytes]

Pages of files that the kernel can drop are counted as free. On a card, memory that torch holds without using it is free too.

Source: none. Linux documentation, Admin Guide: Control Group v2 (memory.max) and Memory Resource Controller (v1).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from jamtools.errors import InputError, Remedy

if TYPE_CHECKING:
    import torch

#: Bytes.
GIB = 2**30

#: Where the control groups of both versions are mounted.
CGROUP_ROOT = Path("/sys/fs/cgroup")

#: The control groups of this process, one line each.
CGROUPS_OF_PROCESS = Path("/proc/self/cgroup")

#: The files of a control group with its limit and its use of memory: version 2, then version 1.
CGROUP_MEMORY_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_memory(need: int, device: torch.device, limit: int | None, what: str, remedy: Remedy) -> None:
    """Raises InputError when `what` needs more bytes than are free, or than `limit` allows."""
    free = available(device)
    if limit is not None and limit < free:
        free, where = limit, "allowed"
    else:
        where = "available on the card" if device.type == "cuda" else "available in memory"
    if need > free:
        raise InputError(f"{what} need {need / GIB:.3g} GiB, got {free / GIB:.3g} GiB {where}", remedy)


def available(device: torch.device) -> int:
    """The bytes that this process may still take: on a card, or in the memory of the machine."""
    if device.type == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        unused_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused_by_torch
    return min([_free_in_machine(), *_free_in_control_groups()])


def _free_in_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux: the total, since the free memory is unknown
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 1024 * kilobytes.get("MemAvailable", kilobytes["MemTotal"])


def _free_in_control_groups() -> list[int]:
    """What each limited control group of this process has left."""
    free = []
    for folder in _control_groups():
        for limit_file, usage_file in CGROUP_MEMORY_FILES:
            limit, usage = _read_bytes(folder / limit_file), _read_bytes(folder / usage_file)
            if limit is not None and usage is not None:
                free.append(max(0, limit - usage + _reclaimable(folder)))
    return free


def _control_groups() -> list[Path]:
    """The folders of the memory control groups of this process, and of the groups above them."""
    try:
        lines = CGROUPS_OF_PROCESS.read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "" or "memory" in controllers.split(","):
            root = CGROUP_ROOT / "memory" if controllers else CGROUP_ROOT
            inside = root / path.lstrip("/")
            folders += [inside, *(above for above in inside.parents if above.is_relative_to(root))]
    return folders


def _read_bytes(file: Path) -> int | None:
    """The number in a file. None where there is no such file, or no limit."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable(folder: Path) -> int:
    """Bytes of cached files that nobody uses now. They count as used, and the kernel drops them on demand."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
