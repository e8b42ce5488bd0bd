"""The steps of engines/optimizers.py for a batch of runs. Each run is a row with its own step and rate.

    rows [1 + k, R, stride]: theta and k state tensors of its length;    scalars [q, R]: q numbers of state per run

The formulas are those of engines/optimizers.py; the tests compare the two. No data move between host and device here, so
a step can be recorded as a CUDA graph. (torch.where would copy a plain number to the device; masked_fill does not.) The
result of a run is a function of its own row. The scalars are computed by one operation at a time, because a single
operation rounds in the same way inside a vector instruction and outside it.

Sources: Kingma and Ba, arXiv:1412.6980; Bitzek, Koskinen, Gähler, Moseler and Gumbsch, PRL 97, 170201 (2006).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from jamtools.engines.constants import (
    ADAM_BETA1,
    ADAM_BETA2,
    ADAM_EPSILON,
    ADAM_GAIN1,
    ADAM_GAIN2,
    FIRE_ALPHA,
    FIRE_ALPHA_SHRINK,
    FIRE_GROWTH,
    FIRE_MAX_PACE,
    FIRE_MIN_DOWNHILL_STEPS,
    FIRE_SHRINK,
)

#: From this step on, 1 - β₂^t is 1 in float64 and Adam's bias corrections are constant.
ADAM_SATURATED_STEPS = 40_000


class RowOptimizer(Protocol):
    """Moves rows and scalars in place.

    names: the state tensors in the rows after theta. scalars: the initial values of the numbers of state per run, by name.
    """

    names: tuple[str, ...]
    scalars: Mapping[str, float]

    def step(self, rows: Tensor, scalars: Tensor, g: Tensor, lr: Tensor, step: Tensor) -> None:
        """One step of every run; see the module for the shapes of rows and scalars.

        g [R, stride]: the gradients; lr [R]: the rates; step [R] (int64): how many steps each run has taken.
        """


class AdamRows:
    """Adam. A table holds the bias corrections, so that they are the same numbers as in a single run."""

    names: tuple[str, ...] = ("m", "v")
    scalars: Mapping[str, float] = {}

    def __init__(self, device: torch.device) -> None:
        times = range(1, ADAM_SATURATED_STEPS + 1)
        correction1 = [1 - ADAM_BETA1**t for t in times]
        root_correction2 = [math.sqrt(1 - ADAM_BETA2**t) for t in times]
        self._correction1 = torch.tensor(correction1, dtype=torch.float64, device=device)
        self._root_correction2 = torch.tensor(root_correction2, dtype=torch.float64, device=device)

    def step(self, rows: Tensor, scalars: Tensor, g: Tensor, lr: Tensor, step: Tensor) -> None:
        """One step of Adam for every run, as in RowOptimizer: g [R, stride], lr [R], step [R]."""
        theta, m, v = rows
        index = step.clamp(max=ADAM_SATURATED_STEPS - 1)
        m.lerp_(g, ADAM_GAIN1)
        v.mul_(ADAM_BETA2).addcmul_(g, g, value=ADAM_GAIN2)
        root = v.sqrt().div_(_column(self._root_correction2.index_select(0, index), v)).add_(ADAM_EPSILON)
        rate = _column(lr / self._correction1.index_select(0, index), m)
        theta.sub_((m / root).mul_(rate))


class SGDRows:
    """Gradient descent, with momentum or without."""

    scalars: Mapping[str, float] = {}

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.names: tuple[str, ...] = ("b",) if momentum else ()

    def step(self, rows: Tensor, scalars: Tensor, g: Tensor, lr: Tensor, step: Tensor) -> None:
        """One step of gradient descent for every run, as in RowOptimizer: g [R, stride], lr [R], step [R]."""
        if self.momentum:
            g = rows[1].mul_(self.momentum).add_(g)
        rows[0].sub_(g * _column(lr, g))


class FIRERows:
    """FIRE. Each run has its own pace."""

    names: tuple[str, ...] = ("v",)
    scalars: Mapping[str, float] = {"pace": 1.0, "alpha": FIRE_ALPHA, "downhill": 0.0}

    def step(self, rows: Tensor, scalars: Tensor, g: Tensor, lr: Tensor, step: Tensor) -> None:
        """One step of FIRE for every run, as in RowOptimizer: g [R, stride], lr [R], step [R]."""
        theta, v = rows
        down = -(g * v).sum(1) > 0
        up = ~down & (step > 0)  # at the first step v = 0, and the power has no sign
        self._turn(v, g, scalars[1], down, up)
        self._pace(scalars, down, up)
        dt = _column(scalars[0] * lr, g)
        v.sub_(g * dt)
        theta.add_(v * dt)

    @staticmethod
    def _turn(v: Tensor, g: Tensor, alpha: Tensor, down: Tensor, up: Tensor) -> None:
        """Turns v [R, stride] towards the force -g (where down [R]) or sets it to zero (where up [R]); alpha [R]."""
        mix = (alpha * ((v * v).sum(1).sqrt() / (g * g).sum(1).sqrt())).masked_fill(~down, 0.0)
        keep = (1 - alpha).masked_fill(~down, 1.0).masked_fill(up, 0.0)
        v.mul_(_column(keep, v)).sub_(g * _column(mix, g))

    @staticmethod
    def _pace(scalars: Tensor, down: Tensor, up: Tensor) -> None:
        """Increases the pace after several steps downhill in a row, and halves it uphill; scalars [3, R], down, up [R]."""
        pace, alpha, downhill = scalars
        downhill.add_(down).masked_fill_(up, 0.0)
        grow = down & (downhill > FIRE_MIN_DOWNHILL_STEPS)
        grown = (pace * FIRE_GROWTH).clamp(max=FIRE_MAX_PACE)
        pace.copy_(torch.where(grow, grown, torch.where(up, pace * FIRE_SHRINK, pace)))
        alpha.copy_(torch.where(grow, alpha * FIRE_ALPHA_SHRINK, alpha)).masked_fill_(up, FIRE_ALPHA)


def _column(numbers: Tensor, like: Tensor) -> Tensor:
    """The numbers [R], one per run, as a column [R, 1] in the dtype of `like`."""
    return numbers.to(like.dtype)[:, None]


def make_rows(name: str, momentum: float, device: torch.device) -> RowOptimizer:
    """The optimiser "adam", "sgd" or "fire" for the rows of a batch."""
    if name == "fire":
        return FIRERows()
    return AdamRows(device) if name == "adam" else SGDRows(momentum)
