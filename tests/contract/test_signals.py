"""Commands that are stopped from outside: no partial output, no temporary files, at most one line on stderr."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.contract import BIN, contents, environment, typed
from tests.support.processes import IMPORTS_PROCESSOR_SECONDS, processor_time

#: Lines that would run for hours.
ENDLESS = {
    "training": "jam-train data.safetensors --width 4 --depth 2 --steps 1G --lr 1e-9 --no-stop -o kept",
    "searching": "jam-nstar search data.safetensors --depth 1 --steps 1G --lr 1e-9 -o kept",
}


@pytest.fixture
def folder(artefact_folder, tmp_path):
    (tmp_path / "data.safetensors").symlink_to(artefact_folder / "data.safetensors")
    (tmp_path / "kept").write_bytes(b"precious")
    (tmp_path / "temporary").mkdir()
    return tmp_path


def stopped(line: str, folder: Path, signals: list[int]) -> tuple[int, bytes, str]:
    """Runs a line until it has used some processor time, sends the signals; returns exit code, stdout and stderr."""
    command, *arguments = line.split()
    process = subprocess.Popen(
        [BIN / command, *arguments],
        cwd=folder,
        env=environment(TMPDIR=str(folder / "temporary")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and processor_time(process.pid) < IMPORTS_PROCESSOR_SECONDS:
        time.sleep(0.05)
    for number in signals:
        process.send_signal(number)
    out, messages = process.communicate(timeout=60)
    return process.returncode, out, messages.decode()


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="/proc is needed to see how far a process is"
)
@pytest.mark.parametrize("line", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize(
    ("signals", "codes"),
    [([signal.SIGINT], (130,)), ([signal.SIGTERM], (143,))],
    ids=["ctrl-c", "sigterm"],
)
def test_a_signal_leaves_an_existing_output_unchanged_and_no_other_file(line, signals, codes, folder):
    before = contents(folder)
    code, out, messages = stopped(line, folder, signals)
    assert code in codes, messages
    assert out == b""
    assert len(messages.splitlines()) <= 1 and "Traceback" not in messages
    assert contents(folder) == before
    assert list((folder / "temporary").iterdir()) == []


#: A line whose output is larger than a pipe holds, or has no reader -> the reader that closes the pipe early.
PIPES = {
    "jam-data random -P 10k -d 30": "head -c 10",
    "jam-data random -P 10k -d 30 -o /dev/stdout": "head -c 10",
    "jam-train large.safetensors --width 2 --depth 1 --steps 1": "head -c 10",
    "jam-hessian runs.safetensors --matrices": "head -c 10",
    "jam-gaps runs.safetensors": "true",
    "jam-plot runs.safetensors": "true",
    "jam-show --array x large.safetensors": "head -c 10",
    "jam-show runs.safetensors --help": "true",
}


@pytest.mark.parametrize("line", PIPES)
def test_a_closed_pipe_ends_a_command_by_sigpipe_without_a_message(line, artefact_folder, tmp_path):
    for name in ("runs", "data"):
        (tmp_path / f"{name}.safetensors").symlink_to(artefact_folder / f"{name}.safetensors")
    if "large" in line:
        assert typed("jam-data random -P 10k -d 10 -o large.safetensors", tmp_path).returncode == 0
    before = contents(tmp_path)
    done = typed(f"{line} | {PIPES[line]}; echo ${{PIPESTATUS[0]}} >&2", tmp_path)
    *messages, status = done.stderr.splitlines()
    assert messages == [], "a table must follow the data, and the data were not written"
    assert int(status) == 128 + signal.SIGPIPE
    assert len(done.stdout) == (0 if PIPES[line] == "true" else 10)
    assert contents(tmp_path) == before
