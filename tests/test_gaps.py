"""Pooling of overlaps and gaps, and planted exponents through the whole of `distributions`."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools import gaps
from jamtools.errors import InputError
from jamtools.records import HISTORY_FIELDS, RUN_FIELDS, Run


def planted_run(delta, final_loss=0.01, seed=0, **fields) -> Run:
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
        "status": "budget",
        **fields,
    }
    return Run(
        np.zeros(3),
        np.zeros(3),
        np.asarray(delta, float),
        {name: np.zeros(1) for name in HISTORY_FIELDS},
        info,
    )


def test_overlaps_are_scaled_by_the_root_of_each_run_s_own_loss():
    one, two = planted_run([0.3, -0.2, 0.1], final_loss=0.04), planted_run([0.5, -1.0], final_loss=0.25)
    sample = gaps.overlaps([one, two])
    assert sample.values == pytest.approx([1.5, 0.5, 1.0])
    assert sample.runs.tolist() == [0, 0, 1]


def test_gaps_come_from_every_run_and_contacts_from_none():
    jammed, satisfied = (
        planted_run([0.3, -0.2, 1e-12, -1e-12]),
        planted_run([-0.4, -0.1], final_loss=0.0, status="satisfied"),
    )
    assert gaps.gaps([jammed, satisfied]).values == pytest.approx([0.2, 0.4, 0.1])
    assert gaps.overlaps([jammed, satisfied]).values == pytest.approx([3.0])


def test_the_finite_size_cut_follows_the_smallest_n():
    delta = -np.linspace(0.1, 1.0, 101)
    cut = gaps.gaps(
        [planted_run(delta, n_effective_expected=1000), planted_run(delta, n_effective_expected=200)]
    ).lower_cut
    assert cut == pytest.approx(0.55 * 200 ** (-1 / (1 - 0.41269)))


def test_planted_exponents_are_recovered_with_their_signs():
    """Δ > 0 ~ x^0.42 e^-x and -Δ ~ x^-0.3 e^-x over 12 runs whose losses differ."""
    rng = np.random.default_rng(1)
    runs = []
    for seed in range(12):
        loss = rng.uniform(0.5, 2) * 1e-3
        overlaps, below = rng.gamma(1.42, size=800) * np.sqrt(loss), rng.gamma(0.7, size=800)
        runs.append(planted_run(np.concatenate([overlaps, -below]), final_loss=loss, seed=seed))
    found = gaps.distributions(runs, gaps.Options(lower_cut=0.0))
    for half, true in (("overlaps", 0.42), ("gaps", 0.3)):
        low, high = found[half]["interval"]
        assert low < found[half]["exponent"] < high
        assert abs(found[half]["exponent"] - true) < 4 * found[half]["standard_error"]
        assert found[half]["p_null"] < 0.01
        assert found[half]["n"] == round(0.8 * 9600)
    assert found["n_runs"] == 12


def test_the_fitted_curve_and_the_histogram_have_one_normalisation():
    rng = np.random.default_rng(2)
    sample = gaps.Sample(rng.gamma(1.4, size=20_000), None)
    found = gaps.exponent(sample, gaps.Options())
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
    found = gaps.distributions([satisfied], gaps.Options())
    assert found["overlaps"]["exponent"] is None
    assert "expected at least 50" in found["overlaps"]["refused"]
    assert found["gaps"]["exponent"] is not None
    with pytest.raises(InputError, match="expected at least 50"):
        gaps.distributions([planted_run([0.1, -0.1])], gaps.Options())


@pytest.mark.parametrize(
    ("fields", "delta"),
    [({"loss": "cross-entropy"}, [0.1]), ({"status": "diverged"}, [np.nan])],
    ids=["entropy", "diverged"],
)
def test_runs_without_meaningful_gaps_are_refused(fields, delta):
    with pytest.raises(InputError, match="got a run"):
        gaps.distributions([planted_run(delta, **fields)], gaps.Options())
