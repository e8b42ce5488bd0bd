"""Commands that can be stopped and continued: --checkpoint, --journal and exit code 75."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from jamtools.cli.common.reporting import Interrupted
from jamtools.cli.common.training_progress import ApproachProgress, TrainingProgress
from jamtools.io.streams import STDIN, check_writable

if TYPE_CHECKING:
    from jamtools.cli.common.session import Session
    from jamtools.records import Run
    from jamtools.training.approaches import ApproachJob
    from jamtools.training.ensemble import Watch
    from jamtools.training.job import Job

#: Exit code of a command that is to be run again: EX_TEMPFAIL of sysexits.h, "temporary failure".
STOPPED = 75

#: Seconds between two writes of a checkpoint, unless --checkpoint-every is given.
CHECKPOINT_SECONDS = 60.0

#: The signals by which a batch system announces the end of a job.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stopped_by_signals(command: str, journal: str | None, n_finished: Callable[[], int]) -> Iterator[None]:
    """SIGTERM and SIGUSR1 end the block with exit code 75. Without a journal they keep their usual effect.

    n_finished: the number of trials that have ended so far. Ctrl-C raises Interrupted, with what is kept or lost.
    """
    kept = f"the finished trials are in {journal}, run the same command with --resume to continue"

    def stop(number: int, frame: FrameType | None) -> None:
        print(f"{command}: stopped by {signal.Signals(number).name}; {kept}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(STOPPED)  # all finished trials are on the disk, and the current trial may take long

    former = {number: signal.signal(number, stop) for number in STOP_SIGNALS} if journal else {}
    try:
        yield
    except KeyboardInterrupt as error:
        n = n_finished()
        lost = f"{n} finished {'trial is' if n == 1 else 'trials are'} lost" if n else "no trial had finished"
        raise Interrupted(
            f"interrupted; {kept if journal else f'{lost}; with --journal FILE finished trials are kept'}"
        ) from error
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class ResumableTraining:
    """The options --checkpoint, --checkpoint-every, --resume and --time-limit of one command, and their effect.

    path: that of the checkpoint; every: seconds between two writes; limit: seconds until the command stops. Without a
    checkpoint the runs are trained in one go, and signals keep their usual effect. Raises typer.BadParameter for options
    that need a checkpoint and have none.
    """

    def __init__(
        self, command: str, path: str | None, every: float | None, resume: bool, limit: float | None
    ) -> None:
        self.command, self.path, self.resume, self.limit = command, path, resume, limit
        self.interval = every or CHECKPOINT_SECONDS
        given = {"--checkpoint-every": every, "--resume": resume, "--time-limit": limit}
        without_checkpoint = [name for name, value in given.items() if value]
        if path is None and without_checkpoint:
            raise typer.BadParameter(
                f"got {without_checkpoint[0]} without a checkpoint, expected --checkpoint FILE with it"
            )
        if path == STDIN:
            raise typer.BadParameter("got --checkpoint -, expected a file: --resume reads it again")
        self._deadline = monotonic() + (limit or math.inf)
        self._stop_reason = ""
        self._is_polled = False

    def catch_signals(self, output: str) -> None:
        """Makes a signal stop the training from now on. Refuses a checkpoint that is not writable or is the output."""
        if self.path is None:
            return
        if output != STDIN and os.path.realpath(output) == os.path.realpath(self.path):
            raise typer.BadParameter(f"got {output} for the output and the checkpoint, expected two files")
        check_writable(self.path)
        self._former = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}

    def release_signals(self) -> None:
        """Gives signals their usual effect again, once the result is written."""
        if self.path is not None:
            for number, handler in self._former.items():
                signal.signal(number, handler)

    def train(self, session: Session, jobs: Sequence[Job]) -> list[Run]:
        """`train_many`, which tells its progress, and with a checkpoint if one was asked for."""
        progress = TrainingProgress(jobs)
        with (
            self._stoppable(progress),
            session.progress(self.command, progress.total, progress.unit, progress.has_forecast) as update,
        ):
            return self._train(jobs, lambda now: progress.tell(now, update))

    def approach(self, session: Session, jobs: Sequence[ApproachJob], workers: int) -> list[list[Run]]:
        """`approach_many`, which tells its progress, and with a checkpoint if one was asked for.

        workers: how many approaches are made at once, 0 for one for each core.
        """
        from jamtools.machine import available_cores
        from jamtools.training.approaches import approach_many

        progress = ApproachProgress()
        workers = workers or available_cores()
        with (
            self._stoppable(progress),
            session.progress(self.command, len(jobs), "approaches", False) as update,
        ):
            watch = lambda chains: progress.tell(chains, update)
            if self.path is None:
                return approach_many(jobs, workers, watch)
            from jamtools.io.checkpoint import Checkpoint, kept_in
            from jamtools.io.request import request_of_approaches

            request = request_of_approaches(jobs)
            checkpoint = Checkpoint(self.path, request, self.interval, self.resume, self._should_stop)
            with kept_in(checkpoint):
                return approach_many(jobs, workers, watch, checkpoint)

    def _train(self, jobs: Sequence[Job], watch: Watch) -> list[Run]:
        if self.path is None:
            from jamtools.training.ensemble import train_many

            return train_many(jobs, watch)
        from jamtools.io.checkpoint import Checkpoint, train_with_checkpoint
        from jamtools.io.request import request_of

        checkpoint = Checkpoint(self.path, request_of(jobs), self.interval, self.resume, self._should_stop)
        return train_with_checkpoint(jobs, watch, checkpoint)

    @contextmanager
    def _stoppable(self, progress: TrainingProgress | ApproachProgress) -> Iterator[None]:
        """Surrounds a training that polls `_should_stop`. Outside of this block a signal ends the command at once."""
        from jamtools.io.checkpoint import StopRequested

        self._is_polled = True
        try:
            yield
        except StopRequested:
            self._exit(f"the runs are kept in {self.path}")
        except KeyboardInterrupt as error:
            kept = f"the runs are kept in {self.path}, run the same command with --resume to continue"
            raise Interrupted(f"interrupted; {kept if self.path else progress.lost}") from error
        finally:
            self._is_polled = False

    def _should_stop(self) -> bool:
        """Whether a signal came or the time is over."""
        if not self._stop_reason and monotonic() >= self._deadline:
            self._stop_reason = f"the time limit of {self.limit:g} s"
        return bool(self._stop_reason)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        is_first = not self._stop_reason
        self._stop_reason = self._stop_reason or signal.Signals(number).name
        if is_first and not self._is_polled:
            self._exit("no run was under way")

    def _exit(self, state: str) -> NoReturn:
        print(
            f"{self.command}: stopped by {self._stop_reason}; {state}, run the same command with --resume to continue",
            file=sys.stderr,
        )
        if (
            threading.active_count() > 1
        ):  # a thread is in a step of many seconds, for which sys.exit would wait
            sys.stderr.flush()
            os._exit(STOPPED)
        sys.exit(STOPPED)
