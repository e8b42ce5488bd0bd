"""The number of cores and the free memory that this process may use.

    free = min(free memory of the machine,  limit - use of each control group of this process)        [bytes]

Cached pages of files that the operating system can drop count as free. On a GPU, memory that torch has reserved but does
not use counts as free too.

Source: none. Linux documentation, Admin Guide: Control Group v2 (memory.max) and Memory Resource Controller (v1).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from jamtools.errors import InputError, Remedy

if TYPE_CHECKING:
    import torch

#: One GiB in bytes.
GIB = 2**30

#: The folder where Linux mounts the control groups, of version 1 and of version 2.
CGROUP_ROOT = Path("/sys/fs/cgroup")

#: The file that lists the control groups of this process, one per line.
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
    """The bytes that this process may still allocate: on a GPU, or in the memory of the machine."""
    if device.type == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        unused_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused_by_torch
    return min([_free_in_machine(), *_free_in_control_groups()])


def _free_in_machine() -> int:
    """The free bytes of the machine."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux: the total, since the free memory is unknown
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 1024 * kilobytes.get("MemAvailable", kilobytes["MemTotal"])


def _free_in_control_groups() -> list[int]:
    """The free bytes of each control group of this process that has a limit."""
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
    """The number in a file. None if the file does not exist, or if it holds a word (no limit)."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable(folder: Path) -> int:
    """Bytes of cached files that no process uses now. Linux counts them as used, but drops them on demand."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
