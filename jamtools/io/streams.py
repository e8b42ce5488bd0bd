"""Bytes in and out: standard streams, files replaced in one step, JSON lines.

A file is written beside its place and moved there, so that a reader sees the old file or the new one;
what is no regular file (a pipe, /dev/null, /dev/full) is written to directly.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jamtools.errors import InputError, OutputError

STDIN = "-"


def describe(source: str) -> str:
    """A prefix for messages: nothing for a stream, else the file's name as it was given."""
    return "" if source == STDIN else f"{source}: "


def read_bytes(source: str) -> bytes:
    """Everything from a file, a fifo or, for '-', standard input."""
    if source == STDIN and sys.stdin is None:
        raise InputError("no input: standard input is closed; pipe an artefact in or name a file")
    if source == STDIN and sys.stdin.isatty():
        raise InputError("no input: standard input is a terminal; pipe an artefact in or name a file")
    try:
        return sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise unreadable(source, error) from error


def unreadable(source: str, error: OSError) -> InputError:
    """What the system says of a file that cannot be read, in a line for the user."""
    name = "standard input" if source == STDIN else source
    return InputError(f"{name}: {(error.strerror or str(error)).lower()}; check the path")


def read_json_lines(source: str) -> list[dict[str, Any]]:
    """A stream of JSON objects, one a line or pretty-printed."""
    return parse_json_lines(read_bytes(source), source)


def parse_json_lines(data: bytes, source: str) -> list[dict[str, Any]]:
    """The objects in `data`, which came from `source`."""
    try:
        objects = list(_json_stream(data.decode()))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{describe(source)}not JSON lines ({error}); expected what another jam command printed"
        ) from error
    if not objects:
        raise InputError(
            f"{describe(source)}empty input, expected JSON lines; did the command before it fail?"
        )
    if not all(isinstance(record, dict) for record in objects):
        raise InputError(
            f"{describe(source)}got JSON that is no object, expected what another jam command printed"
        )
    return objects


def _json_stream(text: str) -> Iterator[Any]:
    decoder, position, text = json.JSONDecoder(), 0, text.rstrip()
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        record, position = decoder.raw_decode(text, position)
        yield record


def json_line(record: Mapping[str, Any]) -> bytes:
    """One JSON object and a newline; what is not finite becomes null."""
    text = json.dumps(plain(record), allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode(
        errors="backslashreplace"
    )  # a file name in no known encoding: \udcff is JSON too


def plain(value: Any) -> Any:
    """Python's own types, with null for NaN and infinities, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy's arrays and scalars; importing numpy for them would cost 0.1 s
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_writable(target: str) -> None:
    """Raises OutputError when `target` cannot be written, before any work is done for it."""
    folder = os.path.dirname(os.path.realpath(target))
    if not target:
        raise OutputError("got an empty name for the output; give -o a file")
    if os.path.isdir(target) or target.endswith(os.sep):
        raise OutputError(f"{target}: is a folder, expected a file name; give -o a file")
    if not os.path.isdir(folder):
        raise OutputError(f"{target}: its folder does not exist; create it first")
    place = target if os.path.exists(target) and not os.path.isfile(target) else folder
    if not os.access(place, os.W_OK):
        raise OutputError(f"{target}: permission denied; write somewhere else")


def write_file(target: str, data: bytes) -> None:
    """All of `data` at `target`, or the file that was there before."""
    try:
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "wb", buffering=0) as file:
                write_all(file, data)
            return
        with _beside(os.path.realpath(target)) as file:
            write_all(file, data)
            os.fsync(file.fileno())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{target}: {(error.strerror or str(error)).lower()}; nothing was written"
        ) from error


def write_all(file: Any, data: bytes) -> None:
    """Every byte: an unbuffered write may stop short."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]


@contextlib.contextmanager
def _beside(path: str) -> Iterator[Any]:
    """A file in the same folder that takes `path`'s place when the block ends well, and goes when it does not."""
    handle, temporary = tempfile.mkstemp(prefix=".jamtools-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp made it private
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # interrupted just after the file had moved
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
