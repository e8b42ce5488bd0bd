"""Every code block of the README runs exactly as it is printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.M | re.S)
COMMANDS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])
needs_set_up = pytest.mark.skipif(
    not (ROOT / ".venv" / "jamtools-ready").exists(),
    reason="the launchers of this clone are not set up; bin/test sets them up",
)
needs_jq = pytest.mark.skipif(
    shutil.which("jq") is None, reason="the blocks of the session use jq, which is not installed"
)
#: These blocks run in the clone itself. All others run in one folder, in their order.
IN_CLONE = {"examples/quickstart.sh\n", "bin/test\n"}


def shell(script: str, cwd: Path, **environment: str) -> str:
    """Runs a code block with the clone's bin on PATH, and returns its standard output."""
    env = os.environ | {"PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}", "JAMTOOLS": str(ROOT), **environment}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_two_commands_of_a_newcomer_are_blocks_of_the_readme():
    assert set(BLOCKS) >= IN_CLONE


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_jq
@needs_set_up
def test_the_blocks_of_a_session_run_in_order(tmp_path):
    for block in BLOCKS:
        if block not in IN_CLONE and "export PATH" not in block:
            shell(block, tmp_path)
    made = {
        "spectra.safetensors",
        "jump.pdf",
        "eigenvalues.txt",
        "nstar.jsonl",
        "nstar.png",
        "mnist.safetensors",
    }
    assert made <= {path.name for path in tmp_path.iterdir()}
    assert len((tmp_path / "eigenvalues.txt").read_text().split()) == 225  # Ñ at d = h = 8, L = 3


@needs_set_up
def test_the_block_that_sets_the_path_runs_in_the_clone():
    (block,) = [block for block in BLOCKS if "export PATH" in block]
    assert "jam-data random" in shell(block, ROOT)


@needs_set_up
def test_bin_test_collects_the_whole_suite():
    """The whole suite would run this test again, so it is only collected."""
    out = shell("bin/test\n", ROOT, PYTEST_ADDOPTS="--collect-only -q")
    assert "test_readme.py::test_bin_test_collects_the_whole_suite" in out


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_set_up
def test_quickstart_leaves_its_artefacts_and_a_summary(tmp_path):
    # Few steps are enough: this test is about the commands, not about the quality of the training.
    out = shell(f"examples/quickstart.sh '{tmp_path}/a folder' 500", ROOT)
    left = {path.name for path in (tmp_path / "a folder").iterdir()}
    assert {
        "random.safetensors",
        "mnist-spectra.safetensors",
        "nstar.jsonl",
        "gaps.json",
        "jump.png",
        "spectra.png",
    } <= left
    for line in ("N_Δ/N there", "C0 = N_-(Hp)/N", "N_eff = Ñ - hidden", "θ of the overlaps"):
        assert line in out


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_set_up
def test_the_example_of_the_capacity_prints_a_row_for_each_margin_and_goes_on_where_it_was(tmp_path):
    line = f"examples/capacity.sh '{tmp_path}/a folder' 6 2 0 0.4"
    out = shell(line, ROOT)
    rows = [row.split() for row in out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["0", "2"], ["0.4", "2"]]
    assert float(rows[0][-1]) == 2
    assert shell(line, ROOT) == out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command_and_bin_has_its_launcher(command):
    assert f"`{command}`" in README
    assert (ROOT / "bin" / command).exists()


def test_every_module_of_a_command_is_an_entry_point():
    modules = [path for path in (ROOT / "jamtools" / "cli").glob("*.py") if "\ndef main(" in path.read_text()]
    assert {"jam" if path.stem == "jam" else f"jam-{path.stem}" for path in modules} == set(COMMANDS)


def test_the_pictures_the_readme_shows_are_there():
    pictures = re.findall(r'src="([^"]+)"', README)
    assert pictures
    for name in pictures:
        assert (ROOT / name).read_bytes().startswith(b"\x89PNG")


def test_ci_installs_slurm_and_then_calls_bin_test():
    script = [
        line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert len(script) == 2
    assert "tests/slurm/install.sh" in script[0] and "||" in script[0], (
        "a failed installation of Slurm must not stop the tests"
    )
    assert "exec" in script[1] and "bin/test" in script[1]
