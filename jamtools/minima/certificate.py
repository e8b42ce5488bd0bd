"""The certificate of a minimum: a proof, from theta and the data alone, that no theta nearby has a lower loss.

    satisfied    every Δ_µ ≤ CONTACT_TOLERANCE ε
    jammed       L ≥ 𝓛 near W, L = 𝓛 at W, and W is a minimum of 𝓛 in the directions in which L - 𝓛 = 0 at first order:
                 u_i > 0,  0 ≤ λ_i ≤ 1,  ∇𝓛 = g(λ) = 0,  vᵀ∇²𝓛 v ≥ 0  for v with ∇z_i·v = 0

𝓛 is L with the supporting line λ_i z_i in the place of ρ(z_i) = λ_i z_i + ψ_i, ψ_i ≥ 0, at every active cusp. A pattern may
have cusps in several layers. Replace the topmost cusp first. Nothing above it has a kink. Therefore ∂L/∂ρ_i = u_i > 0 is an
ordinary derivative, and the replacement lowers L by ψ_i u_i to first order. Then L is smooth down to the next cusp. The u_i
of that cusp contains the slopes of the lines above it. Repeat this down to the lowest cusp. The result is

    L ≥ 𝓛 + c Σ_i u_i min(λ_i, 1 - λ_i) |z_i|,      c > 0.

In a direction that leaves M = {z_i = 0}, L rises at first order. Second order matters only on the tangent space of M.
At fixed norm all gradients are those on the tangent space of the sphere, and ∇²𝓛 + μ 1 stands for ∇²𝓛.
The conditions are sufficient. They hold up to the tolerances and the round-off that a Certificate contains.

A cusp with u_i = 0 may be a kink of second order, which is not decided here. A cusp is idle if in some layer above it no
neuron is on at that pattern; then L does not depend on z_i. A gap Δ that round-off cannot distinguish from 0 is left out of
𝓛: its ½Δ² is never negative. All norms and sizes are those of the balanced gauge (network/symmetry.py).
Source: arXiv:1809.09349, section III; R. T. Rockafellar and R. J.-B. Wets, Variational Analysis (1998), chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import ACTIVE_CUSP_TOLERANCE
from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient, smallest_subgradient
from jamtools.errors import CheckError, InputError
from jamtools.minima.cusp_manifold import CuspManifold
from jamtools.minima.descent_trials import DescentTrials, try_to_descend
from jamtools.minima.first_order import BalancedPoint, FirstOrder, cusp_places, idle
from jamtools.minima.newton_step import arrival
from jamtools.minima.second_order import Lagrangian, lagrangian
from jamtools.network.problem import Problem
from jamtools.network.roundoff import loss_error
from jamtools.records import CERTIFICATE_ARRAYS

#: The default number of lengths of the kicks of the descent trials.
DEFAULT_TRIALS = 10

Integers = NDArray[np.int64]

Floats = NDArray[np.float64]


def _empty(columns: int | None = None) -> Any:
    """An array without rows: [0, columns] of int64, or [0] of float64."""
    return np.zeros((0, columns), dtype=np.int64) if columns else np.zeros(0)


@dataclass(frozen=True)
class Certificate:
    """Whether a point is a minimum of its loss, with the numbers of the proof; None where a number was not needed.

    kind: "satisfied", "jammed", or "diverged" where theta is not finite. obstacle: one line that says why there is no proof.

    n_unsatisfied: patterns with Δ > CONTACT_TOLERANCE ε; n_contacts: those with |Δ| ≤ CONTACT_TOLERANCE ε; n_undecided:
    those with a Δ > 0 that round-off cannot distinguish from 0. cusp_distance: the largest |z| of the active cusps, in
    scales of the neuron (at most `tolerance`); next_distance: the smallest of the other pre-activations at patterns with
    gradient. n_idle: idle cusps, not counted in n_cusps.

    First order: gradient is ‖g(λ)‖, scale is √Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖² over the unsatisfied patterns, smallest_force is min u_i
    in units of its round-off bound, which it must exceed.

    Second order, in the units of second_order.py: the dimension of the space, the numbers of negative and zero eigenvalues,
    the smallest and the largest eigenvalue; n_flat: the zero eigenvalues along which the loss is exactly constant.

    Newton's step (newton_step.py): newton_gain, the predicted decrease of the loss, relative to it; newton_length, the
    largest part of a layer by which it moves; residual and next_residual, before and after the step; residual_rounding, that
    of both. norm_multiplier: μ at fixed norm (network/sphere.py).

    Trials (descent_trials.py): n_trials, their number; radius, in ‖W‖, within which none found a lower loss; lowest_change
    of the loss by the shortest of them, relative to it; trial_error: how much of a change errors explain.

    cusps [n, 3]: pattern, layer from 1, neuron; multipliers λ_i [n]; forces u_i [n]. They and the loss have the units of
    theta as it was given.
    """

    kind: str
    certified: bool
    obstacle: str | None
    loss: float | None = None
    n_unsatisfied: int | None = None
    n_contacts: int | None = None
    n_undecided: int | None = None
    tolerance: float | None = None
    n_cusps: int | None = None
    n_idle: int | None = None
    cusp_distance: float | None = None
    next_distance: float | None = None
    gradient: float | None = None
    scale: float | None = None
    smallest_force: float | None = None
    smallest_multiplier: float | None = None
    largest_multiplier: float | None = None
    n_at_bound: int | None = None
    dimension: int | None = None
    n_negative: int | None = None
    n_zero: int | None = None
    n_flat: int | None = None
    smallest_curvature: float | None = None
    largest_curvature: float | None = None
    newton_gain: float | None = None
    newton_length: float | None = None
    residual: float | None = None
    next_residual: float | None = None
    residual_rounding: float | None = None
    norm_multiplier: float | None = None
    n_trials: int | None = None
    radius: float | None = None
    lowest_change: float | None = None
    trial_error: float | None = None
    cusps: Integers = field(default_factory=lambda: _empty(3))
    multipliers: Floats = field(default_factory=_empty)
    forces: Floats = field(default_factory=_empty)

    def fields(self) -> dict[str, Any]:
        """All fields except the arrays, for the metadata of a run."""
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names if name not in CERTIFICATE_ARRAYS}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of CERTIFICATE_ARRAYS by name: cusps [n, 3], multipliers [n], forces [n]."""
        return {name: getattr(self, name) for name in CERTIFICATE_ARRAYS}


def certify(theta: Tensor, problem: Problem, seed: int = 0, trials: int = DEFAULT_TRIALS) -> Certificate:
    """Whether theta [Ñ] is a minimum of the hinge loss of a problem, in float64.

    seed, trials: the seed and the number of the descent trials. A network that is too large for the dense matrices, or whose
    eigenvalues fail a check, is not certified, and `obstacle` gives the reason. Raises InputError for another loss and with
    batch normalisation.
    """
    problem.arch.require_plain()
    problem.loss.require_hinge()
    if not theta.isfinite().all():
        return Certificate("diverged", False, "its parameters are not finite")
    point = BalancedPoint.of(theta, problem)
    even = partial(BalancedPoint.of, theta, problem, even=True)
    if not point.gaps.isfinite().all():
        return Certificate("diverged", False, "its gaps are not finite")
    contact = point.problem.loss.contact
    gap_fields: dict[str, Any] = {
        "loss": point.value,
        "n_unsatisfied": int(point.problem.loss.unsatisfied(point.gaps).sum()),
        "n_contacts": int((point.gaps.abs() <= contact).sum()),
    }
    if bool((point.gaps <= contact).all()):
        return Certificate("satisfied", True, None, **gap_fields)
    try:
        return _jammed(point, even, gap_fields, seed, trials)
    except (InputError, CheckError) as error:
        return Certificate("jammed", False, str(error), **gap_fields)


def _jammed(
    point: BalancedPoint,
    even: Callable[[], BalancedPoint],
    gap_fields: dict[str, Any],
    seed: int,
    trials: int,
) -> Certificate:
    """The conditions of first order, then those of second order, then descent trials, up to the first obstacle.

    even: makes the point on inputs of one size, where the trials are made.
    """
    undecided = (point.gaps > 0) & (point.gaps <= point.errors)
    cusps = point.cusps(ACTIVE_CUSP_TOLERANCE)
    smallest = smallest_subgradient(cusps)
    first = FirstOrder(point, cusps, torch.from_numpy(smallest.multipliers).to(point.theta))
    certificate = Certificate(
        "jammed",
        False,
        first.obstacle,
        **gap_fields,
        n_undecided=int(undecided.sum()),
        tolerance=ACTIVE_CUSP_TOLERANCE,
        **first.fields(),
    )
    if first.obstacle:
        return certificate
    keep = ~undecided.any(1)
    if bool((point.gaps[~keep] > point.errors[~keep]).any()):
        return replace(
            certificate,
            obstacle="an output at Δ = 0 to round-off beside one that is not, which is not decided",
        )
    kept_cusps, kept_smallest = _without(point, cusps, smallest, keep)
    certificate = _second_order(certificate, kept_cusps, kept_smallest, seed)
    if certificate.obstacle:
        return certificate
    rounding = 2 * loss_error(point.gaps, point.errors, point.problem.loss)
    errors = point.errors[keep][kept_cusps.patterns]
    certificate = _newton(
        certificate, kept_cusps, kept_smallest, errors, rounding / (point.value / point.unit**2)
    )
    if certificate.obstacle:
        return certificate
    place = even()
    cusps = cusps.in_gauge(place.theta, place.problem, place.scales / point.scales)
    manifold = CuspManifold(cusps, first.multipliers, first.alive)
    tried = try_to_descend(place.problem, manifold, rounding + first.off_zero, trials, seed)
    return _tried(certificate, tried, place.stretch)


def _newton(
    certificate: Certificate, cusps: CuspGradient, smallest: SmallestSubgradient, errors: Tensor, slack: float
) -> Certificate:
    """The certificate with its Newton step, on the cusps whose multipliers lie inside (0, 1).

    errors [m, C]: bounds of the round-off in Δ of the patterns with gradient; slack: that of L, relative to it.
    """
    inside = torch.from_numpy(smallest.inside).to(cusps.theta.device)
    rounded = torch.from_numpy(smallest.multipliers.round()).to(cusps.theta)
    arrived = arrival(cusps.only(inside & ~idle(cusps), rounded), errors)
    multipliers = torch.from_numpy(smallest.multipliers).to(cusps.theta)
    return replace(
        certificate,
        obstacle=arrived.obstacle(slack),
        newton_gain=arrived.gain,
        newton_length=arrived.length,
        residual=arrived.residual,
        next_residual=arrived.next_residual,
        residual_rounding=arrived.rounding,
        norm_multiplier=cusps.norm_multiplier(multipliers) if cusps.arch.norm else None,
    )


def _tried(certificate: Certificate, trials: DescentTrials | None, stretch: float) -> Certificate:
    """The certificate with the outcome of its trials, certified unless they refute it; stretch: that of the point."""
    if trials is None:
        return replace(certificate, certified=True, n_trials=0)
    certificate = replace(
        certificate,
        n_trials=trials.n,
        radius=trials.radius / max(1.0, stretch),
        lowest_change=trials.change,
        trial_error=trials.error,
    )
    if trials.refuted:
        return replace(certificate, obstacle=f"a trial found a loss lower by {-trials.change:.1e} of it")
    return replace(certificate, certified=True)


def _without(
    point: BalancedPoint, cusps: CuspGradient, smallest: SmallestSubgradient, keep: Tensor
) -> tuple[CuspGradient, SmallestSubgradient]:
    """The cusps of the patterns to keep ([P] booleans), with their multipliers."""
    if bool(keep.all()):
        return cusps, smallest
    kept = keep.cpu().numpy()[cusp_places(cusps)[:, 0]]
    fewer = CuspGradient(point.theta, point.problem.take(keep), cusps.counted)
    return fewer, replace(smallest, multipliers=smallest.multipliers[kept])


def _second_order(
    certificate: Certificate, cusps: CuspGradient, smallest: SmallestSubgradient, seed: int
) -> Certificate:
    """The certificate with the signs of the curvature of the Lagrangian, and with the obstacle of second order, if any."""
    curved = lagrangian(cusps, smallest)
    space = curved.held if curved.held.n_negative else curved.free
    n_flat = _flat(cusps, smallest, seed) if space.n_zero else 0
    return replace(
        certificate,
        obstacle=_second_obstacle(curved, n_flat),
        n_at_bound=curved.n_at_bound,
        dimension=space.dimension,
        n_negative=space.n_negative,
        n_zero=space.n_zero,
        n_flat=n_flat,
        smallest_curvature=space.smallest,
        largest_curvature=space.largest,
    )


def _flat(cusps: CuspGradient, smallest: SmallestSubgradient, seed: int) -> int | None:
    """The dimension of the directions of the free space along which 𝓛 is constant; None where it is not known."""
    multipliers = np.where(smallest.inside, smallest.multipliers, smallest.multipliers.round())
    held = torch.from_numpy(smallest.inside).to(cusps.theta.device) & ~idle(cusps)
    manifold = CuspManifold(cusps, torch.from_numpy(multipliers).to(cusps.theta), held)
    return manifold.flat(np.random.default_rng(seed))


def _second_obstacle(curved: Lagrangian, n_flat: int | None) -> str | None:
    """Why second order does not prove a minimum, in one line; None where it does."""
    for space, where in (
        (curved.held, "of the Lagrangian"),
        (curved.free, "where multipliers are 0 or 1, undecided"),
    ):
        if space.n_negative:
            n, relative = space.n_negative, space.smallest / max(abs(space.smallest), abs(space.largest))
            return f"{n} negative direction{'s' * (n > 1)} {where}, {relative:.1e} of the largest"
    if curved.n_concave:
        return f"{curved.n_concave} concave cusps"
    if n_flat is None or curved.free.n_zero > n_flat:
        n = curved.free.n_zero - (n_flat or 0)
        return (
            f"{n} direction{'s' * (n > 1)} of no curvature to round-off, which second order does not decide"
        )
    return None
