"""The loss functions, their slope in f, and the gap variables Δ.

    Δ_µ = ε - y_µ f(x_µ)                            Δ > 10⁻¹⁰ |ε|: unsatisfied;  y f < 0: misclassified
                                                    (10⁻¹⁰ where the hinge has ε = 0)
    hinge            L = 1/P Σ_µ ½ Δ_µ² θ(Δ_µ)
    hinge, C > 1     L = 1/(C P) Σ_{µ,c} Δ_{µc}² θ(Δ_{µc})        (eq. 10: no ½; Δ_{µc} = ε - t_{µc} f_c)
    cross-entropy    L = 1/P Σ_µ log(1 + exp(-y_µ f(x_µ)));   C > 1: softmax of the C outputs

f and y are [P, C], with C = 1 for ±1 labels. Cross-entropy has no margin: ε = 0, so that Δ = -y f, and "unsatisfied" means
misclassified.

Source: arXiv:1809.09349, eqs. 3, 4 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from jamtools.errors import InputError
from jamtools.records import CONTACT_TOLERANCE, margin_unit

#: The losses by name.
LOSSES = ("hinge", "cross-entropy")


@dataclass(frozen=True)
class Loss:
    """The mean loss `name` over P patterns in total, with margin ε and C outputs; a batch is a part of the P patterns."""

    name: str
    epsilon: float
    P: int
    outputs: int = 1

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise InputError(f"loss {self.name!r}, expected one of {', '.join(LOSSES)}")

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Loss:
        """The loss that the metadata of a run describes."""
        return cls(info["loss"], info["epsilon"], info["P"], info.get("outputs", 1))

    @property
    def has_margin(self) -> bool:
        """Whether the loss has a margin ε. Without one N_Δ has no meaning: a pattern is fitted where y f ≥ 0."""
        return self.name == "hinge"

    @property
    def contact(self) -> float:
        """The largest |Δ| of a contact. A pattern is satisfied up to this Δ, because no step removes a smaller one."""
        return CONTACT_TOLERANCE * margin_unit(self.epsilon) if self.has_margin else 0.0

    @property
    def hinge_curvature(self) -> float:
        """∂²L/∂Δ² of an unsatisfied pattern: 1/P, or 2/(C P) with C > 1 outputs."""
        return 1 / self.P if self.outputs == 1 else 2 / (self.outputs * self.P)

    def require_hinge(self) -> None:
        """Raises InputError for another loss: H0 and Hp are defined for the hinge alone."""
        if self.name != "hinge":
            raise InputError(
                f"got a run trained on {self.name}, expected one on the hinge loss: H0 and Hp are defined for it alone"
            )

    def gaps(self, f: Tensor, y: Tensor) -> Tensor:
        """Δ [P, C] from f and y [P, C]."""
        return self.epsilon - y * f

    def unsatisfied(self, gaps: Tensor) -> Tensor:
        """Which Δ of any shape are unsatisfied. A Δ that is NaN is: otherwise a diverged run would look satisfied."""
        return ~(gaps <= self.contact)

    def value(self, f: Tensor, y: Tensor) -> Tensor:
        """L as a scalar tensor, from f and y [p, C]: the contribution of these patterns to the mean over all P."""
        if self.name == "hinge":
            return 0.5 * self.hinge_curvature * self.gaps(f, y).clamp(min=0).square().sum()
        if self.outputs == 1:
            return -logsigmoid(y * f).sum() / self.P
        return (torch.logsumexp(f, 1) - f[y > 0]).sum() / self.P

    def slope(self, f: Tensor, y: Tensor) -> Tensor:
        """∂L/∂f [p, C] from f and y [p, C]."""
        if self.name == "hinge":
            return -self.hinge_curvature * y * self.gaps(f, y).clamp(min=0)
        if self.outputs == 1:
            return -y * torch.sigmoid(-y * f) / self.P
        return (torch.softmax(f, 1) - (y > 0).to(f.dtype)) / self.P


def misclassified(f: Tensor, y: Tensor) -> Tensor:
    """Which patterns [P] have y f < 0, or with C > 1 a wrong output above the right one; f, y [P, C]; NaN counts too."""
    if y.shape[1] == 1:
        return ~((y * f)[:, 0] >= 0)
    right = f.masked_fill(y < 0, -torch.inf).amax(1)
    largest_wrong = f.masked_fill(y > 0, -torch.inf).amax(1)
    return ~(largest_wrong <= right)


def column(y: Tensor) -> Tensor:
    """Labels as [P, C], from labels [P] or [P, C]."""
    return y[:, None] if y.ndim == 1 else y
