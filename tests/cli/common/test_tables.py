"""The tables of records: every column has a value, and jam-show and the commands take theirs from one list."""

from __future__ import annotations

import pytest

from jamtools.cli.common import tables


@pytest.mark.parametrize("kind", [*tables.IN_SHOW, *tables.IN_COMMAND])
def test_a_selection_names_columns_of_its_kind(kind):
    for selection in (tables.IN_SHOW, tables.IN_COMMAND):
        assert set(selection.get(kind, ())) <= set(tables.COLUMNS[kind])


def test_the_words_for_spectra_name_columns_of_spectra():
    assert set(tables.SPECTRA_IN_WORDS) <= set(tables.COLUMNS["spectra"])


def test_a_field_inside_an_object_is_found_and_an_absent_one_is_none():
    labels = ("tangent", "stable")
    assert tables.cells("cusps", labels, {"lagrangian": {"dimension": 3}}) == [3, None]
    assert tables.cells("cusps", labels, {"lagrangian": None}) == [None, None]


@pytest.mark.parametrize(
    ("record", "ratio"),
    [
        ({"n_unsatisfied": 3, "n_effective_expected": 12}, 0.25),
        ({"n_unsatisfied": None, "n_effective_expected": 12}, None),
        ({"n_unsatisfied": 3, "n_effective_expected": 0}, None),
        ({}, None),
    ],
)
def test_a_quotient_is_none_where_it_has_no_meaning(record, ratio):
    assert tables.cells("runs", ["N_Δ/N"], record) == [ratio]


@pytest.mark.parametrize(
    ("neurons", "cell"),
    [
        ([], 0),
        (None, None),
        ([[1, 0], [2, 3]], "2: 1.0 2.3"),
        ([[1, i] for i in range(6)], "6: 1.0 1.1 1.2 1.3 …"),
    ],
)
def test_a_list_of_neurons_is_its_length_and_the_first_four(neurons, cell):
    assert tables.cells("neff", ["dead"], {"dead": neurons}) == [cell]


def test_a_finished_run_shows_its_loss_before_and_after():
    record = {"finish": {"final_loss_before": 0.25}, "final_loss": 1e-9}
    assert tables.cells("finished runs", ["loss"], record) == ["0.25 → 1e-09"]


def test_the_row_of_a_search_has_n_star_its_interval_and_their_ratio_to_p():
    record = {"P": 200, "n_star": 50.0, "interval": [40.0, 65.0]}
    assert tables.cells("nstar", ["N*", "from", "to", "P/N*"], record) == [50.0, 40.0, 65.0, 4.0]


def test_open_ends_of_an_interval_are_shown_as_0_and_beyond():
    assert tables.cells("nstar", ["from", "to"], {"interval": [0, None]}) == [0, "beyond"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (False, "no"), (0.123456, "0.1235"), (12, "12"), ([1.5, None], "[1.5,-]")],
)
def test_a_value_is_shown_with_four_digits(value, text):
    assert tables.shown(value) == text


def test_a_search_shows_its_data_optimizer_budget_undecided_trials_and_times():
    record = {
        "kind": "nstar", "n_star": 3, "data": "0123456789ab", "dataset": "random d=3",
        "optimizer": "adam", "steps": 100_000, "n_undecided": 3,
        "times": [300, 1_000, 2_000_000], "trials": [],
    }  # fmt: skip
    labels = ("data", "optimizer", "budget", "undecided", "times")
    assert set(labels) <= set(tables.show_columns("nstar", [record]))
    assert tables.cells("nstar", labels, record) == ["random d=3", "adam", "100k", 3, "300,1k,2M"]
    assert "times" not in tables.show_columns("nstar", [{**record, "times": None}])


def test_jam_show_names_the_data_of_every_kind_that_has_them():
    for kind in ("dataset", "runs", "spectra", "neff", "nstar", "nstar-fit", "nstar-jump"):
        named = {"kind": kind, "source": "random", "d": 3, "data": "random d=3", "dataset": "random d=3"}
        assert "data" in tables.show_columns(kind, [named])
        assert "data" not in tables.show_columns(kind, [{}])
    assert tables.cells(
        "nstar", ["data"], {"n_star": 3, "data": "0123456789ab", "dataset": "random d=3"}
    ) == ["random d=3"]
    assert tables.cells("dataset", ["data"], {"kind": "dataset", "source": "random", "d": 3}) == [
        "random d=3"
    ]


def test_a_command_names_the_data_only_where_they_differ():
    a, b = {"data": "a"}, {"data": "b"}
    assert not tables.has_several_data("runs", [a, a])
    assert tables.has_several_data("runs", [a, b])
    assert not any("data" in tables.command_columns(kind) for kind in tables.COLUMNS)
