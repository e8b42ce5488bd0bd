"""The claims of a stored certificate: each of its fields against a new certificate of the same theta.

    |λ - λ'| ≤ τ,        ‖g(λ)‖ ≤ 2 ‖g(λ')‖ + its round-off,        u_i as it follows from λ

The new certificate is made from the same numbers, so that its counts are equal. The numbers of the proof are equal up to the
round-off of another machine; numbers of round-off, and fields that no rule names, have the same order. The arrays are
tested as they are stored: the multipliers are inserted into g.

Source: none, own design.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from jamtools.cusps.counting import ACTIVE_CUSP_TOLERANCE
from jamtools.minima.certificate import Certificate
from jamtools.minima.claims import Between, Exactly, Expected, Near, SameOrder, Table, contradictions
from jamtools.minima.first_order import BalancedPoint, cusp_places
from jamtools.minima.measured import Measured
from jamtools.network.roundoff import gap_errors
from jamtools.records import CERTIFICATE_ARRAYS, Array, Run

#: Numbers that follow from the multipliers or from eigenvalues agree to this part of the largest number of their kind.
NUMBER_TOLERANCE = 1e-6

#: Stored forces must agree to this part of the largest; they follow from multipliers that are stored exactly.
FORCE_TOLERANCE = 1e-9

#: The norm of the subgradient with the stored multipliers may be this many times that with new ones, which are the best.
SUBGRADIENT_FACTOR = 2.0

#: A number without a unit that is below this is round-off.
NUMBER_FLOOR = 1e-12

#: What a certificate that is refused has in common with a new one; its other numbers end at the first obstacle.
REFUSED_FIELDS = ("kind", "tolerance", "n_cusps", "n_idle")

#: Numbers of the descent trials, which are compared only where the new certificate made the same trials.
TRIAL_FIELDS = ("n_trials", "radius", "lowest_change", "trial_error")


def certificate_findings(run: Run, fresh: Certificate, end: Measured, same_trials: bool) -> list[str]:
    """A line for each field and array of a stored certificate that is wrong.

    end: what is measured at theta; same_trials: whether the new certificate made the same trials.
    """
    stored = run.info.get("certificate")
    if stored is None and run.info["certified"] is None:
        return _arrays(run, fresh, end)
    expected = {f"certificate.{name}": rule for name, rule in _fields(run, fresh, end).items()}
    if not same_trials:
        expected = {name: rule for name, rule in expected.items() if name.split(".")[1] not in TRIAL_FIELDS}
    unknown = [name for name in stored if name not in fresh.fields()] if isinstance(stored, dict) else []
    return [
        *contradictions({"certificate": stored}, [("certificate", Table()), *expected.items()]),
        *(f"certificate.{name}, expected fields of a certificate alone" for name in unknown),
        *_arrays(run, fresh, end),
    ]


def _fields(run: Run, fresh: Certificate, end: Measured) -> dict[str, Expected]:
    """What each field of the stored certificate may hold; those of the proof only where a proof is claimed and holds."""
    known: dict[str, Expected] = {
        "certified": Exactly(run.info["certified"]),
        "loss": Near(end.evaluation.value, end.loss_error),
        "n_unsatisfied": Between(*end.unsatisfied.number),
        "n_contacts": Between(*end.contacts.number),
    }
    if not (run.info["certified"] and fresh.certified):
        return known | {name: Exactly(getattr(fresh, name)) for name in REFUSED_FIELDS}
    if fresh.n_undecided is not None:
        gaps, bound = end.evaluation.gaps, gap_errors(end.theta, end.problem)
        certain = (gaps > end.errors) & (gaps <= bound - end.errors)
        possible = (gaps > -end.errors) & (gaps <= bound + end.errors)
        known["n_undecided"] = Between(int(certain.sum()), int(possible.sum()))
    known |= _numbers(fresh, end) | _of_multipliers(run)
    return {name: known.get(name) or _unnamed(value) for name, value in fresh.fields().items()}


def _unnamed(value: Any) -> Expected:
    """The rule for a field that no other rule names: a number has the same order, all else is equal."""
    return SameOrder(value, NUMBER_FLOOR) if isinstance(value, float) else Exactly(value)


def _numbers(fresh: Certificate, end: Measured) -> dict[str, Expected]:
    """The numbers of a jammed certificate that are more than an order, and those that consist of round-off."""
    if fresh.kind != "jammed" or fresh.largest_curvature is None or fresh.smallest_curvature is None:
        return {}
    point = BalancedPoint.of(end.theta, end.problem)
    balanced = Measured(point.theta, point.problem, end.eps)
    curvature = NUMBER_TOLERANCE * max(abs(fresh.smallest_curvature), abs(fresh.largest_curvature))
    rules: dict[str, Expected] = {
        "tolerance": Exactly(fresh.tolerance),
        "smallest_curvature": Near(fresh.smallest_curvature, curvature),
        "largest_curvature": Near(fresh.largest_curvature, curvature),
    }
    if fresh.gradient is not None:
        rules["gradient"] = SameOrder(fresh.gradient, balanced.subgradient_error)
    if fresh.norm_multiplier is not None and end.problem.arch.norm:
        of_the_norm = balanced.subgradient_error / end.problem.arch.norm
        rules["norm_multiplier"] = Near(
            fresh.norm_multiplier, NUMBER_TOLERANCE * abs(fresh.norm_multiplier) + of_the_norm
        )
    if fresh.radius is not None:
        rules["radius"] = Near(fresh.radius, NUMBER_TOLERANCE * fresh.radius)  # which may be far below 1
    for name in ("scale", "smallest_force", "next_distance"):
        value = getattr(fresh, name, None)
        if value is not None:
            rules[name] = Near(value, NUMBER_TOLERANCE * abs(value) + NUMBER_FLOOR)
    if fresh.lowest_change is not None and fresh.trial_error is not None:
        rules["lowest_change"] = SameOrder(fresh.lowest_change, fresh.trial_error)
    return rules


def _of_multipliers(run: Run) -> dict[str, Expected]:
    """The smallest and the largest of the stored multipliers."""
    multipliers = run.certificate.get("multipliers")
    if multipliers is None or not len(multipliers):
        return {}
    return {
        "smallest_multiplier": Exactly(float(multipliers.min())),
        "largest_multiplier": Exactly(float(multipliers.max())),
    }


# --- arrays -------------------------------------------------------------------------------------------


def _arrays(run: Run, fresh: Certificate, end: Measured) -> list[str]:
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
    outside = _outside(multipliers)
    return outside if outside or not len(at) else _subgradient(fresh, end, at, multipliers, forces)


def _outside(multipliers: Array) -> list[str]:
    outside = ~((multipliers >= 0) & (multipliers <= 1))
    if not outside.any():
        return []
    return [f"{int(outside.sum())} multipliers outside [0, 1], the first {multipliers[outside][0]:.6g}"]


def _subgradient(
    fresh: Certificate, end: Measured, at: np.ndarray, multipliers: Array, forces: Array
) -> list[str]:
    """Findings on ‖g(λ)‖ and u with the stored λ [n] and u [n] of the cusps `at` [n, 3]."""
    point = BalancedPoint.of(end.theta, end.problem)
    cusps = point.cusps(ACTIVE_CUSP_TOLERANCE)
    place = {row: i for i, row in enumerate(map(tuple, cusp_places(cusps).tolist()))}
    index = [place[row] for row in map(tuple, at.tolist())]
    # Cusps without a stored multiplier are idle: their slope has no effect.
    all_multipliers = torch.full_like(cusps.signs, 0.5)
    all_multipliers[index] = torch.from_numpy(multipliers).to(all_multipliers)
    norm, smallest = float(cusps.gradient(all_multipliers).norm()), fresh.gradient or 0.0
    rounding = replace(end, theta=point.theta, problem=point.problem).subgradient_error
    findings = []
    if fresh.scale and not norm <= SUBGRADIENT_FACTOR * smallest + rounding:
        findings.append(
            "with the stored multipliers "
            f"the subgradient is {norm / fresh.scale:.1e} of its terms, expected {smallest / fresh.scale:.1e} to within "
            f"{rounding / fresh.scale:.1e}"
        )
    u = cusps.forces(all_multipliers).cpu().numpy()[index] * point.force_units(at)
    wrong = ~(np.abs(forces - u) <= FORCE_TOLERANCE * np.abs(u).max(initial=0.0))
    if fresh.certified:
        wrong |= ~(forces > 0)
    if wrong.any():
        i = int(np.argmax(wrong))
        findings.append(
            f"{int(wrong.sum())} forces that differ, the first {forces[i]:.6g}, expected {u[i]:.6g}"
        )
    return findings
