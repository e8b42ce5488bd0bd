"""Journal of a search: one JSON line per finished trial, written when the trial ends. A killed search can resume from it.

    {"kind": "nstar-journal", "request": {…}}
    {"P": 200, "width": 7, "seed": 0, "outcome": "success", …}

The outcomes so far decide which trial is next. A resumed search takes the outcomes from the journal, and so it reaches the
point where it was killed without training again. If the process ended while it wrote, the last line is incomplete. This
line is removed and its trial is trained again.
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
from jamtools.io.formats import recognised
from jamtools.io.request import check_same, data_digests
from jamtools.io.streams import check_writable, json_line, write_all
from jamtools.records import Dataset
from jamtools.transition.options import TrialSpec
from jamtools.transition.trial import Trial, TrialKey

JOURNAL_KIND = "nstar-journal"

#: The first bytes of every journal.
JOURNAL_START = b'{"kind": "nstar-journal"'

#: Fields of TrialSpec that decide which trials are made, but not the outcome of a trial.
JOURNAL_EXTENT_FIELDS = ("seeds", "max_width")


def request_of(data: Dataset, spec: TrialSpec, place: Mapping[str, str]) -> dict[str, Any]:
    """Everything that decides the outcome of a trial, except its P, width and seed. place: the names of device and dtype."""
    fields = asdict(spec)
    for name in JOURNAL_EXTENT_FIELDS:
        del fields[name]
    settings = fields.pop("settings")
    settings |= settings.pop("schedule")
    return {
        **fields,
        **settings,
        **place,
        **data_digests(data),
        "jamtools": __version__,
        "torch": torch.__version__,
    }


class Journal:
    """The journal of a `request`, in the file `path`. It is a `TrialStore`.

    With `resume` it first reads the trials in the file. Raises InputError if the file exists and resume is not set, if it
    belongs to another request, or if it is no journal; OutputError if it cannot be written.
    """

    def __init__(self, path: str, request: Mapping[str, Any], resume: bool = False) -> None:
        self.path = path
        self._trials: dict[TrialKey, Trial] = {}
        self._request = json.loads(json_line(request))
        check_writable(path)
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(
                f"{path}: is no regular file, which a journal needs", Remedy.ANOTHER_PLACE_FOR_JOURNAL
            )
        if os.path.exists(path) and os.path.getsize(path) > 0:
            lines = self._read_lines()
            if not resume:
                raise InputError(f"{path}: there is a journal already", Remedy.RESUME_JOURNAL)
            self._take_trials(lines)
        if not os.path.exists(path) or not os.path.getsize(path):
            self._append({"kind": JOURNAL_KIND, "request": self._request})

    def __len__(self) -> int:
        return len(self._trials)

    def get(self, key: TrialKey) -> Trial | None:
        """The trial with this key, or None."""
        return self._trials.get(key)

    def add(self, trial: Trial) -> None:
        """Stores a finished trial and writes it to the disk before it returns. Raises OutputError if that fails."""
        self._trials[trial.key] = trial
        self._append(trial.as_dict())

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            with open(self.path, "ab", buffering=0) as file:
                write_all(file, json_line(record))
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: {(error.strerror or str(error)).lower()}") from error

    def _read_lines(self) -> list[dict[str, Any]]:
        """The complete lines of the file. Raises InputError if it is no journal."""
        with open(self.path, "rb") as file:
            data = file.read()
        found = recognised(data)
        if found not in ("JSON", "text", None):
            raise InputError(
                f"{self.path}: got {found}, expected a journal of a search", Remedy.ANOTHER_PLACE_FOR_JOURNAL
            )
        complete = data[: data.rfind(b"\n") + 1]
        if not complete and not JOURNAL_START.startswith(data[: len(JOURNAL_START)]):
            raise self._no_journal()
        lines = [self._parsed(line) for line in complete.splitlines()]
        if lines and (lines[0].get("kind") != JOURNAL_KIND or not isinstance(lines[0].get("request"), dict)):
            raise self._no_journal()
        self._has_incomplete_line = len(complete) < len(data)
        self._complete_size = len(complete)
        return lines

    def _no_journal(self) -> InputError:
        return InputError(f"{self.path}: is no journal of a search", Remedy.ANOTHER_PLACE_FOR_JOURNAL)

    def _take_trials(self, lines: list[dict[str, Any]]) -> None:
        """Stores the trials of the lines, and cuts an incomplete last line off the file."""
        if lines:
            check_same(self.path, lines[0]["request"], self._request, "journal", Remedy.ANOTHER_JOURNAL)
        for line in lines[1:]:
            if line.get("kind") == JOURNAL_KIND:
                raise InputError(f"{self.path}: holds two journals, expected one", Remedy.ANOTHER_JOURNAL)
            trial = Trial.from_dict(line)
            self._trials[trial.key] = trial
        if self._has_incomplete_line:
            os.truncate(self.path, self._complete_size)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        """A line as JSON. Raises InputError if it is neither the first line of a journal nor a trial."""
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{self.path}: a line that is no JSON: {line[:40]!r}", Remedy.ANOTHER_PLACE_FOR_JOURNAL
            ) from error
        if isinstance(record, dict) and record.get("kind") == JOURNAL_KIND:
            return record
        try:
            Trial.from_dict(record)
        except ValueError as error:
            raise InputError(
                f"{self.path}: a line that is no trial: {line[:40]!r}", Remedy.ANOTHER_PLACE_FOR_JOURNAL
            ) from error
        return dict(record)
