"""The record of a run that has ended: theta, Δ, its history and a dictionary of fields. newton adds a certificate.

Source: arXiv:1809.09349, section II (N_Δ, L, N).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from jamtools.grouping import data_name
from jamtools.minima.certificate import Certificate, certify
from jamtools.minima.escape import Escape, balanced_norm
from jamtools.minima.newton import NewtonEngine
from jamtools.minima.state import RunState, state_of
from jamtools.network.architecture import Architecture
from jamtools.network.dead import dead_by_layer
from jamtools.network.problem import Evaluation
from jamtools.records import Run
from jamtools.training.run import RunInProgress, as_array

#: The fields of a record that describe its first dynamics. When newton finishes the run, it does not overwrite them.
FIELDS_OF_START = ("optimizer", "protocol", "settings", "engine", "n_missed_crossings")

#: The fields of a record that are measured on the test set, if there is one: columns of the history at its last step.
TEST_FIELDS = ("test_error", "test_loss")


def record_of(run: RunInProgress) -> Run:
    """The record of a run in its present state: theta [Ñ], theta0 [Ñ], Δ [P] or [P, C], and the history."""
    evaluation = run.problem.evaluate(run.theta)
    gaps = evaluation.gaps[:, 0] if run.job.arch.outputs == 1 else evaluation.gaps
    arrays = (as_array(run.theta.double()), run.theta0, gaps.double().cpu().numpy())
    certificate = _certificate(run) if run.job.engine == "newton" else None
    state = state_of(run.theta, run.problem, evaluation, certificate, _escape(run))
    record = Run(*arrays, run.history.columns(), _info(run, evaluation, state), dead=state.dead.numpy())
    return _certified(run, record, certificate) if certificate else record


def _escape(run: RunInProgress) -> Escape | None:
    """The trace of an escape that newton has seen, else None."""
    return run.engine.seen_escape if isinstance(run.engine, NewtonEngine) else None


def _info(run: RunInProgress, evaluation: Evaluation, state: RunState) -> dict[str, Any]:
    """The fields of the record."""
    loss = run.job.loss
    last = run.history.rows[-1] if run.history.last_step == run.step else {}
    return {
        "data": data_name(run.job.data.info, run.job.arch.d),
        **_architecture_fields(run.job.arch),
        "P": loss.P,
        "loss": loss.name,
        "epsilon": loss.epsilon,
        "optimizer": run.settings.optimizer,
        "protocol": run.settings.protocol,
        "seed": run.job.seed,
        "steps": run.step,
        "certified": None,
        "final_loss": evaluation.value,
        **state.fields(),
        "n_dead_at_start": _dead_at_start(run),
        "grad_norm": evaluation.gradient.norm().item(),
        "settings": asdict(run.settings),
        "engine": run.job.engine,
        "n_missed_crossings": run.engine.n_missed,
        **{name: last[name] for name in TEST_FIELDS if name in last},
        **({"origin": run.job.origin.fields(run.job.arch.norm)} if run.job.origin else {}),
    }


def _architecture_fields(arch: Architecture) -> dict[str, Any]:
    """The fields of the record that describe the architecture."""
    return {
        "d": arch.d,
        "width": arch.width,
        "depth": arch.depth,
        "activation": arch.activation,
        "outputs": arch.outputs,
        "batch_norm": arch.batch_norm,
        "n_parameters": arch.n_parameters,
        "n_hidden": arch.n_hidden,
        "norm": arch.norm,
        "bias": arch.bias,
        "n_effective_expected": arch.n_effective,
    }


def _dead_at_start(run: RunInProgress) -> int:
    """The number of patterns that some layer does not pass on at theta0."""
    return int(dead_by_layer(run.problem.tensor(run.theta0), run.problem).any(0).sum())


def _certified(run: RunInProgress, record: Run, certificate: Certificate) -> Run:
    """The record with its certificate. A run that newton finished keeps the fields of its first dynamics."""
    info = {**record.info, "certified": certificate.certified, "certificate": certificate.fields()}
    start = run.job.start
    if start:
        first_dynamics = {name: start.info[name] for name in FIELDS_OF_START if name in start.info}
        before = {
            name: value for name, value in start.info.items() if name != "approach"
        }  # no stage any more
        info = {**before, **info, **first_dynamics, "finish": finish_fields(start, record)}
    return replace(record, info=info, certificate=certificate.arrays())


def _certificate(run: RunInProgress) -> Certificate:
    """The certificate of theta. If an escape or the budget ended the run, the obstacle begins with that fact."""
    problem = run.problem
    certificate = certify(run.theta, problem)
    escape = _escape(run)
    if escape and not certificate.certified:
        return replace(certificate, obstacle=f"escapes, {escape.in_words}; {certificate.obstacle}")
    if run.status != "budget" or certificate.certified:
        return certificate
    start = torch.from_numpy(run.job.start.theta if run.job.start else run.theta0)
    before, after = (balanced_norm(theta, problem.arch) for theta in (start, run.theta))
    steps = run.step - run.first_step
    not_converged = f"not converged in {steps} steps, ‖W‖ from {before:.3g} to {after:.3g}"
    return replace(certificate, obstacle=f"{not_converged}; {certificate.obstacle}")


def finish_fields(start: Run, end: Run) -> dict[str, Any]:
    """The changes from the run `start` to the run `end` that newton made of it; relative_change is ‖δW‖ / ‖W_start‖."""
    before, after = start.info, end.info
    start_norm = float(np.linalg.norm(start.theta))
    return {
        "steps": after["steps"] - before["steps"],
        "status_before": before["status"],
        "n_unsatisfied_before": before["n_unsatisfied"],
        "final_loss_before": before["final_loss"],
        "change_n_unsatisfied": after["n_unsatisfied"] - before["n_unsatisfied"],
        "relative_change": float(np.linalg.norm(end.theta - start.theta)) / start_norm if start_norm else 0.0,
    }
