"""What runs are, which of them carry overlaps and gaps, and when their exponents allow a claim."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.exponents.ensemble import (
    RunsDescription,
    gap_origin,
    gap_runs,
    in_words,
    overlap_origin,
    overlap_runs,
    size_obstacle,
)
from tests.support.planted_gaps import run_with_gaps

#: ε = 0.5: L = 10⁻⁴ ε².
NEAR_LOSS = 2.5e-5


def jammed(n_overlaps=60, P=300, N=100, **fields):
    """A jammed run with N_Δ/N = 0.6 and P/N = 3, unless the arguments say otherwise; the Δ are all different."""
    delta = np.concatenate([np.linspace(0.01, 0.02, n_overlaps), -np.linspace(0.1, 1, P - n_overlaps)])
    fields = {"status": "stationary", "final_loss": NEAR_LOSS, "n_effective_expected": N, **fields}
    return run_with_gaps(delta, **fields)


def satisfied(P=290, N=100, **fields):
    return run_with_gaps(
        -np.linspace(0.1, 1, P), final_loss=0.0, status="satisfied", n_effective_expected=N, **fields
    )


def on_its_way(**fields):
    return jammed(status="budget", **fields)


def test_runs_are_counted_by_state_with_the_ranges_of_those_with_overlaps():
    runs = [
        jammed(N=100, certified=True, final_loss=1e-5),
        jammed(n_overlaps=90, N=300, final_loss=1e-3),
        satisfied(P=20),
        on_its_way(final_loss=1e-4),
        run_with_gaps([0.1, -0.2], status="dead", n_effective_expected=100),
    ]
    found = RunsDescription.of(runs[:4]).as_dict()
    assert [found[f"n_{name}"] for name in ("runs", "jammed", "satisfied", "budget", "dead", "certified")] == [
        4, 2, 1, 1, 0, 1
    ]  # fmt: skip
    assert found["N"] == [100, 300]
    assert found["P_over_N"] == pytest.approx([0.2, 3.0])
    assert found["loss"] == pytest.approx([1e-5, 1e-3])
    assert found["relative_loss"] == pytest.approx([4e-5, 4e-3])
    assert found["unsatisfied_per_parameter"] == pytest.approx([0.3, 0.6])
    assert RunsDescription.of(runs).n_dead == 1


def test_satisfied_runs_have_no_overlaps_even_where_their_loss_is_not_zero():
    run = run_with_gaps([-0.1, 1e-12], final_loss=1e-24, status="satisfied")
    found = RunsDescription.of([run])
    assert found.loss is found.relative_loss is found.unsatisfied_per_parameter is None


def test_dead_patterns_are_not_counted_unless_they_are_kept():
    run = jammed(dead=range(10))
    assert RunsDescription.of([run]).unsatisfied_per_parameter == (0.5, 0.5)
    assert RunsDescription.of([run], keep_dead=True).unsatisfied_per_parameter == (0.6, 0.6)


def test_overlaps_come_from_jammed_runs_and_gaps_from_those_and_from_satisfied_ones():
    runs = [jammed(), satisfied(), on_its_way()]
    assert overlap_runs(runs) == runs[:1]
    assert gap_runs(runs) == runs[:2]
    assert overlap_runs(runs[2:]) == gap_runs(runs[2:]) == runs[2:]
    assert overlap_runs(runs[1:]) == runs[1:], "only the run on its way has overlaps, and no claim follows"


def test_a_certified_dead_run_is_at_a_minimum_only_if_it_is_kept():
    dead = jammed(status="dead", certified=True)
    assert overlap_runs([dead, on_its_way()], keep_dead=True) == [dead]
    assert len(overlap_runs([dead, on_its_way()])) == 2


def test_eight_jammed_runs_near_jamming_allow_a_claim():
    runs = [jammed(seed=seed) for seed in range(8)]
    assert overlap_origin(runs).no_claim is None
    assert gap_origin(runs).no_claim is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"status": "budget"}, "only 8 of 9 runs are near jamming"),
        ({"final_loss": 1.1e-3 * 0.25}, "only 8 of 9 runs are near jamming"),
        ({"n_overlaps": 151}, "only 8 of 9 runs are near jamming"),
    ],
    ids=["on its way", "large loss", "many overlaps"],
)
def test_a_run_that_is_not_near_jamming_forbids_a_claim(other, reason):
    runs = [*(jammed(seed=seed) for seed in range(8)), jammed(**other)]
    for origin in (overlap_origin(runs), gap_origin(runs)):
        assert reason in (origin.no_claim or "")


def test_runs_just_within_the_limits_are_near_jamming():
    runs = [jammed(n_overlaps=150, final_loss=0.99e-3 * 0.25) for _ in range(8)]
    assert overlap_origin(runs).no_claim is None


def test_fewer_than_eight_runs_forbid_a_claim():
    runs = [jammed(seed=seed) for seed in range(7)]
    for origin in (overlap_origin(runs), gap_origin(runs)):
        assert origin.no_claim == "an interval over runs takes 8 of them"


def test_losses_over_more_than_a_decade_forbid_a_claim_about_overlaps_but_a_single_run_far_away_does_not():
    few = [jammed(final_loss=NEAR_LOSS)] * 11
    wide = [jammed(final_loss=NEAR_LOSS / 20)] * 11
    assert overlap_origin(few + wide).no_claim == "their L span a factor of 20, expected at most 10"
    assert gap_origin(few + wide).no_claim is None
    assert overlap_origin([*few, *few, wide[0]]).no_claim is None


def test_dead_patterns_that_are_kept_forbid_a_claim():
    runs = [jammed(dead=[0], seed=seed) for seed in range(8)]
    assert overlap_origin(runs).no_claim is None
    assert overlap_origin(runs, keep_dead=True).no_claim == "dead patterns are among the values"


@pytest.mark.parametrize(
    ("fields", "near"),
    [({"P": 290}, True), ({"P": 200}, False), ({"P": 290, "depth": 5}, False), ({"P": 340}, False)],
    ids=["beside", "far below", "of another depth", "far above"],
)
def test_a_satisfied_run_is_near_only_beside_a_jammed_run_of_its_kind(fields, near):
    runs = [*(jammed(seed=seed) for seed in range(8)), satisfied(**fields)]
    assert (gap_origin(runs).no_claim is None) == near


def test_satisfied_runs_alone_do_not_tell_how_near_the_transition_is():
    assert "no jammed run beside them" in (gap_origin([satisfied()] * 9).no_claim or "")


def test_a_small_system_is_an_obstacle_for_gamma():
    assert "below 2000" in (size_obstacle([jammed(N=1999), jammed(N=4000)]) or "")
    assert size_obstacle([jammed(N=2000)]) is None
    assert size_obstacle([]) is None


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([jammed(N=137), jammed(N=329)], "2 jammed runs, N = 137 to 329, P/N = 0.91 to 2.2"),
        ([on_its_way()] * 3, "3 runs on their way (none at a minimum), N = 100, P/N = 3, N_Δ/N = 0.6, L/ε² = 0.0001"),
        ([on_its_way()], "1 run on its way (none at a minimum), N = 100"),
        ([jammed(), satisfied()], "2 runs (1 jammed, 1 satisfied), N = 100, P/N = 2.9 to 3"),
        ([on_its_way(), jammed(status="escaping")], "2 runs (1 on their way, 1 escaping; none at a minimum), N"),
        ([satisfied()], "1 satisfied run, N = 100, P/N = 2.9"),
    ],
)  # fmt: skip
def test_the_words_begin_with_the_states(runs, words):
    assert in_words(runs).startswith(words)
