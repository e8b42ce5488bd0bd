"""Approaches whose margin ε_J is known: by enumeration, by an inequality, by one angle; and how ε_J scales.

    perceptron, rows r = y x, ‖W‖ = R:  contacts S with r_i·W = ε,  (M Mᵀ) a = 1 with M = r_S,  W = ε Mᵀ a,  ε = ±R/√(1·a)
    a local maximum of min r·W where a > 0, no other row is below ε, and ε > 0 or |S| = d
    ReLU without biases, orthonormal patterns of label +1:   ε_J = (R²/(L+1))^{(L+1)/2} / √P
    tanh, one neuron, patterns ±s of labels ±1:              ε_J = max over φ of R cos φ tanh(s R sin φ)

The second line is Σ_µ f_µ ≤ √P Π_l ‖W_l‖ with the inequality of the means; one neuron in each layer attains it.
At the end of an approach 0 < ε - ε_J ≤ max Δ ≤ √(2 P L): the smallest r·W near the end is at most ε_J.
Source: none, elementary.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from jamtools.data.sphere import random_gaussian
from jamtools.minima.approach import advance, begin
from jamtools.minima.approach_knobs import MarginKnob, at_margin
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem

UNTIL = 1e-13


def problem_of(x, y, epsilon, norm=1.0, depth=0, activation="linear", width=None):
    """The problem of patterns x [P, d], y [P] without biases."""
    d = x.shape[1]
    arch = Architecture(d, width or d, depth, activation, norm=norm, bias=False)
    x, y = torch.as_tensor(x), torch.as_tensor(y)[:, None]
    return Problem(x, y, arch, Loss("hinge", epsilon, len(x)))


def stages_of(theta, problem, until=UNTIL, descend=True):
    """All stages of an approach, and how it ended."""
    knob = MarginKnob(problem)
    approach = begin(torch.as_tensor(theta, dtype=torch.float64), knob, until, descend)
    stages = [approach.stage]
    while not approach.end:
        approach = advance(approach, knob, until)
        stages.append(approach.stage)
    return stages, approach.end


def assert_jams_at(stages, end, P, margins):
    """The last stage is at one of these margins, to √(2 P L)."""
    last = stages[-1]
    assert end == "reached" and last.loss > 0
    excess = min((last.epsilon - margin for margin in margins), key=abs)
    # ε and the margins have round-off of some 1e-15
    assert -1e-14 <= excess <= np.sqrt(2 * P * last.loss) + 1e-14


def local_maxima(rows):
    """The margins of all local maxima of min_µ r_µ·W on the unit sphere, and their numbers of contacts."""
    P, d = rows.shape
    found = []
    for k in range(1, d + 1):
        for chosen in itertools.combinations(range(P), k):
            M = rows[list(chosen)]
            a = np.linalg.solve(M @ M.T, np.ones(k))
            if not (a > 0).all():
                continue
            for sign in (1, -1) if k == d else (1,):
                margin = sign / np.sqrt(a.sum())
                if (rows @ (margin * M.T @ a) >= margin - 1e-12).all():
                    found.append((margin, k))
    return found


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(("d", "P"), [(2, 2), (2, 12), (3, 3), (3, 20)])
def test_a_perceptron_of_two_or_three_dimensions_jams_at_a_margin_of_the_enumeration(d, P, seed):
    data = random_gaussian(P, d, seed)
    maxima = local_maxima(data.x * data.y[:, None])
    largest = max(margin for margin, _ in maxima)
    assert sum(margin > 0 for margin, _ in maxima) <= 1, "the positive part is concave"
    problem = problem_of(data.x, data.y, largest + 0.3)
    for start in np.random.default_rng(seed).standard_normal((3, d)):
        stages, end = stages_of(start, problem)
        assert_jams_at(stages, end, P, [margin for margin, _ in maxima])
        reached = min(maxima, key=lambda m, e=stages[-1].epsilon: abs(e - m[0]))
        assert stages[-1].n_unsatisfied == reached[1]


@pytest.mark.parametrize(("P", "norm"), [(1, 1.0), (3, 2.0), (5, 0.5)])
def test_orthonormal_patterns_jam_a_perceptron_at_the_norm_over_the_root_of_p(P, norm):
    rng = np.random.default_rng(P)
    x, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    y = np.where(rng.random(P) < 0.5, 1.0, -1.0)
    margin = norm / np.sqrt(P)
    stages, end = stages_of(rng.standard_normal(5), problem_of(x[:P], y, 1.5 * margin, norm))
    assert_jams_at(stages, end, P, [margin])
    assert stages[-1].n_unsatisfied == P


@pytest.mark.parametrize("depth", [1, 2])
def test_orthonormal_patterns_jam_relu_at_the_margin_of_the_inequality(depth):
    P, norm = 3, 2.5
    margin = (norm**2 / (depth + 1)) ** ((depth + 1) / 2) / np.sqrt(P)
    problem = problem_of(np.eye(P), np.ones(P), 1.2 * margin, norm, depth, "relu", 1)
    start = np.random.default_rng(0).uniform(0.5, 1, problem.arch.n_parameters)  # every pattern is active
    stages, end = stages_of(start, problem)
    assert_jams_at(stages, end, P, [margin])
    assert stages[-1].n_unsatisfied == P


@pytest.mark.parametrize(("scale", "norm"), [(1.0, 1.5), (0.7, 3.0)])
def test_pairs_of_opposite_patterns_jam_tanh_at_the_best_angle(scale, norm):
    best = minimize_scalar(
        lambda angle: -norm * np.cos(angle) * np.tanh(scale * norm * np.sin(angle)),
        bounds=(0, np.pi / 2),
        method="bounded",
        options={"xatol": 1e-9},
    )
    problem = problem_of(
        np.array([[scale], [-scale]]), np.array([1.0, -1.0]), -1.2 * best.fun, norm, 1, "tanh"
    )
    stages, end = stages_of([0.3, 1.0], problem)
    assert_jams_at(stages, end, 2, [-best.fun])
    angle = np.arctan2(*stages[-1].theta.abs().tolist())
    # the margin is flat at its maximum, so that an error of 1e-15 in it is one of 1e-7 in the angle
    assert angle == pytest.approx(best.x, abs=1e-6)


def test_a_stage_that_is_satisfied_exactly_rises_until_it_jams():
    """W = (½, ½, ½, ½) with the unit vectors as patterns has Δ = ε - ½ without round-off."""
    problem = problem_of(np.eye(4), np.ones(4), 0.5)
    stages, end = stages_of(np.full(4, 0.5), problem, descend=False)
    assert stages[0].status == "satisfied" and stages[0].loss == 0.0 and stages[0].n_unsatisfied == 0
    assert float(at_margin(problem, 0.5).largest_gap(stages[0].theta)) == 0.0
    assert stages[1].status == "stationary" and stages[1].epsilon > 0.5
    assert_jams_at(stages, end, 4, [0.5])


def scaled(stages, problem, theta, until, margin_factor):
    """ε, L and N_Δ of the stages of a scaled copy of a problem, in the units of the problem itself."""
    mine, end = stages_of(theta, problem, until, descend=False)
    assert end == "reached" and len(mine) == len(stages)
    return [(s.epsilon / margin_factor, s.loss / margin_factor**2, s.n_unsatisfied) for s in mine]


def assert_same_stages(stages, others):
    for stage, (epsilon, loss, n) in zip(stages, others, strict=True):
        assert epsilon == pytest.approx(stage.epsilon, rel=1e-9) and n == stage.n_unsatisfied
        # Δ near jamming is a difference of numbers of order 1: its error is 1e-15 of √(2L/N_Δ), or as the margin's
        assert loss == pytest.approx(stage.loss, rel=1e-6)


@pytest.mark.parametrize(("x_factor", "R_factor"), [(3.0, 1 / 3), (1.0, 3.0), (0.2, 1.0)])
def test_the_margins_of_a_perceptron_scale_as_the_norm_and_as_the_patterns(x_factor, R_factor):
    """f is linear in x and in W: ε → x R ε and L → (x R)² L at every stage."""
    data, until = random_gaussian(60, 10, 1), 1e-9
    problem = problem_of(data.x, data.y, 0.0)
    stages, _ = stages_of(np.random.default_rng(0).standard_normal(10), problem, until)
    factor = x_factor * R_factor
    copy = problem_of(x_factor * data.x, data.y, 0.0, R_factor)
    assert_same_stages(stages, scaled(stages, copy, R_factor * stages[0].theta, factor**2 * until, factor))


@pytest.mark.parametrize(("activation", "depth", "P", "seed"), [("relu", 1, 6, 1), ("linear", 2, 3, 2)])
def test_margins_of_homogeneous_networks_scale_as_a_power_of_the_norm(activation, depth, P, seed):
    """Without biases f(c W) = c^(L+1) f(W), so that ε_J ∝ R^(L+1), and L of every stage as its square."""
    data, until, R = random_gaussian(P, 3, seed), 1e-8, 2.0
    problem = problem_of(data.x, data.y, 0.8, R, depth, activation, 3)
    start = np.random.default_rng(seed).standard_normal(problem.arch.n_parameters)
    stages, end = stages_of(start, problem, until)
    assert end == "reached"
    factor = 2.0 ** (depth + 1)
    copy = problem_of(data.x, data.y, 0.8 * factor, 2 * R, depth, activation, 3)
    assert_same_stages(stages, scaled(stages, copy, 2 * stages[0].theta, factor**2 * until, factor))


def test_opposite_labels_have_the_opposite_network():
    """tanh is odd: y → -y with W_L+1 → -W_L+1 leaves every Δ as it is, to the last bit."""
    data, until = random_gaussian(10, 3, 0), 1e-9
    problem = problem_of(data.x, data.y, 0.8, 3.0, 1, "tanh", 3)
    start = np.random.default_rng(0).standard_normal(problem.arch.n_parameters)
    stages, end = stages_of(start, problem, until)
    assert end == "reached"
    opposite = stages[0].theta.clone()
    opposite[-3:] *= -1
    copy = problem_of(data.x, -data.y, 0.8, 3.0, 1, "tanh", 3)
    assert_same_stages(stages, scaled(stages, copy, opposite, until, 1.0))
