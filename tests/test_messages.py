"""The messages of the library speak Python: no string outside the package cli names an option or a command."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "jamtools"
OPTION_OR_COMMAND = re.compile(r"(?<![\w-])--[a-z]|\bjam-[a-z]+")
PACKAGES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py") if path.parent.name != "cli")


def docstrings(tree: ast.AST) -> set[ast.Constant]:
    """The docstrings of a module and of all its classes and functions."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    firsts = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return {
        first.value
        for first in firsts
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    }


def shell_words(source: str) -> list[tuple[int, str]]:
    """Each string literal that names an option or a command, with its line; docstrings excepted."""
    tree = ast.parse(source)
    excepted = docstrings(tree)
    literals = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in excepted
    )
    return sorted(
        (node.lineno, str(node.value)) for node in literals if OPTION_OR_COMMAND.search(str(node.value))
    )


@pytest.mark.parametrize("package", ["", *PACKAGES], ids=lambda package: package or "root")
def test_no_message_of_a_package_names_an_option_or_a_command(package):
    paths = (LIBRARY / package).rglob("*.py") if package else LIBRARY.glob("*.py")
    named = {str(path.relative_to(LIBRARY)): shell_words(path.read_text()) for path in paths}
    assert {path: words for path, words in named.items() if words} == {}


def test_a_message_with_an_option_is_found_and_a_docstring_is_not():
    source = '"""About --lr."""\n\nA = f"{2}: use --lr"\nB = "a-b --- jam"\nC = "jam-data"\n'
    assert shell_words(source) == [(3, ": use --lr"), (5, "jam-data")]
