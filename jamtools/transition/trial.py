"""A trial of a search for N*: which network was trained on how many patterns, and whether it fitted them.

    success      satisfied: N_Δ = 0; or, with the weaker criterion, classified: no y f < 0
    undecided    its budget ran out with N_Δ ≤ 0.1 N (or as few misclassified): a longer training might succeed
    unsatisfied  its budget ran out with more, where the authors' program gives up
    stationary   it ended at a certified minimum of L > 0: no training succeeds from there
    dead         some layer passes on none of the patterns that are not fitted; this says nothing about jamming (states.py)
    diverged     its loss grew beyond all bounds

Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from jamtools.protocols import SuccessName
from jamtools.records import JAMMED_PER_PARAMETER, Run
from jamtools.states import is_dead, is_satisfied

Outcome = Literal["success", "undecided", "unsatisfied", "stationary", "dead", "diverged"]

#: The fields of a trial from which N* follows; a record that lacks one of them is no trial.
INTEGER_FIELDS = ("P", "width", "N", "seed", "steps")


class TrialKey(NamedTuple):
    """What identifies a trial of one search: the number of patterns, the width, and the seed of the initial parameters."""

    P: int
    width: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial. The order of the fields is that of the keys of its JSON object.

    N: effective parameters; satisfied, classified: both criteria of success; steps: gradient steps until the end;
    fitted_at: whether all patterns were fitted after each of the times of the search, None where it has no times.
    The fields with a default are None in records that lack them: N* does not depend on them.
    """

    P: int
    width: int
    N: int
    seed: int
    outcome: Outcome
    satisfied: bool | None = None
    classified: bool | None = None
    status: str | None = None
    certified: bool | None = None
    steps: int
    final_loss: float | None = None
    n_unsatisfied: int | None = None
    n_contacts: int | None = None
    n_dead: int | None = None
    n_misclassified: int | None = None
    fitted_at: tuple[bool, ...] | None = None

    @classmethod
    def of(cls, run: Run, success: SuccessName, times: Sequence[int] = ()) -> Trial:
        """The trial of a finished run; times: numbers of steps for which `fitted_at` is computed."""
        info = run.info
        satisfied = is_satisfied(info)
        classified = info["n_misclassified"] == 0
        fitted = info["status"] != "diverged" and (satisfied if success == "satisfied" else classified)
        return cls(
            P=info["P"],
            width=info["width"],
            N=info["n_effective_expected"],
            seed=info["seed"],
            outcome="success" if fitted else _failure(info, success),
            satisfied=satisfied,
            classified=classified,
            status=info["status"],
            certified=info["certified"],
            steps=info["steps"],
            final_loss=info["final_loss"],
            n_unsatisfied=info["n_unsatisfied"],
            n_contacts=info["n_contacts"],
            n_dead=info.get("n_dead"),
            n_misclassified=info["n_misclassified"],
            fitted_at=tuple(_was_fitted(run, success, time, fitted) for time in times) if times else None,
        )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trial:
        """A trial from its JSON object; unknown keys are ignored. Raises ValueError where it is no trial."""
        if not isinstance(record, Mapping) or not all(
            type(record.get(name)) is int for name in INTEGER_FIELDS
        ):
            raise ValueError(f"no trial without integers {', '.join(INTEGER_FIELDS)}")
        if record.get("outcome") not in get_args(Outcome):
            raise ValueError(f"no trial with the outcome {record.get('outcome')!r}")
        values = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        if "fitted_at" in values:
            if not isinstance(values["fitted_at"], list):
                raise ValueError("no trial with fitted_at that is no list")
            values["fitted_at"] = tuple(values["fitted_at"])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of the trial, as journals and results of searches hold it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.fitted_at is None:
            del values["fitted_at"]
        else:
            values["fitted_at"] = list(self.fitted_at)
        return values

    @property
    def key(self) -> TrialKey:
        """What identifies the trial in its search."""
        return TrialKey(self.P, self.width, self.seed)

    @property
    def is_final(self) -> bool:
        """Whether more steps cannot change the outcome."""
        return self.outcome not in ("undecided", "unsatisfied")


#: The outcome of a trial at its end, or at an earlier time.
OutcomeOf = Callable[[Trial], Outcome]


def outcome_at_end(trial: Trial) -> Outcome:
    """The outcome of a trial at the end of its training."""
    return trial.outcome


def outcome_at_time(i: int) -> OutcomeOf:
    """The outcome at the i-th of the times: the patterns were fitted by then or not, so that no trial is undecided."""

    def outcome_of(trial: Trial) -> Outcome:
        assert trial.fitted_at is not None, "a search with times"
        if trial.fitted_at[i]:
            return "success"
        return "dead" if trial.outcome == "dead" else "unsatisfied"

    return outcome_of


def keeping_dead(outcome_of: OutcomeOf, success: str) -> OutcomeOf:
    """The outcome with dead trials judged by what they did not fit, as if a dead pattern were any other."""

    def outcome(trial: Trial) -> Outcome:
        found = outcome_of(trial)
        if found != "dead":
            return found
        if trial.certified:
            return "stationary"
        n_left = trial.n_unsatisfied if success == "satisfied" else trial.n_misclassified
        return _out_of_steps(n_left or 0, trial.N)

    return outcome


class TrialStore(Protocol):
    """Keeps finished trials, so that a search that was interrupted does not train them again."""

    def get(self, key: TrialKey) -> Trial | None:
        """The trial with this key, or None."""

    def add(self, trial: Trial) -> None:
        """Stores a finished trial."""


def _failure(info: Mapping[str, Any], success: SuccessName) -> Outcome:
    """The outcome of a run that did not succeed, from its metadata."""
    if info["status"] == "diverged":
        return "diverged"
    if is_dead(info):
        return "dead"
    if info["status"] == "stationary" and info["certified"] is True:
        return "stationary"
    n_left = info["n_unsatisfied"] if success == "satisfied" else info["n_misclassified"]
    return _out_of_steps(n_left, info["n_effective_expected"])


def _out_of_steps(n_left: int, N: int) -> Outcome:
    """The outcome of a trial whose steps ended with n_left patterns that are not fitted."""
    return "undecided" if n_left <= JAMMED_PER_PARAMETER * N else "unsatisfied"


def _was_fitted(run: Run, success: SuccessName, time: int, fitted: bool) -> bool:
    """Whether all patterns were fitted after `time` steps; fitted: whether they were at the end.

    A run that ended before `time` keeps its last state.
    """
    steps = run.history["step"]
    if steps[-1] <= time:
        return fitted
    i = int(np.searchsorted(steps, time))
    column = "n_misclassified" if success == "classified" else "n_unsatisfied"
    return bool(run.history[column][i] == 0)
