"""Conditions on records: what they mean, and what they refuse."""

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
def test_holds(text: str) -> None:
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
def test_does_not_hold(text: str) -> None:
    assert not condition(text)(RUN)


def test_a_run_without_a_certificate_is_not_certified() -> None:
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
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected one like"):
        condition(text)


@pytest.mark.parametrize("text", ["dept == 3", "depth == 3 or dept == 3", "dept.x == 1"])
def test_an_unknown_field_is_named_with_those_there_are(text: str) -> None:
    with pytest.raises(InputError, match="no field 'dept'; there are N, P, batch_norm, certificate"):
        condition(text)(RUN)


@pytest.mark.parametrize("text", ["depth == '3'", "status < 5", "depth in 3", "certified == 'true'"])
def test_what_cannot_be_compared_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot compare them: "):
        condition(text)(RUN)


@pytest.mark.parametrize("text", ["P", "status", "not depth", "depth == 3 and P"])
def test_a_field_that_is_no_truth_is_no_condition(text: str) -> None:
    with pytest.raises(InputError, match="neither true nor false"):
        condition(text)(RUN)


@pytest.mark.parametrize(
    ("text", "name"), [("P % 2 == 0", "Mod"), ("P // 2 == 0", "FloorDiv"), ("P > 1 & N > 1", "BitAnd")]
)
def test_an_unknown_operator_is_named(text: str, name: str) -> None:
    with pytest.raises(InputError, match=f"the operator {name}"):
        condition(text)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="nested too deeply|cannot read"):
        condition("not " * 2500 + "certified")(RUN)


def test_powers_of_whole_numbers_do_not_take_forever() -> None:
    assert not condition("P ** 99999999 < 1")(RUN)
