"""The list of neighbours: its bound holds, an estimated list counts what it misses, and the bytes stay the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jamtools.engines import compiled_engine
from jamtools.engines.kernel import tiles
from jamtools.engines.kernel.problem import KernelProblem
from jamtools.engines.kernel.records import Counter
from jamtools.engines.optimizers import Adam
from jamtools.engines.torch_engine import TorchEngine
from jamtools.errors import CheckError, InputError
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle
from tests.support.compiled import satisfied_side_engine

P = 300


def gaps(arch, theta, x, y):
    """The largest Δ of each pattern [P], by torch."""
    f = forward(layers_of(torch.from_numpy(theta), arch), x, arch).f
    return (0.5 - y * f).max(1).values.numpy()


def listed(arch, theta, x, y):
    """A kernel whose list was made at theta [Ñ]."""
    kernel = KernelProblem(Problem(x, y, arch, Loss("hinge", 0.5, len(x), arch.outputs)), theta)
    kernel.neighbours.request_sort()
    kernel.chunk_gradients(theta)
    kernel.update_list(theta)
    return kernel


def drift_bounds(kernel, theta):
    """The bound of |change of Δ| [P] in the patterns' own order, from the coefficients that the kernel computed."""
    kernel.chunk_gradients(theta)
    order, reach = kernel.neighbours.arrays.order, kernel.neighbours.arrays.reach
    drift = kernel.neighbours.scratch.drift
    per_tile = reach @ drift[:-1] + drift[-1]
    bound = np.empty(len(order))
    bound[order] = np.repeat(per_tile, tiles.TILE_SIZE)[: len(order)]
    return bound


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.floats(-6, 1),
    depth=st.integers(0, 4),
    outputs=st.sampled_from([1, 3]),
    activation=st.sampled_from(["relu", "tanh", "linear"]),
    bias=st.booleans(),
)
def test_no_gap_changes_by_more_than_the_bound(seed, size, depth, outputs, activation, bias):
    arch = Architecture(5, 6, depth, activation, outputs, bias=bias)
    x, y = oracle.sphere(P, 5, outputs=outputs)
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(arch.n_parameters)
    kernel = listed(arch, theta, x, y)
    moved = theta + 10**size * rng.standard_normal(len(theta))
    change = np.abs(gaps(arch, moved, x, y) - gaps(arch, theta, x, y))
    assert (change <= drift_bounds(kernel, moved)).all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_no_gap_changes_by_more_than_the_bound_along_its_own_gradient(activation):
    """The gradient of one pattern's own Δ is the direction in which that Δ changes fastest."""
    arch = Architecture(5, 6, 3, activation)
    x, y = oracle.sphere(P, 5)
    theta = initial_parameters(arch, "orthogonal", 0)
    kernel = listed(arch, theta, x, y)
    for pattern in range(0, P, 25):
        moved = theta.copy()
        for _ in range(20):
            alone = Problem(x[pattern : pattern + 1], y[pattern : pattern + 1], arch, Loss("hinge", 1e3, 1))
            _, g = alone.largest_gap_and_gradient(torch.from_numpy(moved))
            moved -= 0.01 * g.numpy() / np.linalg.norm(g)
        change = np.abs(gaps(arch, moved, x, y) - gaps(arch, theta, x, y))
        bound = drift_bounds(kernel, moved)
        assert change[pattern] > 0.02
        assert (change <= bound).all()


def test_the_bound_is_tight_for_one_neuron_without_bias():
    """f = w₂ w₁·x. With w₂ = 1 kept, |δf| = ‖δw₁‖ ‖x‖ for a pattern along δw₁, and the bound is the same."""
    arch = Architecture(2, 1, 1, "linear")
    x = torch.tensor([[1.0, 1.0]] * 3, dtype=torch.float64)
    y = torch.ones(3, 1, dtype=torch.float64)
    theta = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    kernel = listed(arch, theta, x, y)
    moved = theta + np.array([0.25, 0.25, 0.0, 0.0, 0.0])
    assert drift_bounds(kernel, moved) == pytest.approx(0.5, rel=1e-8)


@pytest.mark.parametrize("P", [1, 64, 65, 300])
def test_a_list_holds_every_pattern_once_with_the_unsatisfied_ones_first(P):
    arch = Architecture(5, 6, 3)
    x, y = oracle.sphere(P, 5)
    theta = 2 * initial_parameters(arch, "orthogonal", 1)
    kernel = listed(arch, theta, x, y)
    assert sorted(kernel.neighbours.arrays.order) == list(range(P))
    delta = gaps(arch, theta, x, y)[kernel.neighbours.arrays.order]
    count = (delta > 0).sum()
    assert (delta[:count] > 0).all()
    listed_gaps = kernel.neighbours.arrays.gap.ravel()[:P]
    assert np.abs(listed_gaps - delta).max() < 1e-13 * max(1, np.abs(delta).max())


def test_tiles_that_sleep_do_not_change_the_steps():
    engine = satisfied_side_engine()
    problem, theta = engine.problem, engine.theta.clone()
    engine.advance(0, 1500)
    assert engine.statistics.lists_made > 0
    assert engine.statistics.n_missed == 0
    reference = TorchEngine(problem, theta, Adam(theta), engine.settings, np.random.default_rng(0))
    reference.advance(0, 1500)
    # at this rate round-off grows to some 10⁻¹¹ in 1000 steps; one pattern left out would move theta by 10⁻⁶
    assert (engine.theta - theta).abs().max() < 1e-8


def test_few_tiles_are_evaluated_where_most_patterns_are_satisfied():
    engine = satisfied_side_engine()
    engine.advance(0, 10_000)
    assert engine.problem.evaluate(engine.theta).n_unsatisfied < 60
    # evaluates the tiles at this theta without a step
    engine.advance(10_000, 10_001)
    assert engine.statistics.n_tiles == 7
    assert engine.statistics.n_awake <= 3


@pytest.mark.parametrize("neighbour_list", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_run_restored_with_its_list_ends_with_the_same_bytes(neighbour_list, shared, monkeypatch):
    if shared:
        monkeypatch.setattr(compiled_engine, "THREADING_MIN_MULTIPLICATIONS", 0)
    whole, first, second = (satisfied_side_engine(neighbour_list=neighbour_list) for _ in range(3))
    whole.advance(0, 3000)
    first.advance(0, 1500)
    state = first.state()
    assert state["count"][Counter.LISTS_MADE] > 0
    second.restore(state)
    second.theta.copy_(first.theta)
    second.optimizer.t = first.optimizer.t
    for name, tensor in first.optimizer.state.items():
        second.optimizer.state[name].copy_(tensor)
    second.advance(1500, 3000)
    assert second.theta.numpy().tobytes() == whole.theta.numpy().tobytes()
    assert second.statistics == whole.statistics


def test_the_state_has_the_names_that_checkpoints_hold():
    names = ["order", "margin", "reach", "gap", "norms", "reference", "count"]
    assert list(satisfied_side_engine().state()) == names


def test_an_estimated_list_assumes_less_drift_than_the_bound():
    exact, estimated = satisfied_side_engine(), satisfied_side_engine(neighbour_list=True)
    for engine in (exact, estimated):
        engine.advance(0, 4000)
    assert estimated.statistics.drift_factor < exact.statistics.drift_factor == 1.0


@pytest.mark.parametrize("neighbour_list", [False, True])
def test_the_record_of_a_run_has_the_number_of_missed_crossings(neighbour_list):
    data, arch = oracle.dataset(400, 5), Architecture(5, 20, 2)
    options = {"steps": 4000, "lr": 1e-3, "stop": False, "measurements": 9, "neighbour_list": neighbour_list}
    run = train(data, arch, with_options(TrainingOptions(), **options), 1)
    engine = satisfied_side_engine(**options)
    engine.advance(0, 4000)
    assert run.info["n_missed_crossings"] == engine.n_missed
    assert neighbour_list or engine.n_missed == 0


def missed_by_a_list_that_trusts_too_much(estimated):
    """Missed crossings of a list that assumes 10⁻⁸ of its bound, after a change that makes satisfied patterns cross."""
    engine = satisfied_side_engine(neighbour_list=estimated)
    engine.advance(0, 1500)
    neighbours = engine.kernel.neighbours
    neighbours.request_sort()
    engine.advance(1500, 1501)
    neighbours.arrays.counters[Counter.DRIFT_FACTOR] = 1e-8
    engine.theta.mul_(0.5)
    neighbours.request_sort()
    before = engine.n_missed
    engine.advance(1501, 1502)
    return engine.n_missed - before


def test_an_estimated_list_counts_the_crossings_that_it_missed():
    assert missed_by_a_list_that_trusts_too_much(estimated=True) > 0


def test_a_crossing_that_an_exact_list_missed_is_an_error():
    with pytest.raises(CheckError, match="beyond the bound"):
        missed_by_a_list_that_trusts_too_much(estimated=False)


def test_a_run_is_satisfied_only_after_all_patterns_were_evaluated():
    """A list whose tiles all sleep must not end a run."""
    engine = satisfied_side_engine(neighbour_list=True)
    engine.advance(0, 501)
    engine.kernel.neighbours.arrays.margin[:] = np.inf  # no tile seems close to Δ = 0
    assert engine.problem.evaluate(engine.theta).n_unsatisfied > 0
    assert engine.advance(501, 502, stop=True) == (502, "")


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"loss": "cross-entropy"}, Compute()),
        ({"batch": 50}, Compute()),
        ({}, Compute(engine="torch")),
    ],
)
def test_an_estimated_list_is_refused_by_engines_without_a_list(options, place):
    data, arch = oracle.dataset(100, 5), Architecture(5, 6, 2)
    settings = with_options(TrainingOptions(), steps=10, neighbour_list=True, **options)
    with pytest.raises(InputError, match="neighbour list"):
        train(data, arch, settings, 0, place)
