"""jam-nstar as users run it: planned as an array, killed and resumed, put together again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ROOT, jam, refusal
from tests.support.processes import IMPORTS_PROCESSOR_SECONDS, processor_time

OPTIONS = ("--steps", "3k", "--lr", "1e-2", "--max-width", "60", "--trials", "14")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a plan of six tasks, and all of them done; whole.jsonl: by one process."""
    folder = tmp_path_factory.mktemp("array")
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=folder, check=True)
    plan = ("nstar", "plan", "--patterns", "20,40", "--depths", "1", "--seeds", "0:3", "data.st", *OPTIONS)
    (folder / "plan.txt").write_bytes(jam(*plan, cwd=folder, check=True).stdout)
    for task in range(1, 7):
        jam("nstar", "search", "--plan", "plan.txt", "--task", task, cwd=folder, check=True)
    args = ("data.st", "--patterns", "20,40", "--depth", 1, "--seeds", "0:3", "--cold", *OPTIONS, "-q")
    (folder / "whole.jsonl").write_bytes(jam("nstar", "search", *args, cwd=folder, check=True).stdout)
    return folder


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("nstar-*.jsonl"))


def objects(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_the_plan_names_each_cell_once(folder: Path) -> None:
    lines = (folder / "plan.txt").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 6
    assert lines[0] == (
        "jam-nstar search data.st --depth 1 --patterns 20 --seeds 0 --cold --steps 3k --lr 1e-2 --max-width 60 --trials 14 "
        "--journal ./nstar-L1-P20-s0.journal --resume -o ./nstar-L1-P20-s0.jsonl"
    )


def test_a_plan_without_a_dataset_reads_standard_input(folder: Path) -> None:
    (line,) = jam("nstar", "plan", "--patterns", 20, "--seeds", 0, check=True).stdout.decode().splitlines()
    words = line.split()
    assert words[:4] == ["jam-nstar", "search", "--depth", "3"]
    data = (folder / "data.st").read_bytes()
    short = ("--depth", 1, "--patterns", 20, "--seeds", 0, "--cold", *OPTIONS, "-q")
    assert jam("nstar", "search", *short, input=data, check=True).stdout == (
        jam("nstar", "search", "data.st", *short, cwd=folder, check=True).stdout
    )


def test_the_tasks_together_find_what_one_process_finds(folder: Path) -> None:
    assert all(record["n_star"] for record in objects((folder / "whole.jsonl").read_bytes()))
    fits = [
        objects(jam("nstar", "fit", *files, "--plan", "plan.txt", cwd=folder, check=True).stdout)[0]
        for files in (results(folder), ["whole.jsonl"])
    ]
    for fit in fits:
        fit["points"].sort(key=lambda point: point["P"])
    assert fits[0] == fits[1]
    assert fits[0]["missing"] == fits[0]["duplicates"] == [] and fits[0]["slope"] is not None


def test_what_is_missing_and_what_is_there_twice_is_said(folder: Path) -> None:
    files = [name for name in results(folder) if name != "nstar-L1-P40-s1.jsonl"]
    done = jam("nstar", "fit", *files, "nstar-L1-P20-s2.jsonl", "--plan", "plan.txt", cwd=folder, check=True)
    (found,) = objects(done.stdout)
    assert found["missing"] == [{"P": 40, "depth": 1, "seed": 1}]
    assert found["duplicates"] == [{"P": 20, "depth": 1, "seed": 2}]
    assert "1 of the searches not there: P 40 depth 1 seed 1" in done.stderr
    assert "1 of the searches given more than once: P 20 depth 1 seed 2" in done.stderr


def test_a_task_that_is_run_again_trains_nothing_and_leaves_the_same(folder: Path) -> None:
    result, journal = folder / "nstar-L1-P40-s0.jsonl", folder / "nstar-L1-P40-s0.journal"
    before = result.read_bytes(), journal.read_bytes()
    result.unlink()
    jam("nstar", "search", "--plan", "plan.txt", "--task", 4, cwd=folder, check=True)
    assert (result.read_bytes(), journal.read_bytes()) == before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_search_that_is_told_to_stop_says_so_and_goes_on_where_it_was(
    tmp_path: Path, number: signal.Signals
) -> None:
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=tmp_path, check=True)
    args = ["data.st", "--depth", "1", "--seeds", "0:3", *OPTIONS, "-q"]
    whole = jam("nstar", "search", *args, cwd=tmp_path, check=True).stdout
    journal = tmp_path / "j"
    slow = [sys.executable, "-m", "jamtools.cli.nstar", "search", *args, "--journal", "j", "-o", "out"]
    with subprocess.Popen(
        slow, cwd=tmp_path, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 75
    assert (
        f"stopped by {number.name}; the finished trials are in j" in said and not (tmp_path / "out").exists()
    )
    kept = journal.read_bytes()
    assert "there is a journal already" in refusal(
        jam("nstar", "search", *args, "--journal", "j", cwd=tmp_path)
    )
    again = jam("nstar", "search", *args, "--journal", "j", "--resume", cwd=tmp_path, check=True)
    assert again.stdout == whole
    assert journal.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["search", "--plan", "plan.txt"], 2, "got one of --plan and --task, expected both"),
        (["search", "--plan", "plan.txt", "--task", "7"], 1, "asked for task 7, it has lines 1 to 6"),
        (["search", "--plan", "plan.txt", "--task", "1", "--steps", "3"], 2, "got steps with --plan"),
        (["search", "--plan", "whole.txt", "--task", "1"], 1, "line 1 is no jam-nstar search"),
        (["search", "data.st", "--resume"], 2, "got --resume without a journal"),
        (["search", "data.st", "--journal", "a", "-o", "a"], 2, "expected two files"),
        (["plan", "--patterns", "9", "data.st", "-P30"], 2, "got --patterns after the dataset"),
        (["plan", "--patterns", "9", "data.st", "-L2"], 2, "got --depth after the dataset"),
        (["plan", "--patterns", "9", "data.st", "--task", "3"], 2, "got --task after the dataset"),
        (
            ["plan", "--patterns", "9", "data.st", "--optimizer", "newton", "--certify"],
            2,
            "got --certify with",
        ),
        (["plan", "--patterns", "9", "--seeds", "10000", "data.st"], 2, "got the seed 10000"),
        (["plan", "--patterns", "9", "data.st", "--times", "9", "--steps", "3"], 1, "a time of 9 steps"),
        (["plan", "--patterns", "9", "data.st", "--loss", "cross-entropy", "--certify"], 1, "expected hinge"),
        (["search", "data.st", "--journal", "-"], 2, "got --journal -, expected a file of its own"),
        (["search", "data.st", "--journal", "data.st"], 2, "expected a file of its own"),
        (["fit", "whole.jsonl", "--level", "1"], 2, "below 1"),
        (["plan", "--patterns", "9", "data.st", "--stepz", "3"], 2, "No such option"),
        (["plan", "--patterns", "9", "data.st", "--steps", "x"], 2, "expected an integer"),
        (
            ["plan", "--patterns", "9", "data.st", "--seeds", "3"],
            2,
            "got --seeds after the dataset, expected it before",
        ),
        (["fit", "nstar-L1-P20-s0.jsonl", "--plan", "whole.txt"], 1, "line 1 is no jam-nstar search"),
    ],
)
def test_what_cannot_be_planned_or_run_is_said_in_one_line(
    folder: Path, args: list[str], code: int, words: str
) -> None:
    (folder / "whole.txt").write_text("rm -rf /\n")
    assert words in refusal(jam("nstar", *args, cwd=folder), code)


def searched(folder: Path, *args: object) -> list[dict[str, Any]]:
    line = ("nstar", "search", "data.st", "--depth", 1, "--lr", "1e-2", "-q", *args)
    return objects(jam(*line, cwd=folder, check=True).stdout)


def test_patterns_vary_at_fixed_widths_and_enter_a_fit_beside_searches_in_width(folder: Path) -> None:
    options = ("--steps", "2k", "--trials", 24)
    by_patterns = searched(folder, "--vary", "patterns", "--width", "4,6", *options)
    assert [(one["width"], one["vary"]) for one in by_patterns] == [(4, "patterns"), (6, "patterns")]
    assert all(1 <= one["P_interval"][0] <= one["P"] <= 40 for one in by_patterns)
    (folder / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in by_patterns))
    (folder / "n.jsonl").write_text(json.dumps(searched(folder, "--patterns", 30, *options)[0]))
    (fit,) = objects(jam("nstar", "fit", "p.jsonl", "n.jsonl", cwd=folder, check=True).stdout)
    assert fit["n_points"] == sum(one["n_star"] is not None for one in by_patterns) + 1
    ratios = sorted(point["P_over_N"] for point in fit["points"])
    assert ratios[0] <= fit["P_over_N"] <= ratios[-1]


def test_n_star_at_a_time_is_fitted_by_its_name(folder: Path) -> None:
    found = searched(folder, "--patterns", "20,40", "--times", "400,2k", "--trials", 20)
    assert [one["steps"] for one in found] == [2000, 2000], "the last time ends the training"
    (folder / "t.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
    (fit,) = objects(jam("nstar", "fit", "t.jsonl", "--time", 400, cwd=folder, check=True).stdout)
    assert fit["time"] == 400
    known = [one["at_times"][0]["n_star"] for one in found if one["at_times"][0]["n_star"]]
    assert known and [point["n_star"] for point in fit["points"]] == known
    assert "of the times 400, 2000, expected 7" in refusal(
        jam("nstar", "fit", "t.jsonl", "--time", 7, cwd=folder)
    )
    assert "of the times none, expected 7" in refusal(
        jam("nstar", "fit", "whole.jsonl", "--time", 7, cwd=folder)
    )


def test_a_search_is_made_more_precise_by_resuming_it(folder: Path) -> None:
    args = ("--patterns", 30, "--steps", "1k", "--journal", "more.journal", "--resume")
    (first,) = searched(folder, *args, "--trials", 10)
    trained = (folder / "more.journal").read_bytes()
    (then,) = searched(folder, *args, "--trials", 30)
    assert then["trials"][:10] == first["trials"] and 10 < len(then["trials"]) <= 30
    assert (folder / "more.journal").read_bytes().startswith(trained)


def test_runs_give_the_jump_and_spectra_the_bound(folder: Path) -> None:
    widths = ("--depth", 1, "--width", "2:9", "--seeds", "0:3", "--steps", "2k", "--lr", "1e-2", "-q")
    jam("train", "data.st", *widths, "-o", "runs.st", cwd=folder, check=True)
    (alone,) = objects(jam("nstar", "fit", "runs.st", cwd=folder, check=True).stdout)
    assert alone["kind"] == "nstar-jump"
    (jump,) = alone["jump"]
    assert jump["depth"] == 1 and jump["n_satisfied"] + jump["n_jammed"] + jump["n_undecided"] == 21
    assert 40 / 50 < jump["P_over_N"] < 40 / 10 and 0 < jump["unsatisfied_per_parameter"] < 1
    jam("hessian", "runs.st", "--inertia", "-q", "-o", "spectra.st", cwd=folder, check=True)
    together = jam("nstar", "fit", "whole.jsonl", "spectra.st", "runs.st", cwd=folder, check=True)
    (fit,) = objects(together.stdout)
    assert fit["jump"] == [jump] and fit["kind"] == "nstar-fit"
    bound = fit["bound"]
    assert bound["P_over_N"] == pytest.approx(bound["c0"] - bound["cusps_per_parameter"])
    assert "P/N* = C0 - N_c/N" in fit["against"] and "C0 - N_c/N" in together.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--width", "4"], "got --width with --vary width"),
        (["--vary", "patterns"], "expected --width LIST with it"),
        (["--vary", "patterns", "--width", "4", "--patterns", "9"], "got --patterns with --vary patterns"),
        (["--vary", "patterns", "--width", "4", "--method", "descend"], "expected bisect"),
        (["--optimizer", "newton", "--times", "10"], "got --times with --optimizer newton"),
        (["--seeds", "3,10000"], "got the seed 10000, expected less than 10000"),
        (["--precision", "0"], "expected a number above 0"),
        (["--trials", "0"], "expected at least 1"),
    ],
)
def test_options_that_do_not_go_together_are_a_matter_of_usage(
    folder: Path, args: list[str], words: str
) -> None:
    assert words in refusal(jam("nstar", "search", "data.st", *args, cwd=folder), 2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see how far a process is")
def test_an_interrupted_search_says_where_its_trials_are(tmp_path: Path) -> None:
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=tmp_path, check=True)
    line = ["search", "data.st", "--depth", "1", *OPTIONS, "--steps", "1G", "--journal", "j"]
    with subprocess.Popen(
        [sys.executable, "-m", "jamtools.cli.nstar", *line],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        while process.poll() is None and processor_time(process.pid) < IMPORTS_PROCESSOR_SECONDS:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "interrupted; the finished trials are in j" in said and "Traceback" not in said


def test_a_task_is_run_quietly_if_asked(folder: Path) -> None:
    done = jam("nstar", "search", "--plan", "plan.txt", "--task", 1, "-q", cwd=folder, check=True)
    assert done.stderr == ""


def test_a_plan_says_that_its_folder_is_not_there_yet(folder: Path) -> None:
    done = jam("nstar", "plan", "--patterns", 9, "--out", "nowhere", "data.st", cwd=folder, check=True)
    assert "nowhere: there is no such folder yet" in done.stderr


def test_a_time_or_a_plan_of_runs_alone_is_refused(folder: Path) -> None:
    jam(
        "train",
        "data.st",
        "--width",
        3,
        "--depth",
        1,
        "--steps",
        9,
        "-q",
        "-o",
        "few.st",
        cwd=folder,
        check=True,
    )
    for option in (("--time", 5), ("--plan", "plan.txt")):
        done = jam("nstar", "fit", "few.st", *option, cwd=folder)
        assert f"got runs alone with {option[0]}" in refusal(done)


def test_a_jump_is_laid_out_as_a_table_and_not_plotted(folder: Path) -> None:
    options = ("--width", "2:9", "--depth", 1, "--steps", "1k", "--lr", "1e-2", "-q")
    jam("train", "data.st", *options, "-o", "some.st", cwd=folder, check=True)
    jam("nstar", "fit", "some.st", "-q", "-o", "jump.jsonl", cwd=folder, check=True)
    heading, row = jam("show", "--table", "jump.jsonl", cwd=folder, check=True).stdout.decode().splitlines()
    assert heading.split()[:5] == ["d", "depth", "activation", "steps", "P/N"] and row.split()[:4] == [
        "4",
        "1",
        "relu",
        "1000",
    ]
    assert "jam-show --table lays out" in refusal(jam("plot", "jump.jsonl", cwd=folder))


def test_a_time_after_the_end_of_the_trainings_is_refused(folder: Path) -> None:
    done = jam("nstar", "search", "data.st", "--steps", 100, "--times", "10,200", cwd=folder)
    assert "a time of 200 steps, the trainings have 100; give them more" in refusal(done)


def test_a_plan_says_nothing_of_patterns_that_vary(folder: Path) -> None:
    done = jam("nstar", "plan", "--patterns", 9, "data.st", "--vary", "patterns", cwd=folder)
    assert "got --vary after the dataset" in refusal(done, 2)
