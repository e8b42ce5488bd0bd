"""The list of nearby patterns: exact by its bound, or estimated and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jamtools.engines import compiled_engine
from jamtools.engines.kernel import neighbours, tiles
from jamtools.engines.kernel.problem import KernelProblem
from jamtools.errors import CheckError, InputError
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.jobs import make_job

P = 300


def gaps(arch, theta, x, y):
    f = forward(layers_of(torch.from_numpy(theta), arch), x, arch).f
    return (0.5 - y * f).max(1).values.numpy()


def listed(arch, theta, x, y):
    """A call whose list was made at theta."""
    call = KernelProblem(x.numpy(), y.numpy(), arch, Loss("hinge", 0.5, len(x), arch.outputs), theta)
    call.neighbours.demand()
    call.share(theta)
    call.settle(theta)
    return call


def drifts(call, theta):
    """Per pattern, in the set's own order: the bound of how far Δ can have gone, by a formula of its own."""
    call.share(theta)
    order, _, reach, *_ = call.neighbours.arrays
    pull = call.neighbours.step[1]
    per_tile = reach @ pull[:-1] + pull[-1]
    bound = np.empty(len(order))
    bound[order] = np.repeat(per_tile, tiles.TILE_SIZE)[: len(order)]
    return bound


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.floats(-6, 1),
    depth=st.integers(1, 4),
    outputs=st.sampled_from([1, 3]),
    activation=st.sampled_from(["relu", "tanh", "linear"]),
)
def test_no_pattern_goes_further_than_the_bound(seed, size, depth, outputs, activation):
    arch = Architecture(5, 6, depth, activation, outputs)
    x, y = oracle.sphere(P, 5, outputs=outputs)
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(arch.n_parameters)
    call = listed(arch, theta, x, y)
    moved = theta + 10**size * rng.standard_normal(len(theta))
    went = np.abs(gaps(arch, moved, x, y) - gaps(arch, theta, x, y))
    assert (went <= drifts(call, moved)).all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_nor_when_all_is_done_to_drive_it_there(activation):
    """Straight up the gradient of one pattern's own Δ, the worst direction there is."""
    arch = Architecture(5, 6, 3, activation)
    x, y = oracle.sphere(P, 5)
    theta = initial_parameters(arch, "orthogonal", 0)
    call = listed(arch, theta, x, y)
    for pattern in range(0, P, 25):
        moved = theta.copy()
        for _ in range(20):
            alone = Problem(x[pattern : pattern + 1], y[pattern : pattern + 1], arch, Loss("hinge", 1e3, 1))
            _, g = alone.step(torch.from_numpy(moved))
            moved -= 0.01 * g.numpy() / np.linalg.norm(g)
        went = np.abs(gaps(arch, moved, x, y) - gaps(arch, theta, x, y))
        bound = drifts(call, moved)
        assert went[pattern] > 0.02
        assert (went <= bound).all()


def test_the_bound_is_tight_for_one_neuron_without_bias():
    """f = w₂ w₁·x: with w₂ = 1 kept, |δf| = ‖δw₁‖ ‖x‖ for a pattern along δw₁; the bound has nothing more."""
    arch = Architecture(2, 1, 1, "linear")
    x = torch.tensor([[1.0, 1.0]] * 3, dtype=torch.float64)
    y = torch.ones(3, 1, dtype=torch.float64)
    theta = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    call = listed(arch, theta, x, y)
    moved = theta + np.array([0.25, 0.25, 0.0, 0.0, 0.0])
    assert drifts(call, moved) == pytest.approx(0.5, rel=1e-8)


@pytest.mark.parametrize("P", [1, 64, 65, 300])
def test_a_list_orders_all_patterns_the_unsatisfied_first(P):
    arch = Architecture(5, 6, 3)
    x, y = oracle.sphere(P, 5)
    theta = 2 * initial_parameters(arch, "orthogonal", 1)
    call = listed(arch, theta, x, y)
    assert sorted(call.neighbours.order) == list(range(P))
    delta = gaps(arch, theta, x, y)[call.neighbours.order]
    count = (delta > 0).sum()
    assert (delta[:count] > 0).all()
    listed_gaps = call.neighbours.arrays[3].ravel()[:P]
    assert np.abs(listed_gaps - delta).max() < 1e-13 * max(1, np.abs(delta).max())


def settled(steps, P=400, **options):
    """A run on the satisfied side, where from some thousand steps on most patterns are satisfied."""
    data, arch = oracle.dataset(P, 5), Architecture(5, 20, 2)
    settings = with_options(TrainingOptions(), steps=steps, lr=1e-3, stop=False, measurements=9, **options)
    return RunInProgress(make_job(data, arch, 1, settings))


def to_its_end(training):
    while training.advance():
        pass
    return training


def test_patterns_far_from_the_margin_are_left_alone_and_the_steps_stay_the_same():
    """The same trajectory as the torch path's, but for round-off; and the list did rest."""
    training = to_its_end(settled(1500))
    count = training.engine.call.neighbours.arrays[-1]
    assert count[neighbours.SORTED] > 0
    assert count[neighbours.MISSED] == 0
    other = settled(1500)
    theirs = train_many([replace(other.job, compute=Compute(engine="torch"))])[0]
    # at this rate round-off grows to some 10⁻¹¹ in 1000 steps, while one forgotten pattern would move theta by 10⁻⁶
    assert np.abs(training.theta.numpy() - theirs.theta).max() < 1e-8


def asleep_at_the_end(training):
    training.engine.call.share(training.theta.numpy())
    return (~training.engine.call.neighbours.step[0]).sum()


def test_in_the_satisfied_phase_almost_nothing_is_looked_at():
    training = to_its_end(settled(10_000))
    assert training.history.rows[-1]["n_unsatisfied"] < 60
    assert asleep_at_the_end(training) >= 4  # of 7 tiles


@pytest.mark.parametrize("neighbour_list", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_run_goes_on_to_the_same_bytes_with_its_list(neighbour_list, shared, monkeypatch):
    if shared:
        monkeypatch.setattr(compiled_engine, "THREADING_MIN_MULTIPLICATIONS", 0)
    whole = to_its_end(settled(3000, neighbour_list=neighbour_list))
    first = settled(3000, neighbour_list=neighbour_list)
    while first.step < 1500:
        first.advance()
    state = first.snapshot()
    assert state.engine["count"][neighbours.SORTED] > 0
    second = settled(3000, neighbour_list=neighbour_list)
    second.restore(state)
    to_its_end(second)
    assert second.theta.numpy().tobytes() == whole.theta.numpy().tobytes()
    assert record_of(second).info == record_of(whole).info


def test_the_estimated_list_looks_at_less_and_counts_what_it_misses():
    exact = to_its_end(settled(4000))
    estimated = to_its_end(settled(4000, neighbour_list=True))
    ours, theirs = (t.engine.call.neighbours.arrays[-1] for t in (estimated, exact))
    assert ours[neighbours.FACTOR] < theirs[neighbours.FACTOR] == 1.0
    assert record_of(estimated).info["n_missed_crossings"] == ours[neighbours.MISSED]
    assert record_of(exact).info["n_missed_crossings"] == 0


def crossed(estimated):
    """A list that trusts a hundredth of a millionth of its bound, and a step that makes satisfied patterns cross."""
    training = settled(2000, neighbour_list=estimated)
    while training.step < 1500:
        training.advance()
    held = training.engine.call.neighbours
    held.demand()
    training.engine.advance(training.step, training.step + 1)
    held.arrays[-1][neighbours.FACTOR] = 1e-8
    training.theta.mul_(0.5)
    held.demand()
    before = held.missed
    training.engine.advance(training.step, training.step + 1)
    return held.missed - before


def test_crossings_that_were_missed_are_counted_where_the_list_is_estimated():
    assert crossed(True) > 0


def test_and_are_an_error_where_it_claims_to_be_exact():
    with pytest.raises(CheckError, match="beyond the bound"):
        crossed(False)


def test_satisfied_is_said_after_a_look_at_every_pattern():
    """A list that looks at nothing must not end a run."""
    training = settled(3000, neighbour_list=True)
    while training.step < 500:
        training.advance()
    training.engine.advance(training.step, training.step + 1)
    training.engine.call.neighbours.arrays[1][:] = np.inf  # every tile is said to be far away
    unsatisfied = (gaps(training.job.arch, training.theta.numpy(), *pair(training)) > 0).sum()
    assert unsatisfied > 0
    reached, outcome = training.engine.advance(training.step, training.step + 1, stop=True)
    assert (reached, outcome) == (training.step + 1, "")


def pair(training):
    return training.problem.x, training.problem.y


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"loss": "cross-entropy"}, Compute()),
        ({"batch": 50}, Compute()),
        ({}, Compute(engine="torch")),
    ],
)
def test_a_neighbour_list_is_refused_where_there_is_none(options, place):
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    settings = with_options(TrainingOptions(), steps=10, neighbour_list=True, **options)
    with pytest.raises(InputError, match="neighbour list"):
        train(data, arch, settings, 0, place)
