"""Newton's method for the hinge loss of a network with kinks: both maxima, of Δ and of ρ, stay in its model.

    d = argmin  ½ d·(G + λ) d + g·d + ½ Σ_µ max(0, D_µ + J⁰_µ·d + Σ_i e_i max(0, z_i + n_i·d))²        (kink_model.py)

A step solves this convex problem with the patterns near Δ = 0 and the kinks near z = 0 in it; the other unsatisfied patterns
are in G and g. Where the step changes a pattern or a kink that is not in the problem, that one is added, and it is solved
again. G is K with its negative curvature turned up (linalg/convexified.py). Everything is divided by the rms of the
unsatisfied Δ, so that a step is the same at every scale of ε and of L. The step is judged by the exact loss:

    gain = [S(W) - S(W + d)] / predicted       small: the step is corrected to second order, then shortened;
                                               large: it is lengthened, since the model has less negative curvature than S
    λ rises where steps are shortened, and falls to zero where the gain is near 1

The kinks that the problem keeps at zero, with their multipliers λ_i = u_i / (e_i v_µ), are those of the next model.

Source: none for the problem, own design; J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapters 4 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from jamtools.linalg.convexified import convexified
from jamtools.linalg.nested_maximum import Minimiser, NestedMaximum, minimise
from jamtools.minima.kink_model import KinkModel, Kinks, Surface
from jamtools.network.passes import stacked
from jamtools.network.problem import Problem

#: A pattern is near Δ = 0 up to this part of the rms of the unsatisfied Δ.
NEAR_GAP = 0.05

#: A kink is near z = 0 up to this part of its scale in the first step; later up to NEAR_KINK_PART of the last step, in ‖W‖.
NEAR_KINK_FIRST, NEAR_KINK_PART = 1e-3, 0.1

#: The largest number of times that a step is solved with more patterns and kinks in it.
MODEL_ROUNDS = 4

#: The tolerance of the model's minimum where its step lowers S much, and where it does not; the part of S from
#: which on a decrease is much.
MODEL_TOLERANCE_FAR, MODEL_TOLERANCE, MODEL_FAR_DECREASE = 1e-5, 1e-10, 1e-2

#: The unit of λ, in the mean curvature of K; and the least eigenvalue of G, in that unit.
DAMPING_UNIT, CURVATURE_FLOOR = 0.03, 1e-4

#: Gains: below the first a step is corrected, above the second it is lengthened.
GAIN_LOW, GAIN_HIGH = 0.7, 1.3

#: The largest number of second-order corrections of a step.
CORRECTIONS = 2

#: A shortened step must reach this part of the predicted decrease, in proportion; the shortest has this length.
SHORTENED_GAIN, SHORTEST_STEP = 0.05, 2.0**-8

#: The longest lengthened step, in steps.
LONGEST_STEP = 2.0**12

#: Factors of λ: after a good step, after a lengthened one, after a poor one, after a failure.
DAMPING_GOOD, DAMPING_LENGTHENED, DAMPING_POOR, DAMPING_FAILED = 0.25, 0.05, 3.0, 6.0

#: λ is at least this, or 0.
DAMPING_LEAST = 3e-3

#: An accepted step with a gain below this raises λ.
GAIN_POOR = 0.2


@dataclass(frozen=True)
class Outlook:
    """The Δ [P] of which S is expected to consist at the end of a step, where they are known from a stage before."""

    gaps: Tensor


@dataclass
class _Solved:
    """A solved model: the function, its kinks [n, 3], its patterns [m], the minimiser, the step d [Ñ], the decrease of S."""

    function: NestedMaximum
    at: Tensor
    patterns: Tensor
    minimiser: Minimiser
    step: Tensor
    predicted: float


class KinkNewton:
    """The iteration on theta [Ñ], in place, on its surface.

    held: the kinks at zero; damping: λ in its unit; predicted: the decrease of S that the last accepted step predicted,
    relative to S; failures: steps in a row without a decrease.
    """

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        self.theta, self.problem, self.surface = theta, problem, Surface(problem.arch.norm)
        theta.copy_(self.surface.onto(theta, problem))
        self.held = Kinks.none(theta)
        self.damping, self.reach = 1.0, NEAR_KINK_FIRST
        self.predicted, self.failures = 1.0, 0

    def iterate(self, outlook: Outlook | None = None) -> bool:
        """One step; False where it did not lower S. Nothing is changed where no pattern is unsatisfied."""
        model = KinkModel(self.theta, self.problem, self.held)
        expected = (outlook.gaps if outlook else model.gaps).clamp(min=0)
        unit = float(expected[expected > 0].square().mean().sqrt()) if bool((expected > 0).any()) else 0.0
        if not unit:
            return False
        solved = self._solve(model, expected, unit)
        before = 0.5 * float(model.gaps.clamp(min=0).square().sum())
        if solved is None or not solved.predicted > 0:
            return self._fail()
        return self._move(model, solved, before, unit)

    # --- the step -----------------------------------------------------------------------------------------

    def _solve(self, model: KinkModel, expected: Tensor, unit: float) -> _Solved | None:
        """The step of the model; None where it could not be found."""
        K, _ = model.curvature(expected)
        damping = DAMPING_UNIT * float(K.diagonal().mean().abs() + K.square().sum().div(len(K)).sqrt())
        near = model.gaps.abs() < NEAR_GAP * unit
        if bool(
            (expected > 0).ne(model.active).any()
        ):  # the outlook of a stage: its patterns begin or end at once
            near = near | (expected > 0)
        kinks = self._near_kinks(model, near)
        rows = model.rows(torch.ones_like(model.active))
        if not bool(
            rows[model.active | (expected > 0)].any()
        ):  # without biases dead patterns have no gradient
            return None
        for _ in range(MODEL_ROUNDS):
            solved = self._solve_with(model, K, damping, rows, near, kinks, expected, unit)
            if solved is None:
                return None
            changes = model.tangent(solved.step)
            flips = ((model.gaps - self.problem.y[:, 0] * changes[-1][:, 0]) > 0) != model.active
            flips[solved.patterns] = False
            more = [
                ((z + change > 0) != (z > 0)) & (e > 0) & (model.active | near | flips)[:, None] & ~old
                for z, change, e, old in zip(model.z, changes, model.forces, kinks)
            ]
            if model.arch.activation != "relu":
                more = [torch.zeros_like(new) for new in more]
            if not bool(flips.any()) and not any(bool(new.any()) for new in more):
                break
            near, kinks = near | flips, [old | new for old, new in zip(kinks, more, strict=True)]
        return solved

    def _near_kinks(self, model: KinkModel, near: Tensor) -> list[Tensor]:
        """The convex kinks near zero [L][P, h], and those held."""
        if model.arch.activation != "relu":
            return [torch.zeros_like(z, dtype=torch.bool) for z in model.z]
        chosen = []
        for j, (z, e, scale) in enumerate(zip(model.z, model.forces, model.scales, strict=True)):
            close = (z.abs() <= self.reach * scale) & (model.active | near)[:, None]
            here = self.held.at[self.held.at[:, 0] == j]
            close[here[:, 1], here[:, 2]] = True
            chosen.append(close & (e > 0))
        return chosen

    def _solve_with(
        self,
        model: KinkModel,
        K: Tensor,
        damping: float,
        rows: Tensor,
        near: Tensor,
        kinks: list[Tensor],
        expected: Tensor,
        unit: float,
    ) -> _Solved | None:
        """The step with these patterns [P] and kinks [L][P, h] in it."""
        at = stacked(kinks, near, len(near), model.arch.width).nonzero()
        kinked = torch.zeros_like(near)
        kinked[at[:, 1]] = True
        patterns = (near | kinked).nonzero()[:, 0]
        plain = model.active & ~near & ~kinked
        normals, z, e = model.normals(at), model.pick(model.z, at), model.pick(model.forces, at)
        place = torch.full_like(model.active, -1, dtype=torch.long)
        place[patterns] = torch.arange(len(patterns), device=at.device)
        E = normals.new_zeros(len(patterns), len(at))
        E[place[at[:, 1]], torch.arange(len(at), device=at.device)] = e
        smooth = rows[plain]
        stays = expected[patterns] > 0
        held = torch.cat([normals[_contains(self.held.at, at)], rows[patterns][stays], model.fixed.T])
        G = convexified(torch.addmm(K, smooth.T, smooth), held, CURVATURE_FLOOR * damping)
        G.diagonal().add_(self.damping * damping)
        G += float(G.diagonal().mean()) * (model.fixed @ model.fixed.T)
        function = NestedMaximum(
            G,
            smooth.T @ (model.gaps[plain] / unit),
            (model.gaps[patterns] - E @ z.clamp(min=0)) / unit,
            rows[patterns] - (E * model.pick(model.slopes, at)) @ normals,
            E,
            z / unit,
            normals,
        )
        here = 0.5 * float(model.gaps.clamp(min=0).square().sum()) / unit**2
        found, decrease = self._minimum(function, here)
        if found is None:
            return None
        step = model.project(unit * found.d[None])[0]
        return _Solved(function, at, patterns, found, step, unit**2 * decrease)

    def _minimum(self, function: NestedMaximum, here: float) -> tuple[Minimiser | None, float]:
        """The minimum of a model, and its decrease; to a low tolerance where this is a large part of S, which is `here`."""
        far = self.predicted > MODEL_FAR_DECREASE
        for tolerance in (MODEL_TOLERANCE_FAR, MODEL_TOLERANCE) if far else (MODEL_TOLERANCE,):
            found = minimise(function, tolerance)
            if found is None:
                return None, 0.0
            decrease = function.value(torch.zeros_like(found.d)) - function.value(found.d)
            if decrease > MODEL_FAR_DECREASE * here:
                break
        return found, decrease

    # --- what becomes of it -------------------------------------------------------------------------------

    def _move(self, model: KinkModel, solved: _Solved, before: float, unit: float) -> bool:
        """Takes the step, corrected, lengthened or shortened; False where no part of it lowers S."""
        reached = self.surface.onto(self.theta + solved.step, self.problem)
        value = model.value(reached)
        for _ in range(CORRECTIONS):
            if (before - value) / solved.predicted >= GAIN_LOW:
                break
            corrected = self._corrected(model, solved, reached, unit)
            if corrected is None:
                break
            candidate = self.surface.onto(self.theta + corrected.step, self.problem)
            lower = model.value(candidate)
            if not lower < value:
                break
            solved, reached, value = corrected, candidate, lower
        gain = (before - value) / solved.predicted
        length = 1.0
        if gain > GAIN_HIGH:
            length, reached, value = self._lengthened(model, solved.step, reached, value)
        elif not gain > SHORTENED_GAIN:
            length, reached, value = self._shortened(model, solved, before)
        if not value < before:
            return self._fail()
        self._accept(solved, reached, length, gain, before)
        return True

    def _corrected(self, model: KinkModel, solved: _Solved, reached: Tensor, unit: float) -> _Solved | None:
        """The step of the model whose Δ and z agree with the true ones where the step led."""
        function, scaled = solved.function, solved.step / unit
        there = self.problem.forward(reached)
        gaps = self.problem.loss.gaps(there.f, self.problem.y)[solved.patterns, 0]
        z = model.pick(there.z[:-1], solved.at)
        function = replace(
            function,
            D=(gaps - function.E @ z.clamp(min=0)) / unit - function.J @ scaled,
            z=z / unit - function.N @ scaled,
        )
        found, _ = self._minimum(function, float(model.gaps.clamp(min=0).square().sum()) / (2 * unit**2))
        if found is None:
            return None
        return replace(solved, minimiser=found, step=model.project(unit * found.d[None])[0])

    def _lengthened(
        self, model: KinkModel, step: Tensor, reached: Tensor, value: float
    ) -> tuple[float, Tensor, float]:
        """The longest of the doubled steps up to which S falls: its length, where it leads, and S there."""
        length = 1.0
        while 2 * length <= LONGEST_STEP:
            further = self.surface.onto(self.theta + 2 * length * step, self.problem)
            lower = model.value(further)
            if not lower < value:
                break
            length, reached, value = 2 * length, further, lower
        return length, reached, value

    def _shortened(self, model: KinkModel, solved: _Solved, before: float) -> tuple[float, Tensor, float]:
        """The first of the halved steps that lowers S enough: its length, where it leads, and S there."""
        length = 0.5
        while length >= SHORTEST_STEP:
            reached = self.surface.onto(self.theta + length * solved.step, self.problem)
            value = model.value(reached)
            if before - value > SHORTENED_GAIN * length * solved.predicted:
                return length, reached, value
            length /= 2
        return 0.0, self.theta, before

    def _accept(self, solved: _Solved, reached: Tensor, length: float, gain: float, before: float) -> None:
        found, E = solved.minimiser, solved.function.E
        limit = E.T @ found.v
        slope = found.u / torch.where(limit > 0, limit, 1.0)
        self.held = Kinks(solved.at[found.at_kink], slope[found.at_kink])
        self.reach = NEAR_KINK_PART * length * float(solved.step.norm() / self.theta.norm())
        self.theta.copy_(reached)
        if length < 1 or gain < GAIN_POOR:
            self.damping = max(DAMPING_POOR * self.damping, DAMPING_LEAST)
        elif gain > GAIN_LOW:
            factor = DAMPING_LENGTHENED if gain > GAIN_HIGH else DAMPING_GOOD
            self.damping = self.damping * factor if self.damping > DAMPING_LEAST else 0.0
        self.predicted, self.failures = solved.predicted / before, 0

    def _fail(self) -> bool:
        self.damping = max(DAMPING_FAILED * self.damping, DAMPING_LEAST)
        self.failures += 1
        return False

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""
        numbers = [self.damping, self.reach, self.predicted, self.failures]
        return {
            "kinks": self.held.at.cpu().numpy().copy(),
            "kink_slopes": self.held.slope.cpu().numpy().copy(),
            "kink_numbers": np.array(numbers, dtype=np.float64),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        at = torch.from_numpy(state["kinks"]).to(self.theta.device)
        self.held = Kinks(at, torch.from_numpy(state["kink_slopes"]).to(self.theta))
        self.damping, self.reach, self.predicted, failures = state["kink_numbers"].tolist()
        self.failures = int(failures)


def _contains(some: Tensor, at: Tensor) -> Tensor:
    """Which kinks `at` [n, 3] are among others [k, 3]: booleans [n]."""
    if not len(some):
        return torch.zeros(len(at), dtype=torch.bool, device=at.device)
    return (at[:, None] == some[None]).all(2).any(1)
