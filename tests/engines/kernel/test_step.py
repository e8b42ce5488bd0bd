"""The compiled kernel against the torch path, and its promise about bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from jamtools.engines import compiled_engine
from jamtools.engines.kernel import neighbours, step, tiles
from jamtools.engines.kernel.problem import KernelProblem
from jamtools.engines.optimizers import Adam
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training import ensemble
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.jobs import make_job

EPS = np.finfo(float).eps
#: (d, h, L, C): widths that fill the blocks of four, leave a rest, and have nothing but a rest.
SHAPES = [(4, 8, 2, 1), (5, 7, 3, 1), (2, 3, 1, 1), (3, 6, 5, 1), (9, 4, 2, 3), (1, 1, 1, 2)]


def test_the_cache_of_the_compiled_kernel_sees_a_change_of_its_pieces():
    """numba looks at the file of a function alone: kernel.py names what its pieces' files hold."""
    source = b"".join(Path(module.__file__).read_bytes() for module in (tiles, neighbours))
    assert hashlib.sha256(source).hexdigest()[:16] == step.PIECES, (
        "write it into jamtools/engines/kernel/step.py"
    )


def problem(shape, activation, P, name="hinge", epsilon=0.5):
    d, h, L, C = shape
    arch = Architecture(d, h, L, activation, C)
    x, y = oracle.sphere(P, d, outputs=C)
    loss = Loss(name, epsilon if name == "hinge" else 0.0, P, C)
    return arch, oracle.random_theta(arch), x, y, loss


def compiled(arch, theta, x, y, loss, threads=1):
    call = KernelProblem(x.numpy(), y.numpy(), arch, loss, theta.numpy())
    top = call.share(theta.numpy(), threads)
    return top, call.gradient()


def assert_same_gradient(arch, theta, x, y, loss):
    top, g = Problem(x, y, arch, loss).largest_gap_and_gradient(theta)
    ours_top, ours = compiled(arch, theta, x, y, loss)
    assert ours_top == pytest.approx(top, rel=1e-13, abs=1e-14)
    # P terms of depth L + 1, each product of a few factors: P·eps of the largest sum is generous
    assert np.abs(ours - g.numpy()).max() <= max(10, len(x)) * EPS * max(1e-3, g.abs().max().item())


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_equals_the_torch_path_s(shape, activation):
    assert_same_gradient(*problem(shape, activation, 150))


@pytest.mark.parametrize("P", [1, 63, 64, 65, 1024, 1025, 3000])
def test_any_number_of_patterns_fills_the_tiles(P):
    assert_same_gradient(*problem((5, 7, 2, 1), "relu", P))


@pytest.mark.parametrize("epsilon", [-1.0, -0.3, 0.0, 0.3, 5.0])
def test_few_or_many_unsatisfied_patterns_take_the_two_ways_back(epsilon):
    """From hardly any pattern unsatisfied, gathered one by one, to all of them, tile by tile."""
    arch, theta, x, y, loss = problem((5, 7, 3, 1), "relu", 2000, epsilon=epsilon)
    assert_same_gradient(arch, theta, x, y, loss)


def test_cross_entropy_equals_the_torch_path_s():
    assert_same_gradient(*problem((5, 7, 2, 1), "tanh", 300, name="cross-entropy"))


def test_tanh_is_exact_to_four_units_in_the_last_place():
    """At most ε/2 in each of some eight roundings on the way from e^{2z} - 1 to the quotient."""
    z = np.concatenate(
        [np.linspace(-25, 25, 4001), np.geomspace(1e-300, 30, 4001), -np.geomspace(1e-18, 1e-3, 190)]
    )
    z = z[: len(z) // tiles.TILE_SIZE * tiles.TILE_SIZE].reshape(-1, tiles.TILE_SIZE)
    ours = z.copy()
    for row in ours:
        tiles.tanh(row, np.zeros(tiles.TILE_SIZE), np.zeros(tiles.TILE_SIZE, np.int64))
    exact = np.tanh(z)
    assert (np.abs(ours - exact) <= 4 * EPS * np.abs(exact)).all()
    special = np.zeros(tiles.TILE_SIZE)
    special[:3] = np.nan, np.inf, -np.inf
    tiles.tanh(special, np.zeros(tiles.TILE_SIZE), np.zeros(tiles.TILE_SIZE, np.int64))
    assert np.isnan(special[0])
    assert special[1:3].tolist() == [1.0, -1.0]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("where", [0, -1])
def test_nan_is_seen_wherever_it_arises(activation, where):
    arch, theta, x, y, loss = problem((5, 7, 2, 1), activation, 200)
    theta[where] = float("nan")
    assert np.isnan(compiled(arch, theta, x, y, loss)[0])


def test_adam_equals_torch_s_adam_step():
    arch, theta, x, y, loss = problem((5, 7, 3, 1), "relu", 50)
    call = KernelProblem(x.numpy(), y.numpy(), arch, loss, theta.numpy())
    ours, m, v = theta.numpy().copy(), np.zeros(len(theta)), np.zeros(len(theta))
    theirs = theta.clone()
    optimizer = Adam(theirs)
    g = np.random.default_rng(0).standard_normal(len(theta))
    for t in range(30):
        call.parts[0] = g * np.cos(t)
        call.adam_update(ours, m, v, t, 1e-2)
        optimizer.step(theirs, torch.from_numpy(g * np.cos(t)), 1e-2)
    assert np.abs(ours - theirs.numpy()).max() < 30 * 4 * EPS * 4


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_gradient_s_bytes_do_not_depend_on_the_threads(threads):
    case = problem((5, 7, 3, 1), "relu", 5000)
    top, g = compiled(*case)
    other_top, other = compiled(*case, threads)
    assert (top, g.tobytes()) == (other_top, other.tobytes())


def test_a_run_s_bytes_do_not_depend_on_its_company_nor_on_the_threads(monkeypatch):
    monkeypatch.setattr(
        compiled_engine, "THREADING_MIN_MULTIPLICATIONS", 0
    )  # even these small runs are worth several threads
    data, arch = oracle.dataset(3000, 5), Architecture(5, 6, 2)
    settings = with_options(TrainingOptions(), steps=60, lr=1e-3)
    alone = train(data, arch, settings, seed=1)
    shapes = [(data, arch, 0), (data.first(200), arch, 3), (data, arch, 1), (data, Architecture(5, 9, 1), 1)]
    for threads in (1, 2, 4):
        together = train_many([make_job(*shape, settings, Compute(threads=threads)) for shape in shapes])[2]
        assert together.theta.tobytes() == alone.theta.tobytes()
        assert together.info == alone.info
    assert train(data, arch, settings, 1, Compute(threads=3)).theta.tobytes() == alone.theta.tobytes()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"neighbour_list": True}, {"loss": "cross-entropy"}], ids=str)
def test_one_loop_and_shared_steps_give_the_same_bytes(options, activation, monkeypatch):
    """They are one compiled function's own code; which of them takes a step is then free."""
    data, arch = oracle.dataset(1100, 5), Architecture(5, 7, 2, activation)
    settings = with_options(TrainingOptions(), steps=600, lr=3e-3, stop=False, **options)
    loop = train(data, arch, settings, seed=1)
    monkeypatch.setattr(compiled_engine, "THREADING_MIN_MULTIPLICATIONS", 0)
    assert train(data, arch, settings, 1, Compute(threads=2)).theta.tobytes() == loop.theta.tobytes()
    monkeypatch.setattr(
        compiled_engine, "THREADING_MIN_MULTIPLICATIONS", 3 * arch.n_parameters * tiles.TILE_SIZE * 12
    )  # now this, now that
    assert train(data, arch, settings, 1, Compute(threads=2)).theta.tobytes() == loop.theta.tobytes()


def test_the_length_of_a_burst_changes_nothing(monkeypatch):
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    settings = with_options(TrainingOptions(), steps=300, lr=1e-3, every=77, measurements=5)
    whole = train(data, arch, settings, seed=0)
    training = RunInProgress(make_job(data, arch, 0, settings))
    monkeypatch.setattr(ensemble, "BURST_SECONDS", 0.0)
    while training.advance():
        training.burst = 1 + training.step % 7
    assert record_of(training).theta.tobytes() == whole.theta.tobytes()
    assert record_of(training).history["loss"].tobytes() == whole.history["loss"].tobytes()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_both_engines_take_the_same_steps(optimizer):
    data, arch = oracle.dataset(200, 5), Architecture(5, 7, 3, "tanh")
    settings = with_options(TrainingOptions(), steps=100, optimizer=optimizer, batch=0, lr=1e-3, every=30)
    ours, theirs = (train(data, arch, settings, 0, Compute(engine=name)) for name in ("compiled", "torch"))
    assert (ours.info["engine"], theirs.info["engine"]) == ("compiled", "torch")
    assert np.abs(ours.theta - theirs.theta).max() < 1e-13
    assert ours.history["n_unsatisfied"].tolist() == theirs.history["n_unsatisfied"].tolist()


def test_mini_batches_and_float32_fall_back_to_torch_unless_compiled_is_asked_for():
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    settings = with_options(TrainingOptions(), steps=5, batch=10)
    assert train(data, arch, settings, 0).info["engine"] == "torch"
    assert (
        train(data, arch, with_options(settings, batch=0), 0, Compute(dtype=torch.float32)).info["engine"]
        == "torch"
    )
    with pytest.raises(InputError, match="use the torch engine"):
        train(data, arch, settings, 0, Compute(engine="compiled"))
