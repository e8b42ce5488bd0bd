"""A session records command lines that do not depend on folders, and prints nothing when it is quiet."""

from __future__ import annotations

import pytest

from jamtools.cli.common.groups import Streams
from jamtools.cli.common.session import Session, recorded_argv
from jamtools.errors import OutputError


@pytest.mark.parametrize(
    ("argv", "recorded"),
    [
        (["data", "--width", "3"], ["data", "--width", "3"]),
        (["data", "-o", "out", "-q"], ["data"]),
        (["data", "-oout", "--output=out", "--output", "out"], ["data"]),
        (["data", "-qo", "out", "-L", "2"], ["data", "-L", "2"]),
        (["--checkpoint", "c", "--checkpoint-every", "9s", "--time-limit=1h", "--resume", "--debug"], []),
        (["nowhere/data", "--journal=nowhere/j"], ["nowhere/data", "--journal=nowhere/j"]),
    ],
)
def test_a_recorded_command_line_has_no_outputs_and_no_flags_of_reporting(argv, recorded):
    assert recorded_argv(argv) == recorded


def test_the_folders_of_existing_files_are_not_recorded(tmp_path):
    (tmp_path / "data").touch()
    argv = [str(tmp_path / "data"), f"--finish={tmp_path}/data", f"{tmp_path}/nothing"]
    assert recorded_argv(argv) == ["data", "--finish=data", f"{tmp_path}/nothing"]


def test_each_step_of_the_inputs_enters_the_provenance_once(monkeypatch):
    monkeypatch.setattr("sys.argv", ["jam-x", "a", "-q"])
    first, second = {"command": "jam-data"}, {"command": "jam-train"}
    *steps, own = Session("jam-x", Streams()).provenance([first, second], [first])
    assert steps == [first, second]
    assert (own["command"], own["argv"], own["device"], own["dtype"]) == ("jam-x", ["a"], "cpu", "float64")


def test_a_quiet_session_prints_neither_notes_nor_tables(capsys):
    session = Session("jam-x", Streams(quiet=True))
    session.note("a note")
    session.table(["column"], [[1]])
    assert capsys.readouterr() == ("", "")


def test_a_note_has_the_name_of_the_command(capsys):
    Session("jam-x", Streams()).note("a note")
    assert capsys.readouterr().err == "jam-x: a note\n"


def test_a_table_of_records_has_the_columns_of_its_command_under_the_headings_given(capsys):
    record = {"width": 3, "P": 60, "seed": 0, "certified": True}
    session = Session("jam-x", Streams())
    session.records_table("runs", [record], more=["certified"], headings={"P": "patterns"})
    heading = capsys.readouterr().err.splitlines()[1].split()
    assert heading == [
        "width",
        "patterns",
        "seed",
        "N",
        "status",
        "steps",
        "loss",
        "N_Δ",
        "N_Δ/N",
        "wrong",
        "certified",
    ]


def test_an_output_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    with pytest.raises(OutputError, match="its folder does not exist"):
        Session("jam-x", Streams(output=str(tmp_path / "nowhere" / "out")))
