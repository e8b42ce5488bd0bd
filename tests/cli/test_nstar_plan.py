"""jam-nstar plan, and the tasks of its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import jam, refusal
from tests.support.contract import objects
from tests.support.small_runs import TASK_OPTIONS, results


def test_a_plan_has_one_line_for_each_depth_pattern_number_and_seed(array: Path) -> None:
    lines = (array / "plan.txt").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 6
    assert lines[0] == (
        "jam-nstar search data.st --depth 1 --patterns 20 --seeds 0 --cold --steps 3k --lr 1e-2 --max-width 60 --trials 14 "
        "--journal ./nstar-L1-P20-s0.journal --resume -o ./nstar-L1-P20-s0.jsonl"
    )


def test_the_lines_of_a_plan_without_a_dataset_read_standard_input(array: Path) -> None:
    (line,) = jam("nstar", "plan", "--patterns", 20, "--seeds", 0, check=True).stdout.decode().splitlines()
    words = line.split()
    assert words[:4] == ["jam-nstar", "search", "--depth", "3"]
    data = (array / "data.st").read_bytes()
    short = ("--depth", 1, "--patterns", 20, "--seeds", 0, "--cold", *TASK_OPTIONS, "-q")
    assert jam("nstar", "search", *short, input=data, check=True).stdout == (
        jam("nstar", "search", "data.st", *short, cwd=array, check=True).stdout
    )


def test_the_tasks_of_a_plan_together_find_what_one_cold_search_finds(array: Path) -> None:
    assert all(record["n_star"] for record in objects((array / "whole.jsonl").read_bytes()))
    fits = [
        objects(jam("nstar", "fit", *files, "--plan", "plan.txt", cwd=array, check=True).stdout)[0]
        for files in (results(array), ["whole.jsonl"])
    ]
    for fit in fits:
        fit["points"].sort(key=lambda point: point["P"])
    assert fits[0] == fits[1]
    assert fits[0]["missing"] == fits[0]["duplicates"] == [] and fits[0]["slope"] is not None


def test_a_task_that_runs_again_trains_nothing_and_writes_the_same_bytes(array: Path) -> None:
    result, journal = array / "nstar-L1-P40-s0.jsonl", array / "nstar-L1-P40-s0.journal"
    before = result.read_bytes(), journal.read_bytes()
    result.unlink()
    jam("nstar", "search", "--plan", "plan.txt", "--task", 4, cwd=array, check=True)
    assert (result.read_bytes(), journal.read_bytes()) == before


def test_a_task_with_the_flag_quiet_prints_nothing_on_stderr(array: Path) -> None:
    done = jam("nstar", "search", "--plan", "plan.txt", "--task", 1, "-q", cwd=array, check=True)
    assert done.stderr == ""


def test_a_plan_makes_the_folder_of_its_tasks_and_may_stand_in_it(tmp_path: Path) -> None:
    options = ("--patterns", 9, "--seeds", 0, "--out", "new/sweep")
    for _ in range(2):  # once the folder is new, once it is there
        done = jam("nstar", "plan", *options, "-o", "new/sweep/plan", "data.st", cwd=tmp_path, check=True)
        assert done.stderr == ""
    assert "-o new/sweep/nstar-L3-P9-s0.jsonl" in (tmp_path / "new" / "sweep" / "plan").read_text()


def test_a_plan_that_is_refused_makes_no_folder(tmp_path: Path) -> None:
    done = jam("nstar", "plan", "--patterns", 9, "--out", "sweep", "data.st", "--steps", "0", cwd=tmp_path)
    assert "at least 1" in refusal(done, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_whose_folder_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep").touch()
    done = jam("nstar", "plan", "--patterns", 9, "--out", "sweep", "data.st", cwd=tmp_path)
    assert refusal(done) == "jam-nstar: sweep: is a file, expected a folder; give another folder"


def test_a_plan_refuses_searches_that_vary_the_patterns(array: Path) -> None:
    done = jam("nstar", "plan", "--patterns", 9, "data.st", "--vary", "patterns", cwd=array)
    assert "got --vary after the dataset" in refusal(done, 2)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["search", "--plan", "plan.txt"], 2, "got one of --plan and --task, expected both"),
        (["search", "--plan", "plan.txt", "--task", "7"], 1, "asked for task 7, it has lines 1 to 6"),
        (["search", "--plan", "plan.txt", "--task", "1", "--steps", "3"], 2, "got --steps with --plan"),
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
def test_a_plan_or_a_task_that_makes_no_sense_is_refused_in_one_line(
    array: Path, args: list[str], code: int, message: str
) -> None:
    (array / "whole.txt").write_text("rm -rf /\n")
    assert message in refusal(jam("nstar", *args, cwd=array), code)
