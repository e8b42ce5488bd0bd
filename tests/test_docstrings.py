"""Shapes and sources in the docstrings, the sizes of files and functions, and the names of constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "jamtools").rglob("*.py"))
NUMERIC_PACKAGES = {
    "data", "network", "linalg", "engines", "cusps", "hessian", "minima", "training", "exponents", "transition",
}  # fmt: skip
NUMERIC_FILES = [
    p for p in FILES if p.relative_to(ROOT).parts[1] in NUMERIC_PACKAGES and p.stem != "__init__"
]
#: Modules of these packages that only declare records: they compute nothing.
RECORD_MODULES = {"training/snapshot.py", "transition/options.py", "transition/search_record.py"}
ARRAY_TYPES = re.compile(r"\b(Tensor|Array|NDArray|ndarray)\b")
#: A shape such as [Ñ] or [P, d], or the words for an array whose shape the caller decides.
SHAPE = re.compile(r"\[[^\]]*\]|any shape")
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
#: A command declares its options in its signature.
MAX_COMMAND_LINES = 80

Function = ast.FunctionDef


def own(path: Path) -> str:
    return path.relative_to(ROOT / "jamtools").as_posix()


def public_functions(node: ast.AST) -> Iterator[Function]:
    """The public functions of a module and the public methods of its public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield child
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)


def takes_or_gives_arrays(function: Function) -> bool:
    """Whether a parameter or the result is an array. A dictionary of arrays has no shape of its own."""
    parameters = [*function.args.args, *function.args.kwonlyargs]
    types = [parameter.annotation for parameter in parameters] + [function.returns]
    words = [ast.unparse(type_) for type_ in types if type_]
    return any(ARRAY_TYPES.search(word) and not word.startswith(("dict", "Mapping")) for word in words)


@pytest.mark.parametrize("path", FILES, ids=own)
def test_every_public_function_gives_the_shapes_of_its_arrays(path):
    functions = public_functions(ast.parse(path.read_text()))
    lacking = [
        function.name
        for function in functions
        if takes_or_gives_arrays(function) and not SHAPE.search(ast.get_docstring(function) or "")
    ]
    assert not lacking


@pytest.mark.parametrize("path", NUMERIC_FILES, ids=own)
def test_every_numeric_module_names_its_source(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert re.search(r"\bSources?\b.*:", docstring) or own(path) in RECORD_MODULES


@pytest.mark.parametrize("path", FILES, ids=own)
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    limit = MAX_COMMAND_LINES if path.parent.name == "cli" else MAX_FUNCTION_LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    lengths = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions}
    assert {name: length for name, length in lengths.items() if length > limit} == {}


def test_a_constant_has_one_name_in_one_module():
    """Except those that belong to a file: the name and the help of a command, and the owners of lazy names."""
    modules: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [
                name.id
                for target in targets
                if target
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            ]
            for name in {name for name in names if name.isupper()}:
                modules.setdefault(name, []).append(own(path))
    assert {name: where for name, where in modules.items() if len(where) > 1}.keys() <= {
        "NAME",
        "HELP",
        "_OWNERS",
    }
