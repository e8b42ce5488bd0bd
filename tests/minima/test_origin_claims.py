"""Where a run began: an initialisation and an origin exclude each other, and the origin agrees with theta0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.minima.claims import contradictions
from jamtools.minima.origin_claims import digest_of, origin_claims
from tests.support import artefacts, fakes

#: ‖theta0‖ = 5.
THETA0 = np.r_[3.0, -4.0, np.zeros(9)]

ORIGIN = {
    "run": "r0003", "data": "random d=3", "P": 9, "loss": "hinge", "epsilon": 0.5, "norm": None, "optimizer": "adam",
    "status": "budget", "n_unsatisfied": 2, "final_loss": 0.1, "weight_norm": 5.0, "scale": 1.0,
    "theta": digest_of(THETA0),
}  # fmt: skip


def began(R=None, settings_norm="free", init="run", **origin):
    """A run that began at theta0, with an origin in which some fields are others."""
    settings = {"init": init, "norm": settings_norm}
    run = artefacts.run(norm=R, settings=settings, origin={**ORIGIN, **origin})
    return replace(run, theta0=THETA0)


def findings(run):
    return contradictions(run.info, origin_claims(run))


@pytest.mark.parametrize(
    "run",
    [
        began(),
        began(5.0, "5", norm=5.0),
        began(5.0, "5", weight_norm=2.5, scale=2.0, theta="0123456789ab"),
        began(5.0, "5", norm=10.0, weight_norm=10.0, scale=0.5, theta="0123456789ab"),
    ],
)
def test_a_consistent_origin_has_no_finding(run):
    assert findings(run) == []


@pytest.mark.parametrize(
    ("run", "finding"),
    [
        (began(theta="0123456789ab"), "origin.theta '0123456789ab', expected"),
        (began(scale=2.0, weight_norm=2.5), "origin.scale 2.0, expected 1.0"),
        (began(weight_norm=5.1), "origin.weight_norm 5.1, expected 5.0"),
        (began(5.0, "5", weight_norm=2.5, scale=2.1, theta="0123456789ab"), "origin.weight_norm 2.5"),
        (
            began(5.0, "5", weight_norm=2.5, scale=0.0, theta="0123456789ab"),
            "origin.scale 0.0, expected a number",
        ),
        (began(5.0, "5", weight_norm=2.5, scale=2.0, theta="another"), "origin.theta 'another'"),
        (began(5.0, "3x", norm=5.0), "settings.norm '3x', expected '5'"),
        (began(norm=5.0), "origin.norm 5.0, expected null"),
        (began(init="orthogonal"), "settings.init 'orthogonal', expected 'run'"),
        (began(status="diverged"), "origin.status 'diverged'"),
        (began(run="the third"), "origin.run 'the third', expected the name of a run"),
        (began(P=0), "origin.P 0, expected at least 1"),
    ],
)
def test_a_contradiction_is_named(run, finding):
    assert any(line.startswith(finding) for line in findings(run)), findings(run)


def test_an_origin_that_is_no_object_is_found():
    run = began()
    run = replace(run, info=fakes.with_value(run.info, ("origin",), "r0003"))
    assert findings(run) == ["origin 'r0003', expected an object"]


def test_a_run_without_origin_began_at_an_initialisation():
    run = began()
    info = {name: value for name, value in run.info.items() if name != "origin"}
    (finding,) = findings(replace(run, info=info))
    assert finding == "settings.init 'run', expected 'orthogonal' or 'torch' or 'normal'"
    assert findings(replace(run, info={**info, "settings": {"init": "torch"}})) == []
