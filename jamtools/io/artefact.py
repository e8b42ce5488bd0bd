"""Artefacts to and from safetensors: which tensors and which metadata make a dataset, runs, spectra.

    metadata["jamtools"] = {"kind", "version": 1, "provenance": [...], kind-specific fields}

One metadata key holding sorted JSON keeps the bytes stable. Unknown tensors are passed over.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from jamtools.errors import InputError, OutputError
from jamtools.io.streams import STDIN, describe, parse_json_lines, read_bytes, unreadable, write_all

VERSION = 1

#: How to come by an artefact of each kind.
REMEDY = {
    "dataset": "make one with jam-data",
    "runs": "pipe it through jam-train first",
    "spectra": "pipe it through jam-hessian first",
    "searches": "make them with jam-nstar search",
}

FOREIGN = "got a safetensors file that jamtools did not write; load arrays with jam-data arrays"

HEAD = 64  # bytes that tell JSON from safetensors


class Artefact:
    """An open safetensors file of jamtools: its kind, its metadata, its tensors on demand."""

    def __init__(self, source: str, data: bytes | None = None) -> None:
        """Opens `source`, or `data` where that has been read from it already."""
        self.source = source
        with _on_disk(source, data) as path:
            self._file = _open(path, source)
        self.metadata = _metadata(self._file.metadata(), source)
        self.kind: str = self.metadata["kind"]
        self.names = frozenset(self._file.keys())

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """The commands that made the file, first to last."""
        steps = self.metadata.get("provenance", [])
        if not isinstance(steps, list):
            raise InputError(f"{describe(self.source)}a provenance that is no list; make the file again")
        return list(steps)

    @property
    def infos(self) -> list[dict[str, Any]]:
        """The metadata of each run or spectrum, in the order of r0000, r0001, …; of a dataset, its one."""
        records = self.metadata.get(self.kind)
        records = [records] if isinstance(records, dict) else records
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise InputError(f"{describe(self.source)}a {self.kind} file without its metadata; make it again")
        return records

    @cached_property
    def _grouped(self) -> dict[str, list[str]]:
        """The names under each folder: "r0000/history" -> ["grad_norm", "loss", …]."""
        groups: dict[str, list[str]] = {}
        for name in sorted(self.names):
            folder, _, last = name.rpartition("/")
            groups.setdefault(folder, []).append(last)
        return groups

    def group(self, folder: str) -> dict[str, NDArray[Any]]:
        """The arrays under "r0000/history", say, by the last part of their names."""
        return {name: self.any_tensor(f"{folder}/{name}") for name in self._grouped.get(folder, [])}

    def tensor(self, name: str, dtype: str = "F64") -> NDArray[Any]:
        """One array; InputError when it is missing or of another dtype."""
        if name not in self.names:
            raise InputError(f"{describe(self.source)}{_a(self.kind)} file without {name}; make it again")
        got = self.dtype(name)
        if got != dtype:
            raise InputError(
                f"{describe(self.source)}{name} is {got}, expected {dtype}; convert the data first"
            )
        return self._file.get_tensor(name)

    def any_tensor(self, name: str) -> NDArray[Any]:
        """One array of whatever dtype it has."""
        if name not in self.names:
            raise InputError(f"{describe(self.source)}no array {name}; it holds {_some(self.names)}")
        try:
            return self._file.get_tensor(name)
        except TypeError as error:  # bfloat16 and the 8-bit floats
            raise InputError(
                f"{describe(self.source)}{name} is {self.dtype(name)}, which numpy does not know; convert it first"
            ) from error

    def dtype(self, name: str) -> str:
        """The type of one array as safetensors name it: F64, I64, …."""
        return str(self._file.get_slice(name).get_dtype())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one array, which stays unread."""
        return tuple(self._file.get_slice(name).get_shape())

    def expect(self, kind: str) -> Artefact:
        """Itself, or an InputError that says which command comes in between."""
        if self.kind != kind:
            raise InputError(
                f"{describe(self.source)}got {_a(self.kind)}, expected {_a(kind)}; {REMEDY[kind]}"
            )
        return self


def _a(kind: str) -> str:
    return kind if kind.endswith("s") or kind == "spectra" else f"a {kind}"


def _some(names: Iterable[str], most: int = 12) -> str:
    """A few names to choose from, the first run's for all runs."""
    kept = sorted(name for name in names if name.startswith("r0000/") or not re.match(r"r\d+/", name))
    return ", ".join(kept[:most]) + ", …" * (len(kept) > most)


def open_any(source: str, text: bool = False) -> Artefact | list[dict[str, Any]]:
    """Whatever a jam command wrote: an open artefact, or JSON lines; `text`: which what is no artefact should be."""
    data = None if _is_regular(source) else read_bytes(source)
    head = _head(source) if data is None else data[:HEAD]
    if _is_json(head) or (text and b"\0" not in head):
        return parse_json_lines(read_bytes(source) if data is None else data, source)
    return Artefact(source, data)


def _head(source: str) -> bytes:
    try:
        with open(source, "rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise unreadable(source, error) from error


def _is_regular(source: str) -> bool:
    return source != STDIN and os.path.isfile(source)


@contextmanager
def _on_disk(source: str, data: bytes | None) -> Iterator[str]:
    """A path to map: a file's own, or that of a copy of a stream, which the mapping outlives."""
    if data is None and _is_regular(source):
        yield source
        return
    try:
        with tempfile.NamedTemporaryFile(prefix="jamtools-", buffering=0) as copy:
            write_all(copy, read_bytes(source) if data is None else data)
            yield copy.name
    except OSError as error:
        raise OutputError(
            f"temporary folder: {(error.strerror or str(error)).lower()}; set TMPDIR to a roomier one"
        ) from error


def _open(path: str, source: str) -> Any:
    try:
        if os.path.getsize(path) == 0:
            raise InputError(
                f"{describe(source)}empty input, expected an artefact; did the command before it fail?"
            )
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise InputError(f"{describe(source)}{_mistaken(path, error)}") from error
    except OSError as error:
        raise unreadable(source, error) from error


def _mistaken(path: str, error: Exception) -> str:
    if _is_json(_head(path)):
        return "got JSON, expected an artefact in safetensors"
    return f"not a whole safetensors file ({error}); it was cut short or is something else, make it again"


def _is_json(head: bytes) -> bool:
    """True for text that opens a JSON value; safetensors open with a length, whose high bytes are null."""
    return head.lstrip()[:1] in (b"{", b"[") and b"\0" not in head


def _metadata(header: Mapping[str, str] | None, source: str) -> dict[str, Any]:
    try:
        metadata = json.loads((header or {})["jamtools"])
        kind, version = metadata["kind"], metadata["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{describe(source)}{FOREIGN}") from error
    if not isinstance(kind, str):
        raise InputError(f"{describe(source)}{FOREIGN}")
    if version != VERSION:
        raise InputError(
            f"{describe(source)}got {kind} of format version {version}, expected version {VERSION}; "
            "use the jamtools that wrote it"
        )
    return metadata
