"""The run at whose theta another training begins, on other patterns, at another margin or norm, by another optimiser.

    theta0 = s W,      s = R/‖W‖ where the norm R is new,  s = 1 otherwise

A network of fixed norm keeps its norm unless another one is given; free weights stay free. The scaling changes f: that of a
ReLU network without biases is multiplied by s^(L+1), any other one takes another shape.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from jamtools.errors import InputError
from jamtools.minima.origin_claims import ORIGIN_FIELDS, digest_of
from jamtools.network.architecture import Architecture
from jamtools.network.sphere import onto_sphere
from jamtools.protocols import FREE_NORM, parsed_norm
from jamtools.records import Run


@dataclass(frozen=True, eq=False)
class Origin:
    """A run whose theta is finite, and its name in its file, such as r0003. Raises InputError for theta that is not."""

    run: Run
    name: str = "r0000"

    def __post_init__(self) -> None:
        if not np.isfinite(self.run.theta).all():
            raise InputError("a run that diverged, expected a finite theta to begin at")

    @property
    def weight_norm(self) -> float:
        """‖W‖ of the run."""
        return float(np.linalg.norm(self.run.theta))

    def architecture(self, norm: str = FREE_NORM) -> Architecture:
        """The network of the run, at a fixed norm that `parsed_norm` reads, 3x for 3 ‖W‖; FREE_NORM keeps that of the run.

        Raises InputError where theta vanishes and the norm does not.
        """
        arch = Architecture.of(self.run.info)
        if norm == FREE_NORM:
            return arch
        value, multiple = parsed_norm(norm)
        if not self.weight_norm:
            raise InputError("a run with theta = 0, expected one that can be scaled to a norm")
        return replace(arch, norm=value * self.weight_norm if multiple else value)

    def scale(self, norm: float | None) -> float:
        """The factor that brings theta to a norm; 1 for None, and for the norm of the run."""
        return 1.0 if norm in (None, self.run.info.get("norm")) else float(norm) / self.weight_norm

    def theta0(self, norm: float | None) -> np.ndarray:
        """theta [Ñ] of the run, scaled to a norm unless this is None or the norm of the run."""
        if self.scale(norm) == 1:
            return self.run.theta
        return onto_sphere(torch.from_numpy(self.run.theta), norm).numpy()

    def fields(self, norm: float | None) -> dict[str, Any]:
        """The field `origin` of the new record: which run it was, its state, and how its theta became theta0."""
        own = {
            "run": self.name,
            "weight_norm": self.weight_norm,
            "scale": self.scale(norm),
            "theta": digest_of(self.run.theta),
        }
        return {name: own[name] if name in own else self.run.info.get(name) for name in ORIGIN_FIELDS}
