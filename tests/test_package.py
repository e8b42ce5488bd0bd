"""The package `jamtools`: a cheap import, its public names and its version."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import jamtools

ROOT = Path(__file__).resolve().parent.parent


def test_importing_the_package_loads_no_large_library():
    code = "import sys, jamtools; print(*{'torch', 'numpy', 'scipy', 'safetensors'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize("name", sorted(set(jamtools.__all__) - {"__version__"}))
def test_every_public_name_exists_and_has_a_docstring(name):
    assert getattr(jamtools, name).__doc__
    assert name in dir(jamtools)


def test_an_unknown_name_raises_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jamtools.nothing


def test_the_version_is_written_in_one_place():
    assert importlib.metadata.version("jamtools") == jamtools.__version__
    assert jamtools.__version__ not in (ROOT / "pyproject.toml").read_text()
