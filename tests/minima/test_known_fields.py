"""Fields, columns and arrays that no run has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.data.sphere import random_sphere
from jamtools.minima.known_fields import unknown_fields
from jamtools.minima.state import RunState
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions
from jamtools.records import Run
from jamtools.training.ensemble import train, train_many
from tests.support import fakes
from tests.support.jammed import newton
from tests.support.jobs import make_job

STATE = [name for name in RunState.__dataclass_fields__ if name not in ("dead", "share")]
STATE += ["n_dead", "subgradient_share"]


@pytest.fixture(scope="module")
def finished() -> Run:
    """A run of Adam with a test set and snapshots, which newton finished."""
    data, arch = random_sphere(30, 3, 1, P_test=10), Architecture(3, 3, 1)
    start = train(data, arch, TrainingOptions(steps=50, snapshots=True), 1)
    return train_many([make_job(data, arch, 1, newton(snapshots=True), start=start)])[0]


def test_a_real_run_has_no_unknown_field(finished):
    assert unknown_fields(finished, STATE) == []


@pytest.mark.parametrize("path", [("refereed",), ("settings", "magic"), ("finish", "by")])
def test_an_unknown_field_is_named(finished, path):
    run = replace(finished, info=fakes.with_value(finished.info, path, True))
    (line,) = unknown_fields(run, STATE)
    assert line.startswith(f"{'.'.join(path)}, expected")


@pytest.mark.parametrize("folder", ["history", "certificate"])
def test_an_unknown_array_is_named(finished, folder):
    run = fakes.with_array(finished, f"{folder}/more", np.zeros(len(finished.history["step"])))
    (line,) = unknown_fields(run, STATE)
    assert line.startswith(f"{folder}/more, expected")
