"""The package as `import jamtools` gives it."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import jamtools

ROOT = Path(__file__).resolve().parent.parent


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, jamtools; print(*{'torch', 'numpy', 'scipy', 'safetensors'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        == "\n"
    )


@pytest.mark.parametrize("name", sorted(set(jamtools.__all__) - {"__version__"}))
def test_every_public_name_is_found_and_documented(name):
    assert getattr(jamtools, name).__doc__
    assert name in dir(jamtools)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jamtools.nothing


def test_the_version_stands_in_one_place():
    assert importlib.metadata.version("jamtools") == jamtools.__version__
    assert jamtools.__version__ not in (ROOT / "pyproject.toml").read_text()
