"""Verification of a stored run: its claims are computed again, from theta and the data alone.

    Δ_µ, N_Δ, L, ‖∇L‖, status    those of theta within round-off (measured.py); a sign may differ where round-off decides
    certified                    a new certificate of the same theta holds, and each of its fields agrees
    λ, u                         belong to the cusps of theta: 0 ≤ λ_i ≤ 1, ‖g(λ)‖ is the smallest with these λ, u_i agrees
    theta0, settings, history    agree with the seed, with theta and with each other

Nothing in the file except theta is believed. On purpose, everything is computed independently of the training and of the
minimiser, and nothing is minimised. run_claims.py has the fields of the run, certificate_claims.py those of its certificate.

Source: none, own design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from jamtools.errors import InputError
from jamtools.minima.certificate import DEFAULT_TRIALS, Certificate, certify
from jamtools.minima.certificate_claims import certificate_findings
from jamtools.minima.claims import is_number
from jamtools.minima.measured import Measured
from jamtools.minima.run_claims import Stored, eps_of, run_findings
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.record_checks import check_counts
from jamtools.records import Dataset, Run

#: The arrays of a run that are integers; all others are numbers in double precision.
INTEGER_ARRAYS = (
    "dead",
    "certificate/cusps",
    "history/step",
    "history/n_unsatisfied",
    "history/n_misclassified",
)

#: Prefix of the finding for a run without a certificate.
NO_CLAIM_PREFIX = "claims nothing"


@dataclass(frozen=True)
class Verification:
    """The result of checking a run. It holds where the run claims a certificate and there is no finding.

    findings: one line for each claim that is wrong, with the stored and the expected value; certificate: the new one.
    """

    holds: bool
    findings: tuple[str, ...]
    certificate: Certificate

    @property
    def claims(self) -> bool:
        """Whether the run claims a certificate at all."""
        return not any(line.startswith(NO_CLAIM_PREFIX) for line in self.findings)


def verify(run: Run, data: Dataset, seed: int = 0, trials: int = DEFAULT_TRIALS) -> Verification:
    """Checks a run of the hinge loss; `data` holds its own P patterns, as Runs.patterns gives them.

    seed, trials: the seed and the number of the descent trials of the new certificate; by default those of a stored one.
    Raises InputError for metadata that describe no network, for arrays of other types, for another number of patterns,
    another loss, and with batch normalisation.
    """
    arch, loss = _readable(run)
    _require_types(run)
    if data.P != loss.P or data.d != arch.d or data.outputs != arch.outputs:
        raise InputError(
            f"got {data.P} patterns in {data.d} dimensions with {data.outputs} outputs, the run has {loss.P}, {arch.d} and "
            f"{arch.outputs}; give the data it was trained on"
        )
    problem = Problem.of(run, data)
    theta = problem.tensor(run.theta)
    fresh = certify(theta, problem, seed, trials)
    findings = _claim(run, fresh)
    if fresh.kind != "diverged":
        end = Measured(theta, problem, eps_of(run))
        findings += _gaps(run, end)
        findings += certificate_findings(run, fresh, end, (seed, trials) == (0, DEFAULT_TRIALS))
        findings += run_findings(Stored(run, data, fresh, end))
    return Verification(not findings, tuple(findings), fresh)


def _readable(run: Run) -> tuple[Architecture, Loss]:
    """The architecture and the loss of a run. Raises InputError for metadata that describe none."""
    info = run.info
    check_counts(info)
    if type(info.get("outputs", 1)) is not int:
        raise InputError(f"a run of outputs {info['outputs']!r}, expected an integer; make it again")
    for name in ("batch_norm", "bias"):
        if type(info.get(name, True)) is not bool:
            raise InputError(f"a run of {name} {info[name]!r}, expected true or false; make it again")
    norm, epsilon = info.get("norm"), info["epsilon"]
    if norm is not None and not is_number(norm):
        raise InputError(f"a run of norm {norm!r}, expected a number or null; make it again")
    if not is_number(epsilon) or not math.isfinite(epsilon) or (norm is None and epsilon < 0):
        expected = "a number of at least 0" if norm is None else "a number"
        raise InputError(f"a run of epsilon {epsilon!r}, expected {expected}; make it again")
    return Architecture.of(info), Loss.of(info)


def _require_types(run: Run) -> None:
    """Raises InputError for an array that is not of its type: what follows computes with them."""
    for name, array in run.arrays().items():
        expected = np.int64 if name in INTEGER_ARRAYS else np.float64
        if array.dtype != expected:
            raise InputError(f"{name} of {array.dtype}, expected {np.dtype(expected)}; make the run again")
        if name == "dead" and array.ndim != 1:
            raise InputError(f"dead patterns of shape {array.shape}, expected [n_dead]; make the run again")


def _claim(run: Run, fresh: Certificate) -> list[str]:
    """Findings on whether the run is certified and on the kind of its certificate."""
    claimed, stored = run.info["certified"], run.info.get("certificate")
    if claimed is not True:
        outcome = "one holds" if fresh.certified else f"and none holds: {fresh.obstacle}"
        return [f"{NO_CLAIM_PREFIX}: certified is {'null' if claimed is None else 'false'}, {outcome}"]
    findings = [] if fresh.certified else [f"certified, expected a certificate that holds: {fresh.obstacle}"]
    kind = stored.get("kind") if isinstance(stored, dict) else None
    if kind != fresh.kind:
        findings.append(f"a certificate of kind {kind!r}, expected {fresh.kind!r}")
    return findings


def _gaps(run: Run, end: Measured) -> list[str]:
    """Findings on the stored Δ [P] or [P, C]."""
    gaps = end.evaluation.gaps
    shape = (len(gaps),) if gaps.shape[1] == 1 else tuple(gaps.shape)
    if run.gaps.shape != shape:
        return [f"gaps of shape {run.gaps.shape}, expected {shape}"]
    stored = torch.from_numpy(run.gaps).reshape(gaps.shape)
    distance = (stored - gaps).abs().nan_to_num(torch.inf)
    off = distance > end.errors
    if not bool(off.any()):
        return []
    flips, worst = int((off & ((stored > 0) != (gaps > 0))).sum()), int(distance.argmax())
    return [
        f"{int(off.sum())} gaps that differ, {flips} of them in sign, the most that of pattern {worst // gaps.shape[1]}: "
        f"{float(stored.flatten()[worst]):.6g}, expected {float(gaps.flatten()[worst]):.6g}"
    ]
