"""The journal of a search: killed at every byte, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jamtools.errors import InputError, OutputError
from jamtools.io.journal import Journal, request_of
from jamtools.protocols import TrainingOptions, with_options
from jamtools.transition.options import TrialSpec
from jamtools.transition.search import search_transition
from jamtools.transition.search_record import SearchRecord
from jamtools.transition.trial import TrialKey
from tests.support import oracle
from tests.support.searches import trial

REQUEST = {"depth": 2, "lr": 1e-3, "seeds": None}
TRIALS = [
    trial("success", P=100, width=width, N=3 * width, seed=0, final_loss=0.1 + width) for width in (3, 5, 4)
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A journal of three trials."""
    journal = Journal(str(tmp_path / "j"), REQUEST)
    for added in TRIALS:
        journal.add(added)
    return journal.path


def test_a_resumed_journal_holds_the_trials_that_were_added(path: str) -> None:
    resumed = Journal(path, REQUEST, resume=True)
    assert len(resumed) == 3
    assert [resumed.get(added.key) for added in TRIALS] == TRIALS


@pytest.mark.parametrize("key", [(100, 6, 0), (200, 3, 0), (100, 3, 1)])
def test_a_journal_has_no_trial_that_was_not_added(path: str, key: tuple[int, int, int]) -> None:
    assert Journal(path, REQUEST, resume=True).get(TrialKey(*key)) is None


def test_the_lines_of_a_journal_are_its_request_and_the_objects_of_its_trials(path: str) -> None:
    head, *lines = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    assert head == {"kind": "nstar-journal", "request": REQUEST}
    assert lines == [added.as_dict() for added in TRIALS]


def test_a_journal_cut_off_at_any_byte_holds_its_complete_lines(path: str) -> None:
    data = Path(path).read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for size in range(len(data) + 1):
        Path(path).write_bytes(data[:size])
        journal = Journal(path, REQUEST, resume=True)
        n_lines = sum(end <= size for end in ends)
        assert len(journal) == max(0, n_lines - 1)
        for added in TRIALS[len(journal) :]:
            journal.add(added)
        assert Path(path).read_bytes() == data


def test_an_existing_journal_is_refused_without_resume(path: str) -> None:
    with pytest.raises(InputError, match="there is a journal already; continue it with resume=True"):
        Journal(path, REQUEST)


def test_a_journal_of_another_request_is_refused_by_its_first_difference(path: str) -> None:
    with pytest.raises(InputError, match=r"the journal is of lr 0\.001, the request is for 0\.01; remove it"):
        Journal(path, {**REQUEST, "lr": 1e-2}, resume=True)
    with pytest.raises(InputError, match="the journal is of no engine, the request is for torch; remove it"):
        Journal(path, {**REQUEST, "engine": "torch"}, resume=True)
    with pytest.raises(InputError, match="the journal is of depth 2, the request is of no depth; remove it"):
        Journal(path, {"lr": 1e-3, "seeds": None}, resume=True)


@pytest.mark.parametrize("data", [b"hello\n", b"hello", b'{"kind": "gaps"}\n', b"[1]\n", b"\x00\x01\n"])
def test_a_file_that_is_no_journal_is_refused_and_not_changed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(InputError, match="journal|no trial|no JSON"):
        Journal(str(tmp_path / "j"), REQUEST, resume=True)
    assert (tmp_path / "j").read_bytes() == data


def test_the_user_is_not_advised_to_remove_a_file_that_is_no_journal(tmp_path: Path) -> None:
    """Such a file may hold the user's data."""
    (tmp_path / "j").write_bytes(b"precious\n")
    with pytest.raises(InputError, match="no JSON") as raised:
        Journal(str(tmp_path / "j"), REQUEST)
    assert "remove" not in str(raised.value)


def test_a_damaged_line_between_others_is_refused(path: str) -> None:
    lines = Path(path).read_bytes().splitlines(keepends=True)
    Path(path).write_bytes(b"".join([lines[0], b"{torn\n", *lines[2:]]))
    with pytest.raises(InputError, match="a line that is no JSON"):
        Journal(path, REQUEST, resume=True)


@pytest.mark.parametrize("change", [{"P": [1]}, {"width": None}, {"outcome": None}, {"steps": "9"}])
def test_a_line_that_is_no_trial_is_refused(path: str, change: dict[str, Any]) -> None:
    with open(path, "ab") as file:
        file.write(json.dumps({**TRIALS[0].as_dict(), **change}).encode() + b"\n")
    with pytest.raises(InputError, match="a line that is no trial"):
        Journal(path, REQUEST, resume=True)


@pytest.mark.parametrize("line", [b'{"kind": "nstar-journal"}', b'{"kind": "nstar-journal", "request": 3}'])
def test_a_journal_without_its_request_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "j").write_bytes(line + b"\n")
    with pytest.raises(InputError, match="is no journal of a search"):
        Journal(str(tmp_path / "j"), REQUEST, resume=True)


def test_two_journals_in_one_file_are_refused(path: str) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data + data)
    with pytest.raises(InputError, match="two journals"):
        Journal(path, REQUEST, resume=True)


def test_a_journal_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder"):
        Journal(str(tmp_path / "nowhere" / "j"), REQUEST)


def test_a_folder_in_place_of_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises((InputError, OutputError), match="folder|regular"):
        Journal(str(tmp_path), REQUEST)


def test_a_search_killed_after_any_trial_resumes_without_training_again_and_finds_the_same(
    tmp_path: Path,
) -> None:
    data = oracle.dataset(30, 3)
    spec = TrialSpec(1, "relu", with_options(TrainingOptions(), steps=40, lr=1e-2), (0, 1), max_width=12)
    request = request_of(data, spec, {"device": "cpu"})

    def searched(path: Path, resume: bool) -> tuple[list[SearchRecord], int]:
        """The records of the search, and the number of trials that were trained."""
        trained: list[TrialKey] = []
        journal = Journal(str(path), request, resume)
        records = search_transition(data, spec, [15, 30], store=journal, watch=trained.append)
        return records, len(trained)

    expected, n_trials = searched(tmp_path / "complete", False)
    assert expected == search_transition(data, spec, [15, 30])
    lines = (tmp_path / "complete").read_bytes().splitlines(keepends=True)
    assert len(lines) == n_trials + 1
    for n_kept in range(0, len(lines), 3):
        (tmp_path / "killed").write_bytes(b"".join(lines[: n_kept + 1]) + b'{"P": 3')
        assert searched(tmp_path / "killed", True) == (expected, n_trials - n_kept)
        assert (tmp_path / "killed").read_bytes() == (tmp_path / "complete").read_bytes()


def test_a_request_does_not_depend_on_which_trials_are_made() -> None:
    data, settings = oracle.dataset(30, 3), TrainingOptions()
    request = request_of(data, TrialSpec(1, "relu", settings, (0, 1)), {})
    assert request_of(data, TrialSpec(1, "relu", settings, (5,), max_width=3), {}) == request


def test_a_request_depends_on_all_that_decides_an_outcome() -> None:
    data, settings = oracle.dataset(30, 3), TrainingOptions()
    spec = TrialSpec(1, "relu", settings, (0, 1))
    request = request_of(data, spec, {})
    others = [
        (data, TrialSpec(2, "relu", settings, (0, 1))),
        (data, TrialSpec(1, "relu", with_options(settings, lr=1e-2), (0, 1))),
        (data, TrialSpec(1, "relu", settings, (0, 1), certify=True)),
        (data, TrialSpec(1, "relu", settings, (0, 1), success="classified")),
        (oracle.dataset(30, 3, seed=1), spec),
    ]
    assert all(request_of(*other, {}) != request for other in others)
    assert json.dumps(request, default=str)
