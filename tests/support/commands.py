"""Whole command lines, as a user runs them."""

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.fork_server import run_forked

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE_IMAGES = ROOT / "examples" / "data"


def jam(
    name: str, *args: object, input: bytes = b"", cwd: Path | None = None, check: bool = False
) -> subprocess.CompletedProcess:
    """Runs `jam-name args…`. stdout is bytes, stderr text; `check` asserts exit code 0."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done: subprocess.CompletedProcess[Any] = run_forked(
        f"jamtools.cli.{name}", [*map(str, args)], input, cwd, environment
    )
    done.stderr = done.stderr.decode()
    if check:
        assert done.returncode == 0, f"jam-{name} {' '.join(map(str, args))}: {done.stderr}"
    return done


def refusal(done: subprocess.CompletedProcess, code: int = 1) -> str:
    """The message of a command that must fail: one line on stderr, no stdout, this exit code."""
    lines = done.stderr.splitlines()
    assert done.returncode == code, f"exit code {done.returncode}, expected {code}: {done.stderr}"
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("jam-"), done.stderr
    assert done.stdout == b""
    return lines[0]
