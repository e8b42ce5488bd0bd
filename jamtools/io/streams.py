"""Input and output of bytes: standard streams, files that are replaced in one step, JSON lines.

A regular file is written under a temporary name in the same folder and then renamed, so that a reader finds either the
old content or the new one. Everything else (a pipe, /dev/null, /dev/full) is written to directly.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jamtools.errors import InputError, OutputError, Remedy
from jamtools.io.formats import recognised

#: The name of standard input in place of a file.
STDIN = "-"

#: The largest number of files that a message names.
MAX_FILES_NAMED = 3


def describe(source: str) -> str:
    """A prefix for messages: empty for standard input, otherwise the name of the file as the user gave it."""
    return "" if source == STDIN else f"{source}: "


@contextlib.contextmanager
def naming(*sources: str, run: str = "") -> Iterator[None]:
    """Puts the names of files before the messages of the block, which works on what the files hold.

    Standard input ('-') has no name. run: the name of the run of a file that the block works on.
    """
    try:
        yield
    except InputError as error:
        prefix = described(sources) + (f"{run}: " if run else "")
        raise (error if error.text.startswith(prefix) else error.with_prefix(prefix)) from error


def described(sources: Sequence[str]) -> str:
    """A prefix for messages about some files, of which it names MAX_FILES_NAMED; empty for standard input alone."""
    if len(sources) < 2:
        return "".join(map(describe, sources))
    more = len(sources) - MAX_FILES_NAMED
    return f"{', '.join(sources[:MAX_FILES_NAMED])}{f' and {more} more' if more > 0 else ''}: "


def read_bytes(source: str) -> bytes:
    """The whole content of a file, a fifo or, for '-', standard input. Raises InputError when it cannot be read."""
    if source == STDIN and sys.stdin is None:
        raise InputError("no input: standard input is closed; pipe an artefact in or name a file")
    if source == STDIN and sys.stdin.isatty():
        raise InputError("no input: standard input is a terminal; pipe an artefact in or name a file")
    try:
        return sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise unreadable(source, error) from error


def unreadable(source: str, error: OSError) -> InputError:
    """An InputError from the error of the operating system for a file that cannot be read."""
    name = "standard input" if source == STDIN else source
    return InputError(f"{name}: {(error.strerror or str(error)).lower()}; check the path")


def read_json_lines(source: str) -> list[dict[str, Any]]:
    """The objects of a stream of JSON, one per line or pretty-printed. Raises InputError for other content."""
    return parse_json_lines(read_bytes(source), source)


def parse_json_lines(data: bytes, source: str) -> list[dict[str, Any]]:
    """The objects of JSON lines `data`, which came from `source`. Raises InputError, with the line, for other content."""
    objects: list[dict[str, Any]] = []
    try:
        for record, line in _json_stream(data.decode("utf-8-sig")):
            if not isinstance(record, dict):
                raise InputError(
                    f"{describe(source)}got JSON that is no object in line {line}", Remedy.JSON_OF_JAMTOOLS
                )
            objects.append(record)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{describe(source)}not JSON lines: {_json_fault(data, error)}", Remedy.JSON_OF_JAMTOOLS
        ) from error
    if not objects:
        raise InputError(f"{describe(source)}empty input, expected JSON lines", Remedy.CHECK_WHAT_WROTE_IT)
    return objects


def _json_stream(text: str) -> Iterator[tuple[Any, int]]:
    """The JSON values of a text, with any white space between them, and the line where each begins."""
    decoder, position, line, text = json.JSONDecoder(), 0, 1, text.rstrip()
    while position < len(text):
        if text[position].isspace():
            line += text[position] == "\n"
            position += 1
            continue
        record, end = decoder.raw_decode(text, position)
        yield record, line
        line += text.count("\n", position, end)
        position = end


def _json_fault(data: bytes, error: ValueError | RecursionError) -> str:
    """Why a content is no JSON: the line, or what else it is."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno} of the text is no JSON ({error.msg.lower()}, column {error.colno})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    found = recognised(data)
    return (
        "text that is not UTF-8"
        if found in ("text", "JSON")
        else f"got {found or 'bytes of no known format'}"
    )


def json_line(record: Mapping[str, Any]) -> bytes:
    """One JSON object and a newline; numbers that are not finite become null."""
    text = json.dumps(plain(record), allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode(
        errors="backslashreplace"
    )  # for a file name in an unknown encoding: \udcff is valid JSON


def plain(value: Any) -> Any:
    """The same value in the types of JSON: arrays as lists, and None for NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # arrays and scalars of numpy; importing numpy here would cost 0.1 s
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_writable(target: str) -> None:
    """Raises OutputError when `target` cannot be written. Call it before the work whose result `target` will hold."""
    folder = os.path.dirname(os.path.realpath(target))
    if not target:
        raise OutputError("got an empty name for the output", Remedy.NAME_A_FILE)
    if os.path.isdir(target) or target.endswith(os.sep):
        raise OutputError(f"{target}: is a folder, expected a file name", Remedy.NAME_A_FILE)
    if not os.path.isdir(folder):
        raise OutputError(f"{target}: its folder does not exist; create it first")
    place = target if os.path.exists(target) and not os.path.isfile(target) else folder
    if not os.access(place, os.W_OK):
        raise OutputError(f"{target}: permission denied; write somewhere else")


def make_folder(path: str) -> None:
    """Makes a folder, with those that it stands in. One that exists stays as it is. Raises OutputError on failure."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        reason = (
            "is a file, expected a folder" if os.path.isfile(path) else (error.strerror or str(error)).lower()
        )
        raise OutputError(f"{path}: {reason}; give another folder") from error


def write_file(target: str, data: bytes) -> None:
    """Writes `data` to `target`. After a failure the old file is unchanged.

    Raises OutputError when it cannot be written, and BrokenPipeError when nobody reads a pipe.
    """
    try:
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "wb", buffering=0) as file:
                write_all(file, data)
            return
        with _replacing(os.path.realpath(target)) as file:
            write_all(file, data)
            os.fsync(file.fileno())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{target}: {(error.strerror or str(error)).lower()}; nothing was written"
        ) from error


def write_all(file: Any, data: bytes) -> None:
    """Writes all of `data` to a binary file. It may need several unbuffered writes, since each may write only a part."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[Any]:
    """A new file in the same folder. It replaces `path` when the block succeeds, and is deleted when the block fails."""
    handle, temporary = tempfile.mkstemp(prefix=".jamtools-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets only the owner read the file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # the file was already renamed when the interrupt came
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
