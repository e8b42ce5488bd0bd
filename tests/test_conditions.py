"""Conditions on records: which records fulfil them, and which texts and records are refused."""

from __future__ import annotations

import pytest

from jamtools.conditions import condition
from jamtools.errors import InputError

RUN = {
    "loss": "hinge",
    "final_loss": 5e-4,
    "status": "stationary",
    "certified": True,
    "depth": 3,
    "P": 200,
    "N": 80,
    "seed": None,
    "batch_norm": False,
    "certificate": {"n_cusps": 7, "obstacle": None},
    "finish": None,
}


@pytest.mark.parametrize(
    "text",
    [
        "loss < 1e-3 and status == 'certified'",
        "final_loss < 1e-3",
        "loss == 'hinge'",
        "status == 'stationary'",
        "status in ['satisfied', 'stationary']",
        "certified",
        "not batch_norm",
        "batch_norm == false",
        "depth in (2, 3, 5)",
        "depth not in [2, 5]",
        "2 < depth <= 3 < P",
        "P / N > 2.4 and P / N < 2.6",
        "P - 2 * N == 40",
        "N ** 2 == 6400",
        "-depth < 0",
        "certificate.n_cusps == 7",
        "certificate.obstacle == null",
        "seed == None",
        "finish.relative_change == null",
        "depth == 2 or (depth == 3 and not P < 100)",
        "loss != 'cross-entropy'",
    ],
)
def test_a_condition_holds_for_a_record_that_fulfils_it(text: str) -> None:
    assert condition(text)(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "loss > 1e-3",
        "loss == 'cross-entropy'",
        "loss != 'hinge'",
        "status == 'satisfied'",
        "status != 'certified'",
        "not certified",
        "batch_norm",
        "depth in [2, 5]",
        "seed < 3",
        "seed > 3",
        "seed == 0",
        "P / (depth - 3) > 0",
        "certificate.n_cusps != 7",
        "finish.relative_change < 1",
        "certificate.cusps == 7",
        "10 ** 10 ** 10 < 1",
    ],
)
def test_a_condition_does_not_hold_for_a_record_that_fails_it(text: str) -> None:
    assert not condition(text)(RUN)


def test_the_status_of_a_run_without_a_certificate_is_not_certified() -> None:
    assert not condition("status == 'certified'")({**RUN, "certified": None})


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
        condition(text)


@pytest.mark.parametrize("text", ["dept == 3", "depth == 3 or dept == 3", "dept.x == 1"])
def test_the_message_for_an_unknown_field_lists_the_fields_of_the_record(text: str) -> None:
    with pytest.raises(InputError, match="no field 'dept'; there are N, P, batch_norm, certificate"):
        condition(text)(RUN)


@pytest.mark.parametrize("text", ["depth == '3'", "status < 5", "depth in 3", "certified == 'true'"])
def test_values_of_different_types_are_not_compared(text: str) -> None:
    with pytest.raises(InputError, match="cannot compare them: "):
        condition(text)(RUN)


@pytest.mark.parametrize("text", ["P", "status", "not depth", "depth == 3 and P"])
def test_a_field_that_is_neither_true_nor_false_needs_a_comparison(text: str) -> None:
    with pytest.raises(InputError, match="neither true nor false"):
        condition(text)(RUN)


@pytest.mark.parametrize(
    ("text", "name"), [("P % 2 == 0", "Mod"), ("P // 2 == 0", "FloorDiv"), ("P > 1 & N > 1", "BitAnd")]
)
def test_the_message_for_an_unknown_operator_names_it(text: str, name: str) -> None:
    with pytest.raises(InputError, match=f"the operator {name}"):
        condition(text)


def test_a_condition_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InputError, match="nested too deeply|cannot read"):
        condition("not " * 2500 + "certified")(RUN)


def test_a_power_of_large_integers_is_computed_at_once() -> None:
    assert not condition("P ** 99999999 < 1")(RUN)


@pytest.mark.parametrize(
    "text",
    ["loss in ['hinge', 'cross-entropy']", "loss in [1, 5e-4]", "5e-4 in [loss]", "loss * 2 < 2e-3", "loss == final_loss",
     "status in ['certified']", "not status not in ['certified']", "'certified' == status", "-loss < 0", "loss != null"],
)  # fmt: skip
def test_a_name_with_two_meanings_takes_the_one_that_can_be_compared(text: str) -> None:
    assert condition(text)(RUN)


def test_the_loss_of_a_diverged_run_equals_null_and_is_not_below_anything() -> None:
    diverged = {**RUN, "final_loss": None}
    assert condition("loss == null and loss == 'hinge'")(diverged)
    assert not condition("loss < 1 or loss >= 1")(diverged)
