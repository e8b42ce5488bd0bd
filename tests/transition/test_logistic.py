"""The median of a logistic and its interval: against scipy's optimisers on the likelihood written out, and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.stats import norm, t

from jamtools.transition.logistic import Tally, locate

SEVERAL = [(4.5, 0, 8), (4.8, 3, 9), (5.0, 5, 5), (5.1, 9, 4), (5.4, 11, 1)]  # x, above, below


def tally(rows: list[tuple], undecided: list[int] | None = None) -> Tally:
    x, above, below = np.array(rows, dtype=float).T
    return Tally(x, above, below, np.array(undecided or [0] * len(rows), dtype=float))


def penalised(m: float, log_w: float, rows: list[tuple]) -> float:
    """-ℓ as the module's formula has it, term by term."""
    total = -0.5 * (log_w - np.log(0.15)) ** 2
    for x, above, below in rows:
        p = 0.01 + 0.98 / (1 + np.exp(-(x - m) / np.exp(log_w)))
        total += above * np.log(p) + below * np.log(1 - p)
    return -total


def by_scipy(rows: list[tuple], level: float = 0.95) -> tuple[float, list[float]]:
    """m at the maximum, and where the profile crosses."""
    fine = {"xatol": 1e-10, "fatol": 1e-12}
    best = minimize(lambda v: penalised(*v, rows), [5.0, -2.0], method="Nelder-Mead", options=fine)
    n = sum(above + below for _, above, below in rows)
    drop = t.ppf((1 + level) / 2, n / 2 - 2) ** 2 * n / (n - 4) / 2

    def excess(m: float) -> float:
        profile = minimize_scalar(lambda log_w: penalised(m, log_w, rows), bounds=(-5.8, 0), method="bounded")
        return profile.fun - best.fun - drop

    m = best.x[0]
    return m, [brentq(excess, m - 0.9, m), brentq(excess, m, m + 0.9)]


@pytest.mark.parametrize("level", [0.68, 0.95, 0.99])
@pytest.mark.parametrize(
    "rows", [SEVERAL, [(4.9, 1, 30), (5.0, 15, 16), (5.1, 29, 2)], [(4.9, 2, 9), (5.1, 9, 3)]]
)
def test_the_interval_is_where_scipy_finds_that_the_profile_crosses(rows: list[tuple], level: float) -> None:
    found = locate(tally(rows), level)
    m, ends = by_scipy(rows, level)
    # the grid of m has 200 steps over about the interval, interpolated; that of log w a parabola through steps of 0.12
    assert found.interval == pytest.approx(ends, abs=0.01 * (ends[1] - ends[0]))
    # the middle of all within 0.01 of the top, not the top itself: they differ by the asymmetry there
    assert found.m == pytest.approx(m, abs=0.03 * (ends[1] - ends[0]))
    assert found.turns == (found.m, found.m)


def test_many_verdicts_of_a_known_logistic_give_it_back() -> None:
    """At 4000 trials the prior is nothing, and the error is that of Fisher's information, 2 w/√n at most by 1.5."""
    rng = np.random.default_rng(0)
    m, w, n = 6.0, 0.08, 1000
    x = m + w * np.array([-1.5, -0.5, 0.5, 1.5])
    above = rng.binomial(n, 0.01 + 0.98 / (1 + np.exp(-(x - m) / w)))
    found = locate(Tally(x, above.astype(float), (n - above).astype(float), np.zeros(4)))
    assert abs(found.m - m) < 4 * 1.5 * 2 * w / np.sqrt(4 * n)
    assert found.length == pytest.approx(2 * norm.ppf(0.975) * 1.2 * 2 * w / np.sqrt(4 * n), rel=0.2)
    assert found.w == pytest.approx(w, rel=0.12)  # to the grid's step


def test_the_order_of_trials_does_not_matter_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    places = rng.choice([4.3, 4.9, 5.2, 5.7], 40)
    verdicts = [(float(x), "above" if rng.random() < (x - 4) / 2 else "below") for x in places]
    shuffled = [verdicts[i] for i in rng.permutation(40)]
    assert locate(Tally.of(verdicts)) == locate(Tally.of(shuffled))


def test_shifting_every_x_shifts_m_and_its_interval() -> None:
    here, there = (locate(tally([(x + shift, a, b) for x, a, b in SEVERAL])) for shift in (0.0, 3.0))
    assert there.m == pytest.approx(here.m + 3)
    assert there.interval == pytest.approx([end + 3 for end in here.interval])


def test_mirrored_verdicts_mirror_m() -> None:
    here = locate(tally(SEVERAL))
    there = locate(tally([(10 - x, below, above) for x, above, below in reversed(SEVERAL)]))
    assert there.m == pytest.approx(10 - here.m)
    assert there.interval == pytest.approx([10 - end for end in reversed(here.interval)])


def test_separated_verdicts_put_m_into_the_gap() -> None:
    found = locate(tally([(5.0, 0, 6), (5.2, 6, 0)]))
    assert found.m == pytest.approx(5.1)
    assert found.interval[0] < 5.0 and found.interval[1] > 5.2
    closer = locate(tally([(5.0, 0, 100), (5.2, 100, 0)]))
    assert 5.0 < closer.interval[0] < closer.interval[1] < 5.2


@pytest.mark.parametrize(
    ("rows", "open_ends"),
    [
        ([(5.0, 0, 9), (5.2, 0, 9)], (False, True)),
        ([(5.0, 9, 0), (5.2, 9, 0)], (True, False)),
        ([(5.0, 0, 1)], (True, True)),
        ([(5.0, 1, 0)], (True, True)),
    ],
)
def test_verdicts_of_one_kind_bound_m_from_one_side_if_there_are_enough(
    rows: list[tuple], open_ends: tuple[bool, bool]
) -> None:
    found = locate(tally(rows))
    assert found.m is None
    assert tuple(end is None for end in found.interval) == open_ends
    assert found.length == np.inf


def test_an_outlier_is_a_lapse_and_does_not_decide_the_width() -> None:
    rows = [(5.0, 1, 20), (5.1, 10, 11), (5.2, 20, 1)]
    plain, odd = locate(tally(rows)), locate(tally([*rows, (7.0, 0, 1)]))
    assert odd.m == pytest.approx(plain.m, abs=0.01)
    assert odd.length < 1.5 * plain.length


def test_undecided_verdicts_widen_the_interval_to_both_of_their_ends() -> None:
    undecided = [0, 4, 2, 1, 0]
    found = locate(tally(SEVERAL, undecided))
    below = locate(tally([(x, a, b + u) for (x, a, b), u in zip(SEVERAL, undecided)]))
    above = locate(tally([(x, a + u, b) for (x, a, b), u in zip(SEVERAL, undecided)]))
    plain = locate(tally(SEVERAL))
    assert found.m == plain.m
    assert found.turns == pytest.approx((above.m, below.m), abs=1e-4)  # grids differ with the quantile
    assert above.m < plain.m < below.m
    # the quantile is that of the decided trials alone, so a little beyond those with all decided
    assert found.interval[0] <= above.interval[0] + 1e-3 and found.interval[1] >= below.interval[1] - 1e-3
    assert found.interval[0] < plain.interval[0] and found.interval[1] > plain.interval[1]


def test_no_mechanism_of_censoring_leaves_the_interval() -> None:
    """Every way of deciding the undecided has its m inside of the turns."""
    rng = np.random.default_rng(2)
    undecided = np.array([0, 4, 2, 1, 0])
    found = locate(tally(SEVERAL, list(undecided)))
    for _ in range(30):
        won = rng.binomial(undecided, rng.random())
        one = locate(tally([(x, a + k, b + u - k) for (x, a, b), u, k in zip(SEVERAL, undecided, won)]))
        assert found.turns[0] - 1e-4 <= one.m <= found.turns[1] + 1e-4
        assert found.interval[0] < one.m < found.interval[1]


def test_all_undecided_says_nothing() -> None:
    found = locate(Tally.of([(5.0, "undecided")] * 5))
    assert found.m is None and found.interval == (None, None)


@pytest.mark.slow
def test_intervals_of_fixed_designs_cover() -> None:
    """24 trials at five places about m: 95% of 400 tries is 380 ± 4.4."""
    rng = np.random.default_rng(3)
    places = np.repeat([-1.6, -0.6, 0.0, 0.6, 1.6], [5, 5, 4, 5, 5])
    hits = 0
    for _ in range(400):
        w = rng.choice([0.05, 0.1, 0.2])
        x = 6 + rng.uniform(-0.5, 0.5) * w + w * places  # not centred on m = 6
        above = rng.random(24) < 1 / (1 + np.exp(-(x - 6) / w))
        found = locate(Tally.of([(at, "above" if up else "below") for at, up in zip(x, above)]))
        low, high = found.interval
        hits += (low is None or low <= 6) and (high is None or high >= 6)
    assert 380 - 4 * 4.4 <= hits <= 400
