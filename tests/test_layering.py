"""The order of the packages: imports go one way.

A file may import its own package, the modules at the root, and packages of a lower rank.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: From the bottom to the top; packages of one line do not know each other. `io` is imported by cli alone.
ORDER = [
    "data network linalg exponents figures",
    "cusps engines",
    "hessian",
    "minima",
    "training",
    "transition",
    "io",
    "cli",
]
RANK = {package: rank for rank, line in enumerate(ORDER) for package in line.split()}
FILES = sorted((ROOT / "jamtools").rglob("*.py"))
#: It names the public objects of every package, but imports none before it is used (tests/test_lazy.py).
PUBLIC_FACE = ROOT / "jamtools" / "__init__.py"
SLOW = {"torch", "numpy", "scipy", "numba", "rich", "matplotlib", "safetensors"}


def package(module: str) -> str:
    """'jamtools.linalg.lanczos' -> 'linalg'; '' for a module at the root."""
    name = module.split(".")[1]
    return name if (ROOT / "jamtools" / name).is_dir() else ""


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Modules these nodes import: 'torch', 'jamtools.linalg.lanczos', …."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "jamtools":
            found |= {f"jamtools.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def own(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def packages_imported(path: Path) -> set[str]:
    modules = imported(ast.walk(ast.parse(path.read_text())))
    return {package(module) for module in modules if module.startswith("jamtools.")}


def test_every_package_has_a_rank():
    assert {path.parent.name for path in FILES if path.parent.parent.name == "jamtools"} == set(RANK)


@pytest.mark.parametrize("path", [path for path in FILES if path != PUBLIC_FACE], ids=own)
def test_imports_go_one_way(path):
    me = package(own(path)) if path.parent.name != "jamtools" else ""
    others = packages_imported(path) - {"", me}
    assert all(RANK[other] < RANK.get(me, -1) for other in others), f"{own(path)} imports {sorted(others)}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "cli"], ids=own)
def test_commands_import_nothing_slow_before_their_work(path):
    """--help must be back in 0.3 s: torch, numpy, scipy and rich are imported inside the work."""
    names = {name.split(".")[0] for name in imported(iter(ast.parse(path.read_text()).body))}
    assert not names & SLOW


def test_no_test_module_imports_another():
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    pairs = [
        (path.name, name)
        for path in tests
        for name in imported(ast.walk(ast.parse(path.read_text())))
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    ]
    assert pairs == []
