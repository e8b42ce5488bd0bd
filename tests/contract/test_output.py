"""Output: stdout carries data alone, -o is the same bytes in one step, and what cannot be written is one line."""

import contextlib
import os
import pty
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.contract import BIN, ROAD, STAGES, complaint, contents, environment, side_by_side, typed

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture(scope="module")
def again(road, tmp_path_factory):
    """The road a second time: from another folder, inputs and outputs by absolute names, telling what it does."""
    folder, elsewhere = tmp_path_factory.mktemp("again"), tmp_path_factory.mktemp("elsewhere")
    outcome = {}
    for names in STAGES:
        lines = [f"{moved(ROAD[name], folder)} -o {folder / name}" for name in names]
        env = {"TMPDIR": str(elsewhere), "USER": "nobody-else", "TZ": "Asia/Tokyo"}
        outcome |= dict(zip(names, side_by_side(lines, elsewhere, umask=0o027, env=env)))
    assert list(elsewhere.iterdir()) == []
    return folder, outcome


def moved(line: str, folder: Path) -> str:
    """The line with its files under absolute names."""
    return " ".join(f"{folder / word}" if word in ROAD else word for word in line.split())


@pytest.mark.parametrize("name", ROAD)
def test_a_file_holds_what_standard_output_carries_and_the_same_command_the_same_bytes(name, road, again):
    folder, outcome = again
    done = outcome[name]
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert (folder / name).read_bytes() == (road / name).read_bytes()


def test_nothing_is_left_beside_the_files(again):
    assert sorted(contents(again[0])) == sorted(ROAD)


@pytest.mark.parametrize("name", ROAD)
def test_the_mode_of_a_new_file_follows_the_umask(name, again):
    assert stat.S_IMODE((again[0] / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("name", sorted(set(ROAD) - {"data.safetensors", "figure.png", "shown.jsonl"}))
def test_a_table_for_people_goes_to_stderr(name, again):
    said = again[1][name].stderr
    assert len(said.splitlines()) >= 3
    assert "\x1b" not in said and "Traceback" not in said and "arning" not in said


# --- where it goes -----------------------------------------------------------------------------------


def test_minus_is_standard_input_and_standard_output(road, tmp_path):
    done = typed("jam-show - -o - < data.safetensors | jam-show -", road)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == typed("jam-show data.safetensors", road).stdout
    assert not (road / "-").exists()


def test_dev_null_takes_the_output_and_stays_a_device(road):
    done = typed("jam-show runs.safetensors -o /dev/null", road)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", "")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_fifo_is_written_to_and_read_from(road, tmp_path):
    line = "mkfifo fifo; jam-show runs.safetensors -o fifo & jam-show fifo"
    done = typed(line.replace("runs", f"{road}/runs"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (road / "shown.jsonl").read_bytes()
    assert (tmp_path / "fifo").is_fifo()


def test_a_symbolic_link_stays_one(road, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    assert typed(f"jam-show {road}/runs.safetensors -o link", tmp_path).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == (road / "shown.jsonl").read_bytes()


@pytest.mark.parametrize("command", ["jam-data random -P 5 -d 2", "jam-train", "jam-hessian", "jam-plot"])
def test_arrays_are_not_poured_into_a_terminal_and_that_is_said_before_any_work(command, tmp_path):
    """Nothing stands on standard input: reading it would be another complaint."""
    master, slave = pty.openpty()
    done = typed(f"{command} > {os.ttyname(slave)}", tmp_path, timeout=60)
    os.close(slave)
    os.close(master)
    said = complaint(done, command)
    assert said.endswith("standard output is a terminal and the result is binary; add -o FILE or pipe it on")


def test_text_may_go_to_a_terminal(road):
    master, slave = pty.openpty()
    done = typed(f"jam-show data.safetensors > {os.ttyname(slave)}", road, timeout=60)
    os.close(slave)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.read(master, 20).startswith(b'{"kind": "dataset"')
    os.close(master)


def test_a_terminal_on_stderr_sees_progress_and_every_digit_of_the_table(road, tmp_path):
    """A terminal of unknown size counts as 80 columns, fewer than this table has."""
    master, slave = pty.openpty()
    line = f"{BIN}/jam-hessian {road}/runs.safetensors -o {tmp_path}/out"
    process = subprocess.Popen(line.split(), env=environment(TERM="xterm"), stderr=slave)
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal nobody writes to with an error
        while part := os.read(master, 4096):
            seen += part
    os.close(master)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    bar, _, table = text.partition("N_Δ")
    assert "jam-hessian ━" in bar
    assert all(f"r{i:04d}" in table for i in range(8)) and "…" not in table


# --- what cannot be written --------------------------------------------------------------------------

#: Each reads nothing: that the output cannot be is said before any work.
UNWRITABLE = {
    "nowhere/out.png": "nowhere/out.png: its folder does not exist; create it first",
    "folder": "folder: is a folder, expected a file name; give -o a file",
    "new.png/": "new.png/: is a folder, expected a file name; give -o a file",
    "file/out.png": "file/out.png: its folder does not exist; create it first",
    "''": "got an empty name for the output; give -o a file",
}
EMPTY = ("jam-data random -P 5 -d 2", "jam-train", "jam-hessian", "jam-neff", "jam-cusps", "jam-gaps",
         "jam-nstar search", "jam-nstar fit", "jam-plot --format png", "jam-show")  # fmt: skip


@pytest.mark.parametrize("target", UNWRITABLE)
def test_an_output_that_cannot_be_is_refused_before_any_work(target, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"precious")
    commands = EMPTY if target == "nowhere/out.png" else ("jam-data random -P 5 -d 2", "jam-gaps")
    for command, done in zip(commands, side_by_side([f"{one} -o {target}" for one in commands], tmp_path)):
        assert complaint(done, command).partition(": ")[2] == UNWRITABLE[target]
    assert contents(tmp_path) == {"file": b"precious"}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
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
    "jam-show runs.safetensors": "both",
    "jam-show --array x data.safetensors": "stdout",
    "jam-cusps --help": "stdout",
    "jam-nstar --version": "stdout",
}


@pytest.fixture(scope="module")
def full(road, tmp_path_factory):
    """Every line with its output to a full disk: as a file, as standard output."""
    temporary, before = tmp_path_factory.mktemp("temporary"), contents(road)
    tails = {"file": ["-o /dev/full"], "stdout": ["> /dev/full"], "both": ["-o /dev/full", "> /dev/full"]}
    lines = [f"{line} {tail}" for line, where in FULL.items() for tail in tails[where]]
    done = side_by_side(lines, road, env={"TMPDIR": str(temporary)})
    assert contents(road) == before
    assert list(temporary.iterdir()) == []
    return dict(zip(lines, done))


@needs_dev_full
@pytest.mark.parametrize("line", FULL)
def test_a_full_disk_is_one_line(line, full):
    """The table comes after the data, so that nothing is told of a result that is lost."""
    for typed_line, done in full.items():
        if typed_line.startswith(f"{line} "):
            where = "/dev/full" if "-o" in typed_line else "standard output"
            said = complaint(done, typed_line).partition(": ")[2]
            assert said.startswith(f"{where}: no space left on device")
