"""The settings of a training, and the paper's protocols by name.

    η(t) = max(floor, η₀ / factor^⌊t / every⌋)

`TrainingOptions` holds what a user asks for; it may leave choices open (None). `Settings` holds the final value of every
choice. The settings, the data, the architecture and the seed together decide the trajectory of a run.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from jamtools.errors import InputError

#: The criterion by which a trial is a success: satisfied (N_Δ = 0) or classified (no y f < 0).
SuccessName = Literal["satisfied", "classified"]

LossName = Literal["hinge", "cross-entropy"]
InitName = Literal["orthogonal", "torch", "normal", "run"]
OptimizerName = Literal["adam", "sgd", "fire", "newton"]

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)

#: The default η of FIRE, which is also its first Δt. Δt may grow to 10 η. This value suits curvatures of order one.
FIRE_DEFAULT_LR = 0.1

#: The default budget of newton, in iterations. Most runs end within a tenth of it.
NEWTON_DEFAULT_STEPS = 50_000

#: What stands for a norm where weights are free.
FREE_NORM = "free"

#: What stands for an initialisation where a training begins at the theta of a run.
FROM_RUN: InitName = "run"

#: The largest default batch of SGD, in patterns. The default is P/2 if that is smaller.
SGD_MAX_DEFAULT_BATCH = 1024


@dataclass(frozen=True)
class Schedule:
    """The learning rate η(t): lr, divided by `factor` after every `every` steps, and never below `floor`."""

    lr: float = 1e-4
    every: int = 250_000
    factor: float = 10.0
    floor: float = 1e-7

    def rate(self, step: int) -> float:
        """η at step t."""
        # a floor above η₀ must not raise the rate the user asked for
        return max(min(self.floor, self.lr), self.lr / self.factor ** (step // self.every))

    def constant_until(self, step: int) -> int:
        """The first step after `step` at which η changes."""
        return (step // self.every + 1) * self.every


@dataclass(frozen=True)
class Settings:
    """The final settings of a run. With the data, the architecture and the seed they decide its trajectory.

    `TrainingOptions.resolve` makes them for P patterns. TrainingOptions documents the fields. batch: 0 means all patterns.
    """

    loss: LossName
    epsilon: float
    init: InitName
    optimizer: OptimizerName
    momentum: float
    schedule: Schedule
    batch: int
    steps: int
    stop: bool
    measurements: int
    measure_at: tuple[int, ...]
    snapshots: bool
    neighbour_list: bool
    protocol: str
    norm: str = FREE_NORM


@dataclass(frozen=True)
class TrainingOptions:
    """The options that a user asks for. `resolve` makes the `Settings` of a run once its number of patterns is known.

    loss: hinge or cross-entropy; epsilon: the margin ε of the hinge; init: orthogonal, torch or normal, or FROM_RUN;
    momentum: the momentum μ of sgd; batch: patterns per step, 0 for all of them; steps: the budget; stop: whether the run
    ends when N_Δ = 0; measurements: the largest number of rows of the history; measure_at: further steps to measure at;
    snapshots: whether each row keeps theta; neighbour_list: whether the drift of the patterns is estimated instead of
    bounded; norm: the fixed norm of W, which `parsed_norm` reads, or FREE_NORM. If batch or stop is None, `resolve` chooses
    it. The fields and their order are those of `Settings`. Raises InputError for options that contradict each other.
    """

    loss: LossName = "hinge"
    epsilon: float = 0.5
    init: InitName = "orthogonal"
    optimizer: OptimizerName = "adam"
    momentum: float = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    batch: int | None = None
    steps: int = 100_000
    stop: bool | None = None
    measurements: int = 150
    measure_at: tuple[int, ...] = ()
    snapshots: bool = False
    neighbour_list: bool = False
    protocol: str = "custom"
    norm: str = FREE_NORM

    def __post_init__(self) -> None:
        if self.norm != FREE_NORM:
            parsed_norm(self.norm)
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer {self.optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")
        if self.momentum and self.optimizer != "sgd":
            raise InputError(f"momentum {self.momentum:g} with {self.optimizer}, expected the optimizer sgd")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum {self.momentum:g}, expected at least 0 and below 1")
        if self.batch and self.optimizer in ("fire", "newton"):
            raise InputError(
                f"batches of {self.batch} with {self.optimizer}, expected all patterns in every step (batch full)"
            )

    def resolve(self, P: int) -> Settings:
        """The settings of a training on P patterns.

        The default batch is min(P/2, 1024) for SGD, as in the paper, and all patterns for the other optimisers.
        Cross-entropy has no margin (ε = 0). Its loss still falls after the last pattern is classified, so by default
        such a run does not stop there.
        """
        default_batch = min(max(P // 2, 1), SGD_MAX_DEFAULT_BATCH) if self.optimizer == "sgd" else 0
        batch = default_batch if self.batch is None else self.batch
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["measure_at"] = tuple(self.measure_at)
        values["batch"] = 0 if batch >= P else batch
        values["stop"] = self.loss == "hinge" if self.stop is None else self.stop
        values["epsilon"] = self.epsilon if self.loss == "hinge" else 0.0
        return Settings(**values)


def parsed_norm(text: str) -> tuple[float, bool]:
    """The number of a fixed norm such as "25" or "3x", and whether it is a multiple of the norm at initialisation.

    Raises InputError for a text that is neither.
    """
    multiple = text.endswith("x")
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"norm {text!r}, expected a number above 0 such as 25, or 3x")
    return value, multiple


def norm_in_words(value: float, multiple: bool = False) -> str:
    """A fixed norm as the settings keep it; `parsed_norm` reads the same number."""
    return repr(value).removesuffix(".0") + ("x" if multiple else "")


#: The paper's protocols by name. Their budgets are those of the paper's searches for N*.
PROTOCOLS = {
    "paper-hinge": TrainingOptions(steps=2_000_000, protocol="paper-hinge"),
    "paper-cross-entropy": TrainingOptions(
        loss="cross-entropy",
        init="torch",
        optimizer="sgd",
        schedule=Schedule(lr=1e-2, every=500_000),
        steps=1_000_000,
        stop=False,
        protocol="paper-cross-entropy",
    ),
}

#: Protocols whose rate is 10⁻² in the first half of the steps and 10⁻³ in the second half.
HALVED_RATE_PROTOCOLS = ("paper-cross-entropy",)

#: Protocols whose networks have batch normalisation. It belongs to the architecture, not to the settings.
BATCH_NORM_PROTOCOLS = ("paper-cross-entropy",)


def uses_batch_norm(protocol: str | None, given: bool | None = None) -> bool:
    """Whether the networks have batch normalisation: `given`, or the choice of the protocol if `given` is None."""
    return protocol in BATCH_NORM_PROTOCOLS if given is None else given


def default_success(loss: str) -> SuccessName:
    """The default criterion of success of a trial: N_Δ = 0 for the hinge, no y f < 0 for a loss without margin."""
    return "satisfied" if loss == "hinge" else "classified"


def with_options(base: TrainingOptions, **options: Any) -> TrainingOptions:
    """A copy of `base` with the given options; an option that is None keeps the value of `base`.

    lr, every, factor and floor are fields of the schedule. The default lr of FIRE is FIRE_DEFAULT_LR, because its η is a
    time. The default steps of newton are NEWTON_DEFAULT_STEPS. A protocol of HALVED_RATE_PROTOCOLS lowers its rate after
    half of `steps`, for any `steps`. Raises InputError for options that contradict each other.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if base.protocol in HALVED_RATE_PROTOCOLS and "steps" in given:
        given.setdefault("every", -(-given["steps"] // 2))
    if given.get("optimizer") == "fire":
        given.setdefault("lr", FIRE_DEFAULT_LR)
    if given.get("optimizer") == "newton":
        given.setdefault("steps", NEWTON_DEFAULT_STEPS)
    schedule = {name: given.pop(name) for name in ("lr", "every", "factor", "floor") if name in given}
    return replace(base, schedule=replace(base.schedule, **schedule), **given)


def changed_settings(options: TrainingOptions) -> dict[str, Any]:
    """Those settings of the dynamics that differ from the usual ones of the same protocol, loss, optimizer and steps.

    They are epsilon (of the hinge), init, momentum, batch and norm, and of the schedule lr, every, factor and floor.
    """
    own = _dynamics(options)
    usual = usual_settings(options.protocol, options.loss, options.optimizer, options.steps)
    return {name: value for name, value in own.items() if value != usual[name]}


def usual_settings(
    protocol: str | None, loss: str, optimizer: str, steps: int | None = None
) -> dict[str, Any]:
    """The settings of `changed_settings` that a protocol, loss and optimizer have unless others are given."""
    base = PROTOCOLS.get(protocol or "", TrainingOptions())
    return _dynamics(with_options(base, loss=loss, optimizer=optimizer, steps=steps))


def _dynamics(options: TrainingOptions) -> dict[str, Any]:
    names = (
        ("epsilon", "init", "momentum", "batch", "norm")
        if options.loss == "hinge"
        else ("init", "momentum", "batch", "norm")
    )
    return {name: getattr(options, name) for name in names} | vars(options.schedule)


def measured_steps(steps: int, measurements: int, measure_at: Sequence[int] = ()) -> list[int]:
    """The steps at which a run is measured, in order: 0, `steps`, and log-spaced steps between them.

    These are at most `measurements` steps. The steps of `measure_at` that are not beyond `steps` are added to them.
    """
    spaced = np.geomspace(1, steps, max(measurements - 1, 1)).round().astype(int).tolist() if steps else []
    return sorted({0, steps, *spaced, *(step for step in measure_at if step <= steps)})
