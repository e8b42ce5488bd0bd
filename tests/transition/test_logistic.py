"""The median of a logistic and its interval, compared with the quadrature of scipy and with simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import cumulative_simpson, fixed_quad
from scipy.stats import norm

from jamtools.transition.logistic import Tally, fit_median

SEVERAL = [(4.5, 0, 8), (4.8, 3, 9), (5.0, 5, 5), (5.1, 9, 4), (5.4, 11, 1)]  # x, above, below


def tally(rows: list[tuple], undecided: list[int] | None = None) -> Tally:
    x, above, below = np.array(rows, dtype=float).T
    return Tally(x, above, below, np.array(undecided or [0] * len(rows), dtype=float))


def posterior(m: float, rows: list[tuple]) -> float:
    """ρ(m) by the formula of the module, term by term, with the quadrature of Gauss over log w from 0.005 to 1."""

    def integrand(log_w: np.ndarray) -> np.ndarray:
        value = np.exp(-0.5 * ((log_w - np.log(0.12)) / 1.5) ** 2)
        for x, above, below in rows:
            p = 0.01 + 0.98 / (1 + np.exp(-(x - m) / np.exp(log_w)))
            value = value * p**above * (1 - p) ** below
        return value

    return fixed_quad(integrand, np.log(0.005), 0.0, n=120)[0]


def by_scipy(rows: list[tuple], level: float = 0.95) -> tuple[float, list[float]]:
    """The median of ρ, and its quantiles (1 ± level)/2, from Simpson's rule over m."""
    m = np.linspace(rows[0][0] - 1, rows[-1][0] + 1, 2401)
    cumulative = cumulative_simpson([posterior(value, rows) for value in m], x=m, initial=0)
    quantiles = np.interp(np.array([0.5, (1 - level) / 2, (1 + level) / 2]) * cumulative[-1], cumulative, m)
    return quantiles[0], list(quantiles[1:])


@pytest.mark.parametrize("level", [0.68, 0.95, 0.99])
@pytest.mark.parametrize(
    "rows", [SEVERAL, [(4.9, 1, 30), (5.0, 15, 16), (5.1, 29, 2)], [(4.9, 2, 9), (5.1, 9, 3)]]
)
def test_m_and_its_interval_are_the_quantiles_that_scipy_finds(rows: list[tuple], level: float) -> None:
    fit = fit_median(tally(rows), level)
    m, ends = by_scipy(rows, level)
    # between two of the points of the grid lie 1/200 of ρ, and log w has steps of 0.17
    assert fit.interval == pytest.approx(ends, abs=0.02 * (ends[1] - ends[0]))
    assert fit.m == pytest.approx(m, abs=0.01 * (ends[1] - ends[0]))
    assert fit.m_range == (fit.m, fit.m)


def test_many_trials_of_a_known_logistic_recover_its_m_and_w() -> None:
    """With 4000 trials the prior does not matter, and the error is Fisher's, at most 1.5 times 2 w/√n."""
    rng = np.random.default_rng(0)
    m, w, n = 6.0, 0.08, 1000
    x = m + w * np.array([-1.5, -0.5, 0.5, 1.5])
    above = rng.binomial(n, 0.01 + 0.98 / (1 + np.exp(-(x - m) / w)))
    fit = fit_median(Tally(x, above.astype(float), (n - above).astype(float), np.zeros(4)))
    assert abs(fit.m - m) < 4 * 1.5 * 2 * w / np.sqrt(4 * n)
    assert fit.length == pytest.approx(2 * norm.ppf(0.975) * 1.2 * 2 * w / np.sqrt(4 * n), rel=0.2)
    assert fit.w == pytest.approx(w, rel=0.12)  # four standard errors, w/√n each


def test_the_order_of_the_trials_changes_no_bit_of_the_fit() -> None:
    rng = np.random.default_rng(1)
    places = rng.choice([4.3, 4.9, 5.2, 5.7], 40)
    trials = [(float(x), "above" if rng.random() < (x - 4) / 2 else "below") for x in places]
    shuffled = [trials[i] for i in rng.permutation(40)]
    assert fit_median(Tally.of(trials)) == fit_median(Tally.of(shuffled))


def test_shifting_every_x_shifts_m_and_its_interval() -> None:
    plain, changed = (fit_median(tally([(x + shift, a, b) for x, a, b in SEVERAL])) for shift in (0.0, 3.0))
    assert changed.m == pytest.approx(plain.m + 3)
    assert changed.interval == pytest.approx([end + 3 for end in plain.interval])


def test_mirrored_counts_mirror_m_and_its_interval() -> None:
    plain = fit_median(tally(SEVERAL))
    changed = fit_median(tally([(10 - x, below, above) for x, above, below in reversed(SEVERAL)]))
    assert changed.m == pytest.approx(10 - plain.m)
    assert changed.interval == pytest.approx([10 - end for end in reversed(plain.interval)])


def test_m_of_separated_trials_lies_in_the_middle_of_the_gap() -> None:
    fit = fit_median(tally([(5.0, 0, 6), (5.2, 6, 0)]))
    assert fit.m == pytest.approx(5.1)
    closer = fit_median(tally([(5.0, 0, 100), (5.2, 100, 0)]))
    assert 5.0 < closer.interval[0] < closer.interval[1] < 5.2
    assert closer.length < fit.length < 2 * 0.2


#: Trials of two searches: N, successes, failures and undecided trials.
CROSS_ENTROPY = [
    (106, 0, 2, 0),
    (139, 0, 2, 0),
    (176, 0, 0, 2),
    (217, 1, 1, 0),
    (262, 2, 0, 0),
    (311, 2, 0, 0),
]
NEWTON = [(52, 0, 2, 0), (71, 0, 2, 0), (91, 0, 3, 0), (113, 3, 1, 0), (137, 2, 0, 0), (164, 1, 0, 0)]


@pytest.mark.parametrize(
    ("rows", "least", "most"),
    [(CROSS_ENTROPY, (139, 262), (80, 360)), (NEWTON, (91, 113), (71, 150))],
    ids=["4 of 4 above, 0 of 6 below with 2 undecided", "6 of 7 above, 0 of 7 below"],
)
def test_few_trials_that_fail_below_and_succeed_above_bound_m_from_both_sides(
    rows: list[tuple], least: tuple[int, int], most: tuple[int, int]
) -> None:
    """The interval holds the sizes at which both outcomes are possible, and does not reach far beyond those tried."""
    N, above, below, undecided = np.array(rows, dtype=float).T
    low, high = np.exp(fit_median(Tally(np.log(N), above, below, undecided)).interval)
    assert most[0] < low < least[0] and least[1] < high < most[1]


def test_trials_that_contradict_each_other_bound_m_from_no_side() -> None:
    assert fit_median(tally([(5.0, 1, 0), (5.2, 0, 1)])).interval == (None, None)


def test_a_bound_from_one_side_is_where_the_likelihood_ratio_is_that_of_the_level() -> None:
    """ρ/ρ(∞) = exp(-½ 1.96²) at the end; no value beyond the trials is less likely than another."""
    rows = [(5.0, 0, 5), (5.2, 0, 4)]
    low, high = fit_median(tally(rows)).interval
    assert high is None
    assert posterior(low, rows) / posterior(6.2, rows) == pytest.approx(
        np.exp(-0.5 * norm.ppf(0.975) ** 2), rel=0.02
    )


@pytest.mark.parametrize(
    ("rows", "open_ends"),
    [
        ([(5.0, 0, 9), (5.2, 0, 9)], (False, True)),
        ([(5.0, 9, 0), (5.2, 9, 0)], (True, False)),
        ([(5.0, 0, 1)], (True, True)),
        ([(5.0, 1, 0)], (True, True)),
    ],
)
def test_enough_trials_on_one_side_bound_m_from_that_side(
    rows: list[tuple], open_ends: tuple[bool, bool]
) -> None:
    fit = fit_median(tally(rows))
    assert fit.m is None
    assert tuple(end is None for end in fit.interval) == open_ends
    assert fit.length == np.inf


def test_one_outlier_hardly_changes_m_and_its_interval() -> None:
    rows = [(5.0, 1, 20), (5.1, 10, 11), (5.2, 20, 1)]
    plain, odd = fit_median(tally(rows)), fit_median(tally([*rows, (7.0, 0, 1)]))
    assert odd.m == pytest.approx(plain.m, abs=0.01)
    assert odd.length < 1.5 * plain.length


def test_undecided_trials_widen_the_interval_until_it_covers_both_decisions() -> None:
    undecided = [0, 4, 2, 1, 0]
    fit = fit_median(tally(SEVERAL, undecided))
    below = fit_median(tally([(x, a, b + u) for (x, a, b), u in zip(SEVERAL, undecided)]))
    above = fit_median(tally([(x, a + u, b) for (x, a, b), u in zip(SEVERAL, undecided)]))
    plain = fit_median(tally(SEVERAL))
    assert fit.m == plain.m
    assert fit.m_range == (above.m, below.m)
    assert above.m < plain.m < below.m
    assert fit.interval == (above.interval[0], below.interval[1])
    assert fit.interval[0] < plain.interval[0] and fit.interval[1] > plain.interval[1]


def test_m_stays_in_its_range_for_every_decision_of_the_undecided_trials() -> None:
    """The undecided trials are decided at random, with random rates."""
    rng = np.random.default_rng(2)
    undecided = np.array([0, 4, 2, 1, 0])
    fit = fit_median(tally(SEVERAL, list(undecided)))
    for _ in range(30):
        won = rng.binomial(undecided, rng.random())
        decided_fit = fit_median(
            tally([(x, a + k, b + u - k) for (x, a, b), u, k in zip(SEVERAL, undecided, won)])
        )
        assert fit.m_range[0] - 1e-4 <= decided_fit.m <= fit.m_range[1] + 1e-4
        assert fit.interval[0] < decided_fit.m < fit.interval[1]


def test_undecided_trials_alone_leave_both_ends_open() -> None:
    fit = fit_median(Tally.of([(5.0, "undecided")] * 5))
    assert fit.m is None and fit.interval == (None, None)


@pytest.mark.slow
@pytest.mark.statistical
def test_intervals_of_fixed_designs_cover_at_their_level() -> None:
    """24 trials at five values of x around m: 95% of 400 tries is 380 ± 4.4."""
    rng = np.random.default_rng(3)
    places = np.repeat([-1.6, -0.6, 0.0, 0.6, 1.6], [5, 5, 4, 5, 5])
    hits = 0
    for _ in range(400):
        w = rng.choice([0.05, 0.1, 0.2])
        x = 6 + rng.uniform(-0.5, 0.5) * w + w * places  # the design is not centred on m = 6
        above = rng.random(24) < 1 / (1 + np.exp(-(x - 6) / w))
        fit = fit_median(Tally.of([(at, "above" if up else "below") for at, up in zip(x, above)]))
        low, high = fit.interval
        hits += (low is None or low <= 6) and (high is None or high >= 6)
    assert 380 - 4 * 4.4 <= hits <= 380 + 4 * 4.4


def test_without_a_trial_nothing_is_known():
    nothing = fit_median(Tally.of([]))
    assert (nothing.m, nothing.interval, nothing.length) == (None, (None, None), np.inf)
