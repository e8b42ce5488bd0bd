"""The cache of the compiled kernel: it compiles again after a change of any source, otherwise it loads the stored one."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jamtools.engines import constants
from jamtools.engines.kernel import compilation, neighbours, records, step, tiles
from tests.support.commands import ROOT

#: A kernel of two files, with the structure of step.py: `part` is compiled into the entry point but is not watched by numba.
PART = """
from jamtools.engines.kernel.compilation import inlined

@inlined
def part(x):
    return x + 1.0
"""
OUTER = """
from jamtools.engines.kernel.compilation import entry_point, source_hash
import part_of_kernel
from part_of_kernel import part

def compile_kernel(sources):
    @entry_point
    def run(x):
        _ = sources
        return part(x)
    return run

run = compile_kernel(source_hash(part_of_kernel))
"""
CALL = "import outer; print(outer.run(1.0), sum(outer.run.stats.cache_hits.values()))"

#: Steps of the real kernel; prints its bytes and how often numba loaded it from the cache.
REAL_CALL = """
from jamtools.engines.kernel import step
from tests.support.compiled import gradient, problem
g = gradient(*problem((5, 7, 2, 1), "relu", 100))[1]
print(g.tobytes().hex(), sum(step.run.stats.cache_hits.values()) > 0)
"""


def call_in_a_new_process(code, path, cache):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "NUMBA_CACHE_DIR": str(cache)}
    env["PYTHONDONTWRITEBYTECODE"] = (
        "1"  # a change within the same second would otherwise load the old bytecode
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd=path[0], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_changed_source_is_compiled_again_and_an_unchanged_source_is_loaded(tmp_path):
    (tmp_path / "outer.py").write_text(OUTER)
    part = tmp_path / "part_of_kernel.py"
    part.write_text(PART)

    def call():
        return call_in_a_new_process(CALL, [tmp_path, ROOT], tmp_path / "cache")

    assert call() == ["2.0", "0"]
    assert call() == ["2.0", "1"]
    part.write_text(PART.replace("x + 1.0", "x + 2.0"))
    assert call() == ["3.0", "0"]
    assert call() == ["3.0", "1"]
    part.write_text(PART)
    assert call() == ["2.0", "1"]  # the first version is still stored


def functions_of(module):
    """The kernel functions that a module defines or imports, as plain Python functions."""
    compiled = [value.py_func for value in vars(module).values() if hasattr(value, "py_func")]
    return [function for function in compiled if function.__module__.startswith("jamtools.")]


def test_every_source_of_the_kernel_is_a_part_of_the_cache_key():
    key = inspect.getclosurevars(step.run.py_func).nonlocals["sources"]
    listed = compilation, constants, neighbours, records, tiles
    assert key == compilation.source_hash(*listed)
    names = {module.__name__ for module in listed} | {step.__name__}
    functions = [function for module in (step, neighbours, tiles) for function in functions_of(module)]
    assert len(functions) > 20
    assert {function.__module__ for function in functions} <= names


def test_the_source_hash_changes_with_any_of_its_files(tmp_path, monkeypatch):
    before = compilation.source_hash(tiles, neighbours)
    changed = tmp_path / "neighbours.py"
    changed.write_bytes(Path(neighbours.__file__).read_bytes() + b"\n")
    monkeypatch.setattr(neighbours, "__file__", str(changed))
    assert compilation.source_hash(tiles, neighbours) != before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_kernel_is_compiled_again_after_a_change_of_its_tiles_only(tmp_path):
    """The test changes a copy of the package, because other tests use the original."""
    for name in ("jamtools", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))

    def call():
        return call_in_a_new_process(REAL_CALL, [tmp_path], tmp_path / "cache")

    first, loaded = call()
    assert loaded == "False"
    assert call() == [first, "True"]
    with open(tmp_path / "jamtools/engines/kernel/tiles.py", "a") as file:
        file.write("# changed\n")
    assert call() == [first, "False"]
    assert call() == [first, "True"]
