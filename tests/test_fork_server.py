"""A forked command does what the same command does in a process of its own."""

import os
import subprocess
import sys

import pytest

from tests.support.fork_server import ROOT, run_forked

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "HOME": "/nowhere"}


@pytest.mark.parametrize(
    "module, arguments, input",
    [
        ("jamtools.cli.data", ["random", "-P", "40", "-d", "3"], b""),
        ("jamtools.cli.data", ["random", "-P", "many", "-d", "3"], b""),
        ("jamtools.cli.show", [], b"no artefact"),
        ("jamtools.cli.show", ["--help"], b"not read" * 100_000),
        ("jamtools.cli.nothing", [], b""),
        ("os", [], b""),
    ],
)
def test_a_fork_has_the_output_and_the_exit_code_of_a_process(module, arguments, input, tmp_path):
    line = [sys.executable, "-m", module, *arguments]
    alone = subprocess.run(line, input=input, cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    forked = run_forked(module, arguments, input, tmp_path, ENVIRONMENT)
    if "No module" in alone.stderr.decode():
        assert forked.returncode == 1 and b"No module" in forked.stderr
        return
    assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_a_fork_has_the_folder_and_the_environment_that_were_asked_for(tmp_path):
    (tmp_path / "tell.py").write_text(
        "import os, sys\nprint(os.getcwd(), os.environ['HOME'], sys.argv[1:])\nsys.exit('end')"
    )
    done = run_forked("tell", ["a b", "é"], b"", tmp_path, ENVIRONMENT)
    assert (done.returncode, done.stderr) == (1, b"end\n")
    assert done.stdout.decode() == f"{tmp_path} /nowhere ['a b', 'é']\n"


def test_a_fork_that_a_signal_ends_has_a_negative_code(tmp_path):
    (tmp_path / "die.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)")
    assert run_forked("die", [], b"", tmp_path, ENVIRONMENT).returncode == -15
