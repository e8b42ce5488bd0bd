"""Turns all errors in reading a user's file into InputErrors that name the file."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator

from jamtools.errors import InputError
from jamtools.io.formats import HEAD_BYTES, recognised


@contextlib.contextmanager
def input_errors(path: str) -> Iterator[None]:
    """Turns the errors of the block that reads a file into an InputError with its path."""
    try:
        yield
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise InputError(
            f"{path}: damaged or of another format{_appearance(path)} ({error}); make the file again"
        ) from error
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else str(error)
        raise InputError(f"{path}: cannot be read ({reason}); check the path") from error


def _appearance(path: str) -> str:
    """`, it begins like a PNG image`, where the first bytes of a file tell what it is."""
    try:
        with open(path, "rb") as file:
            found = recognised(file.read(HEAD_BYTES))
    except OSError:
        return ""
    return f", it begins like {found}" if found else ""
