"""Descent of the loss at fixed norm: BFGS on L of the point of the sphere along W.

    F(u) = L(R u/‖u‖),      ∇F = (R/‖u‖) (g - û û·g),    g = ∇L(R û),    û = u/‖u‖

The minima of F over all u are those of L on the sphere ‖W‖ = R.
Source: none, own derivation above; bfgs.py for the descent.
"""

from __future__ import annotations

from torch import Tensor

from jamtools.minima.bfgs import Bfgs
from jamtools.minima.loss_function import LossFunction
from jamtools.network.problem import Problem

#: The descent ends when this many iterations have lowered the loss by less than this part of it.
SPHERE_CHECK_ITERATIONS, SPHERE_SLOW_DECREASE = 100, 1e-2


def descend_on_sphere(theta: Tensor, problem: Problem, norm: float, iterations: int) -> Tensor:
    """A point [Ñ] with ‖W‖ = norm and a lower loss than theta [Ñ] on that sphere, after at most so many iterations."""
    u = theta * (norm / theta.norm())
    exact = LossFunction(problem, u)

    def on_sphere(u: Tensor) -> tuple[float, Tensor]:
        size = u.norm()
        value, slope = exact((u * (norm / size)).contiguous())
        unit = u / size
        return value, (slope - (slope @ unit) * unit) * (norm / size)

    bfgs = Bfgs(u, on_sphere)
    last = bfgs.value
    for n in range(1, iterations + 1):
        if not bfgs.iterate():
            break
        if n % SPHERE_CHECK_ITERATIONS == 0:
            if last - bfgs.value < SPHERE_SLOW_DECREASE * last:
                break
            last = bfgs.value
    return u * (norm / u.norm())
