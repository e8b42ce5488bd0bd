"""A command that can be told to stop, keeps what it has done and is run again: --checkpoint and exit code 75."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from jamtools.io.streams import STDIN, check_writable

if TYPE_CHECKING:
    from jamtools.cli.common.session import Session
    from jamtools.protocols import Settings
    from jamtools.records import Run
    from jamtools.training.ensemble import Watch
    from jamtools.training.job import Job, Place

#: "Temporary failure, run me again": EX_TEMPFAIL of sysexits.h.
STOPPED = 75

EVERY = 60.0


@contextmanager
def stopped_by_signals(command: str, journal: str | None) -> Iterator[None]:
    """SIGTERM and SIGUSR1 end what is inside with exit code 75; without a journal they do what they do elsewhere."""
    if journal is None:
        yield
        return

    def tell(what: str) -> None:
        print(
            f"{command}: {what}; the finished trials are in {journal}, run the same command with --resume to go on",
            file=sys.stderr,
        )
        sys.stderr.flush()

    def told(number: int, frame: FrameType | None) -> None:
        tell(f"stopped by {signal.Signals(number).name}")
        os._exit(STOPPED)  # every finished trial is on the disk, and the one under way may take long

    numbers = (signal.SIGTERM, signal.SIGUSR1)
    former = {number: signal.signal(number, told) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        tell("interrupted")
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Keeping:
    """The options --checkpoint, --checkpoint-every, --resume and --time-limit of one command, and what they do.

    Without a checkpoint there is nothing to keep, and signals do what they do elsewhere.
    """

    def __init__(
        self, command: str, path: str | None, every: float | None, resume: bool, limit: float | None
    ) -> None:
        self.command, self.path, self.resume, self.limit = command, path, resume, limit
        self.every = every or EVERY
        given = {"--checkpoint-every": every, "--resume": resume, "--time-limit": limit}
        alone = [name for name, value in given.items() if value]
        if path is None and alone:
            raise typer.BadParameter(
                f"got {alone[0]} without a checkpoint, expected --checkpoint FILE with it"
            )
        if path == STDIN:
            raise typer.BadParameter("got --checkpoint -, expected a file: it is read again with --resume")
        self._deadline = monotonic() + (limit or math.inf)
        self._why = ""
        self._polled = False

    def listen(self, output: str) -> None:
        """From here on the signals are heeded; refuses a checkpoint that cannot be written, or that is the output."""
        if self.path is None:
            return
        if output != STDIN and os.path.realpath(output) == os.path.realpath(self.path):
            raise typer.BadParameter(f"got {output} for the output and the checkpoint, expected two files")
        check_writable(self.path)
        numbers = (signal.SIGTERM, signal.SIGUSR1)
        self._former = {number: signal.signal(number, self._told) for number in numbers}

    def done(self) -> None:
        """The result is out: nothing is left to keep."""
        if self.path is not None:
            for number, handler in self._former.items():
                signal.signal(number, handler)

    def train(self, session: Session, jobs: Sequence[Job], settings: Settings, place: Place) -> list[Run]:
        """`train_many` with a bar over the steps of all runs, in a checkpoint if there is to be one."""
        with self._heeded(), session.progress(self.command, total=settings.steps * len(jobs)) as update:

            def watch(seen: list[tuple[int, float, int]]) -> None:
                begun = sum(job.start.info["steps"] for job in jobs if job.start)
                done = sum(step for step, _, _ in seen) - begun
                latest = [
                    (loss, n / job.arch.n_effective) for job, (_, loss, n) in zip(jobs, seen) if loss == loss
                ]
                if latest:
                    low, high = min(latest)[0], max(latest)[0]
                    update(done, f"L {low:.1e} to {high:.1e}  N_Δ/N {latest[-1][1]:.3f}")

            return self._train(jobs, settings, place, watch)

    def _train(self, jobs: Sequence[Job], settings: Settings, place: Place, watch: Watch) -> list[Run]:
        if self.path is None:
            from jamtools.training.ensemble import train_many

            return train_many(jobs, settings, place, watch)
        from jamtools.io.checkpoint import Checkpoint, train_kept
        from jamtools.io.request import request_of

        request = request_of(jobs, settings, place)
        checkpoint = Checkpoint(self.path, request, len(jobs), self.every, self.resume, self._is_told)
        return train_kept(jobs, settings, place, watch, checkpoint)

    @contextmanager
    def _heeded(self) -> Iterator[None]:
        """Around `train`, which asks whether it is to stop: elsewhere a signal ends the command at once."""
        from jamtools.io.checkpoint import Stopped

        self._polled = True
        try:
            yield
        except Stopped:
            self._leave(f"the runs are kept in {self.path}")
        except KeyboardInterrupt:
            if self.path is not None:
                self._tell("interrupted", f"the runs are kept in {self.path}")
            raise
        finally:
            self._polled = False

    def _is_told(self) -> bool:
        if not self._why and monotonic() >= self._deadline:
            self._why = f"the time limit of {self.limit:g} s"
        return bool(self._why)

    def _told(self, number: int, frame: FrameType | None) -> None:
        first, self._why = not self._why, self._why or signal.Signals(number).name
        if first and not self._polled:
            self._leave("no run was under way")

    def _tell(self, what: str, state: str) -> None:
        print(
            f"{self.command}: {what}; {state}, run the same command with --resume to go on", file=sys.stderr
        )

    def _leave(self, state: str) -> NoReturn:
        self._tell(f"stopped by {self._why}", state)
        if threading.active_count() > 1:  # amid a step of many seconds, for which an exit would wait
            sys.stderr.flush()
            os._exit(STOPPED)
        sys.exit(STOPPED)
