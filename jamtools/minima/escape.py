"""A descent that runs to infinity: L falls while ‖W‖ grows by a decade, and does not fall to zero.

    trace: (‖W‖_k, L_k) with ‖W‖_{k+1} ≥ 10^{1/8} ‖W‖_k
    escaping: ‖W‖ ≥ 10 ‖W_0‖,   ‖W‖ ≥ 3 ‖W_1‖,   L never rises along the trace,   L ≥ 0.9 L(‖W‖/3)

W_0 are the initial parameters, and W_1 those where the descent on the exact loss began. ‖W‖ is that of the balanced gauge,
in the units in which x has a mean square of 1 and ε = ½: neither the scale symmetries nor the units of the data change it. A
descent that lowers L by much while ‖W‖ grows may still satisfy all patterns, and goes on. A network of one hidden layer of
ReLU is never called escaping, since each of its descents leads to a minimum.

This is evidence, not a proof: a minimum further away is not excluded.
Source: none, own definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.network.symmetry import balanced
from jamtools.network.units import Units

#: ‖W‖ of two neighbours of a trace differ at least by this factor.
ESCAPE_TRACE_FACTOR = 10 ** (1 / 8)

#: By how much ‖W‖ has grown in an escape: since the initial parameters, and since the descent began.
ESCAPE_GROWTH, ESCAPE_DESCENT_GROWTH = 10.0, 3.0

#: The smallest part of L that is left in an escape while ‖W‖ grew by ESCAPE_DESCENT_GROWTH.
ESCAPE_LEVEL = 0.9


@dataclass(frozen=True)
class Escape:
    """The trace of a descent: ‖W_0‖ and pairs (‖W‖, L), ascending in ‖W‖."""

    origin: float
    norms: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()

    def with_point(self, norm: float, loss: float) -> Escape:
        """The trace with the present point as its last; points from which ‖W‖ has come back are forgotten."""
        points = list(zip(self.norms, self.losses, strict=True))
        if len(points) > 1 and points[-1][0] < ESCAPE_TRACE_FACTOR * points[-2][0]:
            points.pop()  # the last one is too close to the one before
        points = [*(point for point in points if point[0] < norm), (norm, loss)]
        return Escape(self.origin, tuple(n for n, _ in points), tuple(value for _, value in points))

    def at(self, theta: Tensor, arch: Architecture, loss: float) -> Escape:
        """The trace with theta [Ñ] and its loss as the last point."""
        return self.with_point(balanced_norm(theta, arch), loss)

    def shows_one(self, arch: Architecture) -> bool:
        """Whether the trace shows an escape of a network that may escape."""
        return may_escape(arch) and self.seen

    @property
    def seen(self) -> bool:
        """Whether the trace shows an escape."""
        if not self.norms or not self.norms[-1] >= ESCAPE_GROWTH * self.origin:
            return False
        before = [
            value for n, value in zip(self.norms, self.losses) if n * ESCAPE_DESCENT_GROWTH <= self.norms[-1]
        ]
        falls = all(later <= earlier for earlier, later in pairwise(self.losses))
        return bool(before) and falls and self.losses[-1] >= ESCAPE_LEVEL * before[-1]

    @classmethod
    def read(cls, fields: Any) -> Escape | None:
        """The trace that `fields` describe; None where they describe none."""
        if not isinstance(fields, Mapping) or set(fields) != {"initial_norm", "norm", "loss"}:
            return None
        norms, losses = fields["norm"], fields["loss"]
        if not (isinstance(norms, list) and isinstance(losses, list) and len(norms) == len(losses) > 0):
            return None
        if not all(type(number) is float for number in (fields["initial_norm"], *norms, *losses)):
            return None
        ascends = all(a < b for a, b in pairwise(norms))
        return cls(fields["initial_norm"], tuple(norms), tuple(losses)) if ascends else None

    @property
    def in_words(self) -> str:
        """The trace in one line."""
        first, last = self.losses[0], self.losses[-1]
        return f"‖W‖ from {self.origin:.3g} to {self.norms[-1]:.3g}; L falls from {first:.4g} to {last:.4g} and levels off"

    def fields(self) -> dict[str, Any]:
        """The trace in the metadata of a run."""
        return {"initial_norm": self.origin, "norm": list(self.norms), "loss": list(self.losses)}


def may_escape(arch: Architecture) -> bool:
    """Whether a loss of this architecture may lack a minimum."""
    return not (arch.activation in ("relu", "linear") and arch.depth == 1)


def balanced_norm(theta: Tensor, arch: Architecture) -> float:
    """‖W‖ of theta [Ñ] in the balanced gauge of the scale symmetries. It grows without bound if L has no minimum."""
    return float(torch.linalg.vector_norm(balanced(theta, arch)[0]))


def has_grown(theta: Tensor, theta0: Tensor, problem: Problem) -> bool:
    """Whether free weights that may escape have grown by a decade from theta0 to theta [Ñ], in the units of escapes.

    It does not ask whether L levels off: patterns that are taken away lower it.
    """
    arch = problem.arch
    if arch.norm is not None or not may_escape(arch):
        return False
    units = Units.of(problem)
    before, after = (balanced_norm(units.inside(w), arch) for w in (theta0, theta))
    return after >= ESCAPE_GROWTH * before
