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
        "depth == '3'",
        "depth < 'x'",
        "P / (depth - 3) > 0",
        "certificate.n_cusps != 7",
        "finish.relative_change < 1",
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


@pytest.mark.parametrize("text", ["dept == 3", "certificate.cusps == 7", "depth.x == 1"])
def test_an_unknown_field_is_named_with_those_there_are(text: str) -> None:
    with pytest.raises(InputError, match="no field .*there are N, P, batch_norm, certificate"):
        condition(text)(RUN)
