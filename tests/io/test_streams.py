"""A file has its old content or the new one, never a part of either; JSON lines are read as they were written."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jamtools.errors import InputError, OutputError, Remedy
from jamtools.io import streams
from tests.support.commands import ROOT


def fail_with_full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# --- writing ------------------------------------------------------------------------------------------


def test_a_new_file_holds_the_bytes_and_no_other_file_is_left(tmp_path):
    streams.write_file(str(tmp_path / "a"), b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]


@pytest.mark.parametrize(
    ("failure", "error"), [(fail_with_full_disk, OutputError), (interrupt, KeyboardInterrupt)]
)
def test_a_write_that_fails_leaves_the_old_file_unchanged(tmp_path, monkeypatch, failure, error):
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(streams, "write_all", failure)
    with pytest.raises(error):
        streams.write_file(str(tmp_path / "a"), b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_the_message_for_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "write_all", fail_with_full_disk)
    with pytest.raises(OutputError, match="a: no space left on device; nothing was written$"):
        streams.write_file(str(tmp_path / "a"), b"new")


def test_a_file_is_replaced_only_after_all_of_it_is_written(tmp_path, monkeypatch):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    seen = []

    def record_content(file, data):
        file.write(data)
        seen.append(target.read_bytes())

    monkeypatch.setattr(streams, "write_all", record_content)
    streams.write_file(str(target), b"new")
    assert (seen, target.read_bytes()) == ([b"old"], b"new")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_mode_of_a_new_file_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        streams.write_file(str(tmp_path / "a"), b"new")
        assert os.umask(umask) == umask, "the umask itself must not change"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "a")
    streams.write_file(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "a").read_bytes() == b"new"


def test_writing_to_a_symbolic_link_without_a_target_creates_the_target(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    streams.write_file(str(tmp_path / "link"), b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_with_the_longest_possible_name_can_be_written(tmp_path):
    streams.write_file(str(tmp_path / ("a" * 255)), b"new")
    assert (tmp_path / ("a" * 255)).read_bytes() == b"new"


def test_a_fifo_that_is_written_to_stays_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    streams.write_file(str(tmp_path / "fifo"), b"new" * 10**5)  # more than a pipe holds
    reader.join()
    assert got == [b"new" * 10**5]
    assert (tmp_path / "fifo").is_fifo()


def test_writing_to_a_fifo_without_a_reader_is_a_broken_pipe(tmp_path):
    """Not an OutputError: a command must end without a message, as on a closed standard output."""
    os.mkfifo(tmp_path / "fifo")
    reader = threading.Thread(target=lambda: (tmp_path / "fifo").open("rb").close())
    reader.start()
    with pytest.raises(BrokenPipeError):
        streams.write_file(str(tmp_path / "fifo"), b"new" * 10**6)
    reader.join()


def test_writing_to_dev_null_leaves_the_device_in_place():
    streams.write_file("/dev/null", b"new")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_the_message_for_dev_full_is_one_line():
    with pytest.raises(OutputError, match="^/dev/full: no space left on device; nothing was written$"):
        streams.write_file("/dev/full", b"new")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/a", "its folder does not exist; create it first"),
        ("", "empty name"),
        (".", "is a folder, expected a file name"),
        ("new/", "is a folder, expected a file name"),
    ],
)
def test_an_impossible_output_is_refused_before_any_work(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=message):
        streams.check_writable(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_output_in_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied; write somewhere else"):
        streams.check_writable(str(tmp_path / "a"))


def test_a_writable_output_is_accepted_and_not_created(tmp_path):
    (tmp_path / "old").touch()
    for target in (tmp_path / "new", tmp_path / "old", "/dev/null"):
        streams.check_writable(str(target))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


# --- reading ------------------------------------------------------------------------------------------


def read_stdin(redirection: str) -> str:
    """Prints what `read_bytes("-")` returns or raises, in a process whose standard input the shell redirects."""
    program = "from jamtools.io.streams import read_bytes\ntry: print(read_bytes('-'))\nexcept Exception as e: print(e)"
    command = f'"{sys.executable}" -c "{program}" {redirection}'
    return subprocess.run(
        ["sh", "-c", command], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    ).stdout.strip()


def test_an_empty_standard_input_is_read():
    assert read_stdin("</dev/null") == "b''"


def test_the_message_for_a_closed_standard_input_is_one_line():
    assert read_stdin("<&-") == "no input: standard input is closed; pipe an artefact in or name a file"


def test_the_message_for_a_missing_file_is_one_line():
    with pytest.raises(InputError, match="^nowhere: no such file or directory; check the path$"):
        streams.read_bytes("nowhere")


@pytest.mark.parametrize(
    ("sources", "run", "prefix"),
    [
        (["a.st"], "", "a.st: "),
        (["a.st"], "r0003", "a.st: r0003: "),
        (["-"], "", ""),
        (["a", "b"], "", "a, b: "),
        (["a", "b", "c", "d", "e"], "", "a, b, c and 2 more: "),
    ],
)
def test_an_error_of_what_files_hold_is_given_their_names_once_and_keeps_its_remedy(sources, run, prefix):
    with (
        pytest.raises(InputError) as caught,
        streams.naming(*sources, run=run),
        streams.naming(*sources, run=run),
    ):
        raise InputError("got 3", Remedy.LARGER_DATASET)
    assert str(caught.value) == f"{prefix}got 3; make a larger dataset"
    assert caught.value.remedy is Remedy.LARGER_DATASET


# --- JSON lines ---------------------------------------------------------------------------------------

leaf = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
tree = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), tree, max_size=4), min_size=1, max_size=4)
)
def test_json_lines_are_read_as_they_were_written(records):
    data = b"".join(map(streams.json_line, records))
    assert streams.parse_json_lines(data, "-") == records
    assert data.count(b"\n") == len(records)


def test_numpy_values_become_plain_and_those_that_are_not_finite_null():
    record = {
        "a": np.float64(0.1),
        "b": np.int64(3),
        "c": np.array([1.0, np.nan]),
        "d": (np.bool_(True), -np.inf),
    }
    assert streams.json_line(record) == b'{"a": 0.1, "b": 3, "c": [1.0, null], "d": [true, null]}\n'


def test_a_file_name_in_an_unknown_encoding_becomes_valid_json():
    name = os.fsdecode(b"\xff.npy")
    assert json.loads(streams.json_line({"file": name}).decode()) == {"file": name}


def test_pretty_printed_json_is_read_like_json_lines():
    assert streams.parse_json_lines(b'{\n  "a": 1\n}\n\n{"a": 2} {"a": 3}', "-") == [
        {"a": 1},
        {"a": 2},
        {"a": 3},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty input, expected JSON lines"),
        (b" \n", "empty input"),
        (b"{", "not JSON lines"),
        (b'{"a": 1}\n{"a', "not JSON lines"),
        (b"\xff\xfe", "not JSON lines"),
        (b"[1, 2]", "got JSON that is no object"),
        (b"[" * 10**5, "not JSON lines"),
    ],
    ids=["nothing", "space", "cut", "cut-later", "no-text", "a-list", "deep"],
)
def test_input_that_is_not_json_lines_is_refused_with_the_name_of_its_file(data, message):
    with pytest.raises(InputError, match=message) as caught:
        streams.parse_json_lines(data, "a.jsonl")
    assert str(caught.value).startswith("a.jsonl: ")
    assert caught.value.remedy in (Remedy.CHECK_WHAT_WROTE_IT, Remedy.JSON_OF_JAMTOOLS)
