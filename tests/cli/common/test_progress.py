"""Progress away from a terminal: what a line says, when it comes, and that --quiet and a terminal have none."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from jamtools.cli.common import progress
from jamtools.cli.common.groups import Streams
from jamtools.cli.common.progress import Lines, duration_in_words
from jamtools.cli.common.session import Session
from tests.support.commands import ROOT


def lines_at(seconds, **options):
    """Lines whose clock says that `seconds` have passed."""
    clock = iter([100.0, 100.0 + seconds])
    return Lines("jam-x", options.pop("total", None), options.pop("unit", ""), clock=lambda: next(clock))


@pytest.mark.parametrize(
    ("seconds", "options", "state", "line"),
    [
        (125, {}, (0, "at r0003"), "jam-x: at r0003, 2 min"),
        (60, {"total": 200, "unit": "steps"}, (83.9, "go"), "jam-x: go, 41% of the steps, 1 min"),
        (60, {"total": 200, "unit": "steps"}, (50, "go", 100), "jam-x: go, 50% of the steps, 1 min"),
        (60, {"total": None, "unit": "steps"}, (5, "go"), "jam-x: go, 1 min"),
        (60, {"total": 12}, (3, "3 of 12 runs"), "jam-x: 3 of 12 runs, 1 min"),
    ],
)
def test_a_line_has_the_state_the_share_and_the_time(seconds, options, state, line):
    lines = lines_at(seconds, **options)
    lines.update(*state)
    assert lines.line() == line


def test_a_share_below_the_whole_is_not_rounded_up_to_it():
    lines = lines_at(60, total=1000, unit="steps")
    lines.update(999, "go")
    assert "99% of the steps" in lines.line()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds, words):
    assert duration_in_words(seconds) == words


def wait_until(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_line_comes_after_each_interval_until_the_work_ends(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.005)
    before = threading.active_count()
    with Session("jam-x", Streams()).progress("jam-x", 4, "steps") as update:
        update(1, "first")
        wait_until(lambda: "first, 25% of the steps" in stream.getvalue())
        update(2, "second")
        wait_until(lambda: stream.getvalue().count("second, 50% of the steps") >= 2)
    written = stream.getvalue()
    assert threading.active_count() == before
    time.sleep(0.05)
    assert stream.getvalue() == written
    assert all(line.startswith("jam-x: ") for line in written.splitlines())


def test_the_first_line_comes_after_a_minute(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return True  # as if the work had ended meanwhile

    lines = Lines("jam-x", None, "")
    monkeypatch.setattr(lines._ended, "wait", wait)
    with lines.printed() as update:
        update(0, "short")
    assert waited == [60.0] and stream.getvalue() == ""


def test_quiet_work_prints_no_line(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    with Session("jam-x", Streams(quiet=True)).progress("jam-x", None) as update:
        update(1, "first")
        time.sleep(0.05)
    assert stream.getvalue() == ""


def test_a_stderr_that_nobody_reads_ends_the_lines_and_not_the_work(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    lines = Lines("jam-x", None, "", interval=0.001)
    with lines.printed() as update:
        update(1, "first")
        wait_until(lambda: threading.active_count() == 1)
        update(2, "second")


class Terminal(io.StringIO):
    """A terminal of 100 columns."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("has_forecast", "clock"), [(True, "-:--:--"), (False, "0:00:00")])
def test_a_terminal_gets_a_bar_with_a_forecast_only_where_there_is_one(has_forecast, clock, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    with Session("jam-x", Streams()).progress("jam-x", 15, has_forecast=has_forecast) as update:
        update(3, "3 of 15 runs finished, L 1.2e-03 to 4.5e-02")
    drawn = stream.getvalue()
    assert "3 of 15 runs finished, L 1.2e-03 to 4.5e-02" in drawn and clock in drawn
    assert "jam-x: " not in drawn


#: A command whose lines come as fast as the processor allows.
IMPATIENT = """
from jamtools.cli.common import progress
progress.LINE_SECONDS = 1e-4
from jamtools.cli.{command} import main
main()
"""


@pytest.mark.parametrize("command", ["hessian", "cusps", "neff"])
def test_a_command_that_takes_runs_one_by_one_counts_them(command, minima):
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT.format(command=command), "adam", "-o", os.devnull],
        cwd=minima.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if "runs finished" in line]
    assert lines and all(
        re.match(rf"jam-{command}: [0-3] of 4 runs finished, .*, \d+ s$", line) for line in lines
    )
