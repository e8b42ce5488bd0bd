"""Artefacts: files in the safetensors format that hold a dataset, runs or spectra, with their metadata.

    metadata["jamtools"] = {"kind", "version": 1, "provenance": [...], fields of this kind}

The metadata are one key that holds JSON with sorted keys, so that the same content always has the same bytes. Readers ignore
tensors that jamtools does not know.
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

from jamtools.errors import InputError, OutputError, Remedy, nearest_of
from jamtools.grouping import with_data
from jamtools.io.formats import HEAD_BYTES, is_safetensors, is_text, recognised
from jamtools.io.streams import STDIN, describe, parse_json_lines, read_bytes, unreadable, write_all

#: The version of the format that this program writes, and the only one that it reads.
ARTEFACT_VERSION = 1

#: How to get an artefact of each kind.
KIND_REMEDIES = {
    "dataset": Remedy.MAKE_DATASET,
    "runs": Remedy.TRAIN_FIRST,
    "spectra": Remedy.COMPUTE_SPECTRA_FIRST,
    "searches": Remedy.SEARCH_FIRST,
}

#: The largest number of array names that a message lists.
MAX_NAMES_LISTED = 12

Provenance = list[dict[str, Any]]


class Artefact:
    """An open artefact: its kind, its metadata and the names of its tensors. A tensor is read only on request.

    Raises InputError for a source that is not an artefact of this version, and OutputError when there is no space for a
    temporary copy of a stream.
    """

    def __init__(self, source: str, data: bytes | None = None) -> None:
        """Opens the file `source` ('-' is standard input), or its content `data` if it was read already."""
        self.source = source
        with _mappable(source, data) as path:
            self._file = _open(path, source)
        self.metadata = _metadata(self._file.metadata(), source)
        self.kind: str = self.metadata["kind"]
        self.names = frozenset(self._file.keys())

    @property
    def provenance(self) -> Provenance:
        """The commands that made the file, first to last. Raises InputError for a damaged list."""
        steps = self.metadata.get("provenance", [])
        if not isinstance(steps, list):
            raise InputError(f"{describe(self.source)}a provenance that is no list; make the file again")
        return list(steps)

    @property
    def infos(self) -> list[dict[str, Any]]:
        """The metadata of each run or spectrum in the order r0000, r0001, …; for a dataset a list with one entry.

        The metadata of a run name its data; where an older file lacks this name, it follows from those of its training set.
        Raises InputError when they are missing.
        """
        records = self.metadata.get(self.kind)
        records = [records] if isinstance(records, dict) else records
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise InputError(f"{describe(self.source)}a {self.kind} file without its metadata; make it again")
        dataset = self.metadata.get("dataset")
        if self.kind == "runs" and isinstance(dataset, dict):
            return [with_data(record, dataset) for record in records]
        return records

    @cached_property
    def _names_by_folder(self) -> dict[str, list[str]]:
        """The last part of each name, by the folder of the name: "r0000/history" -> ["grad_norm", "loss", …]."""
        folders: dict[str, list[str]] = {}
        for name in sorted(self.names):
            folder, _, last = name.rpartition("/")
            folders.setdefault(folder, []).append(last)
        return folders

    def group(self, folder: str) -> dict[str, NDArray[Any]]:
        """The arrays (any shape and dtype) in a folder such as "r0000/history", by the last part of their names."""
        return {name: self.any_tensor(f"{folder}/{name}") for name in self._names_by_folder.get(folder, [])}

    def tensor(self, name: str, dtype: str = "F64") -> NDArray[Any]:
        """One array of any shape. Raises InputError when it is missing or has another dtype."""
        if name not in self.names:
            raise InputError(
                f"{describe(self.source)}{_with_article(self.kind)} file without {name}; make it again"
            )
        actual = self.dtype(name)
        if actual != dtype:
            raise InputError(
                f"{describe(self.source)}{name} is {actual}, expected {dtype}; convert the data first"
            )
        return self._file.get_tensor(name)

    def any_tensor(self, name: str) -> NDArray[Any]:
        """One array of any shape and dtype. Raises InputError when it is missing or numpy does not support its dtype."""
        if name not in self.names:
            choice = f"it holds {_names_to_choose(self.names)}{_nearest_name(name, self.names)}"
            raise InputError(f"{describe(self.source)}no array {name}; {choice}")
        try:
            return self._file.get_tensor(name)
        except TypeError as error:  # bfloat16 and the 8-bit floats
            raise InputError(
                f"{describe(self.source)}{name} is {self.dtype(name)}, which numpy does not know; convert it first"
            ) from error

    def dtype(self, name: str) -> str:
        """The type of one array by its name in safetensors: F64, I64, …."""
        return str(self._file.get_slice(name).get_dtype())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one array, without reading the array."""
        return tuple(self._file.get_slice(name).get_shape())

    def expect(self, kind: str) -> Artefact:
        """This artefact. Raises InputError if it is of another kind, with advice how to make one of this kind."""
        if self.kind != kind:
            raise InputError(
                f"{describe(self.source)}got {_with_article(self.kind)}, expected {_with_article(kind)}",
                KIND_REMEDIES[kind],
            )
        return self


def _with_article(kind: str) -> str:
    return kind if kind.endswith("s") or kind == "spectra" else f"a {kind}"


def _names_to_choose(names: Iterable[str]) -> str:
    """Names of arrays for a message. Of all runs, it lists only the arrays of the first."""
    listed = sorted(name for name in names if name.startswith("r0000/") or not re.match(r"r\d+/", name))
    return ", ".join(listed[:MAX_NAMES_LISTED]) + ", …" * (len(listed) > MAX_NAMES_LISTED)


def _nearest_name(name: str, names: Iterable[str]) -> str:
    """`; did you mean r0000/theta?` with a name that looks like `name`; empty where none does, or only the run differs."""
    folder, _, last = name.rpartition("/")
    known = sorted(names)
    if folder and any(re.sub(r"^r\d+/", "", name) == re.sub(r"^r\d+/", "", other) for other in known):
        return ""
    lasts = {
        other.rpartition("/")[2]: other for other in reversed(known)
    }  # of equal ones that of the first run
    lasts |= {other.rpartition("/")[2]: other for other in known if other.rpartition("/")[0] == folder}
    nearest = nearest_of(last, lasts)
    return f"; did you mean {lasts[nearest]}?" if nearest else ""


def open_any(source: str, text: bool = False) -> Artefact | list[dict[str, Any]]:
    """Opens the output of a command of jamtools. Returns an open artefact, or the objects of JSON lines.

    text: treat empty input as damaged JSON lines, not as a damaged artefact. Raises InputError for input of another format.
    """
    data = None if _is_regular(source) else read_bytes(source)
    head = _head(source) if data is None else data[:HEAD_BYTES]
    if is_text(head) or (text and not head):
        return parse_json_lines(read_bytes(source) if data is None else data, source)
    return Artefact(source, data)


def _head(source: str) -> bytes:
    try:
        with open(source, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise unreadable(source, error) from error


def _is_regular(source: str) -> bool:
    return source != STDIN and os.path.isfile(source)


@contextmanager
def _mappable(source: str, data: bytes | None) -> Iterator[str]:
    """The path of a file that can be mapped into memory: the source itself, or a temporary copy of a stream.

    The mapping stays valid after the copy is deleted.
    """
    if data is None and _is_regular(source):
        yield source
        return
    try:
        with tempfile.NamedTemporaryFile(prefix="jamtools-", buffering=0) as copy:
            write_all(copy, read_bytes(source) if data is None else data)
            yield copy.name
    except OSError as error:
        raise OutputError(
            f"temporary folder: {(error.strerror or str(error)).lower()}; set TMPDIR to a folder with more space"
        ) from error


def _open(path: str, source: str) -> Any:
    try:
        if os.path.getsize(path) == 0:
            raise InputError(
                f"{describe(source)}empty input, expected an artefact", Remedy.CHECK_WHAT_WROTE_IT
            )
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise InputError(f"{describe(source)}{_fault(_head(path), error)}") from error
    except OSError as error:
        raise unreadable(source, error) from error


def _fault(head: bytes, error: SafetensorError) -> str:
    """Why a file that begins with `head` is no artefact."""
    if is_safetensors(head):
        return f"not a whole safetensors file ({error}); it was cut short or damaged, make it again"
    found = recognised(head)
    if found is None:
        return "neither JSON lines nor safetensors, expected an artefact; name a file that jamtools wrote"
    return f"got {found}, expected an artefact in safetensors; name a file that jamtools wrote"


def _metadata(header: Mapping[str, str] | None, source: str) -> dict[str, Any]:
    foreign = InputError(
        f"{describe(source)}got a safetensors file that jamtools did not write", Remedy.READ_ARRAYS
    )
    try:
        metadata = json.loads((header or {})["jamtools"])
        kind, version = metadata["kind"], metadata["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise foreign from error
    if not isinstance(kind, str):
        raise foreign
    if version != ARTEFACT_VERSION:
        raise InputError(
            f"{describe(source)}got {kind} of format version {version}, expected version {ARTEFACT_VERSION}; "
            "use the jamtools that wrote it"
        )
    return metadata
