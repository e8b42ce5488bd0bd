"""Newton's method on the conditions of a stationary point, with the unsatisfied patterns and the held kinks fixed.

    g(W, λ) + ν W = 0,      z_i(W) = 0,      ‖W‖ = R                                      (ν and R at fixed norm only)
    d = d_n + Z |ZᵀGZ|⁺ Zᵀ(-g - G d_n),      n_i·d_n = -z_i,    n_i·Z = 0,      G = JᵀJ + K

λ are those that minimise ‖g(λ)‖; J and K have the slopes λ (kink_model.py). Each step squares the error, once the patterns
and kinks are the right ones. At the end the same patterns must be unsatisfied, with 0 < λ < 1 and positive forces.

Source: J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapter 18.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.linalg.subspace import orthonormal_basis, pseudo_inverse
from jamtools.minima.kink_model import KinkModel, Kinks
from jamtools.network.problem import Problem

#: The largest number of steps.
KKT_MAX_STEPS = 15

#: A step longer than this, in ‖W‖, does not start near a stationary point.
KKT_LONGEST_STEP = 0.1

#: The method has arrived when ‖g‖ is below the first part of its terms, or a step below the second part of ‖W‖.
KKT_RESIDUAL, KKT_STEP = 1e-12, 1e-13

#: From the third step on, a step must be shorter than this part of the last one.
KKT_SHORTER = 0.9


@dataclass(frozen=True)
class Stationary:
    """A stationary point theta [Ñ] with its kinks.

    length: the last step, in ‖W‖; admissible: whether the patterns and the multipliers are those that were assumed;
    curvature: the smallest eigenvalue of ZᵀGZ over the size of K; downward [Ñ]: its eigenvector; nu: the multiplier ν of
    the norm.
    """

    theta: Tensor
    held: Kinks
    length: float
    admissible: bool
    curvature: float
    downward: Tensor
    nu: float


def stationary_point(theta: Tensor, problem: Problem, held: Kinks, active: Tensor) -> Stationary | None:
    """The stationary point near theta [Ñ] with these kinks and unsatisfied patterns [P]; None where it is not reached."""
    last = torch.inf
    for n in range(KKT_MAX_STEPS):
        at = _KktPoint(theta, problem, held, active)
        step = at.step()
        length = float(step.norm() / theta.norm())
        if not length <= KKT_LONGEST_STEP:
            return None
        if at.residual <= KKT_RESIDUAL or length <= KKT_STEP:
            return at.found(length)
        if n > 1 and length > KKT_SHORTER * last:
            return None
        theta, held, last = problem.onto(theta + step), at.held, length
    return None


def at_kinks(theta: Tensor, problem: Problem, held: Kinks) -> Tensor:
    """The point [Ñ] of the surface near theta [Ñ] where the z of some kinks vanish, to the order of the distance cubed."""
    for _ in range(2 if len(held.at) else 0):
        theta = problem.onto(theta)
        model = KinkModel(theta, problem, held)
        theta = theta - pseudo_inverse(model.normals(model.held.at)) @ model.pick(model.z, model.held.at)
    return problem.onto(theta)


class _KktPoint:
    """The conditions and the Newton step at one theta."""

    def __init__(self, theta: Tensor, problem: Problem, held: Kinks, active: Tensor) -> None:
        self.active = active
        model = KinkModel(theta, problem, held)
        held = model.held
        self.held = replace(held, slope=held.slope + self._change(model, held))
        self.model = model = KinkModel(theta, problem, self.held) if len(held.at) else model
        self.gaps = torch.where(active, model.gaps, 0.0)
        self.rows, self.normals = model.rows(active), model.normals(held.at)
        self.z = model.pick(model.z, held.at)
        self.force = model.force(held.at, self.gaps)
        self.gradient = self.rows.T @ self.gaps[active]
        terms = float((self.rows.square().sum(1) @ self.gaps[active].square()).sqrt())
        self.residual = float(self.gradient.norm()) / terms if terms > 0 else 0.0
        self.K, self.nu = model.curvature(self.gaps.clamp(min=0))
        self.smallest, self.lowest = 0.0, torch.zeros_like(theta)

    def _change(self, model: KinkModel, held: Kinks) -> Tensor:
        """The change [n] of λ that makes ‖g‖ smallest, at first order."""
        if not len(held.slope):
            return held.slope
        gaps = torch.where(self.active, model.gaps, 0.0)
        force = model.force(held.at, gaps)
        gradient = model.rows(self.active).T @ gaps[self.active]
        return -(pseudo_inverse(force[:, None] * model.normals(held.at)).T @ gradient)

    def step(self) -> Tensor:
        """d [Ñ]; notes the smallest eigenvalue and its direction."""
        G = torch.addmm(self.K, self.rows.T, self.rows)
        across = orthonormal_basis(torch.cat([self.model.fixed, self.normals.T], 1))
        onto = -(pseudo_inverse(self.normals) @ self.z) if len(self.z) else torch.zeros_like(self.gradient)
        r = across.shape[1]
        Z = torch.linalg.qr(across, mode="complete")[0][:, r:] if r else torch.eye(len(G)).to(G)
        values, vectors = torch.linalg.eigh(Z.T @ G @ Z)
        right = vectors.T @ (Z.T @ (-self.gradient - G @ onto))
        limit = len(values) * torch.finfo(values.dtype).eps * float(values.abs().max())
        along = torch.where(values.abs() > limit, right / values.abs(), 0.0)
        size = float(self.K.square().sum().div(len(self.K)).sqrt())
        self.smallest = float(values[0]) / size if float(values[0]) < -limit and size > 0 else 0.0
        self.lowest = Z @ vectors[:, 0]
        return onto + Z @ (vectors @ along)

    def found(self, length: float) -> Stationary:
        slope = self.held.slope
        inside = bool(((slope > 0) & (slope < 1) & (self.force > 0)).all())
        same = bool((self.model.active == self.active).all())
        return Stationary(
            self.model.theta, self.held, length, inside and same, self.smallest, self.lowest, self.nu
        )
