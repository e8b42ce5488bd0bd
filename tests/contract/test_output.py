"""Output: stdout carries data alone, -o writes the same bytes in one step, and a failed write is reported in one line."""

import contextlib
import os
import pty
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.contract import (
    BIN,
    PIPELINE,
    STAGES,
    complaint,
    contents,
    environment,
    side_by_side,
    typed,
)

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture(scope="module")
def again(artefact_folder, tmp_path_factory):
    """Runs all lines of PIPELINE again, in another folder, with absolute names of inputs and outputs, and with messages."""
    folder, elsewhere = tmp_path_factory.mktemp("again"), tmp_path_factory.mktemp("elsewhere")
    outcome = {}
    for names in STAGES:
        lines = [f"{moved(PIPELINE[name], folder)} -o {folder / name}" for name in names]
        env = {"TMPDIR": str(elsewhere), "USER": "nobody-else", "TZ": "Asia/Tokyo"}
        outcome |= dict(zip(names, side_by_side(lines, elsewhere, umask=0o027, env=env)))
    assert list(elsewhere.iterdir()) == []
    return folder, outcome


def moved(line: str, folder: Path) -> str:
    """The line with absolute names of its files."""
    return " ".join(f"{folder / word}" if word in PIPELINE else word for word in line.split())


@pytest.mark.parametrize("name", PIPELINE)
def test_a_command_run_again_writes_to_a_file_the_bytes_of_its_standard_output(name, artefact_folder, again):
    folder, outcome = again
    done = outcome[name]
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert (folder / name).read_bytes() == (artefact_folder / name).read_bytes()


def test_no_temporary_file_is_left_beside_the_outputs(again):
    assert sorted(contents(again[0])) == sorted(PIPELINE)


@pytest.mark.parametrize("name", PIPELINE)
def test_the_mode_of_a_new_file_follows_the_umask(name, again):
    assert stat.S_IMODE((again[0] / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("name", sorted(set(PIPELINE) - {"data.safetensors", "figure.png", "shown.jsonl"}))
def test_a_table_for_people_goes_to_stderr(name, again):
    messages = again[1][name].stderr
    assert len(messages.splitlines()) >= 3
    assert not any(word in messages for word in ("\x1b", "Traceback", "arning"))


# --- where it goes -----------------------------------------------------------------------------------


def test_a_minus_stands_for_standard_input_and_standard_output(artefact_folder, tmp_path):
    done = typed("jam-show - -o - < data.safetensors | jam-show -", artefact_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == typed("jam-show data.safetensors", artefact_folder).stdout
    assert not (artefact_folder / "-").exists()


def test_output_to_dev_null_leaves_it_a_device(artefact_folder):
    done = typed("jam-show runs.safetensors -o /dev/null", artefact_folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", "")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_fifo_is_written_to_and_read_from(artefact_folder, tmp_path):
    line = "mkfifo fifo; jam-show runs.safetensors -o fifo & jam-show fifo"
    done = typed(line.replace("runs", f"{artefact_folder}/runs"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (artefact_folder / "shown.jsonl").read_bytes()
    assert (tmp_path / "fifo").is_fifo()


def test_output_to_a_symbolic_link_replaces_its_target(artefact_folder, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    assert typed(f"jam-show {artefact_folder}/runs.safetensors -o link", tmp_path).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == (artefact_folder / "shown.jsonl").read_bytes()


@pytest.mark.parametrize("command", ["jam-data random -P 5 -d 2", "jam-train", "jam-hessian", "jam-plot"])
def test_a_terminal_is_refused_as_output_of_arrays_before_any_work(command, tmp_path):
    """Standard input is empty, so that a command which read it first would print another error."""
    master, slave = pty.openpty()
    done = typed(f"{command} > {os.ttyname(slave)}", tmp_path, timeout=60)
    os.close(slave)
    os.close(master)
    message = complaint(done, command)
    assert message.endswith(
        "standard output is a terminal and the result is binary; add -o FILE or pipe it on"
    )


def test_text_is_printed_on_a_terminal(artefact_folder):
    master, slave = pty.openpty()
    done = typed(f"jam-show data.safetensors > {os.ttyname(slave)}", artefact_folder, timeout=60)
    os.close(slave)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.read(master, 20).startswith(b'{"kind": "dataset"')
    os.close(master)


def test_a_terminal_on_stderr_shows_progress_and_every_digit_of_the_table(artefact_folder, tmp_path):
    """A terminal of unknown size counts as 80 columns, which are fewer than this table has."""
    master, slave = pty.openpty()
    line = f"{BIN}/jam-hessian {artefact_folder}/runs.safetensors -o {tmp_path}/out"
    process = subprocess.Popen(line.split(), env=environment(TERM="xterm"), stderr=slave)
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
        while part := os.read(master, 4096):
            seen += part
    os.close(master)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    bar, _, table = text.partition("N_Δ")
    assert "jam-hessian ━" in bar
    assert all(f"r{i:04d}" in table for i in range(8)) and "…" not in table


# --- what cannot be written --------------------------------------------------------------------------

#: An output that cannot be written -> the message, which comes before any input is read.
UNWRITABLE = {
    "nowhere/out.png": "nowhere/out.png: its folder does not exist; create it first",
    "folder": "folder: is a folder, expected a file name; give -o a file",
    "new.png/": "new.png/: is a folder, expected a file name; give -o a file",
    "file/out.png": "file/out.png: its folder does not exist; create it first",
    "''": "got an empty name for the output; give -o a file",
}
EMPTY = ("jam-data random -P 5 -d 2", "jam-train", "jam-hessian", "jam-neff", "jam-cusps", "jam-gaps",
         "jam-nstar search", "jam-nstar fit", "jam-plot --format png", "jam-runs", "jam-show")  # fmt: skip


@pytest.mark.parametrize("target", UNWRITABLE)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(target, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"precious")
    commands = EMPTY if target == "nowhere/out.png" else ("jam-data random -P 5 -d 2", "jam-gaps")
    for command, done in zip(
        commands, side_by_side([f"{command} -o {target}" for command in commands], tmp_path)
    ):
        assert complaint(done, command).partition(": ")[2] == UNWRITABLE[target]
    assert contents(tmp_path) == {"file": b"precious"}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_output_in_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o500)
    line = "jam-data random -P 5 -d 2 -o folder/out"
    assert complaint(typed(line, tmp_path), line).endswith("permission denied; write somewhere else")


FULL = {
    "jam-data random -P 500 -d 9": "both",
    "jam-train data.safetensors --width 2 --depth 1 --steps 2": "stdout",
    "jam-hessian runs.safetensors": "file",
    "jam-neff runs.safetensors": "file",
    "jam-gaps runs.safetensors": "file",
    "jam-nstar fit nstar.jsonl": "both",
    "jam-plot runs.safetensors": "stdout",
    "jam-runs runs.safetensors": "both",
    "jam-show runs.safetensors": "both",
    "jam-show --array x data.safetensors": "stdout",
    "jam-cusps --help": "stdout",
    "jam-nstar --version": "stdout",
}


@pytest.fixture(scope="module")
def full(artefact_folder, tmp_path_factory):
    """What each line does with its output on a full disk: as a file, as standard output."""
    temporary, before = tmp_path_factory.mktemp("temporary"), contents(artefact_folder)
    tails = {"file": ["-o /dev/full"], "stdout": ["> /dev/full"], "both": ["-o /dev/full", "> /dev/full"]}
    lines = [f"{line} {tail}" for line, where in FULL.items() for tail in tails[where]]
    done = side_by_side(lines, artefact_folder, env={"TMPDIR": str(temporary)})
    assert contents(artefact_folder) == before
    assert list(temporary.iterdir()) == []
    return dict(zip(lines, done))


@needs_dev_full
@pytest.mark.parametrize("line", FULL)
def test_a_full_disk_is_reported_in_one_line(line, full):
    """The table comes after the data, so that no table describes a result that was lost."""
    for typed_line, done in full.items():
        if typed_line.startswith(f"{line} "):
            where = "/dev/full" if "-o" in typed_line else "standard output"
            message = complaint(done, typed_line).partition(": ")[2]
            assert message.startswith(f"{where}: no space left on device")
