"""Pooling of overlaps and gaps, and planted exponents through the whole of `distributions`."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.exponents import distributions, samples
from jamtools.records import HISTORY_FIELDS, RUN_FIELDS, Run


def planted_run(delta, final_loss=0.01, seed=0, fell=0.0, **fields) -> Run:
    """A run of these gaps, whose loss fell by that part of itself in the second half of its steps."""
    info = {
        **dict.fromkeys(RUN_FIELDS),
        "n_parameters": 3,
        "loss": "hinge",
        "epsilon": 0.5,
        "final_loss": final_loss,
        "n_effective_expected": 300,
        "depth": 3,
        "width": 10,
        "P": len(delta),
        "activation": "relu",
        "seed": seed,
        "d": 10,
        "status": "budget",
        "n_unsatisfied": int((np.asarray(delta) > 0).sum()),
        **fields,
    }
    columns = dict.fromkeys(HISTORY_FIELDS, np.zeros(3))
    columns |= {"step": np.array([0, 40, 100]), "loss": np.array([1.0, (1 + fell) * final_loss, final_loss])}
    return Run(np.zeros(3), np.zeros(3), np.asarray(delta, float), columns, info)


def test_overlaps_are_scaled_by_the_root_of_each_run_s_own_loss():
    one, two = planted_run([0.3, -0.2, 0.1], final_loss=0.04), planted_run([0.5, -1.0], final_loss=0.25)
    sample = distributions.overlaps([one, two])
    assert sample.values == pytest.approx([1.5, 0.5, 1.0])
    assert sample.runs.tolist() == [0, 0, 1]


def test_gaps_come_from_every_run_and_contacts_from_none():
    jammed, satisfied = (
        planted_run([0.3, -0.2, 1e-12, -1e-12]),
        planted_run([-0.4, -0.1], final_loss=0.0, status="satisfied"),
    )
    assert distributions.gaps([jammed, satisfied]).values == pytest.approx([0.2, 0.4, 0.1])
    assert distributions.overlaps([jammed, satisfied]).values == pytest.approx([3.0])


def test_the_finite_size_cut_follows_the_smallest_n():
    delta = -np.linspace(0.1, 1.0, 101)
    cut = distributions.gaps(
        [planted_run(delta, n_effective_expected=1000), planted_run(delta, n_effective_expected=200)]
    ).lower_cut
    assert cut == pytest.approx(10 * 0.55 * 200 ** (-1 / (1 - 0.41269)))


@pytest.mark.parametrize("step", [1e-4, 0.1, 3.0])
def test_overlaps_of_a_run_that_still_descends_are_cut_at_what_they_moved_at_least(step):
    """Δ = 0.2 + step → 0.2 for all unsatisfied patterns: the bound is attained, however far they moved."""
    P, before, after = 50, 0.5 * 10 * (0.2 + step) ** 2 / 50, 0.5 * 10 * 0.2**2 / 50
    run = planted_run([0.2] * 10 + [-1.0] * (P - 10), final_loss=after, fell=before / after - 1)
    assert samples.precision(run) == pytest.approx(step / np.sqrt(after), rel=1e-6)
    assert distributions.overlaps([run]).lower_cut == samples.precision(run)


def test_a_certified_minimum_is_cut_at_what_its_subgradient_leaves():
    certificate = {"gradient": 3e-13, "scale": 2e-2}
    run = planted_run([0.2, -0.1], fell=0.5, certified=True, certificate=certificate)
    assert samples.precision(run) == pytest.approx(1.5e-11)
    assert samples.precision(planted_run([-0.2, -0.1], final_loss=0.0)) == 0.0


def test_runs_that_have_not_arrived_anywhere_are_refused_unless_the_cut_is_given():
    rng = np.random.default_rng(7)
    run = planted_run(0.1 * rng.gamma(1.4, size=500), fell=9.0)
    with pytest.raises(InputError, match="still descend: .* --finish, or give --lower-cut"):
        distributions.exponent(distributions.overlaps([run]), distributions.Options())
    found = distributions.exponent(distributions.overlaps([run]), distributions.Options(lower_cut=0.0))
    assert (found["n_total"], found["cut_by"]) == (500, "given")


def test_one_run_that_moves_does_not_decide_the_cut_of_many():
    runs = [planted_run([0.1, -0.3], fell=fell, seed=k) for k, fell in enumerate((1e-6, 1e-6, 0.9))]
    alone = [samples.precision(run) for run in runs]
    assert distributions.overlaps(runs).lower_cut == alone[0] < 1e-5 < alone[2]


def test_planted_exponents_are_recovered_with_their_signs():
    """Δ > 0 ~ x^0.42 e^-x and -Δ ~ x^-0.3 e^-x over 12 runs whose losses differ."""
    rng = np.random.default_rng(1)
    runs = []
    for seed in range(12):
        loss = rng.uniform(0.5, 2) * 1e-3
        overlaps, below = rng.gamma(1.42, size=800) * np.sqrt(loss), rng.gamma(0.7, size=800)
        runs.append(planted_run(np.concatenate([overlaps, -below]), final_loss=loss, seed=seed))
    found = distributions.distributions(runs, distributions.Options(lower_cut=0.0))
    for half, true in (("overlaps", 0.42), ("gaps", 0.3)):
        low, high = found[half]["interval"]
        assert low < found[half]["exponent"] < high
        assert abs(found[half]["exponent"] - true) < 4 * found[half]["standard_error"]
        assert found[half]["p_null"] < 0.01
        assert found[half]["n"] == round(found[half]["share"] * 9600)
    assert found["n_runs"] == 12


def test_the_fitted_curve_and_the_histogram_have_one_normalisation():
    rng = np.random.default_rng(2)
    sample = distributions.Sample(rng.gamma(1.4, size=20_000), None)
    found = distributions.exponent(sample, distributions.Options(share=0.8))
    edges, density = (np.array(found["histogram"][name]) for name in ("edges", "density"))
    middle = np.sqrt(edges[1:] * edges[:-1])
    well = (np.array(found["histogram"]["counts"]) > 400) & (edges[1:] < found["upper_cut"])
    curve = np.interp(middle[well], found["curve"]["x"], found["curve"]["density"])
    assert well.sum() >= 3
    # 400 counts are known to 5%; a bin of a fifth of a decade is within 5% of its density in the middle
    assert np.abs(density[well] / curve - 1).max() < 0.2


def test_too_few_values_are_a_stated_refusal_and_both_halves_an_error():
    rng = np.random.default_rng(3)
    satisfied = planted_run(-rng.gamma(0.7, size=500), final_loss=0.0)
    found = distributions.distributions([satisfied], distributions.Options())
    assert found["overlaps"]["exponent"] is None
    assert "expected at least 50" in found["overlaps"]["refused"]
    assert found["gaps"]["exponent"] is not None
    with pytest.raises(InputError, match="expected at least 50"):
        distributions.distributions([planted_run([0.1, -0.1])], distributions.Options())


@pytest.mark.parametrize(
    ("fields", "delta"),
    [({"loss": "cross-entropy"}, [0.1]), ({"status": "diverged"}, [np.nan])],
    ids=["entropy", "diverged"],
)
def test_runs_without_meaningful_gaps_are_refused(fields, delta):
    with pytest.raises(InputError, match="got a run"):
        distributions.distributions([planted_run(delta, **fields)], distributions.Options())


def mixed_runs(sizes, n=1500, seeds=10):
    """-Δ ~ x^-γ(N) e^-x with γ(N) = 0.4 - 3/√N, and Δ/√L ~ z^0.4 e^-z."""
    rng, runs = np.random.default_rng(4), []
    for N in sizes:
        for seed in range(seeds):
            below, above = rng.gamma(0.6 + 3 / np.sqrt(N), size=n), 0.1 * rng.gamma(1.4, size=n)
            delta = np.concatenate([above, -below])
            runs.append(planted_run(delta, n_effective_expected=N, width=N // 10, seed=seed))
    return runs


def test_runs_of_several_sizes_give_a_trend_and_its_limit():
    found = distributions.distributions(
        mixed_runs((200, 800, 3200), seeds=16), distributions.Options(lower_cut=0.0)
    )["gaps"]
    assert [(row["N"], row["n_runs"]) for row in found["sizes"]] == [(200, 16), (800, 16), (3200, 16)]
    for row in found["sizes"]:
        low, high = row["interval"]
        assert low <= 0.4 - 3 / np.sqrt(row["N"]) <= high
    limit = found["extrapolated"]
    assert limit["interval"][0] <= 0.4 <= limit["interval"][1]
    assert limit["n_sizes"] == 3 and limit["p_constant"] < 0.05


def test_the_cut_of_each_size_is_its_own():
    found = distributions.distributions(mixed_runs((200, 800)), distributions.Options(order=2, share=0.8))[
        "gaps"
    ]
    cuts = [row["lower_cut"] for row in found["sizes"]]
    assert cuts[0] / cuts[1] == pytest.approx(
        4 ** (1 / (1 - 0.41269)), rel=0.3
    )  # the medians differ a little
    assert found["lower_cut"] == pytest.approx(cuts[0], rel=0.1)


def test_runs_of_one_size_have_no_trend():
    found = distributions.distributions(mixed_runs((200,)), distributions.Options())
    assert "sizes" not in found["gaps"] and "extrapolated" not in found["gaps"]


def test_the_bounds_are_those_of_mean_field_and_of_stability():
    """θ and γ on the curve γ = 1/(2+θ) are compatible with it; γ far below (1-θ)/2 breaks stability."""
    rng = np.random.default_rng(5)

    def bounds(theta, gamma):
        runs = [
            planted_run(np.concatenate([rng.gamma(1 + theta, size=1000), -rng.gamma(1 - gamma, size=1000)]))
            for _ in range(10)
        ]
        return distributions.distributions(runs, distributions.Options(order=1, share=0.8, lower_cut=0.0))[
            "bounds"
        ]

    good, bad = bounds(0.423, 0.4127), bounds(0.1, -0.2)
    assert good["extended"]["gamma_at_least"] == pytest.approx(1 / 2.423, abs=0.03)
    assert good["extended"]["saturated"] and good["extended"]["kept"] and good["local"]["kept"]
    assert bad["local"]["gamma_at_least"] == pytest.approx(0.45, abs=0.1)
    assert not (bad["extended"]["saturated"] or bad["extended"]["kept"] or bad["local"]["kept"])


def test_a_run_given_twice_counts_once():
    runs = mixed_runs((200,), seeds=9)
    alone, again = (
        distributions.distributions(given, distributions.Options())
        for given in (runs, [*runs, runs[1], runs[1]])
    )
    assert (again["n_runs"], again["n_repeated"], alone["n_repeated"]) == (9, 2, 0)
    assert again["gaps"] == alone["gaps"] and again["overlaps"] == alone["overlaps"]


def test_where_the_sizes_differ_the_verdict_is_that_of_the_limit():
    found = distributions.distributions(
        mixed_runs((100, 400, 6400), seeds=20), distributions.Options(lower_cut=0.0, order=1, share=0.8)
    )
    half = found["gaps"]
    assert half["extrapolated"]["p_constant"] < 0.05
    assert half["verdict"].startswith("the sizes differ (p = ")
    assert half["verdict"].endswith(half["extrapolated"]["verdict"])


def test_a_run_without_gaps_has_no_say_in_their_cut():
    runs = [
        planted_run(-np.linspace(0.1, 1.0, 101), n_effective_expected=1000),
        planted_run([0.1] * 9, n_effective_expected=3),
    ]
    assert distributions.gaps(runs).lower_cut == distributions.gaps(runs[:1]).lower_cut


def test_each_run_by_itself_is_what_the_ensemble_of_that_run_alone_is():
    runs = mixed_runs((200,), seeds=3)
    options = distributions.Options(order=2, share=0.8)
    records = list(distributions.of_each(runs, options))
    assert [(record["run"], record["seed"], record["N"]) for record in records] == [
        ("r0000", 0, 200), ("r0001", 1, 200), ("r0002", 2, 200)
    ]  # fmt: skip
    for record, run in zip(records, runs):
        alone = distributions.distributions([run], options)
        assert record["gaps"] == alone["gaps"] and record["overlaps"] == alone["overlaps"]
        assert "1 runs" in record["gaps"]["note"]


def test_a_negative_exponent_turns_with_everything_that_belongs_to_it():
    x = np.random.default_rng(6).gamma(0.7, size=3000)
    up, down = (
        distributions.exponent(distributions.Sample(x, None), distributions.Options(), sign)
        for sign in (1, -1)
    )
    assert down["exponent"] == -up["exponent"]
    for name in ("interval", "profile_interval", "reach"):
        turned = [-end for end in up[name]] if name != "reach" else up[name]
        assert down[name] == turned[::-1]
    assert [trial["exponent"] for trial in down["stability"]] == [-t["exponent"] for t in up["stability"]]
    assert down["p_null"] == up["p_null"]
