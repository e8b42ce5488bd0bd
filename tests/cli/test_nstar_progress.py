"""What a search tells while it runs: its trials, the bracket of the present size, and what Ctrl-C loses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from jamtools.cli.nstar_progress import WatchedTrials
from jamtools.transition.trial import TrialKey
from tests.support.commands import ROOT, jam
from tests.support.searches import trial

#: jam-nstar, with a line of progress ten times a second.
IMPATIENT = """
from jamtools.cli.common import progress
progress.LINE_SECONDS = 0.1
from jamtools.cli.nstar import main
main()
"""


@pytest.mark.parametrize(
    ("vary", "key", "trials", "words"),
    [
        ("width", TrialKey(30, 4, 0), [], "P 30, 0 trials finished"),
        (
            "width",
            TrialKey(30, 4, 0),
            [("unsatisfied", 3, 30), ("success", 6, 30), ("stationary", 2, 30), ("success", 9, 30)],
            "P 30, 4 trials finished, fails up to width 3, fits from width 6",
        ),
        (
            "width",
            TrialKey(50, 4, 0),
            [("unsatisfied", 3, 30), ("undecided", 5, 50), ("success", 6, 50)],
            "P 50, 3 trials finished, fits from width 6",
        ),
        (
            "patterns",
            TrialKey(30, 4, 0),
            [("success", 4, 20), ("success", 4, 10), ("unsatisfied", 4, 40), ("diverged", 4, 60)],
            "width 4, 4 trials finished, fits up to P 20, fails from P 40",
        ),
        ("width", TrialKey(30, 4, 0), [("success", 6, 30)], "P 30, 1 trial finished, fits from width 6"),
    ],
)
def test_a_search_tells_its_trials_and_its_bracket(vary, key, trials, words):
    watched = WatchedTrials(vary)
    for seed, (outcome, width, P) in enumerate(trials):
        watched.add(trial(outcome, width=width, P=P, seed=seed))
    assert watched.in_words(key) == words


def test_trials_of_a_journal_are_passed_on_and_counted_once_they_are_used():
    class Store(dict):
        def add(self, trial):
            self[trial.key] = trial

    old, new = trial("success", seed=1), trial("unsatisfied", seed=2)
    watched = WatchedTrials("width", Store({old.key: old}))
    assert watched.n_ended == 0
    assert watched.get(old.key) is old and watched.get(new.key) is None
    watched.add(new)
    assert watched.store[new.key] is new
    assert watched.n_ended == 2


@pytest.mark.parametrize("has_journal", [False, True])
def test_an_interrupted_search_says_what_is_lost_or_kept(has_journal, tmp_path):
    """A descent begins with a network that fits, and at some width no number of steps is enough."""
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=tmp_path, check=True)
    line = ["search", "data.st", "--depth", "1", "--seeds", "0", "--method", "descend", "--lr", "1e-2"]
    line += ["--steps", "1G", *(["--journal", "j"] if has_journal else [])]
    with subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *line],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            for told in process.stderr:
                if re.search(r"[1-9]\d* trials? finished", told):
                    break
            process.send_signal(signal.SIGINT)
            message = process.communicate(timeout=60)[1].splitlines()[-1]
        finally:
            process.kill()
    assert process.returncode == 130
    bracket = r"(fails up to width \d+, )?fits from width \d+"
    assert re.fullmatch(rf"jam-nstar: P 40, \d+ trials? finished, {bracket}, \d+ s", told.strip())
    if has_journal:
        expected = "jam-nstar: interrupted; the finished trials are in j, run the same command with --resume to continue"
        assert message == expected
    else:
        kept = r"finished trials? (is|are) lost; with --journal FILE finished trials are kept"
        assert re.fullmatch(rf"jam-nstar: interrupted; \d+ {kept}", message)
