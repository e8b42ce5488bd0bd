"""How much work a process has done."""

from __future__ import annotations

import os
from pathlib import Path

#: Seconds of processor time that see any of them through its imports.
UNDER_WAY = 2.5


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
