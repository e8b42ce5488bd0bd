"""The claims of a run about where it began: at an initialisation, or at the theta of another run, its origin.

    theta0 = s W,        ‖theta0‖ = s ‖W‖,        s = 1, and the digest of W is that of theta0, unless the norm is new

The other run is not in the file: its P, margin and state must only be of their type.

Source: none, own design.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from jamtools.minima.claims import Among, Between, Exactly, Expected, Near, Nothing, Table, is_number
from jamtools.network.initialisation import INITIALISATIONS
from jamtools.protocols import FREE_NORM, FROM_RUN, OPTIMIZERS, norm_in_words
from jamtools.records import Run, sha256
from jamtools.states import Status

#: The fields of an origin: its name in its file, its data and state, and how its theta became theta0.
ORIGIN_FIELDS = (
    "run", "data", "P", "loss", "epsilon", "norm", "optimizer", "status", "n_unsatisfied", "final_loss", "weight_norm",
    "scale", "theta",
)  # fmt: skip

#: Hexadecimal digits of the digest of theta.
THETA_DIGITS = 12

#: Norms agree to this part of them.
ORIGIN_TOLERANCE = 1e-12

#: The states in which theta is finite.
FINITE_STATES = tuple(status for status in get_args(Status) if status != "diverged")

Claims = Iterator[tuple[str, Expected]]


@dataclass(frozen=True)
class Matching:
    """A word of one form; `words` say which."""

    pattern: str
    words: str

    def admits(self, value: Any) -> bool:
        """Whether the value is a word of this form."""
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


def digest_of(theta: NDArray[np.float64]) -> str:
    """The digest of theta [Ñ] by which an origin names it."""
    return sha256([theta])[:THETA_DIGITS]


def origin_claims(run: Run) -> Claims:
    """What the field `origin` of a run and its settings of the start may hold."""
    if "origin" not in run.info:
        yield "settings.init", Among(INITIALISATIONS)
        return
    norm: Any = run.info.get("norm")
    yield "settings.init", Exactly(FROM_RUN)
    yield "settings.norm", Exactly(norm_in_words(norm) if is_number(norm) else FREE_NORM)
    yield "origin", Table()
    yield "origin.run", Matching(r"r\d{4,}", "the name of a run such as r0003")
    yield "origin.P", Between(1, None)
    yield "origin.optimizer", Among(OPTIMIZERS)
    yield "origin.status", Among(FINITE_STATES)
    if isinstance(run.info["origin"], dict):
        yield from _theta(run, run.info["origin"])


def _theta(run: Run, origin: dict[str, Any]) -> Claims:
    """How theta of the origin became theta0."""
    norm, size = run.info.get("norm"), float(np.linalg.norm(run.theta0))
    is_new = is_number(norm) and origin.get("norm") != norm
    scale: Any = origin.get("scale")
    if not is_new:
        yield "origin.scale", Exactly(1.0)
        yield "origin.theta", Exactly(digest_of(run.theta0))
        yield "origin.norm", Exactly(norm)
    yield "origin.theta", Matching(rf"[0-9a-f]{{{THETA_DIGITS}}}", f"{THETA_DIGITS} hexadecimal digits")
    if is_number(scale) and scale > 0:
        yield "origin.weight_norm", Near(size / scale, ORIGIN_TOLERANCE * size / scale)
    else:
        yield "origin.scale", Nothing("a number above 0")
