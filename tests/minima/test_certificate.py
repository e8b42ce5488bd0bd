"""Certificates of minima that are known by hand or made to order, and of points that only look like minima."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import jamtools.minima.certificate
import jamtools.minima.first_order
from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient
from jamtools.errors import InputError
from jamtools.io.checkpoint import pack, read
from jamtools.io.read import read_runs
from jamtools.io.write import runs_bytes
from jamtools.minima.certificate import Certificate, certify
from jamtools.minima.second_order import Curvature, Lagrangian
from jamtools.minima.verification import Verification, verify
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.network.roundoff import gap_errors, loss_error
from jamtools.network.symmetry import balanced
from jamtools.records import CONTACT_TOLERANCE, Dataset, Run, Runs
from tests.support import artefacts, oracle
from tests.support.commands import jam
from tests.support.one_neuron import minimum, saddle
from tests.support.planted import Point, stationary

LAYER_1 = [(1, 0, 0), (1, 1, 1), (1, 2, 2)]
#: Pattern 0 has a cusp in either layer.
BOTH = [(1, 0, 0), (2, 0, 0), (1, 1, 1), (2, 2, 2)]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.fixture(scope="module")
def deep() -> tuple[Point, np.ndarray]:
    return stationary(305, BOTH, 2)


# --- minima -------------------------------------------------------------------------------------------------


def test_one_neuron_on_a_cusp_is_certified_with_its_multiplier():
    """λ = ½ and P ∂L/∂f = 4, by hand (tests/support/one_neuron.py)."""
    found = certify(*minimum())
    assert found.certified and found.kind == "jammed" and found.obstacle is None
    assert found.cusps.tolist() == [[0, 1, 0]] and found.cusps.dtype == np.int64
    assert found.multipliers == pytest.approx([0.5]) and found.forces == pytest.approx([4 / 7])
    assert (found.n_unsatisfied, found.n_cusps, found.n_negative, found.n_at_bound) == (7, 1, 0, 0)
    assert found.gradient < 1e-14 and found.loss == pytest.approx(true_loss(minimum()))


def true_loss(point: Point) -> float:
    theta, problem = point
    return float(oracle.hinge(oracle.f(problem.arch, theta, problem.x), problem.y, problem.loss.epsilon))


@pytest.mark.parametrize("seed", [3, 10])
def test_planted_multipliers_of_one_layer(seed):
    point, planted = stationary(seed, LAYER_1, 1)
    assert_planted(certify(*point), planted)


def assert_planted(found: Certificate, planted: np.ndarray) -> None:
    assert found.obstacle is None and found.certified
    assert found.n_cusps == len(planted) and found.multipliers == pytest.approx(planted, abs=1e-9)
    assert found.gradient < 1e-11 * found.scale, "the planted data are as exact as that"
    assert (found.forces > 0).all() and found.smallest_force > 1
    assert found.cusp_distance < 1e-12 < 1e-3 < found.next_distance
    assert found.n_trials == 12 and abs(found.lowest_change) <= found.trial_error


def test_planted_multipliers_where_a_pattern_has_cusps_in_both_layers(deep):
    point, planted = deep
    found = certify(*point)
    assert_planted(found, planted)
    patterns = {layer: set(found.cusps[found.cusps[:, 1] == layer, 0]) for layer in (1, 2)}
    assert len(patterns[1] & patterns[2]) == 6, "the copies of pattern 0"
    assert found.n_zero == found.n_flat == 1, "a neuron that is always on moves against the biases above it"


def test_an_adam_free_teacher_is_satisfied():
    arch, theta = Architecture(4, 5, 2), oracle.random_theta(Architecture(4, 5, 2))
    x, _ = oracle.sphere(50, 4)
    f = oracle.f(arch, theta, x)
    loss = Loss("hinge", 0.9 * float(f.abs().min()), 50)
    found = certify(theta, Problem(x, torch.sign(f), arch, loss))
    assert (found.kind, found.certified, found.n_unsatisfied, found.loss) == ("satisfied", True, 0, 0.0)
    assert found.n_trials is None and found.cusps.shape == (0, 3)


@pytest.mark.parametrize(("part", "kind"), [(0.5, "satisfied"), (2.0, "jammed")])
def test_a_contact_is_satisfied_and_a_gap_above_it_is_not(part, kind):
    """f = 0 but for the output's bias c, and Δ = ε - c."""
    arch, loss = Architecture(1, 1, 1), Loss("hinge", 0.5, 1)
    theta = column(0, 0, 0, 0.5 - part * CONTACT_TOLERANCE * 0.5)[:, 0]
    found = certify(theta, Problem(column(1.0), column(1.0), arch, loss))
    assert found.kind == kind and found.n_unsatisfied == 1 and found.n_contacts == int(part < 1)


def test_a_smooth_minimum_by_hand():
    """tanh, one neuron, f = a tanh(w x + b) + c over x = 0 with both labels: f = 0 is the least L = ε²/2, and flat."""
    arch, loss = Architecture(1, 1, 1, "tanh"), Loss("hinge", 0.5, 2)
    problem = Problem(column(0, 0), column(1, -1), arch, loss)
    found = certify(column(0.3, 0.0, 0.7, 0.0)[:, 0], problem)
    assert found.certified and found.loss == pytest.approx(0.125)
    assert (found.n_cusps, found.n_zero, found.n_flat) == (0, 3, 3)
    found = certify(column(0.3, 0.0, 0.7, 1e-3)[:, 0], problem)
    assert not found.certified and "the smallest subgradient is" in found.obstacle


def test_a_gap_that_round_off_cannot_tell_from_zero_gives_no_curvature():
    """One more pattern, at x = 2 where f = 1 + ρ(x) = ε, moved by the last digit."""
    theta, seven = minimum()
    x, y = torch.cat([seven.x, column(2 - 4e-16)]), torch.cat([seven.y, column(1)])
    found = certify(theta, Problem(x, y, seven.arch, replace(seven.loss, P=8)))
    assert found.certified and (found.n_undecided, found.n_contacts, found.n_unsatisfied) == (1, 1, 8)
    bare = certify(*minimum())
    assert found.smallest_curvature == pytest.approx(bare.smallest_curvature, rel=1e-9)


# --- points that only look like minima ------------------------------------------------------------------------


def test_a_saddle_on_a_cusp_is_refused_with_its_number():
    found = certify(*saddle())
    assert not found.certified and found.n_negative == 1
    assert found.obstacle.startswith("1 negative direction of the Lagrangian, -")
    assert found.gradient < 1e-14 * found.scale


def test_a_concave_cusp_is_refused():
    """w = b = 0, a = 1: Clarke's subdifferential contains zero, and L falls with |w|."""
    arch, loss = Architecture(1, 1, 1), Loss("hinge", 0.5, 4)
    x, y = column(1, -1, 0.5, -0.5), column(1, 1, -1, -1)
    found = certify(column(0, 0, 1, 0)[:, 0], Problem(x, y, arch, loss))
    assert not found.certified and found.gradient < 1e-15
    assert found.obstacle == "2 concave cusps, the largest force -1.2e-01"


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "linear", "relu"])
def test_no_weights_at_all_is_no_minimum(activation, depth):
    """f = c = 0 with as many labels of either sign: ∇L = 0, and from depth 2 on all second derivatives of the weights."""
    arch, (x, _) = Architecture(4, 3, depth, activation), oracle.sphere(20, 4)
    y = column(*[1, -1] * 10)
    theta = torch.zeros(arch.n_parameters, dtype=torch.float64)
    found = certify(theta, Problem(x, y, arch, Loss("hinge", 0.5, 20)))
    assert not found.certified and found.obstacle is not None
    assert found.gradient < 1e-15
    if depth > 1 and activation != "relu":
        assert "of no curvature to round-off, which second order does not decide" in found.obstacle


def test_a_linear_saddle_is_refused():
    """f = a (w x + b) + c at a = w = b = c = 0 with labels along x: a and w lower L together."""
    arch, loss = Architecture(1, 1, 1, "linear"), Loss("hinge", 0.5, 2)
    found = certify(column(0, 0, 0, 0)[:, 0], Problem(column(1, -1), column(1, -1), arch, loss))
    assert found.obstacle.startswith("1 negative direction of the Lagrangian") and not found.certified


def blind(cusps: CuspGradient, smallest: SmallestSubgradient) -> Lagrangian:
    """Sees no curvature but a good one."""
    space = Curvature(1, 0, 0, 1.0, 1.0)
    return Lagrangian(space, space, 0, 0, 0)


@pytest.mark.parametrize(
    "point", [saddle(), stationary(440, BOTH, 2)[0]], ids=["by hand", "-1e-4 of the largest curvature"]
)
def test_trials_find_a_saddle_that_second_order_overlooks(point, monkeypatch):
    assert certify(*point).n_negative == 1
    monkeypatch.setattr(jamtools.minima.certificate, "lagrangian", blind)
    found = certify(*point)
    assert not found.certified and found.obstacle.startswith("a trial found a loss lower by")
    assert found.lowest_change < -found.trial_error < 0


def test_a_point_near_a_minimum_is_not_one():
    theta, problem = minimum()
    found = certify(theta + 1e-6, problem)
    assert not found.certified and found.n_cusps == 0 and "of its terms" in found.obstacle


def test_what_cannot_be_taken(monkeypatch):
    theta, problem = minimum()
    found = certify(theta * torch.nan, problem)
    assert (found.kind, found.certified, found.obstacle) == (
        "diverged",
        False,
        "its parameters are not finite",
    )
    with pytest.raises(InputError, match="cross-entropy"):
        certify(theta, replace(problem, loss=Loss("cross-entropy", 0.0, 7)))
    with pytest.raises(InputError, match="batch normalisation"):
        certify(theta, replace(problem, arch=replace(problem.arch, batch_norm=True)))
    monkeypatch.setattr(jamtools.minima.second_order, "CURVATURE_MAX_PARAMETERS", 3)
    found = certify(theta, problem)
    assert not found.certified and "4 parameters, 5 matrices of" in found.obstacle


# --- invariance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2.0**-40, 0.37, 1e12])
def test_the_scale_of_a_neuron_changes_nothing(deep, factor):
    theta, problem = deep[0]
    before = certify(theta, problem)
    scaled = theta.clone()
    layers = layers_of(scaled, problem.arch)
    layers[0][0][1] *= factor
    layers[0][1][1] *= factor
    layers[1][0][:, 1] /= factor
    after = certify(scaled, problem)
    assert after.certified and (after.cusps == before.cusps).all()
    assert after.multipliers == pytest.approx(before.multipliers, abs=1e-9)
    moved = (before.cusps[:, 1] == 1) & (before.cusps[:, 2] == 1)
    assert moved.any() and after.forces == pytest.approx(before.forces / np.where(moved, factor, 1.0))


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_scale_of_the_loss_changes_nothing(factor):
    theta, problem = minimum()
    for tensor in layers_of(theta, problem.arch)[-1]:
        tensor *= factor
    loss = replace(problem.loss, epsilon=factor * problem.loss.epsilon)
    found = certify(theta, replace(problem, loss=loss))
    assert found.certified and found.multipliers == pytest.approx([0.5])


def test_the_balanced_gauge_is_the_same_function_to_the_last_bit():
    arch = Architecture(4, 5, 3)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(30, 4)
    for layer, factor in enumerate((1e-7, 3.0, 1e5)):
        layers_of(theta, arch)[layer][0].mul_(factor)
    same, scales = balanced(theta, arch)
    before, after = (forward(layers_of(t, arch), x, arch) for t in (theta, same))
    assert (before.f == after.f).all() and (scales != 1).any()
    for j in range(arch.depth):
        assert (after.z[j] == scales[j] * before.z[j]).all()
        (weight, bias), (above, _) = layers_of(same, arch)[j : j + 2]
        into = torch.cat([weight, bias[:, None]], 1).norm(dim=1)
        assert ((into / above.norm(dim=0)).log2().abs() <= 1 + 1e-12).all()
    smooth = replace(arch, activation="tanh")
    assert (balanced(theta, smooth)[0] == theta).all()


def test_round_off_stays_within_its_bounds():
    """Against twice the precision: f in float32 with the bounds of float32, held against float64."""
    arch = Architecture(6, 8, 4)
    theta, (x, y) = oracle.random_theta(arch).float(), oracle.sphere(200, 6)
    x, loss = x.float(), Loss("hinge", 0.5, 200)
    rough, exact = (
        loss.gaps(forward(layers_of(t, arch), some, arch).f, y.to(t))
        for t, some in ((theta, x), (theta.double(), x.double()))
    )
    errors = gap_errors(theta, Problem(x, y.float(), arch, loss))
    assert (rough != exact).any() and ((rough - exact).abs() <= errors).all()
    values = [float(0.5 / 200 * gaps.clamp(min=0).square().sum()) for gaps in (rough, exact)]
    assert 0 < abs(values[0] - values[1]) <= loss_error(rough, errors, loss)


# --- stored runs --------------------------------------------------------------------------------------------------


def stored(point: Point, **fields) -> tuple[Run, Dataset]:
    """A run as a minimiser would leave it."""
    theta, problem = point
    x, y, arch, loss = problem.x, problem.y, problem.arch, problem.loss
    found = certify(theta, problem)
    data = Dataset(x.numpy(), y[:, 0].numpy(), info={"source": "arrays"})
    gaps = (loss.epsilon - y * oracle.f(arch, theta, x))[:, 0].numpy()
    sizes = {
        name: getattr(arch, name)
        for name in ("d", "width", "depth", "activation", "n_parameters", "n_hidden")
    }
    info = {
        **sizes, "n_effective_expected": arch.n_effective, "P": len(x), "epsilon": loss.epsilon, "certified": True,
        "final_loss": true_loss(point), "n_unsatisfied": int((gaps > 0).sum()), "n_contacts": 0,
        "status": "stationary", "certificate": found.fields(),
    }  # fmt: skip
    run = artefacts.run(**(info | fields))
    return replace(run, theta=theta.numpy(), gaps=gaps, certificate=found.arrays()), data


@pytest.fixture(scope="module")
def kept(deep) -> tuple[Run, Dataset]:
    return stored(deep[0])


def refused(run: Run, data: Dataset, *words: str) -> Verification:
    found = verify(run, data)
    assert not found.holds and found.claims
    for word in words:
        assert any(word in line for line in found.findings), found.findings
    return found


def test_an_untouched_certified_run_holds(kept):
    found = verify(*kept)
    assert found.holds and found.findings == () and found.claims and found.certificate.certified


def test_a_run_that_claims_nothing_says_so(kept):
    run, data = kept
    found = verify(replace(run, info=run.info | {"certified": None}), data)
    assert not found.holds and not found.claims
    assert found.findings == ("claims nothing: certified is null, one holds",)


def test_a_gap_moved_across_zero(kept):
    run, data = kept
    gaps = run.gaps.copy()
    gaps[4] = -1e-9
    refused(
        replace(run, gaps=gaps),
        data,
        "1 gaps that differ, 1 of them in sign, the most that of pattern 4: -1e-09",
    )


def test_a_label_turned(kept):
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


def test_a_pattern_moved(kept):
    run, data = kept
    x = data.x.copy()
    x[40] += 1e-6
    refused(run, replace(data, x=x), "1 gaps that differ, 0 of them in sign, the most that of pattern 40")


def test_theta_nudged(kept):
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
            "with the stored multipliers the subgradient",
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
def test_a_certificate_altered(kept, name, change, word):
    run, data = kept
    refused(replace(run, certificate={**run.certificate, name: change(run.certificate[name])}), data, word)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"n_unsatisfied": 1}, "n_unsatisfied 1, expected"),
        ({"n_contacts": 3}, "n_contacts 3, expected 0"),
        ({"final_loss": 0.0}, "final_loss 0.0, expected"),
        ({"certificate": {"kind": "satisfied"}}, "a certificate of kind 'satisfied', expected 'jammed'"),
    ],
)
def test_metadata_altered(kept, fields, word):
    run, data = kept
    refused(replace(run, info=run.info | fields), data, word)


def test_a_jammed_claim_needs_its_arrays_and_a_saddle_is_refused(kept):
    run, data = kept
    refused(replace(run, certificate={}), data, "which the file lacks")
    refused(*stored(saddle()), "certified, expected a certificate that holds: 1 negative direction")
    with pytest.raises(InputError, match="give the data it was trained on"):
        verify(run, data.first(10))


def test_a_diverged_run_is_refused(kept):
    run, data = kept
    refused(replace(run, theta=run.theta * np.nan), data, "its parameters are not finite")


def test_a_checkpoint_keeps_the_certificate(tmp_path):
    run, _ = stored(minimum())
    file = tmp_path / "checkpoint"
    file.write_bytes(pack({}, [run, None]))
    back = read(str(file), {})[0]
    assert isinstance(back, Run) and list(back.certificate) == sorted(run.certificate)
    assert all((back.certificate[name] == array).all() for name, array in run.certificate.items())


def test_a_file_keeps_the_certificate_and_show_gives_it(tmp_path):
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
