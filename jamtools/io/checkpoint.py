"""A call of `train_many` that may be killed at any moment, and goes on to the same bytes.

    checkpoint = (request;  per run: nothing yet | State | Run)

A run's steps are a function of its own state alone, however they are cut into bursts: a copy of each run's state, taken
between two bursts, is enough, and the copies need not be of one moment. The file is replaced in one step; `request` says
what it is a checkpoint of, and a SHA-256 over everything tells a damaged file from a whole one.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from jamtools.errors import InputError, OutputError
from jamtools.io.artefact import VERSION, Artefact
from jamtools.io.request import KIND, REMEDY, check_same
from jamtools.io.streams import write_file
from jamtools.protocols import Settings
from jamtools.records import Run, sha256
from jamtools.training.ensemble import Watch, train_many
from jamtools.training.job import Job, Place
from jamtools.training.snapshot import State

#: A checkpoint that is due waits at most this many seconds for the runs' next bursts; then older states do.
ANSWER = 5.0

Arrays = dict[str, NDArray[Any]]

Kept = State | Run | None


class Stopped(Exception):
    """The call has been told to stop, and has been kept."""


class Checkpoint:
    """The states of all runs of a call, and the file they are written to: a Keeper for `train_many`.

    every: seconds between two writes; resume: go on from the file where there is one; stop: whether to end the call.
    Raises InputError for a file that is damaged, of another request or no checkpoint at all.
    """

    def __init__(
        self,
        path: str,
        request: Mapping[str, Any],
        runs: int,
        every: float = 60.0,
        resume: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path, self.request, self.every = path, request, every
        check_place(path, resume)
        self._states: list[Kept] = read(path, request) if resume and os.path.exists(path) else [None] * runs
        self._stop = stop
        self._asked = -math.inf  # when the states were last asked for
        self._written = monotonic()
        self._taken = [-math.inf] * runs
        self._under_way: set[int] = set()

    def kept(self, i: int) -> Kept:
        """See Keeper."""
        self._under_way.add(i)
        return self._states[i]

    def wants(self, i: int) -> bool:
        """See Keeper."""
        return self._taken[i] < self._asked

    def keep(self, i: int, state: State | Run) -> None:
        """See Keeper."""
        self._states[i], self._taken[i] = state, monotonic()
        if isinstance(state, Run):
            self._under_way.discard(i)

    def tick(self) -> None:
        """Asks for the states when they are due, and writes them once they are there; raises Stopped when told to."""
        if self._stop():
            raise Stopped
        now = monotonic()
        if self._asked < self._written:
            if now >= self._written + self.every:
                self._asked = now
        elif now > self._asked + ANSWER or not any(self.wants(i) for i in tuple(self._under_way)):
            self.write_or_warn()

    def write(self) -> None:
        """The states of now, in place of the file's."""
        write_file(self.path, pack(self.request, list(self._states)))
        self._written = monotonic()

    def write_or_warn(self) -> None:
        """A full disk is no reason to end the runs: the former checkpoint is still there."""
        try:
            self.write()
        except OutputError as error:
            self._written = monotonic()
            warnings.warn(f"{error}; the runs go on", stacklevel=2)


def train_kept(
    jobs: Sequence[Job], settings: Settings, place: Place, watch: Watch | None, checkpoint: Checkpoint
) -> list[Run]:
    """`train_many`, kept in a checkpoint whichever way it ends."""
    try:
        trained = train_many(jobs, settings, place, watch, checkpoint)
    except Stopped:
        checkpoint.write()
        raise
    except BaseException:
        checkpoint.write_or_warn()
        raise
    checkpoint.write_or_warn()
    return trained


def check_place(path: str, resume: bool = False) -> None:
    """Raises InputError when something else than a checkpoint would be overwritten."""
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise InputError(f"{path}: is no regular file, which a checkpoint needs; give another --checkpoint")
    if os.path.getsize(path) > 0 or resume:
        _open(path)


def pack(request: Mapping[str, Any], states: Sequence[Kept]) -> bytes:
    """The bytes of a checkpoint."""
    tensors: Arrays = {}
    entries = []
    for i, state in enumerate(states):
        entry, arrays = _packed(state)
        entries.append(entry)
        tensors |= {f"r{i:04d}/{name}": np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"kind": KIND, "version": VERSION, "provenance": [], "request": request, KIND: entries}
    metadata["sha256"] = _digest(metadata, tensors)
    return save(tensors, metadata={"jamtools": _json(metadata)})


def read(path: str, request: Mapping[str, Any]) -> list[Kept]:
    """The states of a checkpoint; InputError when it is damaged or of another request."""
    artefact = _open(path)
    try:
        tensors = {name: artefact.any_tensor(name) for name in sorted(artefact.names)}
        claimed = artefact.metadata.pop("sha256", None)
    except (SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a damaged checkpoint ({error}); {REMEDY}") from error
    if claimed != _digest(artefact.metadata, tensors):
        raise InputError(f"{path}: a damaged checkpoint, its SHA-256 is another; {REMEDY}")
    asked = {name: json.loads(_json(value)) for name, value in request.items()}  # in the order of request
    check_same(path, artefact.metadata["request"], asked)
    return [_unpacked(entry, _under(tensors, f"r{i:04d}/")) for i, entry in enumerate(artefact.infos)]


def _open(path: str) -> Artefact:
    try:
        artefact = Artefact(path)
    except InputError as error:
        raise InputError(
            f"{str(error).rpartition('; ')[0] or error}, expected a checkpoint; {REMEDY}"
        ) from error
    if artefact.kind != KIND:
        raise InputError(f"{path}: got {artefact.kind}, expected a checkpoint; give another --checkpoint")
    return artefact


def _digest(metadata: Mapping[str, Any], tensors: Arrays) -> str:
    names = sorted(tensors)
    return sha256([tensors[name] for name in names], _json(metadata) + " ".join(names))


def _json(value: Any) -> str:
    """Sorted; NaN stays NaN, so that a run that diverged comes back as it was."""
    return json.dumps(value, sort_keys=True, default=lambda number: number.tolist())


def _packed(state: Kept) -> tuple[dict[str, Any], Arrays]:
    """What of a run goes into the metadata, and its arrays."""
    if state is None:
        return {"stands": "waiting"}, {}
    if isinstance(state, Run):
        return {"stands": "finished", "info": state.info}, state.arrays()
    columns = list(state.rows[0]) if state.rows else []
    history = {f"history/{name}": np.array([row[name] for row in state.rows]) for name in columns}
    parts = {"optimizer": state.optimizer, "engine": state.engine}
    inner = {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
    entry = {
        "stands": "under way",
        "step": state.step,
        "status": state.status,
        "t": state.t,
        "rng": state.rng,
    }
    return {**entry, "columns": columns}, {"theta": state.theta, **history, **inner}


def _unpacked(entry: Mapping[str, Any], arrays: Arrays) -> Kept:
    if entry["stands"] == "waiting":
        return None
    history = _under(arrays, "history/")
    if entry["stands"] == "finished":
        certificate = _under(arrays, "certificate/")
        return Run(arrays["theta"], arrays["theta0"], arrays["gaps"], history, entry["info"], certificate)
    columns = entry["columns"]
    values = [history[name] if history[name].ndim > 1 else history[name].tolist() for name in columns]
    rows = [dict(zip(columns, row)) for row in zip(*values)]
    optimizer = _under(arrays, "optimizer/")
    step, status, t = entry["step"], entry["status"], entry["t"]
    return State(step, status, t, arrays["theta"], optimizer, rows, entry["rng"], _under(arrays, "engine/"))


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
