"""How far the runs of a training are, in words and as a share of its steps.

    share = Σ steps taken / Σ (steps taken by runs that have ended + budgets of the others)

A run that ended before its budget is done. Most runs of newton end within a tenth of their budget, so that the budget
forecasts nothing: there the share is that of the runs.

Source: none, bookkeeping only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jamtools.cli.common.progress import Update

if TYPE_CHECKING:
    from jamtools.training.approaches import Chain
    from jamtools.training.job import Job
    from jamtools.training.run import Progress


class TrainingProgress:
    """The progress of the runs of one call of `train_many`.

    unit: what the amounts of work count; total: how much work there is at the beginning; has_forecast: whether the time
    that remains follows from it.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.counts_runs = any(job.settings.optimizer == "newton" for job in jobs)
        self.unit, self.has_forecast = ("", False) if self.counts_runs else ("steps", True)
        self._budgets = [job.settings.steps for job in jobs]
        self._first_steps = [job.start.info["steps"] if job.start else 0 for job in jobs]
        self.total = len(jobs) if self.counts_runs else sum(self._budgets)
        self._runs: Sequence[Progress] = ()

    @property
    def n_ended(self) -> int:
        """The number of runs that have ended."""
        return sum(run.has_ended for run in self._runs)

    def tell(self, runs: Sequence[Progress], update: Update) -> None:
        """Passes the progress of all runs, in the order of the jobs, on to the user."""
        self._runs = runs
        finished, losses = f"{self.n_ended} of {len(runs)} runs finished", losses_in_words(runs)
        # before a run begins, its step is 0
        taken = [max(run.step - first, 0) for run, first in zip(runs, self._first_steps)]
        if self.counts_runs:
            update(self.n_ended, f"{finished}, {sum(taken)} steps{losses}", len(runs))
        else:
            remaining = sum(
                budget - steps for budget, steps, run in zip(self._budgets, taken, runs) if not run.has_ended
            )
            update(sum(taken), f"{finished}{losses}", sum(taken) + remaining)

    @property
    def lost(self) -> str:
        """What an interruption loses, and how to keep it."""
        total = len(self._budgets)
        if self.n_ended:
            runs = "finished run" if self.n_ended == 1 else "finished runs"
            what, are = f"{self.n_ended} {runs} of {total}", "is" if self.n_ended == 1 else "are"
        else:
            what, are = (
                ("the run", "is") if total == 1 else (f"the {total} runs, none of them finished,", "are")
            )
        return f"{what} {are} lost; with --checkpoint FILE {'it is' if are == 'is' else 'they are'} kept"


class ApproachProgress:
    """The progress of the approaches of one call of `approach_many`."""

    def __init__(self) -> None:
        self._chains: Sequence[Chain] = ()

    def tell(self, chains: Sequence[Chain], update: Update) -> None:
        """Passes the chains so far on to the user: how many have ended, and how many stages there are."""
        self._chains = chains
        ended, stages = self._ended, sum(map(len, chains))
        certifies = ", certifies the stages" if ended == len(chains) else ""
        update(ended, f"{ended} of {len(chains)} approaches ended, {stages} stages{certifies}")

    @property
    def _ended(self) -> int:
        return sum(bool(chain and chain[-1].end) for chain in self._chains)

    @property
    def lost(self) -> str:
        """What an interruption loses, and how to keep it."""
        n = sum(map(len, self._chains))
        what = f"{n} stage{' is' if n == 1 else 's are'} lost" if n else "no stage had ended"
        return f"{what}; with --checkpoint FILE they are kept"


def losses_in_words(runs: Sequence[Progress]) -> str:
    """`, L 1.2e-03 to 4.5e-02`, from the runs that were measured; empty if there is none."""
    losses = [run.loss for run in runs if not math.isnan(run.loss)]
    if not losses:
        return ""
    low, high = (f"{loss:.1e}" for loss in (min(losses), max(losses)))
    return f", L {low}" if low == high else f", L {low} to {high}"
