"""What a search for N* looks for, and how: the trainings of its trials, and the rule by which their sizes are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import FREE_NORM, SuccessName, TrainingOptions
from jamtools.records import Dataset

#: What varies in a search: the width, at fixed P (N* is sought), or the number of patterns, at fixed width (P* is sought).
Vary = Literal["width", "patterns"]

#: How a search brackets the transition: by halving, or from above in steps of one as the authors do.
Method = Literal["bisect", "descend"]


@dataclass(frozen=True)
class TrialSpec:
    """Which networks are trained, how (settings), and what counts as success. Journals hold the names of these fields.

    seeds: those of the brackets; success: "satisfied" (N_Δ = 0) or "classified" (no y f < 0); max_width: the largest width
    tried, None for the default; certify: whether trials that used up their steps continue to the minimum of their basin;
    times: numbers of steps after which N* is estimated as well, from the same trainings; bias: see Architecture;
    without hidden layers the activation is linear.
    Raises InputError where these contradict the settings of the trainings.
    """

    depth: int
    activation: str
    settings: TrainingOptions
    seeds: Sequence[int]
    success: SuccessName = "satisfied"
    max_width: int | None = None
    batch_norm: bool = False
    certify: bool = False
    times: Sequence[int] = ()
    bias: bool = True

    def __post_init__(self) -> None:
        if self.depth == 0:
            object.__setattr__(self, "activation", "linear")
        if self.certify and self.settings.loss != "hinge":
            raise InputError(
                f"a search with certificates and the loss {self.settings.loss}, expected hinge: minima of no other "
                "loss are certified"
            )
        if self.times and self.settings.optimizer == "newton":
            raise InputError(
                "times with newton, expected a first-order optimizer: steps of newton are no time"
            )
        if self.times and max(self.times) > self.settings.steps:
            raise InputError(
                f"a time of {max(self.times)} steps, the trainings have {self.settings.steps}; give them more"
            )

    def architecture(self, data: Dataset, width: int) -> Architecture:
        """The network of a trial of this width; at fixed norm with a radius of 1, since its N does not depend on it."""
        norm = None if self.settings.norm == FREE_NORM else 1.0
        return Architecture(
            data.d,
            width,
            self.depth,
            self.activation,
            data.outputs,
            self.batch_norm,
            bias=self.bias,
            norm=norm,
        )


@dataclass(frozen=True)
class SearchOptions:
    """How the transition is searched, and when a search ends.

    method: how each seed brackets the transition; precision: the length of the interval of log N* (or log P*) to reach;
    trials: the largest number of trials for each N*; at_once: trials in a round of samples; level: confidence of the
    intervals; cold: each seed is searched independently of the others, and each N* independently of the N* before.
    keep_dead: whether dead trials count as failures; otherwise they are left out, and other seeds replace them.
    """

    method: Method = "bisect"
    precision: float = 0.2
    trials: int = 50
    at_once: int = 4
    level: float = 0.95
    cold: bool = False
    keep_dead: bool = False
