"""Expressions over the fields of a record: what they are worth, and which are refused."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from jamtools.errors import InputError
from jamtools.formulas import parse, truth
from tests.support.fields import RUN


def holds(text: str, record: dict[str, Any] = RUN) -> bool:
    return truth(parse(text, ast.NodeTransformer()), record)


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
    assert holds(text)


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
    assert not holds(text)


def test_the_status_of_a_run_without_a_certificate_is_not_certified() -> None:
    assert not holds("status == 'certified'", {**RUN, "certified": None})


@pytest.mark.parametrize("text", ["depth == '3'", "status < 5", "depth in 3", "certified == 'true'"])
def test_values_of_different_types_are_not_compared(text: str) -> None:
    with pytest.raises(InputError, match="cannot compare them: "):
        holds(text)


@pytest.mark.parametrize("text", ["P", "status", "not depth", "depth == 3 and P"])
def test_a_field_that_is_neither_true_nor_false_needs_a_comparison(text: str) -> None:
    with pytest.raises(InputError, match="neither true nor false"):
        holds(text)


@pytest.mark.parametrize(
    ("text", "name"), [("P % 2 == 0", "Mod"), ("P // 2 == 0", "FloorDiv"), ("P > 1 & N > 1", "BitAnd")]
)
def test_the_message_for_an_unknown_operator_names_it(text: str, name: str) -> None:
    with pytest.raises(InputError, match=f"the operator {name}"):
        holds(text)


def test_a_power_of_large_integers_is_computed_at_once() -> None:
    assert not holds("P ** 99999999 < 1")


@pytest.mark.parametrize(
    "text",
    ["loss in ['hinge', 'cross-entropy']", "loss in [1, 5e-4]", "5e-4 in [loss]", "loss * 2 < 2e-3", "loss == final_loss",
     "status in ['certified']", "not status not in ['certified']", "'certified' == status", "-loss < 0", "loss != null"],
)  # fmt: skip
def test_a_name_with_two_meanings_takes_the_one_that_can_be_compared(text: str) -> None:
    assert holds(text)


def test_the_loss_of_a_diverged_run_equals_null_and_is_not_below_anything() -> None:
    diverged = {**RUN, "final_loss": None}
    assert holds("loss == null and loss == 'hinge'", diverged)
    assert not holds("loss < 1 or loss >= 1", diverged)
