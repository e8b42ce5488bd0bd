"""The processor time of another process, by which a test knows how far that process is."""

from __future__ import annotations

import os
from pathlib import Path

#: Seconds of processor time after which any command has finished its imports.
IMPORTS_PROCESSOR_SECONDS = 2.5


def processor_time(pid: int) -> float:
    """Seconds of processor time that a process has used, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
