"""jam-nstar fit: searches put together, the bound of spectra and the jump of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import jam, refusal
from tests.support.contract import objects
from tests.support.small_runs import results, searched


def test_a_fit_names_searches_of_the_plan_that_are_missing_or_repeated(array: Path) -> None:
    files = [name for name in results(array) if name != "nstar-L1-P40-s1.jsonl"]
    done = jam("nstar", "fit", *files, "nstar-L1-P20-s2.jsonl", "--plan", "plan.txt", cwd=array, check=True)
    (fit,) = objects(done.stdout)
    assert fit["missing"] == [{"P": 40, "depth": 1, "seed": 1}]
    assert fit["duplicates"] == [{"P": 20, "depth": 1, "seed": 2}]
    assert "1 of the searches not there: P 40 depth 1 seed 1" in done.stderr
    assert "1 of the searches given more than once: P 20 depth 1 seed 2" in done.stderr


def test_searches_in_patterns_enter_a_fit_beside_searches_in_width(array: Path) -> None:
    options = ("--steps", "2k", "--trials", 24)
    by_patterns = searched(array, "--vary", "patterns", "--width", "4,6", *options)
    assert [(r["width"], r["vary"]) for r in by_patterns] == [(4, "patterns"), (6, "patterns")]
    assert all(r["P_interval"][0] <= r["P"] <= 40 for r in by_patterns)
    (array / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in by_patterns))
    (array / "n.jsonl").write_text(json.dumps(searched(array, "--patterns", 30, *options)[0]))
    (fit,) = objects(jam("nstar", "fit", "p.jsonl", "n.jsonl", cwd=array, check=True).stdout)
    assert fit["n_points"] == sum(r["n_star"] is not None for r in by_patterns) + 1 > 1
    ratios = sorted(point["P_over_N"] for point in fit["points"])
    assert ratios[0] <= fit["P_over_N"] <= ratios[-1]


def test_a_fit_at_a_time_takes_n_star_after_so_many_steps(array: Path) -> None:
    records = searched(array, "--patterns", "20,40", "--times", "400,2k", "--trials", 20)
    assert [r["steps"] for r in records] == [2000, 2000], "the last time ends the training"
    (array / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (fit,) = objects(jam("nstar", "fit", "t.jsonl", "--time", 400, cwd=array, check=True).stdout)
    assert fit["time"] == 400
    known = [r["at_times"][0]["n_star"] for r in records if r["at_times"][0]["n_star"]]
    assert known and [point["n_star"] for point in fit["points"]] == known
    assert "of the times 400, 2000, expected 7" in refusal(
        jam("nstar", "fit", "t.jsonl", "--time", 7, cwd=array)
    )
    assert "of the times none, expected 7" in refusal(
        jam("nstar", "fit", "whole.jsonl", "--time", 7, cwd=array)
    )


def test_a_fit_takes_the_jump_from_runs_and_the_bound_from_spectra(array: Path) -> None:
    widths = ("--depth", 1, "--width", "2:9", "--seeds", "0:3", "--optimizer", "newton", "-q")
    jam("train", "data.st", *widths, "-o", "runs.st", cwd=array, check=True)
    (alone,) = objects(jam("nstar", "fit", "runs.st", cwd=array, check=True).stdout)
    assert alone["kind"] == "nstar-jump"
    (jump,) = alone["jump"]
    assert (
        jump["depth"] == 1
        and sum(jump[f"n_{name}"] for name in ("satisfied", "jammed", "dead", "other")) == 21
    )
    assert 40 / 50 < jump["P_over_N"] < 40 / 10 and 0 < jump["unsatisfied_per_parameter"] < jump["P_over_N"]
    jam("hessian", "runs.st", "--inertia", "-q", "-o", "spectra.st", cwd=array, check=True)
    together = jam("nstar", "fit", "whole.jsonl", "spectra.st", "runs.st", cwd=array, check=True)
    (fit,) = objects(together.stdout)
    assert fit["jump"] == [jump] and fit["kind"] == "nstar-fit"
    bound = fit["bound"]
    assert bound["P_over_N"] == pytest.approx(bound["c0"] - bound["cusps_per_parameter"])
    assert "P/N* = C0 - N_c/N" in fit["against"] and "C0 - N_c/N" in together.stderr


def test_a_fit_of_runs_alone_refuses_a_time_and_a_plan(array: Path) -> None:
    options = ("--width", 3, "--depth", 1, "--steps", 9, "-q", "-o", "few.st")
    jam("train", "data.st", *options, cwd=array, check=True)
    for option in (("--time", 5), ("--plan", "plan.txt")):
        done = jam("nstar", "fit", "few.st", *option, cwd=array)
        assert f"got runs alone with {option[0]}" in refusal(done)


def test_jam_show_has_a_table_of_a_jump_and_jam_plot_refuses_it(array: Path) -> None:
    options = ("--width", "2:9", "--depth", 1, "--steps", "1k", "--lr", "1e-2", "-q")
    jam("train", "data.st", *options, "-o", "some.st", cwd=array, check=True)
    jam("nstar", "fit", "some.st", "-q", "-o", "jump.jsonl", cwd=array, check=True)
    heading, row = jam("show", "--table", "jump.jsonl", cwd=array, check=True).stdout.decode().splitlines()
    assert heading.split()[:6] == ["d", "depth", "activation", "optimizer", "steps", "P/N"]
    assert heading.endswith("data") and row.endswith("d=4")
    assert row.split()[:5] == ["4", "1", "relu", "adam", "1000"]
    assert "jam-show --table lays out" in refusal(jam("plot", "jump.jsonl", cwd=array))
