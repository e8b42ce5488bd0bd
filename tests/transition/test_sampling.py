"""Brackets and samples on simulated trials whose transition is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from jamtools.network.architecture import Architecture
from jamtools.random_streams import FRESH_SEEDS, REPLACEMENT_SEEDS
from jamtools.transition.logistic import MedianEstimate, Tally, fit_median
from jamtools.transition.options import SearchOptions
from jamtools.transition.sampling import MAX_REPLACEMENTS, SizeAxis, TrialCache, bisect, descend, seek
from jamtools.transition.trial import Outcome, Trial, outcome_at_end
from tests.support.searches import simulated, trial

OUTCOME: dict[bool, Outcome] = {True: "success", False: "unsatisfied"}


def widths(largest: int = 64) -> SizeAxis:
    return SizeAxis(lambda width: Architecture(10, width, 3).n_effective, largest, "width")


def patterns(largest: int) -> SizeAxis:
    return SizeAxis(float, largest, "patterns")


def sizes_tried(bracket, outcome) -> list[int]:
    """The sizes that a bracket asks for, when a trial at each has the outcome outcome(size)."""
    tried = [next(bracket)]
    try:
        while True:
            tried.append(bracket.send(outcome(tried[-1])))
    except StopIteration:
        return tried


@pytest.mark.parametrize("first", [1, 3, 17, 64, 100])
@pytest.mark.parametrize("true", [1, 2, 5, 16, 17, 63, 64])
def test_bisection_brackets_the_transition_from_any_first_width_and_tries_no_width_twice(
    first: int, true: int
) -> None:
    tried = sizes_tried(bisect(first, widths()), lambda width: OUTCOME[width >= true])
    assert true in tried and (true == 1 or true - 1 in tried)
    assert len(tried) == len(set(tried))
    assert len(tried) <= 2 * 7 + 2  # a bracket by doubling, then a bisection: 2 log₂ 64 and the ends


@pytest.mark.parametrize("first", [1, 30, 64])
@pytest.mark.parametrize("true", [1, 2, 17, 63])
def test_bisection_in_patterns_ends_at_the_largest_p_that_fits_and_the_next(first: int, true: int) -> None:
    tried = sizes_tried(bisect(first, patterns(64)), lambda P: OUTCOME[true >= P])
    assert {true, true + 1} <= set(tried) and len(tried) == len(set(tried))


def test_bisection_ends_at_the_largest_size_if_no_trial_is_above_the_transition() -> None:
    assert sizes_tried(bisect(4, widths(50)), lambda width: "unsatisfied") == [4, 8, 16, 32, 50]
    assert sizes_tried(bisect(40, patterns(50)), lambda P: "success") == [40, 50]


@pytest.mark.parametrize("seed", range(5))
def test_bisection_of_random_outcomes_ends_at_a_failure_beside_a_success(seed: int) -> None:
    """The outcome at each width is random. No width is tried twice, and the last bracket has neighbouring widths."""
    rng = np.random.default_rng(seed)
    outcomes: dict[int, Outcome] = {}
    tried = sizes_tried(
        bisect(9, widths()), lambda width: outcomes.setdefault(width, OUTCOME[rng.random() < 0.5])
    )
    assert len(tried) == len(set(tried)) <= 16
    if "success" in outcomes.values():
        least = min(width for width in outcomes if outcomes[width] == "success")
        assert least == 1 or outcomes.get(least - 1) == "unsatisfied"


def test_descending_passes_undecided_widths_in_steps_of_one_until_a_failure_beyond_doubt() -> None:
    outcomes = {5: "undecided", 4: "success", 3: "undecided", 2: "unsatisfied"}
    tried = sizes_tried(descend(7, widths()), lambda width: outcomes.get(width, "success"))
    assert tried == [7, 6, 5, 4, 3, 2]
    assert sizes_tried(descend(2, widths()), lambda width: "success") == [2, 1]


def test_descending_starts_from_a_doubled_width_where_the_first_one_fails() -> None:
    assert sizes_tried(descend(3, widths(40)), lambda width: OUTCOME[width > 3]) == [3, 6, 5, 4, 3]
    assert sizes_tried(descend(3, widths(10)), lambda width: "unsatisfied") == [3, 6, 10]


@pytest.mark.parametrize("x", [3.0, 4.4, 5.5, 7.77])
def test_an_axis_finds_the_sizes_around_an_x(x: float) -> None:
    axis = widths()
    assert axis.x(axis.smallest_from(x)) >= x
    assert axis.largest_below(x) == 0 or axis.x(axis.largest_below(x)) < x
    grid = [axis.x(h) for h in range(1, 200)]
    assert axis.nearest(x) == 1 + int(np.argmin(np.abs(np.array(grid) - x)))


def test_the_size_of_a_trial_is_what_varies() -> None:
    single_trial = trial("success", P=30, width=3)
    assert (widths().size_of(single_trial), patterns(64).size_of(single_trial)) == (3, 30)


def test_a_success_is_above_the_transition_in_width_and_below_it_in_patterns() -> None:
    outcomes: tuple[Outcome, ...] = ("success", "undecided", "unsatisfied", "stationary", "diverged")
    above, below = "above", "below"
    assert [widths().side(o) for o in outcomes] == [above, "undecided", below, below, below]
    assert [patterns(9).side(o) for o in outcomes] == [below, "undecided", above, above, above]


class LogisticTrials:
    """Simulated trials that succeed with a logistic probability in log N, or in log P."""

    def __init__(self, axis: SizeAxis, m: float, w: float, seed: int = 0) -> None:
        self.axis, self.m, self.w, self.rng = axis, m, w, np.random.default_rng(seed)
        self.batches: list[list[tuple[int, int]]] = []
        self.cache = simulated(axis, lambda size, seed: self.outcome(size))

    def __call__(self, wanted) -> list[Trial]:
        self.batches.append(list(wanted))
        return self.cache.run(wanted)

    def outcome(self, size: int) -> Outcome:
        above = bool(self.rng.random() < expit((self.axis.x(size) - self.m) / self.w))
        return OUTCOME[above is self.axis.succeeds_above]


def searched(
    trials: LogisticTrials, options: SearchOptions, seeds=(0, 1), first=12
) -> tuple[MedianEstimate, TrialCache]:
    """The median that a search finds, and all its trials."""
    cache = TrialCache(trials)
    return seek(cache, trials.axis, list(seeds), first, options, outcome_at_end), cache


def n_covered(axis: SizeAxis, true: float, first: int) -> int:
    """How many of 20 searches at w = 0.1 have an interval that holds the true median; each must be precise."""
    hits = 0
    for seed in range(20):
        median, cache = searched(
            LogisticTrials(axis, true, 0.1, seed), SearchOptions(precision=0.25, trials=200), first=first
        )
        assert median.length <= 0.25 and len(cache) < 200
        hits += median.interval[0] <= true <= median.interval[1]
    return hits


@pytest.mark.statistical
def test_precise_intervals_of_n_star_hold_the_true_median() -> None:
    """95% intervals miss at most five times in 20 with probability 1 - 10⁻³."""
    assert n_covered(widths(), math.log(300), first=12) >= 15


@pytest.mark.statistical
def test_precise_intervals_of_p_star_hold_the_true_median() -> None:
    """95% intervals miss at most five times in 20 with probability 1 - 10⁻³."""
    assert n_covered(patterns(2000), math.log(400), first=150) >= 15


def test_samples_have_fresh_seeds_in_turn_for_each_seed_of_the_search() -> None:
    _, cache = searched(LogisticTrials(widths(), math.log(300), 0.2), SearchOptions(trials=40), seeds=(3, 7))
    seeds = [trial.seed for trial in cache.trials]
    sampled = [seed for seed in seeds if seed >= FRESH_SEEDS]
    in_turn = [s + FRESH_SEEDS * k for k in range(1, 1 + len(sampled) // 2 + 1) for s in (3, 7)]
    assert sampled == in_turn[: len(sampled)]
    assert set(seeds) - set(sampled) == {3, 7}


def test_the_brackets_of_all_seeds_share_batches_and_samples_come_in_rounds() -> None:
    trials = LogisticTrials(widths(), math.log(300), 0.2)
    searched(trials, SearchOptions(trials=60, at_once=8), seeds=range(6))
    assert [seed for _, seed in trials.batches[0]] == list(range(6))
    assert len({width for width, _ in trials.batches[0]}) == 1
    rounds = [batch for batch in trials.batches if batch[0][1] >= FRESH_SEEDS]
    assert {len(batch) for batch in rounds[:-1]} <= {8}
    assert len({size for size, _ in rounds[0]}) > 1, "on both sides of the median"


def test_the_bracket_of_a_seed_does_not_depend_on_the_other_seeds() -> None:
    def bracket(seeds):
        cache = simulated(widths(), lambda size, seed: OUTCOME[size >= 7 + seed])
        seek(cache, widths(), seeds, 12, SearchOptions(precision=9.0), outcome_at_end)
        return [trial for trial in cache.trials if trial.seed == 2]

    assert bracket([2]) == bracket([0, 1, 2, 5])


@pytest.mark.parametrize("trials", [1, 2, 5, 17, 23])
def test_a_search_makes_exactly_the_trials_it_is_allowed(trials: int) -> None:
    median, cache = searched(
        LogisticTrials(widths(), math.log(300), 0.3),
        SearchOptions(precision=0.01, trials=trials),
        seeds=range(4),
    )
    assert len(cache) == trials
    if trials == 1:
        assert median.m is None and median.interval == (None, None)


def test_without_a_median_nothing_is_sampled() -> None:
    median, cache = searched(LogisticTrials(widths(20), 20.0, 0.1), SearchOptions(trials=50))
    assert median.m is None and all(trial.seed < FRESH_SEEDS for trial in cache.trials)


def test_an_interval_between_neighbouring_widths_ends_a_search_of_any_precision() -> None:
    """A sharp transition between widths 9 and 10: the search makes only the trials that are needed."""
    axis = widths()
    m = (axis.x(9) + axis.x(10)) / 2
    median, cache = searched(LogisticTrials(axis, m, 1e-4), SearchOptions(precision=1e-3, trials=200))
    assert len(cache) < 60
    assert axis.smallest_from(median.interval[0]) == axis.smallest_from(median.interval[1]) == 10


def test_samples_reach_both_ends_of_the_range_in_which_undecided_trials_leave_the_median() -> None:
    """Every success below N = 400 is undecided instead: N* lies anywhere from 300 to 400."""
    axis = widths()

    class Slow(LogisticTrials):
        def outcome(self, size: int) -> Outcome:
            outcome = super().outcome(size)
            return "undecided" if outcome == "success" and axis.x(size) < math.log(400) else outcome

    median, cache = searched(Slow(axis, math.log(300), 0.05), SearchOptions(trials=120, precision=0.1))
    low, high = median.interval
    assert low < math.log(300) < math.log(400) - 0.1 < high
    sampled = [axis.x(trial.width) for trial in cache.trials if trial.seed >= FRESH_SEEDS]
    assert min(sampled) < math.log(300) and max(sampled) > math.log(360)
    assert len(cache) == 120, "no number of trials decides"


@pytest.mark.parametrize(
    ("method", "vary"), [("bisect", "width"), ("bisect", "patterns"), ("descend", "width")]
)
def test_a_search_of_successes_and_undecided_trials_continues_to_a_failure(method: str, vary: str) -> None:
    """Trials are undecided at sizes from 5 to 11, so that a bracket of undecided sizes shows no transition yet."""
    axis = widths() if vary == "width" else patterns(64)
    order = ("unsatisfied", "undecided", "success")[:: 1 if vary == "width" else -1]
    cache = simulated(axis, lambda size, seed: order[(size >= 5) + (size >= 12)])
    median = seek(cache, axis, [0, 1], 14, SearchOptions(method=method, trials=40), outcome_at_end)
    assert median.m is not None
    assert axis.x(4) - 0.5 < median.interval[0] < axis.x(5) < axis.x(11) < median.interval[1]


def test_a_search_undecided_down_to_one_neuron_ends_without_a_median() -> None:
    cache = simulated(widths(), lambda size, seed: "success" if size >= 10 else "undecided")
    median = seek(cache, widths(), [0], 12, SearchOptions(trials=40), outcome_at_end)
    assert median.m is None and 1 in {trial.width for trial in cache.trials} and len(cache) < 20


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_samples_lie_on_both_sides_of_the_median_for_any_size_of_a_round(at_once: int) -> None:
    m, axis = math.log(300), widths()
    options = SearchOptions(precision=0.15, trials=60, at_once=at_once)
    _, cache = searched(LogisticTrials(axis, m, 0.1, 3), options)
    above = [axis.x(trial.width) > m for trial in cache.trials if trial.seed >= FRESH_SEEDS]
    assert 0.3 < np.mean(above) < 0.7


def test_a_median_beyond_the_largest_size_ends_the_search() -> None:
    """One trial in five succeeds at the largest width: no trial shows how far beyond it N* is."""
    rng = np.random.default_rng(0)
    cache = simulated(widths(20), lambda size, seed: OUTCOME[size == 20 and rng.random() < 0.2])
    seek(cache, widths(20), range(6), 12, SearchOptions(precision=0.01, trials=200), outcome_at_end)
    assert len(cache) < 60


class MortalTrials(LogisticTrials):
    """Trials that die with a probability of 0.9 at width 5 and less, of 0.5 up to width 12, and of 0 beyond."""

    def outcome(self, size: int) -> Outcome:
        outcome = super().outcome(size)
        dies = self.rng.random() < (0.9 if size <= 5 else 0.5 if size <= 12 else 0.0)
        return "dead" if dies and outcome != "success" else outcome


def test_dead_trials_do_not_move_the_median_that_living_trials_have() -> None:
    """Failures die; the median of the living ones, by a fit to them alone, is that of the search."""
    trials = MortalTrials(widths(), math.log(300), 0.1, 1)
    median, cache = searched(trials, SearchOptions(trials=60))
    living = [t for t in cache.trials if t.outcome != "dead"]
    assert len(living) < len(cache)
    alone = fit_median(Tally.of([(widths().x(t.width), widths().side(t.outcome)) for t in living]))
    assert median.interval == alone.interval and median.m == alone.m


def test_a_dead_trial_of_a_bracket_is_replaced_by_other_seeds_of_the_same_seed_and_size() -> None:
    """Seed 0 and its first replacement die at every width below 12; the second replacement lives."""

    def outcome_at(width: int, seed: int) -> Outcome:
        first_two = seed in (0, REPLACEMENT_SEEDS)
        return "dead" if first_two and width < 12 else OUTCOME[width >= 7]

    cache = simulated(widths(), outcome_at)
    seek(cache, widths(), [0], 12, SearchOptions(trials=12, at_once=1), outcome_at_end)
    at_six = {seed for width, seed in cache.by_size_and_seed if width == 6 and seed % FRESH_SEEDS == 0}
    assert {0, REPLACEMENT_SEEDS, REPLACEMENT_SEEDS + FRESH_SEEDS} <= at_six
    assert all(seed % FRESH_SEEDS == 0 for _, seed in cache.by_size_and_seed)


def test_a_size_where_all_replacements_die_counts_as_too_hard_for_the_bracket_and_is_left_out_of_the_fit() -> (
    None
):
    cache = simulated(widths(), lambda width, seed: "dead" if width < 10 else "success")
    median = seek(cache, widths(), [0, 1], 12, SearchOptions(trials=40), outcome_at_end)
    tried = [seed for width, seed in cache.by_size_and_seed if width == 9]
    assert len(tried) == 2 * (1 + MAX_REPLACEMENTS)
    assert median.m is None


def test_replacements_do_not_exceed_the_number_of_trials() -> None:
    cache = simulated(widths(), lambda width, seed: "dead")
    seek(cache, widths(), [0, 1], 12, SearchOptions(trials=5), outcome_at_end)
    assert len(cache) <= 5
