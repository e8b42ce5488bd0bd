"""jam-train --verify: certificates are recomputed, and a changed file is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import artefacts
from tests.support.commands import jam, refusal
from tests.support.contract import header, objects


@pytest.fixture(scope="module")
def folder(minima) -> Path:
    return minima.folder


def test_verify_confirms_the_certificates_of_finished_runs(folder):
    done = jam("train", "--verify", "finished", "--require", "certified", cwd=folder, check=True)
    records = objects(done.stdout)
    assert [record["run"] for record in records] == [f"r{i:04d}" for i in range(4)]
    for record, run in zip(records, header((folder / "finished").read_bytes())["runs"]):
        assert (record["kind"], record["P"], record["status"]) == ("verification", run["P"], run["status"])
        verdict = [record[name] for name in ("claimed", "certified", "holds", "findings")]
        assert verdict == [True, True, True, []]
        assert record["certificate"]["kind"] == run["certificate"]["kind"]
    assert "holds" in done.stderr


def test_verify_finds_that_runs_of_adam_claim_no_certificate(folder):
    done = jam("train", "--verify", "adam", cwd=folder, check=True)
    records = objects(done.stdout)
    assert {record["claimed"] for record in records} == {None}
    assert not any(record["holds"] for record in records)
    assert records[-1]["certified"] is False and records[-1]["certificate"]["obstacle"]
    assert jam("train", "--verify", "adam", "--require", "certified", "-q", cwd=folder).returncode == 3


def nudged_theta(arrays, metadata):
    """Moves theta of the last, jammed run by 1e-6 of its norm, along a direction that is no symmetry."""
    theta = arrays["r0003/theta"]
    direction = np.random.default_rng(0).standard_normal(len(theta)) / np.sqrt(len(theta))
    arrays["r0003/theta"] = theta + 1e-6 * np.linalg.norm(theta) * direction


def altered_gap(arrays, metadata):
    """Moves a pattern of the last run across Δ = 0."""
    gaps = arrays["r0003/gaps"].copy()
    gaps[np.argmin(gaps)] *= -1
    arrays["r0003/gaps"] = gaps


def false_claim(arrays, metadata):
    """Claims a certificate for a run that is at no minimum."""
    metadata["runs"][3]["certified"] = True


def relabelled(arrays, metadata):
    """Calls a jammed run satisfied."""
    metadata["runs"][3]["status"] = "satisfied"


def rounded_gaps(arrays, metadata):
    """Rounds the gaps of a certified run to single precision."""
    arrays["r0003/gaps"] = arrays["r0003/gaps"].astype(np.float32).astype(np.float64)


def better_start(arrays, metadata):
    """Claims that the run was nearly at its minimum before it was finished."""
    metadata["runs"][3]["finish"]["final_loss_before"] = metadata["runs"][3]["final_loss"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("finished", nudged_theta),
        ("finished", altered_gap),
        ("finished", relabelled),
        ("finished", rounded_gaps),
        ("finished", better_start),
        ("adam", false_claim),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_verify_refuses_a_file_that_was_changed(name, change, folder):
    (folder / "false").write_bytes(artefacts.refit((folder / name).read_bytes(), change))
    done = jam("train", "--verify", "false", "--require", "certified", cwd=folder)
    assert done.returncode == 3
    last = objects(done.stdout)[3]
    assert (last["claimed"], last["holds"]) == (True, False)
    assert last["findings"] and f"jam-train: r0003: {last['findings'][0]}" in done.stderr


def test_jam_show_has_a_table_of_verifications(folder):
    lines = jam("train", "--verify", "finished", "-q", cwd=folder, check=True).stdout
    head, *rows = jam("show", "--table", "-", input=lines, check=True).stdout.decode().splitlines()
    assert head.split()[-4:] == ["claimed", "certified", "holds", "findings"]
    assert all(row.split()[-4:] == ["yes", "yes", "yes", "0"] for row in rows) and len(rows) == 4


def test_verify_refuses_a_dataset(folder):
    assert "got a dataset, expected runs" in refusal(jam("train", "--verify", "data", cwd=folder))
