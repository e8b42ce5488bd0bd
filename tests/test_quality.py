"""The code follows one style, and its types are consistent."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["ruff", "check", "."], id="ruff-check"),
        pytest.param(["ruff", "format", "--check", "--diff", "."], id="ruff-format"),
        pytest.param(["mypy"], id="mypy", marks=pytest.mark.slow),
    ],
)
def test_the_code_passes(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments)} reports:\n{done.stdout}{done.stderr}"


def test_one_process_runs_all_tests_of_a_file() -> None:
    """Fixtures of a file are expensive; the scheduler in conftest.py keeps each file in one process."""
    files = ["tests/transition/test_bound.py", "tests/transition/test_jump.py"]
    line = [sys.executable, "-m", "pytest", "-v", "--numprocesses=2", "-p", "no:cacheprovider", *files]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    runs = re.findall(r"^\[(gw\d)\] .* PASSED (\S+?)::", done.stdout, re.MULTILINE)
    assert {path for _, path in runs} == set(files)
    assert len(set(runs)) == len(files), f"a file ran in two processes: {sorted(set(runs))}"
