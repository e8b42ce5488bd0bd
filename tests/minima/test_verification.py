"""Verification: an untouched run holds, and every altered claim is found."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.io.checkpoint import pack, read
from jamtools.io.read import read_runs
from jamtools.io.write import runs_bytes
from jamtools.minima.certificate import Certificate, certify
from jamtools.minima.state import state_of
from jamtools.minima.verification import NO_CLAIM_PREFIX, Verification, verify
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run, Runs
from jamtools.training.ensemble import train
from tests.support import artefacts, fakes, oracle
from tests.support.commands import jam
from tests.support.one_neuron import minimum, saddle
from tests.support.planted import BOTH, Point, stationary, true_loss


@pytest.fixture(autouse=True)
def fast(monkeypatch) -> None:
    fakes.remember_certificates(monkeypatch)


@pytest.fixture(scope="module")
def deep() -> tuple[Point, np.ndarray]:
    return stationary(305, BOTH, 2)


def stored(point: Point, **fields) -> tuple[Run, Dataset]:
    """A certified run of a planted point, as a minimiser would record it."""
    theta, problem = point
    x, y, arch, loss = problem.x, problem.y, problem.arch, problem.loss
    certificate, evaluation = certify(theta, problem), problem.evaluate(theta)
    data = Dataset(x.numpy(), y[:, 0].numpy(), info={"source": "arrays"})
    f = oracle.f(arch, theta, x)
    gaps = (loss.epsilon - y * f)[:, 0].numpy()
    sizes = {
        name: getattr(arch, name)
        for name in ("d", "width", "depth", "activation", "n_parameters", "n_hidden")
    }
    info = {
        **sizes, "n_effective_expected": arch.n_effective, "P": len(x), "epsilon": loss.epsilon, "certified": True,
        "final_loss": true_loss(point), "n_unsatisfied": int((gaps > 0).sum()), "n_contacts": 0, "optimizer": "newton",
        "n_misclassified": int((y * f < 0).sum()), "grad_norm": float(evaluation.gradient.norm()),
        "status": state_of(theta, problem, evaluation, certificate).status, "certificate": certificate.fields(),
    }  # fmt: skip
    run = artefacts.run(**(info | fields))
    last = {name: np.r_[column[:-1], info[name]] for name, column in run.history.items() if name in info}
    return (
        replace(
            run,
            theta=theta.numpy(),
            gaps=gaps,
            certificate=certificate.arrays(),
            history={**run.history, **last},
        ),
        data,
    )


@pytest.fixture(scope="module")
def kept(deep) -> tuple[Run, Dataset]:
    return stored(deep[0])


def refused(run: Run, data: Dataset, *words: str) -> Verification:
    verification = verify(run, data)
    assert not verification.holds and verification.claims
    for word in words:
        assert any(word in line for line in verification.findings), verification.findings
    return verification


def test_verify_finds_nothing_in_an_untouched_certified_run(kept):
    verification = verify(*kept)
    assert (
        verification.holds
        and verification.findings == ()
        and verification.claims
        and verification.certificate.certified
    )


def test_verify_reports_a_run_without_a_certificate(kept):
    run, data = kept
    verification = verify(replace(run, info=run.info | {"certified": None, "certificate": None}), data)
    assert not verification.holds and not verification.claims
    assert verification.findings == ("claims nothing: certified is null, one holds",)


def test_verify_finds_a_gap_moved_across_zero(kept):
    run, data = kept
    gaps = run.gaps.copy()
    gaps[4] = -1e-9
    refused(
        replace(run, gaps=gaps),
        data,
        "1 gaps that differ, 1 of them in sign, the most that of pattern 4: -1e-09",
    )


def test_verify_finds_a_changed_label(kept):
    run, data = kept
    y = data.y.copy()
    y[40] *= -1
    refused(
        run,
        replace(data, y=y),
        "gaps that differ",
        "final_loss",
        "certified, expected a certificate that holds",
    )


def test_verify_finds_a_moved_pattern(kept):
    run, data = kept
    x = data.x.copy()
    x[40] += 1e-6
    refused(run, replace(data, x=x), "1 gaps that differ, 0 of them in sign, the most that of pattern 40")


def test_verify_finds_a_nudged_theta(kept):
    run, data = kept
    refused(
        replace(run, theta=run.theta + 1e-6),
        data,
        "gaps that differ",
        "stored cusps, expected",
        "of its terms",
    )


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        (
            "multipliers",
            lambda a: a * np.r_[-1.0, np.ones(len(a) - 1)],
            "1 multipliers outside [0, 1], the first -",
        ),
        (
            "multipliers",
            lambda a: a + np.r_[0.01, np.zeros(len(a) - 1)],
            "with the stored multipliers the subgradient is",
        ),
        ("forces", lambda a: -a, "24 forces that differ"),
        (
            "cusps",
            lambda a: a + np.array([0, 0, 1]) * (a[:, :1] == 0),
            "stored cusps, expected the 24 of theta",
        ),
        ("cusps", lambda a: a[1:], "expected [n, 3], [n], [n]"),
    ],
)
def test_verify_finds_an_altered_array_of_the_certificate(kept, name, change, word):
    run, data = kept
    refused(replace(run, certificate={**run.certificate, name: change(run.certificate[name])}), data, word)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"n_unsatisfied": 1}, "n_unsatisfied 1, expected"),
        ({"n_contacts": 3}, "n_contacts 3, expected 0"),
        ({"final_loss": 0.0}, "final_loss 0.0, expected"),
        ({"certificate": {"kind": "satisfied"}}, "a certificate of kind 'satisfied', expected 'jammed'"),
        ({"certificate": None}, "certificate null, expected an object"),
        ({"status": "satisfied"}, "status 'satisfied', expected 'stationary'"),
        ({"n_misclassified": -1}, "n_misclassified -1, expected "),
        ({"n_hidden": True}, "n_hidden true, expected "),
    ],
)
def test_verify_finds_altered_metadata(kept, fields, word):
    run, data = kept
    refused(replace(run, info=run.info | fields), data, word)


def test_verify_finds_missing_arrays_and_a_saddle_and_refuses_other_patterns(kept):
    run, data = kept
    refused(replace(run, certificate={}), data, "which the file lacks")
    refused(*stored(saddle()), "certified, expected a certificate that holds: 1 negative direction")
    with pytest.raises(InputError, match="give the data it was trained on"):
        verify(run, data.first(10))


def test_verify_finds_a_theta_that_is_not_finite(kept):
    run, data = kept
    refused(replace(run, theta=run.theta * np.nan), data, "its parameters are not finite")


def test_a_checkpoint_keeps_the_arrays_of_a_certificate(tmp_path):
    run, _ = stored(minimum())
    file = tmp_path / "checkpoint"
    request = [{"seed": 0}, {"seed": 1}]
    file.write_bytes(pack(request, [run, None]))
    back = read(str(file), request)[0]
    assert isinstance(back, Run) and list(back.certificate) == sorted(run.certificate)
    assert all((back.certificate[name] == array).all() for name, array in run.certificate.items())


def test_a_file_keeps_the_arrays_of_a_certificate_and_jam_show_gives_them(tmp_path):
    run, data = stored(minimum())
    file = tmp_path / "runs.safetensors"
    file.write_bytes(runs_bytes(Runs(data, (run, replace(run, certificate={}))), []))
    back, bare = read_runs(str(file))[0].runs
    assert {name: array.tolist() for name, array in back.certificate.items()} == {
        name: array.tolist() for name, array in run.certificate.items()
    }
    assert back.certificate["cusps"].dtype == np.int64 and bare.certificate == {}
    assert verify(back, data).holds and not verify(bare, data).holds
    assert jam("show", "--array", "r0000/certificate/cusps", file, check=True).stdout == b"0 1 0\n"
    line = json.loads(jam("show", file, check=True).stdout.splitlines()[0])
    assert line["certificate"]["n_cusps"] == 1 and line["certificate"]["kind"] == "jammed"
    assert set(line["certificate"]) == set(Certificate("", True, None).fields())


@pytest.mark.parametrize("fields", [{"bias": 1}, {"norm": "2"}, {"epsilon": float("inf")}, {"epsilon": -0.5}])
def test_metadata_that_describe_no_network_are_refused(kept, fields):
    run, data = kept
    with pytest.raises(InputError, match=f"a run of {next(iter(fields))} "):
        verify(replace(run, info=run.info | fields), data)


@pytest.mark.parametrize("epsilon", [-0.5, 0.0])
def test_a_perceptron_is_verified_and_a_field_that_does_not_fit_it_is_found(epsilon):
    data, arch = oracle.dataset(30, 4), Architecture(4, 4, 0, norm=1.0, bias=False)
    options = with_options(TrainingOptions(), epsilon=epsilon, steps=50, measurements=3)
    run = train(data, arch, options, 0)
    others = [line for line in verify(run, data).findings if not line.startswith(NO_CLAIM_PREFIX)]
    assert others == []
    for name, value in (("width", 3), ("activation", "relu"), ("n_hidden", 4), ("epsilon", 0.1)):
        found = verify(replace(run, info={**run.info, name: value}), data).findings
        assert any(name in line for line in found), found
    with pytest.raises(InputError, match="the file is damaged"):
        verify(replace(run, info={**run.info, "bias": True}), data)
