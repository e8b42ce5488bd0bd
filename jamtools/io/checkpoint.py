"""A checkpoint: a file from which `train_many` continues to the same bytes after it was killed.

    checkpoint = (request;  per run: None | Snapshot | Run)

The steps of a run depend only on its own snapshot, not on how they are divided into bursts. So a copy of each run
between two bursts is enough, and the copies need not be taken at the same moment. The file is replaced in one step. Its
`request` identifies each of its runs, so that a request for the same runs and for more continues from it. A SHA-256 of
the content reveals damage.

Source: none, own format.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from jamtools.errors import InputError, OutputError, Remedy
from jamtools.io.artefact import ARTEFACT_VERSION, Artefact
from jamtools.io.request import Row, compressed, expanded, places
from jamtools.io.streams import write_file
from jamtools.records import Run, sha256
from jamtools.training.ensemble import Watch, train_many
from jamtools.training.job import Job
from jamtools.training.snapshot import Snapshot

#: The kind of the artefact. It is also the metadata key of the list of runs.
CHECKPOINT_KIND = "checkpoint"

#: Seconds that a due checkpoint waits for new snapshots of all runs. After that it is written with the older ones.
SNAPSHOT_WAIT_SECONDS = 5.0

Arrays = dict[str, NDArray[Any]]

#: The state of a run in a checkpoint: None before the run begins, then a snapshot, and its record once it has ended.
RunState = Snapshot | Run | None


class StopRequested(Exception):
    """An exception that ends a call of `train_many` because its checkpoint was asked to stop."""


class Checkpoint:
    """The states of all runs of a call, and the file that holds them. This is the Checkpointer of `train_many`.

    request: a row for each run; interval: seconds between two writes; resume: whether to continue from the file if it
    exists; stop: a function that returns True when the call should end. Raises InputError for a file that is damaged, that
    has runs other than those of the request, or that is no checkpoint.
    """

    def __init__(
        self,
        path: str,
        request: Sequence[Row],
        interval: float = 60.0,
        resume: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path, self.request, self.interval = path, request, interval
        check_may_replace(path, resume)
        resumes = resume and os.path.exists(path)
        self._states: list[RunState] = read(path, request) if resumes else [None] * len(request)
        self._stop = stop
        self._requested_at = -math.inf  # when snapshots were last asked for
        self._written_at = monotonic()
        self._saved_at = [-math.inf] * len(request)
        self._in_progress: set[int] = set()

    def load(self, i: int) -> RunState:
        """The state of run i in the file, or None if the run had not begun."""
        self._in_progress.add(i)
        return self._states[i]

    def is_due(self, i: int) -> bool:
        """Whether run i has saved nothing since snapshots were last asked for."""
        return self._saved_at[i] < self._requested_at

    def save(self, i: int, state: Snapshot | Run) -> None:
        """Keeps the state of run i for the next write."""
        self._states[i], self._saved_at[i] = state, monotonic()
        if isinstance(state, Run):
            self._in_progress.discard(i)

    def poll(self) -> None:
        """Asks for snapshots when the interval is over, and writes them when all runs have saved one.

        It waits for them at most SNAPSHOT_WAIT_SECONDS. Raises StopRequested when the call should end.
        """
        if self._stop():
            raise StopRequested
        now = monotonic()
        if self._requested_at < self._written_at:
            if now >= self._written_at + self.interval:
                self._requested_at = now
        elif now > self._requested_at + SNAPSHOT_WAIT_SECONDS or not self._any_due():
            self.write_or_warn()

    def _any_due(self) -> bool:
        """Whether a run in progress has not saved the snapshot that was asked for."""
        return any(self.is_due(i) for i in tuple(self._in_progress))

    def write(self) -> None:
        """Replaces the file by one with the present states. Raises OutputError when it cannot be written."""
        write_file(self.path, pack(self.request, list(self._states)))
        self._written_at = monotonic()

    def write_or_warn(self) -> None:
        """Writes the file, or warns if that fails. A full disk does not end the runs: the previous checkpoint remains."""
        try:
            self.write()
        except OutputError as error:
            self._written_at = monotonic()
            warnings.warn(f"{error}; the runs continue", stacklevel=2)


def train_with_checkpoint(jobs: Sequence[Job], watch: Watch | None, checkpoint: Checkpoint) -> list[Run]:
    """`train_many` with a checkpoint, which is also written when the call ends early.

    Raises what `train_many` raises, StopRequested, and OutputError when the checkpoint of a call that was stopped or
    interrupted cannot be written.
    """
    with kept_in(checkpoint):
        return train_many(jobs, watch, checkpoint)


@contextmanager
def kept_in(checkpoint: Checkpoint) -> Iterator[None]:
    """Writes the checkpoint at the end of the block, also where it ends early.

    Raises what the block raises, and OutputError when the checkpoint of a block that was stopped or interrupted cannot be
    written.
    """
    try:
        yield
    except (StopRequested, KeyboardInterrupt):
        checkpoint.write()
        raise
    except BaseException:
        checkpoint.write_or_warn()
        raise
    checkpoint.write_or_warn()


def check_may_replace(path: str, resume: bool = False) -> None:
    """Raises InputError when a checkpoint at `path` would replace a file that is no checkpoint."""
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: is no regular file, which a checkpoint needs", Remedy.ANOTHER_PLACE_FOR_CHECKPOINT
        )
    if os.path.getsize(path) > 0 or resume:
        _open(path)


def pack(request: Sequence[Row], states: Sequence[RunState]) -> bytes:
    """The bytes of a checkpoint of these runs, which has a row of the request for each."""
    tensors: Arrays = {}
    entries = []
    for i, state in enumerate(states):
        entry, arrays = _pack_run(state)
        entries.append(entry)
        tensors |= {f"r{i:04d}/{name}": np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {
        "kind": CHECKPOINT_KIND,
        "version": ARTEFACT_VERSION,
        "provenance": [],
        "request": compressed(request),
        CHECKPOINT_KIND: entries,
    }
    metadata["sha256"] = _digest(metadata, tensors)
    return save(tensors, metadata={"jamtools": _json(metadata)})


def read(path: str, request: Sequence[Row]) -> list[RunState]:
    """The state of each run of the request: that in the checkpoint, or None for a run that the checkpoint does not have.

    Raises InputError when the checkpoint is damaged, or has a run that is not one of the request.
    """
    artefact = _open(path)
    try:
        tensors = {name: artefact.any_tensor(name) for name in sorted(artefact.names)}
        claimed = artefact.metadata.pop("sha256", None)
    except (SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a damaged checkpoint ({error})", Remedy.ANOTHER_CHECKPOINT) from error
    if claimed != _digest(artefact.metadata, tensors):
        raise InputError(
            f"{path}: a damaged checkpoint, its SHA-256 is not that of its content", Remedy.ANOTHER_CHECKPOINT
        )
    states: list[RunState] = [None] * len(request)
    saved = expanded(artefact.metadata["request"], len(artefact.infos))
    for i, place in enumerate(places(path, saved, request)):
        states[place] = _unpack_run(artefact.infos[i], _under(tensors, f"r{i:04d}/"))
    return states


def _open(path: str) -> Artefact:
    """The artefact at `path`. Raises InputError when it is no checkpoint."""
    try:
        artefact = Artefact(path)
    except InputError as error:
        # without what is expected of other artefacts, and advised for them
        fault = (error.text.rpartition("; ")[0] or error.text).partition(", expected an artefact")[0]
        raise InputError(f"{fault}, expected a checkpoint", Remedy.ANOTHER_CHECKPOINT) from error
    if artefact.kind != CHECKPOINT_KIND:
        raise InputError(
            f"{path}: got {artefact.kind}, expected a checkpoint", Remedy.ANOTHER_PLACE_FOR_CHECKPOINT
        )
    return artefact


def _digest(metadata: Mapping[str, Any], tensors: Arrays) -> str:
    """The SHA-256 of the tensors, their names and the metadata."""
    names = sorted(tensors)
    return sha256([tensors[name] for name in names], _json(metadata) + " ".join(names))


def _json(value: Any) -> str:
    """JSON with sorted keys. NaN stays NaN, so that a diverged run is read back unchanged."""
    return json.dumps(value, sort_keys=True, default=lambda number: number.tolist())


def _pack_run(state: RunState) -> tuple[dict[str, Any], Arrays]:
    """The entry of a run in the metadata, and its arrays."""
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


def _unpack_run(entry: Mapping[str, Any], arrays: Arrays) -> RunState:
    """The inverse of `_pack_run`."""
    if entry["stands"] == "waiting":
        return None
    history = _under(arrays, "history/")
    if entry["stands"] == "finished":
        certificate = _under(arrays, "certificate/")
        dead = arrays.get("dead", np.zeros(0, np.int64))
        return Run(
            arrays["theta"], arrays["theta0"], arrays["gaps"], history, entry["info"], certificate, dead
        )
    columns = entry["columns"]
    values = [history[name] if history[name].ndim > 1 else history[name].tolist() for name in columns]
    rows = [dict(zip(columns, row)) for row in zip(*values)]
    optimizer = _under(arrays, "optimizer/")
    step, status, t = entry["step"], entry["status"], entry["t"]
    return Snapshot(
        step, status, t, arrays["theta"], optimizer, rows, entry["rng"], _under(arrays, "engine/")
    )


def _under(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with `prefix`, by the rest of the name."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
