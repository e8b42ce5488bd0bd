"""Patterns taken away: the end of an approach against linear programming, and every stage against its patterns."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from jamtools.data.sphere import random_gaussian, random_sphere
from jamtools.errors import InputError
from jamtools.minima.approach import advance, begin, end_of
from jamtools.minima.approach_knobs import BRANCH_OVERLAP, MarginKnob, PatternsKnob
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem

UNTIL = 1e-14

#: The margin of the perceptrons: so small that on the sphere it excludes hardly any set that has a solution at margin 0.
MARGIN = 1e-3


def problem_of(data, arch, epsilon):
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    return Problem(x, y, arch, Loss("hinge", epsilon, data.P))


def stages_of(theta, knob, until=UNTIL):
    """All stages of an approach, and the approach at its end."""
    approach = begin(theta, knob, until)
    stages = [approach.stage]
    while not approach.end:
        approach = advance(approach, knob, until)
        if approach.number == len(stages):
            stages.append(approach.stage)
    return stages, approach


@functools.cache
def perceptron(first, seed=0, total=90, d=10):
    """The approach by patterns of a spherical perceptron that begins with `first` of 90 Gaussian patterns."""
    data = random_gaussian(total, d, seed)
    arch = Architecture(d, 1, 0, "linear", norm=1.0, bias=False)
    theta = torch.from_numpy(initial_parameters(arch, "orthogonal", seed))
    knob = PatternsKnob(problem_of(data, arch, MARGIN), first, theta)
    return data, knob, *stages_of(theta, knob)


def largest_margin(data, P):
    """max over w of min_µ y w·x/√d on the ball |w|_∞ ≤ 1, by linear programming: positive where the classes separate."""
    rows = np.hstack([-(data.y[:P, None] * data.x[:P]), np.ones((P, 1))])
    result = linprog(
        np.r_[np.zeros(data.d), -1.0], rows, np.zeros(P), bounds=[(-1, 1)] * data.d + [(None, None)]
    )
    return -result.fun


@pytest.mark.parametrize("seed", range(3))
def test_a_perceptron_ends_where_one_pattern_fewer_is_separable(seed):
    """At a margin near 0 the satisfied set is convex: the end is the largest P, whatever the way there."""
    data, knob, stages, approach = perceptron(60, seed)
    assert approach.end == "reached"
    P = stages[-1].P
    assert stages[-1].n_unsatisfied > 0 and stages[-1].status == "stationary"
    assert largest_margin(data, P) < MARGIN < largest_margin(data, P - 1)


@pytest.mark.parametrize("seed", range(2))
def test_a_satisfied_perceptron_gets_patterns_and_ends_at_the_same_number(seed):
    data, knob, stages, approach = perceptron(8, seed)
    assert stages[0].status == "satisfied" and stages[0].P == 8
    assert stages[1].P > 8 and stages[1].n_unsatisfied > 0
    assert approach.end == "reached" and stages[-1].P == perceptron(60, seed)[2][-1].P


def test_a_satisfied_run_without_more_patterns_is_exhausted():
    _, _, stages, approach = perceptron(8, 0, total=12)
    assert approach.end == "exhausted" and approach.number == 1
    assert [stage.P for stage in stages] == [8, 12] and stages[-1].status == "satisfied"
    _, _, stages, approach = perceptron(12, 0, total=12)
    assert approach.end == "exhausted" and [stage.P for stage in stages] == [12]


@functools.cache
def network():
    """A tanh network of 28 parameters at fixed norm, with 60 patterns that are taken away."""
    data, arch = random_sphere(60, 3, 0), Architecture(3, 3, 2, "tanh", norm=5.0)
    theta = torch.from_numpy(initial_parameters(arch, "orthogonal", 0))
    knob = PatternsKnob(problem_of(data, arch, 0.5), 60, theta)
    return data, knob, *stages_of(theta, knob)


def unsatisfied(data, stage):
    """The numbers of the unsatisfied patterns of a stage, from its theta by numpy."""
    w = stage.theta.numpy()
    first, second, last = w[:12], w[12:24], w[24:]
    h = np.tanh(data.x[: stage.P] @ first[:9].reshape(3, 3).T + first[9:])
    h = np.tanh(h @ second[:9].reshape(3, 3).T + second[9:])
    gaps = stage.epsilon - data.y[: stage.P] * (h @ last[:3] + last[3])
    return set(np.flatnonzero(gaps > 1e-10).tolist()), gaps


def test_every_stage_takes_away_the_last_patterns_and_is_described_by_them():
    data, _, stages, approach = network()
    assert approach.end == "reached" and len(stages) > 5
    assert (np.diff([stage.P for stage in stages]) < 0).all()
    for last, stage in itertools.pairwise(stages):
        (before, _), (after, gaps) = unsatisfied(data, last), unsatisfied(data, stage)
        common = {i for i in before if i < stage.P}
        assert stage.n_unsatisfied == len(after)
        assert stage.loss == pytest.approx(0.5 * np.square(gaps.clip(0)).mean(), rel=1e-9)
        assert stage.n_changed == len(common ^ after) and stage.change == len(after) - len(before)
        overlap = len(common & after) / len(common | after)
        assert stage.overlap == pytest.approx(overlap)
        assert stage.avalanche == (overlap < BRANCH_OVERLAP)
        moved = np.linalg.norm(stage.theta - last.theta) / np.linalg.norm(stage.theta)
        assert stage.moved == pytest.approx(moved, rel=1e-12)
    assert approach.avalanches == sum(stage.avalanche for stage in stages)


def test_one_pattern_fewer_than_the_end_was_satisfied_on_the_way():
    _, knob, stages, approach = network()
    assert approach.pace == stages[-1].P - 1
    stage, _ = knob.lower(replace(stages[-1], P=stages[-1].P), stages[-1].P - 2)
    assert stage is None, "the last step of one pattern unjams again"


def test_dead_patterns_are_no_obstacle_while_others_are_alive():
    """Two clusters of patterns for one ReLU neuron that is dead at the first one: it has no minimum with that satisfied."""
    x = np.array([[-1.0, 0.0]] + [[1.0, 0.1 * k] for k in range(6)] * 2)
    y = np.r_[1.0, np.ones(6), -np.ones(6)]
    arch = Architecture(2, 1, 1, "relu", norm=2.0, bias=False)
    problem = Problem(torch.from_numpy(x), torch.from_numpy(y), arch, Loss("hinge", 0.5, len(y)))
    theta = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    approach = begin(theta, PatternsKnob(problem, len(y), theta), UNTIL)
    assert approach.stage.status != "dead" and not approach.end
    assert 0 in begin(theta, MarginKnob(problem), UNTIL).stage.set_aside, "the margin sets it aside"
    first = begin(theta, PatternsKnob(problem, 1, theta), UNTIL)
    assert first.end == "dead" and first.stage.n_unsatisfied == 1


def test_free_weights_grow_by_a_decade_and_the_first_stage_has_the_trace_of_an_escape():
    data = random_sphere(26, 2, 0)
    arch = Architecture(2, 2, 1, "tanh")
    theta = torch.from_numpy(initial_parameters(arch, "orthogonal", 0))
    knob = PatternsKnob(problem_of(data, arch, 0.5), 26, theta)
    stages, approach = stages_of(theta, knob)
    assert approach.end in (
        "reached",
        "escaping",
    )  # only a certificate tells saturated neurons from a minimum
    norms = [float(stage.theta.norm()) for stage in stages]
    assert norms[-1] > max(10 * float(theta.norm()), norms[0]) and knob.has_grown(stages[-1])
    assert not knob.has_grown(replace(stages[0], theta=2 * theta))
    first = stages[0]
    assert first.status == "escaping" and first.trace is not None and first.trace.seen
    assert first.trace.origin == pytest.approx(float(theta.norm()))
    assert first.trace.losses[-1] == pytest.approx(knob.problem.value(first.theta), rel=1e-9)
    assert all(stage.trace is None for stage in stages if stage.status != "escaping")


def test_the_end_of_an_approach_is_a_word_for_the_state_of_its_last_stage():
    words = {"stationary": "reached", "escaping": "escaping", "satisfied": "exhausted", "dead": "dead"}
    for status, word in words.items():
        assert end_of(status, False) == end_of(status, True) == word
    assert (end_of("budget", False), end_of("budget", True)) == ("stalled", "escaping")


def test_several_outputs_have_no_approach_by_patterns():
    _, knob, *_ = network()
    several = replace(knob.problem, arch=replace(knob.problem.arch, outputs=3))
    with pytest.raises(InputError, match="one output"):
        PatternsKnob(several, 60, knob.theta0)
