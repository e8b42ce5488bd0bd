"""Verification of a stored run: its claims are computed again, from theta and the data alone.

    Δ_µ, N_Δ, contacts, L       agree within round-off (network/roundoff.py); a sign may differ only where round-off decides
    certified                   a new certificate of the same theta holds
    λ, u                        belong to the cusps of theta: 0 ≤ λ_i ≤ 1, ‖g(λ)‖ vanishes with these λ, u_i agrees

Nothing in the file except theta is believed. On purpose, everything is computed independently of the training and of the
minimiser, and nothing is minimised: the stored multipliers are inserted into g.

Source: none, own design.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from jamtools.cusps.counting import ACTIVE_CUSP_TOLERANCE
from jamtools.errors import InputError
from jamtools.minima.certificate import DEFAULT_TRIALS, Certificate, certify
from jamtools.minima.first_order import STATIONARY_RELATIVE_NORM, BalancedPoint, cusp_places, gradient_scale
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.network.roundoff import gap_errors, loss_error
from jamtools.records import CERTIFICATE_ARRAYS, Array, Dataset, Run

#: Stored forces must agree to this part of the largest; they follow from multipliers that are stored exactly.
FORCE_TOLERANCE = 1e-9

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

    seed, trials: the seed and the number of the descent trials of the new certificate. Raises InputError for another number
    of patterns, another loss, and with batch normalisation.
    """
    arch, loss = Architecture.of(run.info), Loss.of(run.info)
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
        point = BalancedPoint.of(theta, problem)
        findings += _gaps(run, point) + _arrays(run, point, fresh)
    return Verification(not findings, tuple(findings), fresh)


def _claim(run: Run, fresh: Certificate) -> list[str]:
    """Findings on whether the run is certified and on the kind of its certificate."""
    claimed, kind = run.info["certified"], _kind(run)
    if not claimed:
        outcome = "one holds" if fresh.certified else f"and none holds: {fresh.obstacle}"
        return [f"{NO_CLAIM_PREFIX}: certified is {'null' if claimed is None else 'false'}, {outcome}"]
    findings = [] if fresh.certified else [f"certified, expected a certificate that holds: {fresh.obstacle}"]
    if kind is not None and kind != fresh.kind:
        findings.append(f"a certificate of kind {kind!r}, expected {fresh.kind!r}")
    return findings


def _kind(run: Run) -> str | None:
    stored = run.info.get("certificate")
    return stored.get("kind") if isinstance(stored, dict) else None


def _gaps(run: Run, point: BalancedPoint) -> list[str]:
    """Findings on the stored Δ, N_Δ, contacts and L."""
    stored = torch.from_numpy(run.gaps).reshape(point.gaps.shape) / point.unit
    errors = gap_errors(point.theta, point.problem, _eps(run.gaps))
    off = ((stored - point.gaps).abs() > 2 * errors) | stored.isnan()
    findings = []
    if bool(off.any()):
        flips = int((off & ((stored > 0) != (point.gaps > 0))).sum())
        worst = int((stored - point.gaps).abs().nan_to_num(torch.inf).argmax())
        findings.append(
            f"{int(off.sum())} gaps that differ, {flips} of them in sign, the most that of pattern "
            f"{worst // point.gaps.shape[1]}: {point.unit * float(stored.flatten()[worst]):.6g}, "
            f"expected {point.unit * float(point.gaps.flatten()[worst]):.6g}"
        )
    contact = point.problem.loss.contact
    low, high = (int((point.gaps > contact + slack).sum()) for slack in (errors, -errors))
    findings += _outside(run, "n_unsatisfied", low, high)
    size = point.gaps.abs()
    findings += _outside(
        run, "n_contacts", int((size + errors <= contact).sum()), int((size - errors <= contact).sum())
    )
    slack, value = (
        2 * point.unit**2 * loss_error(point.gaps, errors, point.problem.loss),
        run.info["final_loss"],
    )
    if value is None or not abs(value - point.value) <= slack:
        findings.append(f"final_loss {value}, expected {point.value!r} to within {slack:.1e}")
    return findings


def _eps(gaps: Array) -> float:
    """The eps of the arithmetic that gave the gaps [P]: gaps of a float32 run are float32 numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = bool((gaps == gaps.astype(np.float32)).all())
    return float(np.finfo(np.float32 if single else np.float64).eps)


def _outside(run: Run, name: str, low: int, high: int) -> list[str]:
    value = run.info[name]
    expected = f"{low}" if low == high else f"{low} to {high}"
    return [] if isinstance(value, int) and low <= value <= high else [f"{name} {value}, expected {expected}"]


def _arrays(run: Run, point: BalancedPoint, fresh: Certificate) -> list[str]:
    """Findings on the stored cusps, multipliers and forces."""
    if not run.certificate:
        claimed = run.info["certified"] and fresh.kind == "jammed"
        return (
            ["certified, expected its cusps, multipliers and forces, which the file lacks"] if claimed else []
        )
    if missing := [name for name in CERTIFICATE_ARRAYS if name not in run.certificate]:
        return [f"a certificate without {', '.join(missing)}"]
    at, multipliers, forces = (np.asarray(run.certificate[name]) for name in CERTIFICATE_ARRAYS)
    if at.shape != (len(multipliers), 3) or forces.shape != multipliers.shape:
        return [
            f"cusps {at.shape}, multipliers {multipliers.shape} and forces {forces.shape}, expected [n, 3], [n], [n]"
        ]
    if fresh.kind == "satisfied":
        return [f"{len(at)} cusps of a satisfied run, expected none"] if len(at) else []
    stored, expected = set(map(tuple, at.tolist())), set(map(tuple, fresh.cusps.tolist()))
    if stored != expected or len(stored) != len(at):
        return [
            f"{len(at)} stored cusps, expected the {len(expected)} of theta: {len(stored - expected)} of them are none, "
            f"{len(expected - stored)} are missing"
        ]
    return _multipliers(multipliers) + (
        _subgradient(point, at, multipliers, forces) if np.isfinite(multipliers).all() else []
    )


def _multipliers(multipliers: Array) -> list[str]:
    outside = ~((multipliers >= 0) & (multipliers <= 1))
    if not outside.any():
        return []
    return [f"{int(outside.sum())} multipliers outside [0, 1], the first {multipliers[outside][0]:.6g}"]


def _subgradient(point: BalancedPoint, at: np.ndarray, multipliers: Array, forces: Array) -> list[str]:
    """Findings on ‖g(λ)‖ and u with the stored λ [n] and u [n] of the cusps `at` [n, 3]."""
    cusps = point.cusps(ACTIVE_CUSP_TOLERANCE)
    place = {row: i for i, row in enumerate(map(tuple, cusp_places(cusps).tolist()))}
    index = [place[row] for row in map(tuple, at.tolist())]
    # Cusps without a stored multiplier are idle: their slope has no effect.
    all_multipliers = torch.full_like(cusps.signs, 0.5)
    all_multipliers[index] = torch.from_numpy(multipliers).to(all_multipliers)
    ratio = float(cusps.gradient(all_multipliers).norm()) / gradient_scale(cusps, all_multipliers)
    findings = []
    if not ratio <= STATIONARY_RELATIVE_NORM:
        findings.append(
            "with the stored multipliers "
            f"the subgradient is {ratio:.1e} of its terms, expected at most {STATIONARY_RELATIVE_NORM:.0e}"
        )
    u = cusps.forces(all_multipliers).cpu().numpy()[index] * point.force_units(at)
    wrong = ~((forces > 0) & (np.abs(forces - u) <= FORCE_TOLERANCE * np.abs(u).max(initial=0.0)))
    if wrong.any():
        i = int(np.argmax(wrong))
        findings.append(
            f"{int(wrong.sum())} forces that differ, the first {forces[i]:.6g}, expected {u[i]:.6g}"
        )
    return findings
