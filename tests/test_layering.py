"""The floors of the house: imports only go down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jamtools"
FLOORS = [
    {"errors"},
    {"records", "network", "tilt", "spectrum", "streams", "operators", "quadrature", "boxed", "bfgs"},
    {"inertia", "window", "conditions", "threshold", "bound"},
    {"sampling"},
    {"verdicts"},
    {"merging"},
    {
        "store",
        "loss",
        "tiles",
        "batchnorm",
        "datasets",
        "scaling",
        "lanczos",
        "extremes",
        "choice",
        "goodness",
    },
    {"resampling", "finitesize", "judgement"},
    {"samples"},
    {
        "rawdata",
        "effective",
        "cusps",
        "powerlaw",
        "protocols",
        "optimizers",
        "objective",
        "near",
        "products",
        "layout",
        "capture",
    },
    {"gaps", "jump", "kernel", "keeping", "gauge", "roundoff", "surface"},
    {"point"},
    {"compiled", "rows", "memory", "trials"},
    {"hessian", "engines", "batch", "history", "findings"},
    {"company", "decomposition", "estimation", "tangent", "levenberg"},
    {"certificate", "smoothing", "polish"},
    {"verification", "newton"},
    {"training"},
    {"descent"},
    {"outcomes"},
    {"transition", "figures", "checkpoint"},
    {"journal"},
    {"cli"},
]
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
NUMERICS = {
    "bfgs",
    "levenberg",
    "smoothing",
    "polish",
    "newton",
    "network",
    "powerlaw",
    "choice",
    "window",
    "goodness",
    "resampling",
    "merging",
    "finitesize",
    "judgement",
    "samples",
    "tilt",
    "spectrum",
    "loss",
    "batchnorm",
    "datasets",
    "effective",
    "cusps",
    "gaps",
    "descent",
    "protocols",
    "optimizers",
    "objective",
    "tiles",
    "near",
    "kernel",
    "compiled",
    "engines",
    "layout",
    "capture",
    "rows",
    "memory",
    "batch",
    "company",
    "training",
    "history",
    "keeping",
    "hessian",
    "inertia",
    "findings",
    "decomposition",
    "estimation",
    "tangent",
    "gauge",
    "boxed",
    "point",
    "roundoff",
    "surface",
    "trials",
    "certificate",
    "verification",
    "transition",
    "threshold",
    "sampling",
    "verdicts",
    "outcomes",
    "bound",
    "jump",
    "scaling",
    "operators",
    "quadrature",
    "lanczos",
    "extremes",
    "products",
}
MODULES = sorted(PACKAGE.glob("*.py")) + sorted(PACKAGE.glob("cli/*.py"))


def imported(path: Path) -> set[str]:
    """Modules of jamtools a file imports, anywhere in it: 'store', 'cli.main'."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jamtools":
            inside = (node.module or "").split(".")[1:]
            found |= {".".join(inside)} if inside else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("jamtools.")
            }
    return found - {"__version__"}


def test_every_module_stands_on_a_floor():
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert rooms - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent == PACKAGE and p.stem != "__init__"], ids=lambda p: p.stem
)
def test_imports_only_go_down(path):
    for name in imported(path):
        assert LEVEL[name.split(".")[0]] < LEVEL[path.stem], f"{path.stem} imports {name}"


@pytest.mark.parametrize("name", sorted(NUMERICS))
def test_numerics_never_read_files(name):
    assert not imported(PACKAGE / f"{name}.py") & {"store", "streams", "rawdata"}


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "cli"], ids=lambda p: p.stem)
def test_commands_never_import_each_other(path):
    shared = {
        "cli.asked",
        "cli.main",
        "cli.minima",
        "cli.nstar_fit",
        "cli.nstar_tables",
        "cli.options",
        "cli.plan",
        "cli.session",
        "cli.stopping",
    }
    assert {name for name in imported(path) if name.startswith("cli")} <= shared


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "cli"], ids=lambda p: p.stem)
def test_commands_import_nothing_slow_before_their_work(path):
    """--help must be back in 0.3 s: torch, numpy, scipy and rich are imported inside the work."""
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {
        "torch",
        "numpy",
        "scipy",
        "rich",
        "matplotlib",
        "safetensors",
    }
