"""How a command ends: exit codes and the line on stderr."""

import subprocess
import sys

import pytest

#: A command whose body raises an error after it was sent Ctrl-C, and hides the KeyboardInterrupt.
COMMAND = """
import os, signal, sys
from jamtools.cli.common.app import new_app, run

app = new_app()

@app.command()
def main() -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT) if "{signal}" else None
    except KeyboardInterrupt:
        pass
    raise ImportError("initialization failed")

run(app, "jam-test")
"""


@pytest.mark.parametrize(
    ("signal", "code", "message"),
    [("SIGINT", 130, "jam-test: interrupted"), ("", 1, "jam-test: unexpected ImportError")],
    ids=["ctrl-c", "no-signal"],
)
def test_an_error_that_hides_an_interrupt_counts_as_the_interrupt(signal, code, message):
    line = [sys.executable, "-c", COMMAND.format(signal=signal)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stderr.startswith(message) and len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [("KeyboardInterrupt", "jam-test: interrupted"), ("Interrupted('a reason')", "jam-test: a reason")],
)
def test_an_interrupt_is_one_line_with_what_the_command_says(error, message):
    body = COMMAND.format(signal="").replace('ImportError("initialization failed")', error)
    line = [sys.executable, "-c", f"from jamtools.cli.common.reporting import Interrupted\n{body}"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", f"{message}\n")
