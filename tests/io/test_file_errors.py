"""The errors of reading a file, as one kind of error that names the file."""

import gzip
import zlib

import pytest

from jamtools.errors import InputError
from jamtools.io.file_errors import input_errors


@pytest.mark.parametrize(
    "error", [gzip.BadGzipFile("bad"), zlib.error("bad"), EOFError("bad"), ValueError("bad")], ids=repr
)
def test_the_error_of_a_damaged_file_names_it_and_advises_to_make_it_again(error):
    with (
        pytest.raises(InputError, match=r"^a.gz: damaged .*\(bad\); make the file again$"),
        input_errors("a.gz"),
    ):
        raise error


def test_the_error_of_an_unreadable_file_names_it_with_the_reason(tmp_path):
    path = tmp_path / "nowhere"
    with (
        pytest.raises(InputError, match=r"nowhere: cannot be read \(no such file or directory\)"),
        input_errors(str(path)),
    ):
        path.read_bytes()


def test_an_error_of_the_program_itself_is_not_hidden():
    with pytest.raises(KeyError), input_errors("a.gz"):
        raise KeyError("bug")


def test_the_message_says_how_a_damaged_file_begins(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"%PDF-1.4")
    with (
        pytest.raises(InputError, match=r"another format, it begins like a PDF \(bad\)"),
        input_errors(str(path)),
    ):
        raise ValueError("bad")
