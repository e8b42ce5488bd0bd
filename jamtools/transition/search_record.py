"""The JSON object of one search: what was searched for, its trials, and what follows from them.

Objects that other programs wrote may lack any key, so that all keys are optional for a reader.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

#: [lower, upper] of an interval; None for an open end.
Ends = list[float | None]


class Estimates(TypedDict, total=False):
    """What follows from the trials of a search: N* where the width varies, P* where the number of patterns does.

    n_star: N of the smallest width at or above the median, or N of the network; interval: that of N*, of widths that exist;
    median: that of N or P, with median_interval; spread: the width w of the logistic in log N or log P; precise: whether
    the interval is as short as asked for; is_upper_bound: true where all failures are dead, so that n_star is only the
    smallest N that fitted; width: that of N* (where the width varies); P: the largest number of patterns at or below the
    median, with P_interval (where patterns vary).
    """

    n_star: float | None
    width: int | None
    P: int
    interval: Ends
    P_interval: Ends
    median: float | None
    median_interval: Ends
    spread: float | None
    precise: bool
    is_upper_bound: bool


class EstimatesAtTime(Estimates, total=False):
    """The estimates after `steps` gradient steps."""

    steps: int


class SearchRecord(Estimates, total=False):
    """One search: the networks and trainings, how it was searched, its trials (`Trial.as_dict`) and what follows from them.

    settings: those of the trainings that are not the usual ones of the protocol, the loss and the optimizer;
    vary: "width" (P and max_width are given) or "patterns" (width, N and max_P are given); data: a digest of the patterns;
    dataset: the name of their kind (grouping.py); bias: false for networks without;
    total_steps: gradient steps of all trials; n_dead: dead trials; keep_dead: true where these count as failures.
    """

    kind: str
    dataset: str | None
    d: int
    outputs: int
    depth: int
    activation: str
    batch_norm: bool
    bias: bool
    protocol: str
    loss: str
    optimizer: str
    certify: bool
    steps: int
    settings: dict[str, Any]
    success: str
    vary: str
    method: str
    precision: float
    level: float
    seeds: list[int]
    times: list[int]
    N: int
    max_width: int
    max_P: int
    data: str
    trials: list[dict[str, Any]]
    n_undecided: int
    n_dead: int
    keep_dead: bool
    total_steps: int
    at_times: list[EstimatesAtTime]


#: The keys of a search that follow from its trials, with "P" where patterns vary and "width" where the width varies.
ESTIMATE_FIELDS = (
    "n_star", "is_upper_bound", "interval", "P_interval", "median", "median_interval", "spread", "precise",
    "n_undecided", "n_dead", "total_steps", "at_times",
)  # fmt: skip


class SearchCell(NamedTuple):
    """One task of a job array: a search for one P, depth and seed."""

    P: int
    depth: int
    seed: int

    def __str__(self) -> str:
        return f"P {self.P}, depth {self.depth}, seed {self.seed}"
