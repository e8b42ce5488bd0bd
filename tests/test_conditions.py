"""Conditions on records: named ones, near, the nearest field for a wrong one, and the values for a message."""

from __future__ import annotations

import pytest

from jamtools.conditions import Condition, Formula
from jamtools.errors import InputError
from tests.support.fields import RUN

#: One run of each state, P/N = 1, 2, 3, 4.
STATES = [
    {"status": status, "P": 10 * k, "n_effective_expected": 10, "final_loss": loss, "certificate": None}
    for k, (status, loss) in enumerate(
        [("satisfied", 0.0), ("stationary", 1e-3), ("dead", 0.1), ("budget", 0.2)], start=1
    )
]


def kept(text: str, distances=None) -> list[str]:
    """The states of the runs of STATES that fulfil a condition."""
    flags = Condition(text).among(STATES, distances)
    return [str(run["status"]) for run, flag in zip(STATES, flags) if flag]


def distances_from_two(records):
    return [record["P"] / 20 - 1 for record in records]


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("jammed", ["stationary"]),
        ("satisfied", ["satisfied"]),
        ("dead", ["dead"]),
        ("status == 'jammed'", ["stationary"]),
        ("not jammed", ["satisfied", "dead", "budget"]),
        ("jammed or dead", ["stationary", "dead"]),
        ("jammed and P / N > 2.5", []),
        ("not (jammed or satisfied) and final_loss < 0.15", ["dead"]),
        ("jammed == false", ["satisfied", "dead", "budget"]),
        ("N == 10 and P >= 30", ["dead", "budget"]),
    ],
)
def test_a_name_stands_for_a_state_alone_and_within_a_condition(text, states):
    assert kept(text) == states


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("near(0.05)", ["stationary"]),
        ("near(0.5)", ["satisfied", "stationary", "dead"]),
        ("near(0.5) and not satisfied", ["stationary", "dead"]),
        ("not near(0.05)", ["satisfied", "dead", "budget"]),
        ("near(1) and not near(0.5)", ["budget"]),
    ],
)
def test_near_keeps_what_is_within_a_share_of_the_transition_that_is_passed_in(text, states):
    assert kept(text, distances_from_two) == states


def test_a_run_without_a_transition_is_not_near_it():
    assert kept("near(9)", lambda records: [None, 0.1, None, -0.1]) == ["stationary", "budget"]


def test_near_needs_the_other_runs():
    with pytest.raises(InputError, match="all runs of a sweep"):
        Condition("near(0.1)")(RUN)


@pytest.mark.parametrize(
    "text",
    ["near", "near()", "near(0)", "near(-1)", "near(P)", "near('a')", "near(true)", "near(x=1)", "near(1, 2)", "near < 1",
     "near(near(1))", "near(1e999)"],
)  # fmt: skip
def test_near_takes_one_positive_number(text):
    with pytest.raises(InputError, match=r"expected near\(0.05\)"):
        Condition(text)


@pytest.mark.parametrize("text", ["far(0.1)", "jammed()", "near.x(1) < 1", "abs(P) > 1", "(P + 1).x == 1"])
def test_no_other_call_and_no_field_of_a_value_is_allowed(text):
    with pytest.raises(InputError, match="neither field, number, word nor comparison|expected near"):
        Condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dept == 3", "no field 'dept'; did you mean depth?"),
        ("depth == 3 or dept == 3", "no field 'dept'; did you mean depth?"),
        ("dept.x == 1", "no field 'dept'; did you mean depth?"),
        ("n == 80", "no field 'n'; did you mean N?"),
        ("los < 1", "no field 'los'; did you mean loss?"),
        ("jamed", "no field 'jamed'; did you mean jammed?"),
        ("stationary", "no field 'stationary'; did you mean \"status == 'stationary'\"?"),
        (
            "frequency > 1",
            "no field 'frequency' among status, final_loss, P, N, depth, seed and 5 more; look at the fields of a record",
        ),
    ],
)
def test_the_message_for_an_unknown_field_names_the_nearest_or_a_few(text, message):
    with pytest.raises(InputError) as error:
        Condition(text)(RUN)
    assert str(error.value) == message


def test_a_state_of_records_without_one_is_refused_by_its_name():
    with pytest.raises(InputError, match="no field 'status', which 'jammed' asks for, among P, n_star"):
        Condition("jammed")({"P": 10, "n_star": 5})


def test_a_field_that_only_some_records_have_is_null_for_the_others():
    records = [{"P": 1}, {"P": 2, "finish": {"steps": 3}}]
    assert Condition("finish.steps > 1").among(records) == [False, True]
    assert Condition("finish == null").among(records) == [True, False]
    assert Condition("P > 1").unknown(records) is None
    assert Condition("Q > 1").unknown(records) == "Q"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "P == 7 and jammed",
            "P is 10 or 20 or 30 or 40, status is budget or dead or satisfied or stationary",
        ),
        (
            "final_loss > 1 and certified.x == 3",
            "final_loss is 0 or 0.001 or 0.1 or 0.2, certified.x is null",
        ),
    ],
)
def test_the_values_of_the_fields_of_a_condition_are_told_in_words(text, words):
    records = [{**run, "certified": None} for run in STATES]
    assert Condition(text).values_in_words(records) == words


def test_many_values_are_told_as_a_range_and_a_misspelt_inner_field_is_named():
    records = [{"P": P, "certificate": {"n_cusps": 1}} for P in range(1, 100)]
    assert Condition("P > 100").values_in_words(records) == "P is 1 to 99"
    words = Condition("certificate.n_cusp > 1").values_in_words(records)
    assert words == "certificate.n_cusp is null (did you mean certificate.n_cusps?)"


def test_a_formula_has_a_value_for_each_record():
    assert Formula("P / N").values(STATES) == [1, 2, 3, 4]
    assert Formula("-loss").values([RUN]) == [-5e-4]
    assert Formula("status").values(STATES[:1]) == ["satisfied"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "depth = 3",
        "depth ==",
        "__import__('os').system('true')",
        "(lambda: 1)()",
        "[x for x in P]",
        "P[0] > 1",
        "depth is 3",
        "f'{P}' == '200'",
        "b'x' == 'x'",
        "3",
        "'word'",
        "P + N",
        "depth > 1; P",
        "(" * 500,
    ],
)
def test_a_text_that_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected one like"):
        Condition(text)


def test_a_condition_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InputError, match="nested too deeply|cannot read"):
        Condition("not " * 2500 + "certified")(RUN)
