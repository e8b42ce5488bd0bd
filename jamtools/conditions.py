"""Conditions on the fields of a record: final_loss < 1e-3 and status == 'stationary'.

Comparisons of fields with numbers, words or each other, joined by and, or, not; chains as in 0.1 < n_unsatisfied /
P < 1, sums, products and powers, `in` with a list, and a.b for a field within a field. No calls: nothing is
executed.

`loss` names both what was trained on and its value at the end: against a number it is final_loss, against a word
the name. `status` is the word that the run carries, and 'certified' too for a run with a certificate that holds.
What is null, or within a field that this record has not, equals null and fulfils no other comparison.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jamtools.errors import InputError

Condition = Callable[[Mapping[str, Any]], bool]

COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
COMBINE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: lambda a, b: float(a) ** float(b),  # of whole numbers it might take forever
}
UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
WORDS = {"true": True, "false": False, "null": None}
EXAMPLE = "expected one like \"final_loss < 1e-3 and status == 'stationary'\""


def condition(text: str) -> Condition:
    """The condition that `text` writes: a function from a record to whether it holds.

    Raises InputError for what is none; the function raises it for a field that the record does not know.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"cannot read the condition {text!r}; {EXAMPLE}") from error
    for node in ast.walk(tree):
        _check(node, text)
    if not isinstance(tree, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Name | ast.Attribute):
        raise InputError(f"{text!r} compares nothing; {EXAMPLE}")
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return lambda record: _evaluated(tree, names, record, text)


def _evaluated(tree: ast.expr, names: Sequence[str], record: Mapping[str, Any], text: str) -> bool:
    """Whether it holds; every field it names is asked for, whatever decides."""
    for name in names:
        if name not in WORDS and name not in record:
            raise InputError(f"no field {name!r}; there are {', '.join(sorted(record))}")
    try:
        return _truth(tree, record)
    except RecursionError as error:
        raise InputError(f"the condition {text[:40]!r}… is nested too deeply; {EXAMPLE}") from error


def _check(node: ast.AST, text: str) -> None:
    known = (
        *COMPARE, *COMBINE, *UNARY, ast.Compare, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.BinOp,
        ast.Name, ast.Attribute, ast.Load, ast.List, ast.Tuple,
    )  # fmt: skip
    constant = isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None)
    if not (isinstance(node, known) or constant):
        what = (
            repr(ast.unparse(node)) if isinstance(node, ast.expr) else f"the operator {type(node).__name__}"
        )
        raise InputError(
            f"the condition {text!r} holds {what}, which is neither field, number, word nor comparison; {EXAMPLE}"
        )


def _truth(node: ast.expr, record: Mapping[str, Any]) -> bool:
    if isinstance(node, ast.BoolOp):
        join = all if isinstance(node.op, ast.And) else any
        return join(_truth(part, record) for part in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _truth(node.operand, record)
    if isinstance(node, ast.Compare):
        terms = [node.left, *node.comparators]
        return all(_compare(left, op, right, record) for left, op, right in zip(terms, node.ops, terms[1:]))
    values = _readings(node, record)
    if not all(value is None or isinstance(value, bool) for value in values):
        raise InputError(f"{ast.unparse(node)!r} is neither true nor false, expected a comparison of it")
    return any(values)


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, record: Mapping[str, Any]) -> bool:
    """Whether any reading of the one stands so to any of the other; for "not" as in != and not in, every one."""
    every = [(a, b) for a in _readings(left, record) for b in _readings(right, record)]
    pairs = [(a, b) for a, b in every if _alike(a, b, op)]
    if not pairs and not any(a is None or b is None for a, b in every):
        shown = f"{ast.unparse(left)} is {every[0][0]!r}, {ast.unparse(right)} is {every[0][1]!r}"
        raise InputError(f"cannot compare them: {shown}, expected two numbers, two words, or a list after in")
    results = (COMPARE[type(op)](a, b) for a, b in pairs)
    if isinstance(op, ast.NotEq | ast.NotIn):
        return bool(pairs) and all(results)
    return any(results)


def _alike(a: Any, b: Any, op: ast.cmpop) -> bool:
    """Comparable: two numbers or two words; null equals null alone."""
    if isinstance(op, ast.In | ast.NotIn):
        return isinstance(b, list)
    if isinstance(op, ast.Eq | ast.NotEq) and (a is None or b is None):
        return True
    numbers = all(isinstance(value, int | float) for value in (a, b))
    return numbers or all(isinstance(value, str) for value in (a, b))


def _readings(node: ast.expr, record: Mapping[str, Any]) -> list[Any]:
    """What an expression may stand for: more than one value for the fields that the module names."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.List | ast.Tuple):
        return [[value for item in node.elts for value in _readings(item, record)]]
    if isinstance(node, ast.BinOp):
        pairs = [(a, b) for a in _readings(node.left, record) for b in _readings(node.right, record)]
        return [_combined(node, a, b) for a, b in pairs if _number(a) and _number(b)] or [None]
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
        return [UNARY[type(node.op)](a) for a in _readings(node.operand, record) if _number(a)] or [None]
    if isinstance(node, ast.Name | ast.Attribute):
        return _field(ast.unparse(node), record)
    return [_truth(node, record)]


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _combined(node: ast.BinOp, a: float, b: float) -> float:
    try:
        value = COMBINE[type(node.op)](a, b)
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return value if isinstance(value, int | float) else math.nan


def _field(name: str, record: Mapping[str, Any]) -> list[Any]:
    if name in WORDS:
        return [WORDS[name]]
    value: Any = record
    for part in name.split("."):  # what a certificate holds, runs without one have not
        value = value.get(part) if isinstance(value, Mapping) else None
    if name == "loss" and "final_loss" in record:
        return [value, record["final_loss"]]
    return [value, *(["certified"] if name == "status" and record.get("certified") else [])]
