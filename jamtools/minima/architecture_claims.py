"""The claims of a run about its network: its name of data, its shape, its N and its fixed norm.

    ‖W‖ = R,        R as the settings ask for it: a number, or a multiple of ‖W‖ at initialisation

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Iterator

from jamtools.errors import InputError
from jamtools.grouping import data_name
from jamtools.minima.claims import Exactly, Expected, Near, Nothing
from jamtools.minima.measured import Measured
from jamtools.network.initialisation import INITIALISATIONS, with_norm
from jamtools.protocols import FREE_NORM
from jamtools.records import Dataset, Run

#: A multiple of the norm at initialisation agrees to this part of it.
NORM_TOLERANCE = 1e-10

Claims = Iterator[tuple[str, Expected]]


def architecture_claims(run: Run, data: Dataset, end: Measured) -> Claims:
    """What the fields of a run about its network may hold; end: what is measured at its theta."""
    arch, name = end.problem.arch, data_name(data.info, end.problem.arch.d)
    if name is not None:
        yield "data", Exactly(name)
    yield "width", Exactly(arch.width)
    yield "activation", Exactly(arch.activation)
    yield "n_hidden", Exactly(arch.n_hidden)
    yield "bias", Exactly(arch.bias)
    yield "n_effective_expected", Exactly(arch.n_effective)
    yield from _norm(run, end)


def _norm(run: Run, end: Measured) -> Claims:
    """The fixed norm is that of theta, and the one that the settings ask for; free weights have none."""
    norm, settings = end.problem.arch.norm, run.info.get("settings")
    if norm is not None:
        yield "norm", Near(float(end.theta.norm()), len(run.theta) * end.eps * norm)
        yield from _norm_rule(run, end)
        return
    yield "norm", Exactly(None)
    if isinstance(settings, dict) and "norm" in settings:
        yield "settings.norm", Exactly(FREE_NORM)


def _norm_rule(run: Run, end: Measured) -> Claims:
    """The norm as the settings ask for it."""
    info, settings = run.info, run.info.get("settings")
    rule, init = (settings.get(name) if isinstance(settings, dict) else None for name in ("norm", "init"))
    if (
        rule in (None, FREE_NORM)
        or init not in INITIALISATIONS
        or type(info["seed"]) is not int
        or info["seed"] < 0
    ):
        return
    try:
        expected = with_norm(end.problem.arch, str(rule), init, info["seed"]).norm or 0.0
    except InputError:
        yield "settings.norm", Nothing("a norm such as 25 or 3x")
    else:
        yield "norm", Near(expected, NORM_TOLERANCE * expected)
