"""The finished trials of a search, one JSON line each, appended as they end: a search that was killed goes on.

    {"kind": "nstar-journal", "request": {…}}
    {"P": 200, "width": 7, "seed": 0, "outcome": "success", …}

A search asks for one trial after the other, and which it asks for follows from the outcomes so far: with those in
the journal it comes to where it was, without training again. A last line that was torn by the end of its process is
dropped, and its trial taken again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from jamtools import __version__
from jamtools.errors import InputError, OutputError, Remedy
from jamtools.io.request import check_same, data_digests
from jamtools.io.streams import check_writable, json_line, write_all
from jamtools.records import Dataset
from jamtools.transition.trial import Question

KIND = "nstar-journal"

REMEDY = "remove it or give another --journal"

ANOTHER = "give another --journal"

Key = tuple[int, int, int]


def request_of(data: Dataset, question: Question, place: Mapping[str, str]) -> dict[str, Any]:
    """All that decides the outcome of a trial, but for its P, width and seed."""
    asked = asdict(question)
    for name in ("seeds", "max_width"):  # which trials, not what comes of them
        del asked[name]
    settings = asked.pop("settings")
    settings |= settings.pop("schedule")
    return {
        **asked,
        **settings,
        **place,
        **data_digests([data]),
        "jamtools": __version__,
        "torch": torch.__version__,
    }


class Journal:
    """The journal at `path`, of a `request`; with `resume` it goes on from what is there.

    Raises InputError where there is one and nobody asked to resume it, where it is of another request or no journal, and
    OutputError where it cannot be written.
    """

    def __init__(self, path: str, request: Mapping[str, Any], resume: bool = False) -> None:
        self.path = path
        self._trials: dict[Key, dict[str, Any]] = {}
        self._request = json.loads(json_line(request))
        check_writable(path)
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(f"{path}: is no regular file, which a journal needs; give another --journal")
        if os.path.exists(path) and os.path.getsize(path) > 0:
            lines = self._lines()
            if not resume:
                raise InputError(f"{path}: there is a journal already; go on with --resume, or {REMEDY}")
            self._read(lines)
        if not os.path.exists(path) or not os.path.getsize(path):
            self._append({"kind": KIND, "request": self._request})

    def __len__(self) -> int:
        return len(self._trials)

    def get(self, P: int, width: int, seed: int) -> dict[str, Any] | None:
        """The record of a trial, if it is there."""
        return self._trials.get((P, width, seed))

    def add(self, P: int, record: Mapping[str, Any]) -> None:
        """Keeps the record of a trial, on the disk when this returns."""
        record = {"P": P, **record}
        self._trials[P, record["width"], record["seed"]] = record
        self._append(record)

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            with open(self.path, "ab", buffering=0) as file:
                write_all(file, json_line(record))
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: {(error.strerror or str(error)).lower()}") from error

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines of the file, which is a journal."""
        with open(self.path, "rb") as file:
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and not b'{"kind": "nstar-journal"'.startswith(data[:24]):
            raise InputError(f"{self.path}: is no journal of jam-nstar; {ANOTHER}")
        lines = [self._parsed(line) for line in whole.splitlines()]
        if lines and (lines[0].get("kind") != KIND or not isinstance(lines[0].get("request"), dict)):
            raise InputError(f"{self.path}: is no journal of jam-nstar; {ANOTHER}")
        self._torn = len(whole) < len(data)
        self._size = len(whole)
        return lines

    def _read(self, lines: list[dict[str, Any]]) -> None:
        """What the lines hold; what is torn at the end of the file is cut off."""
        if lines:
            check_same(self.path, lines[0]["request"], self._request, "journal", Remedy.ANOTHER_JOURNAL)
        for line in lines[1:]:
            if line.get("kind") == KIND:
                raise InputError(f"{self.path}: a second beginning amid its lines; {REMEDY}")
            self._trials[line["P"], line["width"], line["seed"]] = line
        if self._torn:
            os.truncate(self.path, self._size)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{self.path}: a line that is no JSON: {line[:40]!r}; {ANOTHER}") from error
        if not isinstance(record, dict) or not (record.get("kind") == KIND or _is_trial(record)):
            raise InputError(f"{self.path}: a line that is no trial: {line[:40]!r}; {ANOTHER}")
        return record


def _is_trial(record: Mapping[str, Any]) -> bool:
    numbers = all(type(record.get(name)) is int for name in ("P", "width", "seed", "N", "steps"))
    return numbers and isinstance(record.get("outcome"), str)
