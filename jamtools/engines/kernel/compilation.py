"""How numba compiles the kernel: three kinds of functions, and a cache that notices every change of their sources.

numba stores only the entry point on disk. The key of a stored version contains the time of the entry point's own file
and the values of its free variables. The other files of the kernel are compiled into the entry point but are not in
that key, so their hash is made a free variable of it (see step.py): after a change in any of them, the next process
compiles again.

Source: none, own design.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import numba

#: Sums may be reordered and products fused. NaN and infinity keep their meaning: a diverged run must be noticed.
FAST_MATH_FLAGS = {"reassoc", "contract", "nsz"}

#: A function that becomes part of each function that calls it. If it kept a symbol of its own, then the process that
#: compiles the kernel and a process that loads it could take two copies of it, with sums in different orders.
inlined = numba.njit(fastmath=FAST_MATH_FLAGS, nogil=True, error_model="numpy", forceinline=True)

#: A function that keeps a symbol of its own. No sum in it may be reordered: every copy of it gives the same bytes.
standalone = numba.njit(nogil=True, error_model="numpy")

#: The function that Python calls. numba stores the compiled version on disk.
entry_point = numba.njit(fastmath=FAST_MATH_FLAGS, nogil=True, cache=True, error_model="numpy")


def source_hash(*modules: ModuleType) -> int:
    """The first 60 bits of the SHA-256 of the modules' source files."""
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return int(digest.hexdigest()[:15], 16)
