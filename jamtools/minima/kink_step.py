"""The convex problem of a step of Newton's method with kinks, and its solution.

    d = argmin  ½ d·(G + λ) d + g·d + Σ_i c_i max(0, z_i + n_i·d)
                + ½ Σ_µ max(0, D_µ + J⁰_µ·d + Σ_i e_i max(0, z_i + n_i·d))²        (kink_model.py)

The patterns near Δ = 0 and the kinks near z = 0 are in it; the other unsatisfied patterns are in G and g. Where the step
changes a pattern or a kink that is not in the problem, that one is added, and it is solved again. G is K and the other
patterns, with its negative curvature turned up (linalg/convexified.py). Everything is divided by the rms of the unsatisfied
Δ, so that a step is the same at every scale of ε and of L.

Source: none for the problem, own design; J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapter 18.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.linalg.convexified import convexified
from jamtools.linalg.nested_maximum import Minimiser, NestedMaximum, minimise
from jamtools.linalg.nested_pieces import Pieces, minimum_from
from jamtools.minima.kink_model import KinkModel, Kinks
from jamtools.network.passes import stacked

#: A pattern is near Δ = 0 up to this part of the rms of the unsatisfied Δ.
NEAR_GAP = 0.05

#: The largest number of times that a step is solved with more patterns and kinks in it.
MODEL_ROUNDS = 4

#: The tolerance of the model's minimum where its step lowers S much, and where it does not; the part of S from
#: which on a decrease is much.
MODEL_TOLERANCE_FAR, MODEL_TOLERANCE, MODEL_FAR_DECREASE = 1e-5, 1e-10, 1e-2

#: The unit of λ, in the mean curvature of K; and the least eigenvalue of G, in that unit.
DAMPING_UNIT, CURVATURE_FLOOR = 0.03, 1e-4


@dataclass
class SolvedStep:
    """A solved problem: the function, its kinks [n, 3], patterns [m] and minimiser, the step d [Ñ], the decrease of S."""

    function: NestedMaximum
    at: Tensor
    patterns: Tensor
    minimiser: Minimiser
    step: Tensor
    predicted: float

    @property
    def kept(self) -> Kinks:
        """The kinks that the minimum of the problem keeps at zero, with their slopes."""
        found = self.minimiser
        limit = self.function.limits(found.v)
        slope = found.u / torch.where(limit > 0, limit, 1.0)
        return Kinks(self.at[found.at_kink], slope[found.at_kink])


class StepProblem:
    """The problem at a model.

    expected [P]: the Δ of which S is expected to consist at the end of the step, 0 at satisfied patterns, not all of them 0;
    damping: λ in its unit; reach: a kink is near z = 0 up to this part of its scale; last_predicted: the decrease of the
    last step, relative to S.
    """

    def __init__(
        self, model: KinkModel, expected: Tensor, damping: float, reach: float, last_predicted: float
    ) -> None:
        self.model, self.expected, self.last_predicted = model, expected, last_predicted
        self.unit = float(expected[expected > 0].square().mean().sqrt())
        self.gaps = model.gaps.clamp(min=0)
        self.here = 0.5 * float(self.gaps.square().sum()) / self.unit**2  # S, in its unit
        self.near = model.gaps.abs() < NEAR_GAP * self.unit
        if bool((expected > 0).ne(model.active).any()):  # those that begin or end in a stage do so at once
            self.near = self.near | (expected > 0)
        self.common_forces = model.common_forces(self.gaps)
        self.kinks = self._near_kinks(reach)
        self.rows = model.rows(torch.ones_like(model.active))
        self.damping = damping
        self.plain = torch.zeros_like(model.active)
        self.G = torch.zeros(0)  # not set yet
        self.solved: SolvedStep | None = None

    def solve(self) -> SolvedStep | None:
        """The step; None where it could not be found, or where no pattern has a gradient."""
        if not bool(self.rows[self.model.active | (self.expected > 0)].any()):
            return None  # without biases dead patterns have none
        self._set_curvature()
        for _ in range(MODEL_ROUNDS):
            self.solved = self._solve()
            if (
                self.solved is None and self._set_curvature()
            ):  # G was not positive definite without the patterns moved
                self.solved = self._solve()
            if self.solved is None or not self._extend(self.solved):
                break
        return self.solved

    def corrected(self, solved: SolvedStep, reached: Tensor) -> SolvedStep | None:
        """The step of the problem whose Δ and z agree with the true ones at `reached` [Ñ], where the step led."""
        model, function, scaled = self.model, solved.function, solved.step / self.unit
        there = model.problem.forward(reached)
        gaps = model.problem.loss.gaps(there.f, model.problem.y)[solved.patterns, 0]
        z = model.pick(there.z[:-1], solved.at)
        function = replace(
            function,
            D=(gaps - function.E @ z.clamp(min=0)) / self.unit - function.J @ scaled,
            z=z / self.unit - function.N @ scaled,
        )
        found, _ = self._minimum(function, Pieces.at(function, scaled, solved.minimiser.at_kink))
        if found is None:
            return None
        return replace(solved, minimiser=found, step=model.project(self.unit * found.d[None])[0])

    # --- which kinks and patterns are in it ---------------------------------------------------------------

    def _convex(self, near: Tensor) -> list[Tensor]:
        """The convex kinks [L][P, h] of the unsatisfied and the near patterns, and the convex common ones."""
        model = self.model
        if model.arch.activation != "relu":
            return [torch.zeros_like(z, dtype=torch.bool) for z in model.z]
        used = (model.active | near)[:, None]
        return [((e > 0) & used) | (c > 0) for e, c in zip(model.forces, self.common_forces, strict=True)]

    def _near_kinks(self, reach: float) -> list[Tensor]:
        """The convex kinks near zero [L][P, h], and those held."""
        model, chosen = self.model, []
        convex, used = self._convex(torch.ones_like(self.near)), self._convex(self.near)
        for j, (z, scale) in enumerate(zip(model.z, model.scales, strict=True)):
            here = model.held.at[model.held.at[:, 0] == j]
            close = (z.abs() <= reach * scale) & used[j]
            close[here[:, 1], here[:, 2]] = True
            chosen.append(close & convex[j])
        return chosen

    def _extend(self, solved: SolvedStep) -> bool:
        """Adds the patterns and kinks that the step changes; whether there are any."""
        model = self.model
        changes = model.tangent(solved.step)
        flips = ((model.gaps - model.problem.y[:, 0] * changes[-1][:, 0]) > 0) != model.active
        flips[solved.patterns] = False
        more = [
            ((z + change > 0) != (z > 0)) & usable & ~old
            for z, change, usable, old in zip(
                model.z, changes, self._convex(self.near | flips), self.kinks, strict=False
            )
        ]
        self.near, self.kinks = (
            self.near | flips,
            [old | new for old, new in zip(self.kinks, more, strict=True)],
        )
        return bool(flips.any()) or any(bool(new.any()) for new in more)

    # --- its solution -------------------------------------------------------------------------------------

    def _set_curvature(self) -> bool:
        """G with all unsatisfied patterns that are not in the problem now (`plain`); False where it is so already."""
        model = self.model
        K, _ = model.curvature(self.expected)
        unit = DAMPING_UNIT * float(K.diagonal().mean().abs() + K.square().sum().div(len(K)).sqrt())
        at, patterns = self._members()
        plain = self._plain(patterns)
        if len(self.G) and bool((plain == self.plain).all()):
            return False
        self.plain = plain
        smooth = self.rows[self.plain]
        stays = self.rows[patterns][self.expected[patterns] > 0]
        held = torch.cat([model.normals(at[_contains(model.held.at, at)]), stays, model.fixed.T])
        G = convexified(torch.addmm(K, smooth.T, smooth), held, CURVATURE_FLOOR * unit)
        G.diagonal().add_(self.damping * unit)
        self.G = G + float(G.diagonal().mean()) * (model.fixed @ model.fixed.T)
        return True

    def _members(self) -> tuple[Tensor, Tensor]:
        """The kinks [n, 3] and the patterns [m] of the problem."""
        at = stacked(self.kinks, self.near, len(self.near), self.model.arch.width).nonzero()
        kinked = torch.zeros_like(self.near)
        kinked[at[~self.model.common(at), 1]] = True
        return at, (self.near | kinked).nonzero()[:, 0]

    def _plain(self, patterns: Tensor) -> Tensor:
        """The unsatisfied patterns [P] that are not among some [m]."""
        plain = self.model.active.clone()
        plain[patterns] = False
        return plain

    def _solve(self) -> SolvedStep | None:
        """The step with the present patterns and kinks."""
        model, (at, patterns) = self.model, self._members()
        function, last = self._function(at, patterns), self.solved
        start = last.step / self.unit if last else torch.zeros_like(function.g)
        held = last.kept.at if last else model.held.at
        found, decrease = self._minimum(function, Pieces.at(function, start, _contains(held, at)))
        if found is None:
            return None
        step = model.project(self.unit * found.d[None])[0]
        return SolvedStep(function, at, patterns, found, step, self.unit**2 * decrease)

    def _function(self, at: Tensor, patterns: Tensor) -> NestedMaximum:
        """The function of the problem with kinks at [n, 3] and patterns [m], in its unit."""
        model = self.model
        own = ~model.common(at)
        normals, z = model.normals(at), model.pick(model.z, at)
        slopes, forces = model.pick(model.slopes, at), model.pick(model.forces, at)
        place = torch.full_like(model.active, -1, dtype=torch.long)
        place[patterns] = torch.arange(len(patterns), device=at.device)
        E = normals.new_zeros(len(patterns), len(at))
        E[place[at[own, 1]], own.nonzero()[:, 0]] = forces[own]
        c = torch.where(own, 0.0, model.pick(self.common_forces, at))
        plain = self._plain(patterns)
        moved = self.rows[self.plain & ~plain]
        linear = self.rows[plain].T @ model.gaps[plain] - normals.T @ (c * slopes)
        return NestedMaximum(
            self.G - moved.T @ moved if len(moved) else self.G,
            linear / self.unit,
            (model.gaps[patterns] - E @ z.clamp(min=0)) / self.unit,
            self.rows[patterns] - (E * slopes) @ normals,
            E,
            z / self.unit,
            normals,
            c / self.unit,
        )

    def _minimum(self, function: NestedMaximum, guess: Pieces) -> tuple[Minimiser | None, float]:
        """The minimum of a function, and its decrease; by interior points where the guess does not lead there.

        These go to a low tolerance where the step lowers S by a large part.
        """
        found = minimum_from(function, guess) if len(function.z) else None
        if found is not None:
            return found, self._decrease(function, found)
        far = self.last_predicted > MODEL_FAR_DECREASE
        for tolerance in (MODEL_TOLERANCE_FAR, MODEL_TOLERANCE) if far else (MODEL_TOLERANCE,):
            found = minimise(function, tolerance)
            if found is None:
                return None, 0.0
            decrease = self._decrease(function, found)
            if decrease > MODEL_FAR_DECREASE * self.here:
                break
        return found, decrease

    def _decrease(self, function: NestedMaximum, found: Minimiser) -> float:
        return function.value(torch.zeros_like(found.d)) - function.value(found.d)


def _contains(some: Tensor, at: Tensor) -> Tensor:
    """Which kinks `at` [n, 3] are among others [k, 3]: booleans [n]."""
    if not len(some):
        return torch.zeros(len(at), dtype=torch.bool, device=at.device)
    return (at[:, None] == some[None]).all(2).any(1)
