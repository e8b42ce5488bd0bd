"""The claims of a run beside its certificate: each field of its metadata, its history, theta0 and the dead patterns.

    theta0 = initial_parameters(architecture, init, seed),        the last row of the history is measured at theta

Counts, norms and the loss are those of theta within round-off (measured.py). The settings agree with the fields that repeat
them. Of a run that newton finished, the settings and the first steps are those of its start, which is a row of the history.

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from jamtools.minima.approach_claims import approach_claims
from jamtools.minima.architecture_claims import architecture_claims
from jamtools.minima.certificate import Certificate
from jamtools.minima.claims import (
    Among,
    Between,
    Counts,
    Exactly,
    Expected,
    LastNear,
    Near,
    Nothing,
    SameOrder,
    Table,
    contradictions,
    is_number,
)
from jamtools.minima.escape import Escape, balanced_norm
from jamtools.minima.known_fields import unknown_fields
from jamtools.minima.measured import Measured
from jamtools.minima.origin_claims import origin_claims
from jamtools.minima.state import RunState, state_of
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import INITIALISATIONS, initial_parameters
from jamtools.network.problem import Problem
from jamtools.network.units import Units
from jamtools.protocols import OPTIMIZERS
from jamtools.records import Dataset, Run

#: Entries of theta0 must agree to this part of its largest: the QR factorisation of an initialisation has round-off.
THETA0_TOLERANCE = 1e-10

#: Two fields that repeat one number agree to this part of it: they come from two sums over the same patterns.
REPEATED_TOLERANCE = 1e-12

#: A smallest subgradient below this share of its terms is round-off.
SHARE_FLOOR = 1e-12

#: The engines of a first-order run.
FIRST_ORDER_ENGINES = ("compiled", "batch", "torch")

Claims = Iterator[tuple[str, Expected]]


@dataclass(frozen=True)
class Stored:
    """A stored run, the patterns that it was trained on, a new certificate, and what is measured at its theta.

    The certificate and theta are finite.
    """

    run: Run
    data: Dataset
    fresh: Certificate
    end: Measured

    @property
    def arch(self) -> Architecture:
        """The architecture."""
        return self.end.problem.arch

    @property
    def state(self) -> RunState:
        """The state of the run, with the new certificate where it claims one."""
        certificate = None if self.run.info["certified"] is None else self.fresh
        escape = Escape.read(self.run.info.get("escape"))
        return state_of(self.end.theta, self.end.problem, self.end.evaluation, certificate, escape)

    @property
    def test(self) -> Problem | None:
        """The problem of the test set, None without one."""
        x, y = self.data.x_test, self.data.y_test
        if x is None or y is None:
            return None
        problem = self.end.problem
        return Problem(problem.tensor(x), problem.tensor(y), problem.arch, replace(problem.loss, P=len(x)))

    def at(self, theta: np.ndarray, eps: float | None = None) -> Measured:
        """What is measured at another theta [Ñ]; eps: that of the arithmetic, by default that of the end."""
        return Measured(self.end.problem.tensor(theta), self.end.problem, eps or self.end.eps)


def run_findings(stored: Stored) -> list[str]:
    """A line for each claim beside the certificate that is wrong."""
    claims = [
        *architecture_claims(stored.run, stored.data, stored.end),
        *_state(stored),
        *_dynamics(stored),
        *_test(stored),
        *_finish(stored),
        *approach_claims(stored.run, stored.end.problem),
        *origin_claims(stored.run),
    ]
    found = contradictions(stored.run.info, claims) + _theta0(stored) + _dead(stored) + _history(stored)
    return found + unknown_fields(stored.run, stored.state.fields())


# --- fields -------------------------------------------------------------------------------------------


def _state(stored: Stored) -> Claims:
    """The state and all that is counted or measured at theta."""
    end, state = stored.end, stored.state
    dead = end.dead_by_layer
    yield "status", Among(_statuses(stored, state))
    yield "final_loss", Near(end.evaluation.value, end.loss_error)
    yield "n_unsatisfied", Between(*end.unsatisfied.number)
    yield "n_contacts", Between(*end.contacts.number)
    yield "n_misclassified", Between(*end.misclassified.number)
    yield "grad_norm", Near(end.gradient_norm, end.gradient_error)
    yield "n_dead", Between(*dead.any(0).number)
    yield "n_dead", Exactly(len(stored.run.dead))
    yield "n_unsatisfied_dead", Exactly(int(stored.run.unsatisfied[stored.run.dead].sum()))
    layers = zip(dead.certain.sum(1).tolist(), dead.possible.sum(1).tolist())
    yield "dead_by_layer", Counts(tuple(Between(*ends) for ends in layers))
    if stored.arch.depth == 1:
        yield "dead_by_layer", Exactly([len(stored.run.dead)])
    yield "n_dead_at_start", Between(*stored.at(stored.run.theta0).silent.any(0).number)
    yield "subgradient_share", Exactly(None) if state.share is None else SameOrder(state.share, SHARE_FLOOR)
    yield "n_saturated", Exactly(state.n_saturated)
    yield "limit_loss", Exactly(None) if state.limit_loss is None else Near(state.limit_loss, end.loss_error)
    yield from _escape(stored, state)
    yield from _share_of_certificate(stored.run.info.get("certificate"))


def _escape(stored: Stored, state: RunState) -> Claims:
    """The trace of an escape: it begins at theta0 and ends at theta, in the units of the problem."""
    if stored.run.info.get("escape") is None:
        return
    if state.escape is None:
        yield "escape", Exactly(None)
        return
    problem, arch = stored.end.problem, stored.arch
    units = Units.of(problem)
    theta0 = problem.tensor(stored.run.theta0)
    begins_at_run = not {"finish", "approach", "origin"}.isdisjoint(stored.run.info)
    start = balanced_norm(units.inside(theta0) if begins_at_run else theta0, arch)
    end = balanced_norm(units.inside(stored.end.theta), arch)
    yield "escape.initial_norm", Near(start, REPEATED_TOLERANCE * start)
    yield "escape.norm", LastNear(end, REPEATED_TOLERANCE * end)
    loss, slack = stored.end.evaluation.value, stored.end.loss_error
    unit = units.margin_scale**2
    yield "escape.loss", LastNear(loss / unit, 2 * slack / unit)


def _share_of_certificate(certificate: Any) -> Claims:
    """The share as the stored certificate repeats it."""
    fields: dict[str, Any] = certificate if isinstance(certificate, dict) else {}
    gradient: Any = fields.get("gradient")
    scale: Any = fields.get("scale")
    if is_number(gradient) and is_number(scale) and scale > 0:
        yield "subgradient_share", Near(gradient / scale, REPEATED_TOLERANCE * abs(gradient / scale))


def _statuses(stored: Stored, state: RunState) -> tuple[str, ...]:
    """The states that round-off leaves possible."""
    unsatisfied, dead = stored.end.unsatisfied.any(1), stored.end.dead_by_layer.any(0)
    statuses = [state.status]
    if not bool(unsatisfied.certain.any()):
        statuses.append("satisfied")
    elif bool(dead.possible[unsatisfied.certain].all()):
        statuses.append("dead")
        if not bool(dead.certain[unsatisfied.possible].all()):
            statuses.append("stationary" if stored.fresh.certified else "budget")
    approach = stored.run.info.get("approach")
    if isinstance(approach, dict) and approach.get("end") == "collapsed":
        return ("collapsed",)
    return tuple(dict.fromkeys(statuses))


def _dynamics(stored: Stored) -> Claims:
    """The optimiser, its engine, and the settings."""
    info = stored.run.info
    newton = info["optimizer"] == "newton"
    yield "optimizer", Among(OPTIMIZERS)
    if info["certified"] is not None and info.get("finish") is None:
        yield "optimizer", Exactly("newton")
    yield "engine", Exactly("newton") if newton else Among(FIRST_ORDER_ENGINES)
    if newton or info.get("n_missed_crossings") is None:
        yield "n_missed_crossings", Exactly(None)
    else:
        yield "n_missed_crossings", Between(0, None)
    yield "steps", Exactly(int(stored.run.history["step"][-1]))
    yield "seed", Between(0, None)
    yield "settings", Table()
    for name in ("loss", "epsilon", "optimizer", "protocol"):
        yield f"settings.{name}", Exactly(info[name])
    if info["optimizer"] != "sgd":
        yield "settings.momentum", Exactly(0.0)
    yield "settings.batch", Between(0, 0 if info["optimizer"] in ("fire", "newton") else stored.run.P - 1)
    yield "settings.steps", Between(_steps_before_finish(info), None)


def _steps_before_finish(info: Any) -> int:
    finish, steps = info.get("finish"), info["steps"]
    more = finish.get("steps") if isinstance(finish, dict) else 0
    return steps - more if type(steps) is int and type(more) is int else 0


def _test(stored: Stored) -> Claims:
    """Loss and error on the test set."""
    problem = stored.test
    if problem is None:
        yield "test_error", Exactly(None)
        yield "test_loss", Exactly(None)
    else:
        yield from _test_fields(Measured(stored.end.theta, problem, stored.end.eps))


def _test_fields(measured: Measured) -> Claims:
    low, high = (count / len(measured.problem.x) for count in measured.misclassified.number)
    middle = (low + high) / 2
    yield "test_error", Near(middle, (high - low) / 2 + REPEATED_TOLERANCE)
    yield "test_loss", Near(measured.evaluation.value, measured.loss_error)


def _finish(stored: Stored) -> Claims:
    """What newton changed of the run that it finished: its start is a row of the history."""
    info, history = stored.run.info, stored.run.history
    if "finish" not in info:
        return
    yield "finish", Table()
    start = np.flatnonzero(history["step"] == _steps_before_finish(info))
    if len(start):
        before = int(history["n_unsatisfied"][start[0]])
        loss = float(history["loss"][start[0]])
        yield "finish.n_unsatisfied_before", Exactly(before)
        yield "finish.final_loss_before", Near(loss, REPEATED_TOLERANCE * abs(loss))
        if type(info["n_unsatisfied"]) is int:
            yield "finish.change_n_unsatisfied", Exactly(info["n_unsatisfied"] - before)
        others = ("budget", "dead", "stationary", "escaping")
        yield "finish.status_before", Among(others if before else ("satisfied",))
    elif history["step"][0] == 0:
        yield "finish.steps", Nothing("the steps since a row of the history")
    yield "finish.steps", Between(0, None)


# --- arrays -------------------------------------------------------------------------------------------


def _theta0(stored: Stored) -> list[str]:
    """Findings on theta0. A run whose record lacks the initialisation began elsewhere, or somewhere unknown."""
    info, theta0 = stored.run.info, stored.run.theta0
    settings = info.get("settings")
    init = settings.get("init") if isinstance(settings, dict) else None
    if init not in INITIALISATIONS or type(info["seed"]) is not int or info["seed"] < 0:
        return []
    expected = initial_parameters(stored.arch, init, info["seed"])
    off = float(np.abs(theta0 - expected).max())
    if off <= THETA0_TOLERANCE * float(np.abs(expected).max()):
        return []
    return [f"theta0 off by {off:.1e}, expected the {init} parameters of seed {info['seed']}"]


def _dead(stored: Stored) -> list[str]:
    """Findings on the numbers of the dead patterns."""
    dead, numbers = stored.end.dead_by_layer.any(0), stored.run.dead
    certain, possible = (set(mask.nonzero()[:, 0].tolist()) for mask in dead)
    listed = set(numbers.tolist())
    if "n_dead" not in stored.run.info and not listed:
        return []  # a record from before the states
    if certain <= listed <= possible and numbers.tolist() == sorted(listed):
        return []
    return [
        f"{len(numbers)} dead patterns, {len(listed - possible)} of them alive, expected {Between(*dead.number)} ascending"
    ]


def _history(stored: Stored) -> list[str]:
    """Findings on the steps of the history, on its rows at theta0 and at theta, and on every row that keeps its theta."""
    run = stored.run
    steps = run.history["step"]
    found = []
    if not (np.diff(steps) > 0).all() or steps[0] < 0:
        found.append("history/step that does not ascend from 0 on")
    for name, column in run.history.items():
        if not (np.isfinite(column).all() and (name == "theta" or (column >= 0).all())):
            found.append(f"history/{name} with a row that is not finite or negative, expected none")
    last = len(steps) - 1
    # The first dynamics of a run that was finished may have had another arithmetic.
    earlier = float(np.finfo(np.float32).eps) if run.info.get("finish") else stored.end.eps
    rows = {0: stored.at(run.theta0, earlier)} if steps[0] == 0 and "settings" in run.info else {}
    snapshots = run.history.get("theta")
    if snapshots is not None:
        rows |= {i: stored.at(theta, earlier) for i, theta in enumerate(snapshots)}
        if not np.array_equal(snapshots[-1], run.theta):
            found.append("history/theta whose last row is not theta")
    for i, measured in (rows | {last: stored.end}).items():
        found += contradictions(_row(run, i), _row_claims(stored, measured))
    return found + contradictions(_row(run, last), _repeated(run))


def _row(run: Run, i: int) -> dict[str, Any]:
    """Row i of the history, with the names of its columns."""
    return {f"history/{name}": column[i].item() for name, column in run.history.items() if column.ndim == 1}


def _row_claims(stored: Stored, measured: Measured) -> Claims:
    """What a row of the history holds that was measured at a theta."""
    distance = measured.theta - stored.end.problem.tensor(stored.run.theta0)
    size = float(measured.theta.norm()) + float(np.linalg.norm(stored.run.theta0))
    yield "history/loss", Near(measured.evaluation.value, measured.loss_error)
    yield "history/n_unsatisfied", Between(*measured.unsatisfied.number)
    yield "history/n_misclassified", Between(*measured.misclassified.number)
    yield "history/grad_norm", Near(measured.gradient_norm, measured.gradient_error)
    yield "history/distance", Near(float(distance.norm()), len(distance) * measured.eps * size)
    if stored.test is not None:
        for name, expected in _test_fields(Measured(measured.theta, stored.test, measured.eps)):
            yield f"history/{name}", expected


def _repeated(run: Run) -> Claims:
    """The fields of the record that the last row repeats."""
    for name, column in (("final_loss", "loss"), ("grad_norm", "grad_norm")):
        value = run.info[name]
        if is_number(value):
            yield f"history/{column}", Near(value, REPEATED_TOLERANCE * abs(value))
    for name in ("n_unsatisfied", "n_misclassified"):
        yield f"history/{name}", Exactly(run.info[name])


def single_precision(run: Run) -> bool:
    """Whether the numbers of a run may come from single precision; a run with a certificate is in double precision."""
    with np.errstate(over="ignore", invalid="ignore"):
        return run.info["certified"] is None and bool((run.theta == run.theta.astype(np.float32)).all())


def eps_of(run: Run) -> float:
    """The eps of the arithmetic of a run."""
    return float(torch.finfo(torch.float32 if single_precision(run) else torch.float64).eps)
