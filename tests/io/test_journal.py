"""The journal of a search: killed at every byte, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jamtools.errors import InputError, OutputError
from jamtools.io.journal import Journal, request_of
from jamtools.protocols import TrainingOptions, with_options
from jamtools.transition.search import search_all
from jamtools.transition.trial import Question
from tests.support import oracle

REQUEST = {"depth": 2, "lr": 1e-3, "seeds": None}
TRIALS = [
    {
        "P": 100,
        "N": 3 * width,
        "steps": 9,
        "width": width,
        "seed": 0,
        "outcome": "success",
        "final_loss": 0.1 + width,
    }
    for width in (3, 5, 4)
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    journal = Journal(str(tmp_path / "j"), REQUEST)
    for trial in TRIALS:
        journal.add(100, trial)
    return journal.path


def test_what_was_added_is_there_again(path: str) -> None:
    again = Journal(path, REQUEST, resume=True)
    assert len(again) == 3
    assert [again.get(100, trial["width"], 0) for trial in TRIALS] == TRIALS
    assert again.get(100, 6, 0) is None and again.get(200, 3, 0) is None and again.get(100, 3, 1) is None


def test_whatever_byte_it_was_killed_at_the_whole_lines_are_there(path: str) -> None:
    data = Path(path).read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for size in range(len(data) + 1):
        Path(path).write_bytes(data[:size])
        journal = Journal(path, REQUEST, resume=True)
        whole = sum(end <= size for end in ends)
        assert len(journal) == max(0, whole - 1)
        for trial in TRIALS[len(journal) :]:
            journal.add(100, trial)
        assert Path(path).read_bytes() == data


def test_a_journal_that_nobody_asked_to_resume_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="there is a journal already; go on with --resume"):
        Journal(path, REQUEST)


def test_a_journal_of_another_request_is_refused_by_its_first_difference(path: str) -> None:
    with pytest.raises(InputError, match=r"the journal is of lr 0\.001, the request is for 0\.01; remove it"):
        Journal(path, {**REQUEST, "lr": 1e-2}, resume=True)


@pytest.mark.parametrize("data", [b"hello\n", b"hello", b'{"kind": "gaps"}\n', b"[1]\n", b"\x00\x01\n"])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(InputError, match="journal|no trial|no JSON"):
        Journal(str(tmp_path / "j"), REQUEST, resume=True)
    assert (tmp_path / "j").read_bytes() == data


def test_a_damaged_line_amid_others_is_refused(path: str) -> None:
    lines = Path(path).read_bytes().splitlines(keepends=True)
    Path(path).write_bytes(b"".join([lines[0], b"{torn\n", *lines[2:]]))
    with pytest.raises(InputError, match="a line that is no JSON"):
        Journal(path, REQUEST, resume=True)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder"):
        Journal(str(tmp_path / "nowhere" / "j"), REQUEST)
    with pytest.raises((InputError, OutputError), match="folder|regular"):
        Journal(str(tmp_path), REQUEST)


def test_a_search_that_goes_on_trains_nothing_twice_and_finds_the_same(tmp_path: Path) -> None:
    """Killed after k trials, for every k: the same record, and only the trials that were missing are run."""
    data = oracle.dataset(30, 3)
    question = Question(1, "relu", with_options(TrainingOptions(), steps=40, lr=1e-2), (0, 1), max_width=12)
    request = request_of(data, question, {"device": "cpu"})
    ran: list[Any] = []

    def whole(path: Path, resume: bool) -> tuple[list[dict[str, Any]], int]:
        ran.clear()
        journal = Journal(str(path), request, resume)
        return search_all(data, question, [15, 30], lambda *trial: ran.append(trial), memory=journal), len(
            ran
        )

    expected, n_trials = whole(tmp_path / "one", False)
    assert expected == search_all(data, question, [15, 30], lambda *_: None)
    lines = (tmp_path / "one").read_bytes().splitlines(keepends=True)
    assert len(lines) == n_trials + 1
    for kept in range(0, len(lines), 3):
        (tmp_path / "two").write_bytes(b"".join(lines[: kept + 1]) + b'{"P": 3')
        assert whole(tmp_path / "two", True) == (expected, n_trials - kept)


def test_what_decides_an_outcome_is_in_the_request_and_what_does_not_is_not() -> None:
    data, settings = oracle.dataset(30, 3), TrainingOptions()
    question = Question(1, "relu", settings, (0, 1))
    base = request_of(data, question, {})
    assert request_of(data, Question(1, "relu", settings, (5,), max_width=3), {}) == base
    others = [
        (data, Question(2, "relu", settings, (0, 1))),
        (data, Question(1, "relu", with_options(settings, lr=1e-2), (0, 1))),
        (data, Question(1, "relu", settings, (0, 1), certify=True)),
        (data, Question(1, "relu", settings, (0, 1), success="classified")),
        (oracle.dataset(30, 3, seed=1), question),
    ]
    assert all(request_of(*other, {}) != base for other in others)
    assert json.dumps(base, default=str)


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "nstar-journal"}',
        b'{"kind": "nstar-journal", "request": 3}',
    ],
)
def test_a_journal_without_its_request_is_none(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "j").write_bytes(line + b"\n")
    with pytest.raises(InputError, match="is no journal of jam-nstar"):
        Journal(str(tmp_path / "j"), REQUEST, resume=True)


@pytest.mark.parametrize("change", [{"P": [1]}, {"width": None}, {"outcome": None}, {"steps": "9"}])
def test_a_line_that_is_no_trial_is_named(path: str, change: dict[str, Any]) -> None:
    with open(path, "ab") as file:
        file.write(json.dumps({**TRIALS[0], **change}).encode() + b"\n")
    with pytest.raises(InputError, match="a line that is no trial"):
        Journal(path, REQUEST, resume=True)


def test_two_journals_in_one_file_are_refused(path: str) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data + data)
    with pytest.raises(InputError, match="a second beginning"):
        Journal(path, REQUEST, resume=True)


def test_a_file_that_is_no_journal_is_not_said_to_be_removed(tmp_path: Path) -> None:
    """It may be the data."""
    (tmp_path / "j").write_bytes(b"precious\n")
    with pytest.raises(InputError, match="no JSON") as told:
        Journal(str(tmp_path / "j"), REQUEST)
    assert "remove" not in str(told.value)
