"""The approach to jamming at fixed norm: every stage against torch.func and against what its words say."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.minima.approach import advance, begin
from jamtools.minima.approach_knobs import MarginKnob, at_margin
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem

NORM, UNTIL = 5.0, 1e-12


def start_of(activation, depth, P, seed, d=3, h=3, norm=NORM):
    data, arch = random_sphere(P, d, seed), Architecture(d, h, depth, activation, norm=norm)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    theta = torch.from_numpy(initial_parameters(arch, "orthogonal", seed))
    return theta, Problem(x, y, arch, Loss("hinge", 0.5, P))


def stages_of(theta, problem, until=UNTIL):
    """All stages of an approach, and how it ended."""
    approach = begin(theta, MarginKnob(problem), until)
    stages = [approach.stage]
    while not approach.end:
        approach = advance(approach, MarginKnob(problem), until)
        stages.append(approach.stage)
    return stages, approach.end


@functools.cache
def jamming():
    """A tanh network of 28 parameters with 30 patterns, to its jamming point."""
    theta, problem = start_of("tanh", 2, 30, 0)
    stages, end = stages_of(theta, problem)
    assert end == "reached"
    return problem, stages


def test_an_approach_ends_at_the_loss_that_was_asked_for_with_ever_smaller_steps():
    problem, stages = jamming()
    N = problem.arch.n_effective
    assert stages[-1].status == "stationary" and 0 < stages[-1].loss / N <= UNTIL
    assert (np.diff([stage.epsilon for stage in stages]) < 0).all()
    assert (np.diff([stage.loss for stage in stages]) < 0).all()
    assert [stage.overlap for stage in stages[-4:]] == [1.0] * 4, "the same patterns stay unsatisfied"
    moves = [stage.moved for stage in stages[-6:]]
    assert (np.diff(moves) < 0).all() and moves[-1] < 1e-4


def test_near_jamming_a_stage_divides_the_loss_by_four():
    """L = (ε - ε_J)² / (2 c) on a smooth branch, and a stage halves ε - ε_J."""
    _, stages = jamming()
    ratios = [b.loss / a.loss for a, b in zip(stages[-6:], stages[-5:], strict=False)]
    assert ratios == pytest.approx([0.25] * len(ratios), rel=0.02)


def test_the_jamming_point_is_at_most_isostatic():
    """Forces on the sphere: Σ Δ_µ J_µ = 0 on a tangent space of Ñ - 1 dimensions, and rank J = N_Δ - 1 at jamming."""
    problem, stages = jamming()
    assert 1 < stages[-1].n_unsatisfied <= problem.arch.n_parameters


def test_every_stage_is_a_minimum_on_the_sphere():
    """The gradient vanishes on the tangent space, and no point beside it has a lower loss; by torch.func."""
    problem, stages = jamming()
    rng = np.random.default_rng(0)
    for stage in stages:
        theta, at = stage.theta, at_margin(problem, stage.epsilon)
        assert float(theta.norm()) == pytest.approx(NORM, rel=1e-12)

        def loss(t, at=at):
            gaps = at.loss.gaps(at.forward(t).f, at.y).clamp(min=0)
            return 0.5 * gaps.square().mean()

        assert stage.loss == pytest.approx(float(loss(theta)), rel=1e-9)
        g = torch.func.grad(loss)(theta)
        tangent = g - (g @ theta) * theta / NORM**2
        J = torch.func.jacrev(lambda t, at=at: at.loss.gaps(at.forward(t).f, at.y)[:, 0])(theta)
        gaps = at.loss.gaps(at.forward(theta).f, at.y)[:, 0].clamp(min=0)
        terms = float((J.square().sum(1) @ gaps.square()).sqrt()) / at.loss.P
        # Δ has a round-off of 10⁻¹⁶, so that forces near jamming have a relative one of 10⁻¹⁵/Δ
        assert float(tangent.norm()) <= max(1e-9, 1e-14 / float(gaps.max())) * terms
        for _ in range(20):
            kick = torch.from_numpy(rng.standard_normal(len(theta)))
            point = theta + 1e-3 * (stage.loss**0.5) * kick / kick.norm()
            assert float(loss(point * (NORM / point.norm()))) >= stage.loss * (1 - 1e-9)


def test_too_many_patterns_collapse_within_a_few_stages():
    """200 patterns for 28 parameters: f vanishes with ε, and L/ε² stays."""
    theta, problem = start_of("tanh", 2, 200, 0, norm=4.0)
    stages, end = stages_of(theta, problem)
    assert end == "collapsed" and len(stages) <= 10
    ratios = [stage.loss / stage.epsilon**2 for stage in stages[-3:]]
    assert max(ratios) < 1.1 * min(ratios)
    sizes = [float(at_margin(problem, s.epsilon).forward(s.theta).f.abs().mean()) for s in stages]
    assert sizes[-1] < 0.1 * sizes[0]


def test_a_satisfied_start_goes_the_other_way_until_it_jams():
    theta, problem = start_of("tanh", 2, 10, 1)
    stages, end = stages_of(theta, at_margin(problem, 0.05), 1e-6)
    assert stages[0].status == "satisfied" and end == "reached"
    assert stages[1].epsilon > 0.05 and stages[1].n_unsatisfied > 0
    assert stages[-1].loss / problem.arch.n_effective <= 1e-6


def test_an_approach_ends_where_all_patterns_are_dead():
    """ReLU neurons whose large negative biases kill all patterns: no margin satisfies them."""
    theta, problem = start_of("relu", 1, 12, 0)
    theta[:9] = 0.0
    theta[9:12] = -3.0
    theta[12:15] = 1.0
    theta[15] = 0.0
    approach = begin(theta, MarginKnob(problem), UNTIL)
    assert approach.stage.status == "dead" and approach.end == "dead"
    assert advance(approach, MarginKnob(problem), UNTIL) is approach


def with_a_dead_cluster():
    """A ReLU start and its 20 patterns: the numbers 3, 8 and 11 are where no neuron of the first layer is active."""
    theta, problem = start_of("relu", 1, 20, 0)
    weights = theta[:9].reshape(3, 3)
    off = -torch.linalg.pinv(weights) @ (theta[9:12].abs() + 20.0)
    x, y = problem.x.clone(), problem.y.clone()
    for n, mu in enumerate((3, 8, 11)):
        x[mu] = off * (1 + 0.01 * n)
        y[mu] = (-1.0) ** n
    return theta, replace(problem, x=x, y=y)


def test_dead_patterns_are_set_aside_and_the_others_jam():
    """Two of the three must be dead and unsatisfied: f is one constant there, and their labels differ."""
    theta, problem = with_a_dead_cluster()
    stages, end = stages_of(theta, problem)
    set_aside = list(stages[0].set_aside)
    assert set(set_aside) & {3, 8, 11}, "no pattern is dead at the minimum: choose another start"
    kept = [mu for mu in range(20) if mu not in set_aside]
    for stage in stages:
        assert set(stage.set_aside) >= set(set_aside) and 20 - len(stage.set_aside) == stage.P
    first = stages[0]
    f = problem.forward(first.theta).f[kept, 0]
    gaps = (first.epsilon - problem.y[kept, 0] * f).clamp(min=0)
    assert first.loss == pytest.approx(float(gaps.square().sum()) / (2 * len(kept)), rel=1e-12)
    assert end == "reached" and stages[-1].loss / problem.arch.n_effective <= UNTIL


def test_a_pattern_that_is_set_aside_counts_as_one_that_is_not_unsatisfied_any_more():
    theta, problem = with_a_dead_cluster()
    knob = MarginKnob(problem)
    stage = begin(theta, knob, UNTIL).stage
    before = replace(stage, set_aside=())
    new = knob.compared(stage, before)
    assert new.n_changed == len(stage.set_aside) > 0
    assert new.moved == 0


def test_a_margin_that_passes_zero_is_no_collapse():
    """A perceptron above its capacity: f keeps its size as the margin changes its sign."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.standard_normal((80, 10))), torch.from_numpy(rng.choice([-1.0, 1.0], 80))
    arch = Architecture(10, 10, 0, norm=1.0, bias=False)
    problem = Problem(x, y, arch, Loss("hinge", 1.0, 80))
    knob = MarginKnob(problem)
    stage = begin(torch.from_numpy(rng.standard_normal(10)), knob, UNTIL).stage
    small = replace(stage, epsilon=1e-3)
    assert not knob.collapses(small, 1.0)
    assert knob.collapses(replace(small, theta=1e-3 * small.theta), 1.0)


def test_an_approach_goes_on_from_any_of_its_states_to_the_same_stages():
    theta, problem = start_of("tanh", 2, 30, 0)
    approach = begin(theta, MarginKnob(problem), UNTIL)
    for _ in range(4):
        approach = advance(approach, MarginKnob(problem), UNTIL)
    copy = replace(approach, stage=replace(approach.stage, theta=approach.stage.theta.clone()))
    one, other = (
        advance(advance(a, MarginKnob(problem), UNTIL), MarginKnob(problem), UNTIL) for a in (approach, copy)
    )
    assert torch.equal(one.stage.theta, other.stage.theta)


def test_a_minimum_that_is_given_stays_where_it_is():
    problem, stages = jamming()
    first = begin(stages[0].theta, MarginKnob(problem), UNTIL, descend=False)
    assert float((first.stage.theta - stages[0].theta).norm()) < 1e-7


def unsatisfied_at(stage, problem):
    """The numbers of the unsatisfied patterns of a stage."""
    f = problem.forward(stage.theta).f[:, 0]
    return set((stage.epsilon - problem.y[:, 0] * f > 0).nonzero()[:, 0].tolist())


def test_changes_between_stages_are_counted():
    problem, stages = jamming()
    for last, stage in itertools.pairwise(stages):
        before, after = (unsatisfied_at(s, problem) for s in (last, stage))
        assert stage.n_changed == len(before ^ after) and stage.change == len(after) - len(before)
        assert stage.overlap == pytest.approx(len(before & after) / len(before | after))


def test_free_weights_and_several_outputs_have_no_approach():
    theta, problem = start_of("tanh", 2, 30, 0)
    free = replace(problem, arch=replace(problem.arch, norm=None))
    with pytest.raises(InputError, match="fixed norm"):
        begin(theta, MarginKnob(free), UNTIL)
    with pytest.raises(InputError, match="one output"):
        begin(theta, MarginKnob(replace(problem, arch=replace(problem.arch, outputs=3))), UNTIL)


def test_relu_stages_hold_their_kinks_at_zero():
    """As many pre-activations at unsatisfied patterns are zero to round-off as a ReLU stage has kinks."""
    for seed in range(8):
        theta, problem = start_of("relu", 2, 60, seed, d=4, h=6)
        approach = begin(theta, MarginKnob(problem), UNTIL)
        if approach.stage.n_kinks and approach.stage.status == "stationary":
            break
    else:
        raise AssertionError("no start of eight ended at a minimum on kinks")
    first = approach.stage
    z = torch.stack(problem.forward(first.theta).z[:-1]).abs()
    active = problem.loss.gaps(problem.forward(first.theta).f, problem.y)[:, 0] > 0
    smallest = z[:, active].flatten().sort().values
    assert float(smallest[first.n_kinks - 1]) < 1e-12
