"""How numba compiles the kernel: three kinds of functions, and a cache that detects every change of their sources.

numba stores only the entry point on disk. The key of a stored version contains the time of the entry point's own file
and the values of its free variables. The other files of the kernel are compiled into the entry point but are not in
that key, so their hash is made a free variable of the entry point (see step.py). After a change in any of these files, the
next process compiles the kernel again.

Source: none, own design.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import numba

#: Sums may be reordered and products fused. NaN and infinity keep their meaning: a diverged run must be noticed.
FAST_MATH_FLAGS = {"reassoc", "contract", "nsz"}

#: A function that becomes a part of each function that calls it. With a symbol of its own there could be two copies of it,
#: with sums in different orders: one in the process that compiles the kernel, another in a process that loads it.
inlined = numba.njit(fastmath=FAST_MATH_FLAGS, nogil=True, error_model="numpy", forceinline=True)

#: A function with a symbol of its own. Its sums are not reordered, so that every copy of it gives the same bytes.
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
