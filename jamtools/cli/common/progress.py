"""The progress of a command on stderr: a bar on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

#: Seconds between two lines of progress away from a terminal. The first line comes after as many seconds, so that short
#: commands print none.
LINE_SECONDS = 60.0

#: Columns of a terminal that the bar takes: 80 columns also hold the counts, the losses and the time.
BAR_COLUMNS = 16


class Update(Protocol):
    """Tells the user how far a command is.

    done and total: amounts of work in any unit; total None: that of the beginning; text: the state in words.
    """

    def __call__(self, done: float, text: str, total: float | None = None) -> None:
        """Replaces what was told before."""


@contextmanager
def bar(label: str, total: float | None, has_forecast: bool) -> Iterator[Update]:
    """A bar on the terminal, with the time that remains if it has a forecast, else with the time that has passed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(BAR_COLUMNS),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn() if has_forecast else TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, text="")

        def update(done: float, text: str, total: float | None = None) -> None:
            progress.update(task, completed=done, total=total, text=text)

        yield update


class Lines:
    """Prints a line with the present state each time that the interval has passed, from a thread of its own.

    A thread, because one step of a command may take longer than the interval. unit: what the amounts of work count, for
    the share that is done; without a unit the line has no share. interval: in seconds, LINE_SECONDS if None.
    """

    def __init__(
        self,
        command: str,
        total: float | None,
        unit: str,
        interval: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.command, self.unit, self.clock = command, unit, clock
        self.interval = LINE_SECONDS if interval is None else interval
        self._state: tuple[float, str, float | None] = (0.0, "", total)
        self._started = clock()
        self._ended = threading.Event()

    def update(self, done: float, text: str, total: float | None = None) -> None:
        """Replaces the state that the next line tells."""
        self._state = (done, text, self._state[2] if total is None else total)

    def line(self) -> str:
        """The present state: `jam-x: 3 of 15 runs finished, 41% of the steps, 2 min`."""
        done, text, total = self._state
        share = f"{int(100 * done / total)}% of the {self.unit}" if self.unit and total else ""
        passed = duration_in_words(self.clock() - self._started)
        return f"{self.command}: {', '.join(part for part in (text, share, passed) if part)}"

    @contextmanager
    def printed(self) -> Iterator[Update]:
        """Prints the lines until the end of the block."""
        thread = threading.Thread(target=self._print_all, daemon=True)
        thread.start()
        try:
            yield self.update
        finally:
            self._ended.set()
            thread.join()

    def _print_all(self) -> None:
        while not self._ended.wait(self.interval):
            try:
                print(self.line(), file=sys.stderr, flush=True)
            except (OSError, ValueError):  # nobody reads stderr any more
                return


def duration_in_words(seconds: float) -> str:
    """A duration such as `45 s`, `2 min` or `1 h 05 min`."""
    minutes = int(seconds / 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
