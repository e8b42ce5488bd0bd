"""Brackets and samples on simulated trials whose threshold is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from jamtools.network.architecture import Architecture
from jamtools.random_streams import FRESH_SEEDS
from jamtools.transition.sampling import LEAST, Goal, Pool, Scale, bisect, descend, seek

OUTCOME = {True: "success", False: "unsatisfied"}


def widths(largest: int = 64) -> Scale:
    return Scale(lambda width: Architecture(10, width, 3).n_effective, largest)


def walked(walk, outcome) -> list[int]:
    """The sizes that a walk asks for, answered by outcome(size)."""
    tried = [next(walk)]
    try:
        while True:
            tried.append(walk.send(outcome(tried[-1])))
    except StopIteration:
        return tried


@pytest.mark.parametrize("first", [1, 3, 17, 64, 100])
@pytest.mark.parametrize("true", [1, 2, 5, 16, 17, 63, 64])
def test_bisection_brackets_the_threshold_from_anywhere_and_tries_no_width_twice(
    first: int, true: int
) -> None:
    tried = walked(bisect(first, widths()), lambda width: OUTCOME[width >= true])
    assert true in tried and (true == 1 or true - 1 in tried)
    assert len(tried) == len(set(tried))
    assert len(tried) <= 2 * 7 + 2  # a bracket by doubling, then a bisection: 2 log₂ 64 and the ends


@pytest.mark.parametrize("first", [1, 30, 64])
@pytest.mark.parametrize("true", [1, 2, 17, 63])
def test_the_bracket_of_patterns_is_the_largest_that_fits_and_the_next(first: int, true: int) -> None:
    tried = walked(bisect(first, Scale(float, 64, rising=False)), lambda P: OUTCOME[true >= P])
    assert {true, true + 1} <= set(tried) and len(tried) == len(set(tried))


def test_bisection_gives_up_beyond_the_largest() -> None:
    assert walked(bisect(4, widths(50)), lambda width: "unsatisfied") == [4, 8, 16, 32, 50]
    assert walked(bisect(40, Scale(float, 50, rising=False)), lambda P: "success") == [40, 50]


@pytest.mark.parametrize("seed", range(5))
def test_a_response_that_is_not_monotone_ends_all_the_same_at_a_failure_beside_a_success(seed: int) -> None:
    """Coins: no width twice, and the last bracket is one of neighbours."""
    rng = np.random.default_rng(seed)
    told: dict[int, str] = {}
    tried = walked(bisect(9, widths()), lambda width: told.setdefault(width, OUTCOME[rng.random() < 0.5]))
    assert len(tried) == len(set(tried)) <= 16
    if "success" in told.values():
        least = min(width for width in told if told[width] == "success")
        assert least == 1 or told.get(least - 1) == "unsatisfied"


def test_descending_goes_one_by_one_past_undecided_widths_to_a_clear_failure() -> None:
    outcomes = {5: "undecided", 4: "success", 3: "undecided", 2: "unsatisfied"}
    assert walked(descend(7, widths()), lambda width: outcomes.get(width, "success")) == [7, 6, 5, 4, 3, 2]
    assert walked(descend(3, widths(40)), lambda width: OUTCOME[width > 3]) == [3, 6, 5, 4, 3]
    assert walked(descend(3, widths(10)), lambda width: "unsatisfied") == [3, 6, 10]
    assert walked(descend(2, widths()), lambda width: "success") == [2, 1]


@pytest.mark.parametrize("x", [3.0, 4.4, 5.5, 7.77])
def test_sizes_around_an_x(x: float) -> None:
    scale = widths()
    assert scale.x(scale.at_least(x)) >= x > scale.x(max(scale.below(x), 1)) or scale.below(x) == 0
    grid = [scale.x(h) for h in range(1, 200)]
    assert scale.nearest(x) == 1 + int(np.argmin(np.abs(np.array(grid) - x)))


class Oracle:
    """Trials that succeed with a logistic probability in log N, or log P."""

    def __init__(self, scale: Scale, m: float, w: float, seed: int = 0) -> None:
        self.scale, self.m, self.w, self.rng = scale, m, w, np.random.default_rng(seed)
        self.batches: list[list[tuple[int, int]]] = []

    def __call__(self, wanted):
        self.batches.append(list(wanted))
        return [{"outcome": self.outcome(size)} for size, _ in wanted]

    def outcome(self, size: int) -> str:
        above = bool(self.rng.random() < expit((self.scale.x(size) - self.m) / self.w))
        return OUTCOME[above is self.scale.rising]


def found(oracle: Oracle, goal: Goal, seeds=(0, 1), first=12):
    pool = Pool(oracle)
    return seek(pool, oracle.scale, list(seeds), first, goal, lambda record: record["outcome"]), pool


def test_a_search_ends_when_it_is_precise_and_holds_the_truth() -> None:
    """20 searches at w = 0.1, which 95% intervals may miss at most five times with probability 10⁻³."""
    hits = 0
    for seed in range(20):
        threshold, pool = found(Oracle(widths(), math.log(300), 0.1, seed), Goal(precision=0.25, trials=200))
        assert threshold.length <= 0.25 and len(pool.trials) >= LEAST
        hits += threshold.interval[0] <= math.log(300) <= threshold.interval[1]
    assert hits >= 15


def test_the_same_for_numbers_of_patterns() -> None:
    hits = 0
    for seed in range(20):
        oracle = Oracle(Scale(float, 2000, rising=False), math.log(400), 0.1, seed)
        threshold, pool = found(oracle, Goal(precision=0.25, trials=200), first=150)
        assert threshold.length <= 0.25
        hits += threshold.interval[0] <= math.log(400) <= threshold.interval[1]
    assert hits >= 15


def test_samples_have_seeds_never_used_before_in_turn_for_each_of_those_given() -> None:
    _, pool = found(Oracle(widths(), math.log(300), 0.2), Goal(trials=40), seeds=(3, 7))
    sampled = [seed for _, seed in pool.trials if seed >= FRESH_SEEDS]
    assert (
        sampled
        == [s + FRESH_SEEDS * k for k in range(1, 1 + len(sampled) // 2 + 1) for s in (3, 7)][: len(sampled)]
    )
    assert {seed for _, seed in pool.trials} - set(sampled) == {3, 7}


def test_the_brackets_of_all_seeds_go_in_step_and_samples_come_in_rounds() -> None:
    oracle = Oracle(widths(), math.log(300), 0.2)
    _, pool = found(oracle, Goal(trials=60, at_once=8), seeds=range(6))
    assert [seed for _, seed in oracle.batches[0]] == list(range(6)) and len(
        {w for w, _ in oracle.batches[0]}
    ) == 1
    rounds = [batch for batch in oracle.batches if batch[0][1] >= FRESH_SEEDS]
    assert {len(batch) for batch in rounds[:-1]} <= {8}
    assert len({size for size, _ in rounds[0]}) > 1, "on both sides of the median"


def test_a_seed_s_bracket_does_not_depend_on_the_other_seeds() -> None:
    def run(wanted):
        return [{"outcome": OUTCOME[size >= 7 + seed]} for size, seed in wanted]

    def bracket(seeds):
        pool = Pool(run)
        seek(pool, widths(), seeds, 12, Goal(precision=9.0), lambda record: record["outcome"])
        return [one for one in pool.trials if one[1] == 2]

    assert bracket([2]) == bracket([0, 1, 2, 5])


@pytest.mark.parametrize("trials", [1, 2, 5, 17, 23])
def test_the_budget_is_kept_to_the_trial(trials: int) -> None:
    threshold, pool = found(
        Oracle(widths(), math.log(300), 0.3), Goal(precision=0.01, trials=trials), seeds=range(4)
    )
    assert len(pool.trials) == trials
    if trials == 1:
        assert threshold.m is None and threshold.interval == (None, None)


def test_nothing_is_sampled_where_nothing_turns() -> None:
    threshold, pool = found(Oracle(widths(20), 20.0, 0.1), Goal(trials=50))
    assert threshold.m is None and all(seed < FRESH_SEEDS for _, seed in pool.trials)


def test_the_bracket_within_one_step_of_width_is_enough_however_precise_it_should_be() -> None:
    """A sharp threshold between widths 9 and 10: no more trials than it takes to be sure of that."""
    scale = widths()
    m = (scale.x(9) + scale.x(10)) / 2
    threshold, pool = found(Oracle(scale, m, 1e-4), Goal(precision=1e-3, trials=200))
    assert len(pool.trials) < 60
    assert scale.at_least(threshold.interval[0]) == scale.at_least(threshold.interval[1]) == 10


def test_undecided_trials_draw_the_samples_to_both_of_their_ends() -> None:
    """All that would succeed below N = 400 is undecided: N* lies anywhere from 300 to there."""
    scale = widths()

    class Slow(Oracle):
        def outcome(self, size: int) -> str:
            told = super().outcome(size)
            return "undecided" if told == "success" and scale.x(size) < math.log(400) else told

    oracle = Slow(scale, math.log(300), 0.05)
    threshold, pool = found(oracle, Goal(trials=120, precision=0.1))
    low, high = threshold.interval
    assert low < math.log(300) < math.log(400) - 0.1 < high
    sampled = [scale.x(size) for size, seed in pool.trials if seed >= FRESH_SEEDS]
    assert min(sampled) < math.log(300) and max(sampled) > math.log(360)
    assert len(pool.trials) == 120, "no number of trials decides"


@pytest.mark.parametrize(("method", "rising"), [("bisect", True), ("bisect", False), ("descend", True)])
def test_between_successes_and_undecided_trials_the_search_goes_on_to_a_failure(
    method: str, rising: bool
) -> None:
    """Undecided from 5 to 11: what bracketing finds is no threshold yet."""
    scale = widths() if rising else Scale(float, 64, rising=False)
    order = ("unsatisfied", "undecided", "success") if rising else ("success", "undecided", "unsatisfied")
    pool = Pool(lambda wanted: [{"outcome": order[(size >= 5) + (size >= 12)]} for size, _ in wanted])
    found = seek(pool, scale, [0, 1], 14, Goal(method=method, trials=40), lambda record: record["outcome"])
    assert found.m is not None
    assert scale.x(4) - 0.5 < found.interval[0] < scale.x(5) < scale.x(11) < found.interval[1]


def test_undecided_down_to_one_neuron_there_is_no_threshold_and_no_endless_search() -> None:
    pool = Pool(lambda wanted: [{"outcome": "success" if size >= 10 else "undecided"} for size, _ in wanted])
    found = seek(pool, widths(), [0], 12, Goal(trials=40), lambda record: record["outcome"])
    assert found.m is None and 1 in {size for size, _ in pool.trials} and len(pool.trials) < 20


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_however_many_at_once_samples_lie_on_both_sides(at_once: int) -> None:
    m = math.log(300)
    _, pool = found(Oracle(widths(), m, 0.1, 3), Goal(precision=0.15, trials=60, at_once=at_once))
    above = [widths().x(size) > m for size, seed in pool.trials if seed >= FRESH_SEEDS]
    assert 0.3 < np.mean(above) < 0.7


def test_a_median_beyond_the_largest_size_ends_the_search() -> None:
    """One in five at the largest width: how far beyond N* is, no trial can say."""
    rng = np.random.default_rng(0)
    pool = Pool(
        lambda wanted: [{"outcome": OUTCOME[size == 20 and rng.random() < 0.2]} for size, _ in wanted]
    )
    seek(pool, widths(20), range(6), 12, Goal(precision=0.01, trials=200), lambda record: record["outcome"])
    assert len(pool.trials) < 60
