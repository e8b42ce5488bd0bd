"""What a field may hold, rule by rule."""

from __future__ import annotations

import pytest

from jamtools.minima.claims import (
    Among,
    Between,
    Counts,
    Exactly,
    Near,
    Nothing,
    SameOrder,
    Table,
    contradictions,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("rule", "admitted", "refused"),
    [
        (Exactly(1), [1, 1.0], [True, 2, None, "1", NAN]),
        (Exactly(True), [True], [1, False, None, "true"]),
        (Exactly(None), [None], [0, False, "", {}]),
        (Among(("adam", "sgd")), ["adam", "sgd"], ["newton", None, 1, ["adam"]]),
        (Between(2, 3), [2, 3], [1, 4, 2.0, True, None, NAN]),
        (Between(2, None), [2, 10**9], [1, 2.5]),
        (Counts((Between(0, 1), Between(2, 2))), [[0, 2], [1, 2]], [[0], [0, 3], [0, 2, 2], 0, None, "02"]),
        (Near(1.0, 0.1), [1, 1.05, 0.95], [1.2, NAN, float("inf"), True, None, "1"]),
        (Near(0.0, 0.0), [0.0, 0], [5e-324, -5e-324]),
        (SameOrder(1e-6, 1e-12), [1e-6, 5e-5, 2e-8], [2e-4, 5e-9, 0.0, -1e-6, NAN, None, True]),
        (SameOrder(1e-16, 1e-12), [0.0, -1e-16, 1e-14, 5e-11], [2e-10, -2e-10, float("inf")]),
        (SameOrder(0.0, 0.0), [0.0], [1e-300]),
        (Table(), [{}, {"a": 1}], [None, [], "x", 1]),
        (Nothing("a row"), [], [None, 0, 1, "a row"]),
    ],
    ids=lambda value: str(value) if not isinstance(value, list) else "",
)
def test_a_rule_admits_these_values_and_refuses_those(rule, admitted, refused):
    assert [value for value in admitted if not rule.admits(value)] == []
    assert [value for value in refused if rule.admits(value)] == []


def test_a_finding_has_the_stored_and_the_expected_value_in_the_words_of_a_file():
    record = {"n": 7, "status": "dead", "table": {"flag": None, "list": [1]}}
    rules = [
        ("n", Between(12, 12)),
        ("n", Between(12, 13)),
        ("status", Among(("satisfied", "budget"))),
        ("table.flag", Exactly(True)),
        ("table.list", Counts((Between(0, 0),))),
    ]
    assert contradictions(record, rules) == [
        "n 7, expected 12",
        "n 7, expected 12 to 13",
        "status 'dead', expected 'satisfied' or 'budget'",
        "table.flag null, expected true",
        "table.list [1], expected [0]",
    ]


def test_a_field_that_is_absent_claims_nothing_and_the_same_finding_is_given_once():
    rules = [("absent", Exactly(1)), ("table.absent", Exactly(1)), ("n.absent", Exactly(1))]
    assert contradictions({"n": 7, "table": {}}, rules) == []
    assert contradictions({"n": 7}, [("n", Exactly(1)), ("n", Exactly(1))]) == ["n 7, expected 1"]
