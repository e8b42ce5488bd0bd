"""docs/layout.md describes the code as it is: its packages, their imports, and every path and name that it mentions."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "jamtools"
PAGE = (ROOT / "docs" / "layout.md").read_text()
PACKAGES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
#: package -> the cells of its row: rank, package, what it is, public names, imports, command.
ROWS = {
    cells[1].strip("`"): cells
    for line in PAGE.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 6 and cells[0].isdigit()
}


def quoted(text: str) -> list[str]:
    """What stands between `backticks`."""
    return re.findall(r"`([^`]+)`", text)


def blocks() -> list[str]:
    """The paragraphs, list items and table rows of the page, without its code blocks."""
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    return [block for block in re.split(r"\n\s*\n|\n(?=\||- |\d+\. )", text) if quoted(block)]


def located(token: str) -> Path | None:
    """The file or folder of a path, which starts at the root of the repository or in jamtools."""
    return next((base / token for base in (ROOT, LIBRARY) if (base / token).exists()), None)


def is_path(token: str) -> bool:
    return "<" not in token and ("/" in token or token.endswith((".py", ".md", ".txt", ".toml")))


@cache
def defined(path: Path) -> set[str]:
    """The names that the modules at a path define."""
    files = path.rglob("*.py") if path.is_dir() else [path] if path.suffix == ".py" else []
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def order_of_the_packages() -> list[str]:
    """The list ORDER of tests/test_layering.py."""
    tree = ast.parse((ROOT / "tests" / "test_layering.py").read_text())
    assigned = (node for node in tree.body if isinstance(node, ast.Assign))
    return next(
        ast.literal_eval(node.value)
        for node in assigned
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "ORDER"
    )


def imported_packages(package: str) -> set[str]:
    """The packages that the modules of a package import."""
    names: set[str] = set()
    for file in (LIBRARY / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module == "jamtools":
                names |= {f"jamtools.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    parts = [name.split(".") for name in names if name.startswith("jamtools.")]
    return {part[1] for part in parts} & set(PACKAGES) - {package}


def test_every_package_has_a_row():
    assert sorted(ROWS) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_stands_at_the_rank_that_the_layering_test_has(package):
    ranks = {name: rank for rank, line in enumerate(order_of_the_packages(), 1) for name in line.split()}
    assert int(ROWS[package][0]) == ranks[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_row_lists_the_public_names_of_its_package(package):
    public = getattr(importlib.import_module(f"jamtools.{package}"), "__all__", [])
    assert quoted(ROWS[package][3]) == sorted(public)


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "cli"])
def test_a_row_lists_the_packages_that_its_package_imports(package):
    assert set(quoted(ROWS[package][4])) == imported_packages(package)


def test_every_module_at_the_root_has_a_row():
    rows = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")}
    assert {path.name for path in LIBRARY.glob("*.py") if path.stem != "__init__"} <= rows


@pytest.mark.parametrize("path", sorted({token for token in quoted(PAGE) if is_path(token)}))
def test_a_path_of_the_page_exists(path):
    assert located(path)


def test_the_commands_of_the_page_exist():
    assert {token for token in quoted(PAGE) if token.startswith("jam-")} <= set(COMMANDS)


@pytest.mark.parametrize("block", blocks(), ids=lambda block: quoted(block)[0])
def test_a_name_of_the_page_is_defined_in_a_file_that_is_mentioned_beside_it(block):
    tokens = quoted(block)
    known = {*PACKAGES, *quoted(ROWS.get(tokens[0], [""] * 6)[3])}
    for path in filter(None, (located(token) for token in tokens if is_path(token))):
        known |= defined(path)
    names = {token for token in tokens if re.fullmatch(r"[A-Za-z_]\w*", token)}
    assert names <= known


def test_the_import_that_the_page_shows_works():
    (line,) = [token for token in quoted(PAGE) if token.startswith("from jamtools")]
    exec(line, {})
