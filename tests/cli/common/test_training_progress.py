"""What a training says about its progress: counts of runs, shares of steps that will be taken, what Ctrl-C loses."""

from __future__ import annotations

import math

import pytest

from jamtools.cli.common.training_progress import TrainingProgress, losses_in_words
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.run import Progress
from tests.support import oracle
from tests.support.jobs import make_job


def jobs(n, **options):
    data = oracle.dataset(40, 5)
    settings = with_options(TrainingOptions(), **options)
    return [make_job(data, Architecture(5, 4, 1), seed, settings) for seed in range(n)]


def told(n, runs, **options):
    """What a training of n jobs tells about these runs: done, text, total."""
    calls = []
    TrainingProgress(jobs(n, **options)).tell(runs, lambda *state: calls.append(state))
    return calls[0]


def test_a_run_that_ended_early_counts_as_done():
    """Three runs of 1000 steps: one ended after 200, one is at 500 and one waits."""
    runs = [Progress(200, 0.0, 0, True), Progress(500, 0.02, 9), Progress(0)]
    assert told(3, runs, steps=1000) == (700, "1 of 3 runs finished, L 0.0e+00 to 2.0e-02", 2200)


def test_all_runs_ended_is_the_whole():
    done, text, total = told(2, [Progress(7, 1e-3, 1, True), Progress(9, 1e-3, 1, True)], steps=1000)
    assert done == total == 16
    assert text == "2 of 2 runs finished, L 1.0e-03"


def test_newton_counts_runs_and_forecasts_nothing():
    """Its budget of 50 000 steps says nothing about the time."""
    progress = TrainingProgress(jobs(3, optimizer="newton"))
    assert (progress.total, progress.unit, progress.has_forecast) == (3, "", False)
    runs = [Progress(40, 1e-3, 3, True), Progress(900, 0.02, 9), Progress(0)]
    words = "1 of 3 runs finished, 940 steps, L 1.0e-03 to 2.0e-02"
    assert told(3, runs, optimizer="newton") == (1, words, 3)


def test_a_run_that_is_finished_counts_the_steps_of_newton_alone():
    data, arch = oracle.dataset(40, 5), Architecture(5, 4, 1)
    start = train(data, arch, with_options(TrainingOptions(), steps=300), 0)
    newton = with_options(TrainingOptions(), optimizer="newton")
    calls = []
    job = make_job(data, arch, 0, newton, start=start)
    TrainingProgress([job, job]).tell(
        [Progress(307, 0.1, 2), Progress(0)], lambda *state: calls.append(state)
    )
    assert calls == [(0, "0 of 2 runs finished, 7 steps, L 1.0e-01", 2)]


@pytest.mark.parametrize(("losses", "words"), [([], ""), ([math.nan], ""), ([math.nan, 0.5], ", L 5.0e-01")])
def test_runs_that_were_not_measured_have_no_loss(losses, words):
    assert losses_in_words([Progress(0, loss) for loss in losses]) == words


@pytest.mark.parametrize(
    ("n", "ended", "words"),
    [
        (15, 11, "11 finished runs of 15 are lost; with --checkpoint FILE they are kept"),
        (15, 1, "1 finished run of 15 is lost; with --checkpoint FILE it is kept"),
        (15, 0, "the 15 runs, none of them finished, are lost; with --checkpoint FILE they are kept"),
        (1, 0, "the run is lost; with --checkpoint FILE it is kept"),
    ],
)
def test_what_is_lost_is_counted(n, ended, words):
    progress = TrainingProgress(jobs(n))
    progress.tell([Progress(5, 0.1, 1, i < ended) for i in range(n)], lambda *state: None)
    assert progress.lost == words
