"""Packages whose public names are loaded when they are first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACES = [path for path in sorted((ROOT / "jamtools").rglob("__init__.py")) if "_OWNERS" in path.read_text()]
SLOW = {"torch", "numpy", "scipy", "numba", "matplotlib", "safetensors", "typer"}


def package_name(path: Path) -> str:
    """'jamtools' or 'jamtools.data'."""
    return ".".join(path.parent.relative_to(ROOT).parts)


def modules_of(package: str) -> set[str]:
    """Names of the modules and sub-packages of a package."""
    entries = [entry for entry in ROOT.joinpath(*package.split(".")).iterdir() if entry.name[0] not in "_."]
    return {entry.stem for entry in entries if entry.is_dir() or entry.suffix == ".py"}


def names_for_type_checkers(path: Path) -> dict[str, str]:
    """Public name -> module, relative to the package, of the imports under `if TYPE_CHECKING:`."""
    blocks = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    prefix = package_name(path) + "."
    return {alias.name: (node.module or "").removeprefix(prefix) for node in imports for alias in node.names}


faces = pytest.mark.parametrize("path", FACES, ids=package_name)


def test_importing_every_package_loads_nothing_slow():
    """One process imports all of them: a package that loaded numpy or torch would slow every command's --help."""
    names = ", ".join(map(package_name, FACES))
    code = f"import sys, {names}; print(*{SLOW} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@faces
def test_every_public_name_is_the_object_that_its_module_defines(path):
    package = import_module(package_name(path))
    for name, module in package._OWNERS.items():
        assert getattr(package, name) is getattr(import_module(f"{package.__name__}.{module}"), name)
        assert name in package.__all__
        assert name in dir(package)


@faces
def test_every_public_name_has_a_docstring_of_its_own(path):
    package = import_module(package_name(path))
    for name in package._OWNERS:
        assert getattr(package, name).__doc__ or not callable(getattr(package, name)), name


@faces
def test_type_checkers_see_the_same_names_as_python(path):
    assert names_for_type_checkers(path) == import_module(package_name(path))._OWNERS


@faces
def test_no_public_name_is_hidden_by_a_module_of_the_same_name(path):
    package = import_module(package_name(path))
    assert not set(package._OWNERS) & modules_of(package.__name__)


@faces
def test_an_unknown_name_raises_an_attribute_error(path):
    package = import_module(package_name(path))
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing
