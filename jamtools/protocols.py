r"""What decides a trajectory besides the data, the architecture and the seed; the paper's protocols by name.

    η(t) = max(floor, η₀ / factor^⌊t / every⌋)

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from jamtools.errors import InputError

OPTIMIZERS = ("adam", "sgd", "fire", "newton")
#: η of FIRE is its first Δt: a tenth of what it may grow to, which in turn suits curvatures of order one.
FIRE_LR = 0.1
#: Iterations of the second-order dynamics at most: most runs end within a tenth of them.
NEWTON_STEPS = 50_000


@dataclass(frozen=True)
class Schedule:
    """η(t): divided by `factor` every `every` steps, never below `floor`."""

    lr: float = 1e-4
    every: int = 250_000
    factor: float = 10.0
    floor: float = 1e-7

    def rate(self, step: int) -> float:
        """η at a step."""
        # a floor above η₀ must not raise the rate the user asked for
        return max(min(self.floor, self.lr), self.lr / self.factor ** (step // self.every))

    def constant_until(self, step: int) -> int:
        """The first step after `step` at which η changes."""
        return (step // self.every + 1) * self.every


@dataclass(frozen=True)
class Settings:
    """Everything that decides a trajectory besides the data, the architecture and the seed. Nothing is left open.

    `TrainingOptions.resolve` makes it for P patterns; the fields are documented there. batch: 0 for all patterns.
    """

    loss: str
    epsilon: float
    init: str
    optimizer: str
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


@dataclass(frozen=True)
class TrainingOptions:
    """What a user asks of a training. `resolve` makes the `Settings` of a run, once its number of patterns is known.

    loss: hinge or cross-entropy; epsilon: the margin ε of the hinge; init: orthogonal or torch; momentum: of sgd;
    batch: patterns per step, 0 for all of them; steps: the budget; stop: end when N_Δ = 0; measurements: the largest
    number of rows of the history; measure_at: further steps to measure at; snapshots: keep theta at each of them;
    neighbour_list: estimate the drift of the patterns instead of bounding it. batch and stop may be None: `resolve`
    then chooses. The fields and their order are those of `Settings`. Raises InputError for options that contradict
    each other.
    """

    loss: str = "hinge"
    epsilon: float = 0.5
    init: str = "orthogonal"
    optimizer: str = "adam"
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

    def __post_init__(self) -> None:
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
        default_batch = min(max(P // 2, 1), 1024) if self.optimizer == "sgd" else 0
        batch = default_batch if self.batch is None else self.batch
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["measure_at"] = tuple(self.measure_at)
        values["batch"] = 0 if batch >= P else batch
        values["stop"] = self.loss == "hinge" if self.stop is None else self.stop
        values["epsilon"] = self.epsilon if self.loss == "hinge" else 0.0
        return Settings(**values)


#: The paper's protocols by name (science.md); `steps` is the one for N*.
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
#: Those whose rate falls once, halfway: 10⁻² for the first half of the steps, 10⁻³ for the second.
HALVED = ("paper-cross-entropy",)
#: Those that normalise: a matter of the architecture, and theirs to say.
NORMALISED = ("paper-cross-entropy",)


def batch_norm(protocol: str | None, given: bool | None = None) -> bool:
    """Whether networks are batch-normalised: as `given`, else as the protocol has it."""
    return protocol in NORMALISED if given is None else given


def usual_success(loss: str) -> str:
    """The reading of N* that a loss allows: N_Δ = 0 with a margin, else no y f < 0."""
    return "satisfied" if loss == "hinge" else "classified"


def with_options(base: TrainingOptions, **options: Any) -> TrainingOptions:
    """`base` with every option that is not None replaced; lr, every, factor and floor go to its schedule.

    FIRE, whose η is a time, starts from FIRE_LR unless lr is given; newton takes NEWTON_STEPS unless steps are. A
    protocol in halves keeps to them when `steps` is given.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if base.protocol in HALVED and "steps" in given:
        given.setdefault("every", -(-given["steps"] // 2))
    if given.get("optimizer") == "fire":
        given.setdefault("lr", FIRE_LR)
    if given.get("optimizer") == "newton":
        given.setdefault("steps", NEWTON_STEPS)
    schedule = {name: given.pop(name) for name in ("lr", "every", "factor", "floor") if name in given}
    return replace(base, schedule=replace(base.schedule, **schedule), **given)


def measured_steps(steps: int, measurements: int, measure_at: Sequence[int] = ()) -> list[int]:
    """0, the last step, log-spaced ones in between, at most `measurements` in all; and those asked for by number."""
    spaced = np.geomspace(1, steps, max(measurements - 1, 1)).round().astype(int).tolist() if steps else []
    return sorted({0, steps, *spaced, *(step for step in measure_at if step <= steps)})
