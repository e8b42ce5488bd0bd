"""The state of a run, from theta and the data: the one place where `status` is decided (states.py has the words).

    share = ‖g(λ)‖ / √Σ_µ ‖(∂L/∂f_µ) ∇f_µ‖²,       jammed: certified, or share ≤ JAMMED_SHARE without a concave cusp

g(λ) is the smallest subgradient over the cusps at zero (first_order.py). A run that has no certificate is judged by it. For
a tanh network that was refused a certificate it proves nothing, because it vanishes also where neurons saturate.

    escaping: not certified, and one of
              share ≤ JAMMED_SHARE, saturated neurons, L_∞ ≤ L                        (network/saturation.py)
              L levels off while ‖W‖ grows by a decade, along the descent to W        (escape.py)

Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jamtools.cusps.counting import ACTIVE_CUSP_TOLERANCE
from jamtools.cusps.subgradient import smallest_subgradient
from jamtools.errors import InputError
from jamtools.minima.certificate import Certificate
from jamtools.minima.escape import Escape
from jamtools.minima.first_order import BalancedPoint, FirstOrder
from jamtools.network.dead import dead_by_layer
from jamtools.network.problem import Evaluation, Problem
from jamtools.network.saturation import limit_loss, saturated_neurons
from jamtools.states import Status

#: The largest share of its terms to which the smallest subgradient falls at a minimum. A first-order run on its way has 10⁻³
#: to 10⁻¹, a minimiser that has arrived 10⁻⁸ and less.
JAMMED_SHARE = 1e-6


#: L_∞ may exceed L by this factor: both consist of the same terms, which differ by round-off where all is saturated.
LIMIT_ROUND_OFF = 1 + 1e-13


@dataclass(frozen=True)
class RunState:
    """The state of a run and the counts behind it.

    n_unsatisfied: N_Δ, None for a loss without margin; n_contacts: |Δ| ≤ loss.contact; dead [n_dead] int64: the unfitted
    patterns that a layer does not pass on, ascending; n_unsatisfied_dead: how many of the n_unsatisfied they have;
    dead_by_layer: their number by layer, where a pattern may be in several; share: see the head of the module, None where
    it is not known. n_saturated: the number of saturated neurons; limit_loss: L_∞ where there are some, else None; escape:
    the trace of ‖W‖ and L where it shows an escape and the run has no certificate, else None.
    """

    status: Status
    n_unsatisfied: int | None
    n_contacts: int
    n_misclassified: int
    n_unsatisfied_dead: int | None
    dead: Tensor
    dead_by_layer: tuple[int, ...]
    share: float | None
    n_saturated: int
    limit_loss: float | None
    escape: Escape | None

    def fields(self) -> dict[str, Any]:
        """The fields of the state in the metadata of a run."""
        return {
            "status": self.status,
            "n_unsatisfied": self.n_unsatisfied,
            "n_contacts": self.n_contacts,
            "n_misclassified": self.n_misclassified,
            "n_dead": len(self.dead),
            "n_unsatisfied_dead": self.n_unsatisfied_dead,
            "dead_by_layer": list(self.dead_by_layer),
            "subgradient_share": self.share,
            "n_saturated": self.n_saturated,
            "limit_loss": self.limit_loss,
            "escape": self.escape.fields() if self.escape else None,
        }


def state_of(
    theta: Tensor,
    problem: Problem,
    evaluation: Evaluation,
    certificate: Certificate | None = None,
    escape: Escape | None = None,
) -> RunState:
    """The state of a run at theta [Ñ], where `evaluation` is that of its problem.

    certificate: that of theta, if there is one; otherwise the smallest subgradient is computed here. escape: the trace of
    the descent to theta, if there is one.
    """
    unfitted = unfitted_patterns(problem, evaluation)
    by_layer = dead_by_layer(theta, problem) & unfitted
    dead = by_layer.any(0)
    finite = bool(theta.isfinite().all()) and bool(evaluation.gaps.isfinite().all())
    measurable = bool((evaluation.gradient.double().norm() ** 4).isfinite())  # else its squares overflow
    share = _share(theta, problem, certificate) if finite and measurable and bool(unfitted.any()) else None
    certified, at_rest = (
        bool(certificate and certificate.certified),
        share is not None and share <= JAMMED_SHARE,
    )
    refused = certificate is not None and not certified
    at_minimum = certified or (at_rest and not (refused and problem.arch.activation == "tanh"))
    counts = (
        evaluation.n_unsatisfied if problem.loss.has_margin else None,
        int((evaluation.gaps.abs() <= problem.loss.contact).sum()),
        evaluation.n_misclassified,
        int(evaluation.unsatisfied[dead].sum()) if problem.loss.has_margin else None,
    )
    n_saturated, limit, falls = _limit(theta, problem, unfitted) if finite else (0, None, False)
    shown = escape if escape and escape.shows_one(problem.arch) and not certified else None
    saturates = falls and at_rest and not certified
    status = _status(unfitted, dead, at_minimum, saturates, shown is not None) if finite else "diverged"
    numbers = dead.nonzero()[:, 0].cpu(), tuple(by_layer.sum(1).tolist())
    return RunState(
        status, *counts, *numbers, share, n_saturated, limit, shown if status == "escaping" else None
    )


def _limit(theta: Tensor, problem: Problem, unfitted: Tensor) -> tuple[int, float | None, bool]:
    """The number of saturated neurons; L_∞ where there are some; whether L falls to it as they grow."""
    saturated = saturated_neurons(theta, problem, unfitted)
    if problem.arch.norm is not None or not bool(saturated.any()):  # on a sphere nothing grows
        return 0, None, False
    unfitted_problem = problem.take(unfitted)
    loss = limit_loss(theta, unfitted_problem, torch.zeros_like(saturated))
    limit = limit_loss(theta, unfitted_problem, saturated)
    return int(saturated.sum()), limit, limit <= loss * LIMIT_ROUND_OFF


def is_dead_at_rest(theta: Tensor, problem: Problem, evaluation: Evaluation) -> bool:
    """Whether a run at theta [Ñ] is dead and its gradient vanishes, so that more steps change nothing."""
    unfitted = unfitted_patterns(problem, evaluation)
    if not bool(unfitted.any()) or not bool((evaluation.gradient.double().norm() ** 4).isfinite()):
        return False
    if not bool(dead_by_layer(theta, problem.take(unfitted)).any(0).all()):
        return False
    share = _share(theta, problem, None)
    return share is not None and share <= JAMMED_SHARE


def unfitted_patterns(problem: Problem, evaluation: Evaluation) -> Tensor:
    """Which patterns [P] are not fitted: unsatisfied, or misclassified where the loss has no margin."""
    return evaluation.unsatisfied.any(1) if problem.loss.has_margin else evaluation.misclassified


def _status(unfitted: Tensor, dead: Tensor, at_minimum: bool, saturates: bool, escapes: bool) -> Status:
    """The state of a finite run; unfitted, dead [P] booleans."""
    if not bool(unfitted.any()):
        return "satisfied"
    if saturates:  # a slope of tanh that rounds to zero also looks dead
        return "escaping"
    if bool(dead[unfitted].all()):
        return "dead"
    if escapes:
        return "escaping"
    return "stationary" if at_minimum else "budget"


def _share(theta: Tensor, problem: Problem, certificate: Certificate | None) -> float | None:
    """The smallest subgradient relative to its terms; None with a concave cusp, and where it is not defined."""
    if certificate and certificate.gradient is not None and certificate.scale:
        return certificate.gradient / certificate.scale
    if problem.arch.batch_norm or not problem.loss.has_margin:
        return None
    point = BalancedPoint.of(theta, problem)
    cusps = point.cusps(ACTIVE_CUSP_TOLERANCE)
    if (
        not len(cusps.patterns) or len(cusps.signs) > problem.arch.n_parameters
    ):  # more cusps than any minimum has
        return None
    try:
        multipliers = smallest_subgradient(cusps).multipliers
    except InputError:  # too many cusps for dense least squares
        return None
    first = FirstOrder(point, cusps, torch.from_numpy(multipliers).to(point.theta))
    concave = bool((first.force < -first.force_error)[first.alive].any())
    return None if concave or not first.scale > 0 else first.gradient / first.scale
