"""Expressions over the fields of a record: how a text is read, and what it is worth for one record.

An expression compares fields with numbers, words, or each other. It may hold and, or, not; chains such as
0.1 < n_unsatisfied / P < 1; sums, products and powers; `in` with a list; and a.b for the field b of a field a. There are no
calls: nothing is executed.

Two names have two meanings, and the other side of the comparison decides. `loss` is the name of the loss if it is compared
with a word, and final_loss otherwise. `status` is 'certified' if it is compared with this word and the run has a valid
certificate; `status == 'jammed'` is the same as `status == 'stationary'`.

A field that is null, or that is missing within another field, equals null and fulfils no other comparison.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jamtools.errors import InputError

Record = Mapping[str, Any]

COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: lambda a, b: float(a) ** float(b),  # a power of large integers would take very long
}
UNARY_OPERATORS: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
NAMED_CONSTANTS = {"true": True, "false": False, "null": None}
SYNTAX = (
    *COMPARISONS, *ARITHMETIC, *UNARY_OPERATORS, ast.In, ast.NotIn, ast.Compare, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp,
    ast.Not, ast.BinOp, ast.Name, ast.Attribute, ast.Load, ast.List, ast.Tuple,
)  # fmt: skip
CONDITION_EXAMPLE = "expected one like \"final_loss < 1e-3 and status == 'stationary'\""

#: The longest text, in characters, that a message quotes whole.
MAX_QUOTED_TEXT = 80

#: The `status` of a jammed run.
JAMMED_STATUS = "stationary"


def parse(text: str, names: ast.NodeTransformer) -> ast.expr:
    """The expression that `text` describes, after `names` has replaced some of its names.

    Raises InputError for a text that cannot be read, or that holds anything but what the module allows.
    """
    try:
        tree: ast.expr = names.visit(ast.parse(text.strip(), mode="eval").body)
        for node in ast.walk(tree):
            _check_syntax(node, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"cannot read {text[:MAX_QUOTED_TEXT]!r}; {CONDITION_EXAMPLE}") from error
    return tree


def names_in(node: ast.AST) -> Iterator[str]:
    """The fields that stand in an expression, with fields of fields as a.b."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node)
    else:
        for child in ast.iter_child_nodes(node):
            yield from names_in(child)


def _check_syntax(node: ast.AST, text: str) -> None:
    is_field_of_no_name = isinstance(node, ast.Attribute) and not isinstance(
        node.value, ast.Name | ast.Attribute
    )
    if isinstance(node, SYNTAX) and not is_field_of_no_name:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return
    what = repr(ast.unparse(node)) if isinstance(node, ast.expr) else f"the operator {type(node).__name__}"
    raise InputError(
        f"the condition {text!r} holds {what}, which is neither field, number, word nor comparison; {CONDITION_EXAMPLE}"
    )


def truth(node: ast.expr, record: Record) -> bool:
    """Whether a record fulfils an expression.

    Raises InputError for values that cannot be compared, and for one that is neither true nor false where it should be.
    """
    if isinstance(node, ast.BoolOp):
        join = all if isinstance(node.op, ast.And) else any
        return join(truth(part, record) for part in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not truth(node.operand, record)
    if isinstance(node, ast.Compare):
        terms = [node.left, *node.comparators]
        return all(_compare(left, op, right, record) for left, op, right in zip(terms, node.ops, terms[1:]))
    value = value_of(node, record)
    if not (value is None or isinstance(value, bool)):
        raise InputError(f"{ast.unparse(node)!r} is neither true nor false, expected a comparison of it")
    return bool(value)


def value_of(node: ast.expr, record: Record) -> Any:
    """The value of an expression: a number, a word, None, a list, or the value of a field."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [value_of(item, record) for item in node.elts]
    if isinstance(node, ast.BinOp):
        a, b = _operand(node.left, record), _operand(node.right, record)
        return None if a is None or b is None else _combine(node.op, a, b)
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY_OPERATORS:
        a = _operand(node.operand, record)
        return None if a is None else UNARY_OPERATORS[type(node.op)](a)
    if isinstance(node, ast.Name | ast.Attribute):
        return field_of(ast.unparse(node), record)
    return truth(node, record)


def alone(node: ast.expr, record: Record) -> Any:
    """The value of an expression that is compared with nothing: `loss` is final_loss."""
    return _meaning(node, value_of(node, record), None, record)


def field_of(name: str, record: Record) -> Any:
    """The value of a field, a.b for a field of a field; None where it is missing."""
    if name in NAMED_CONSTANTS:
        return NAMED_CONSTANTS[name]
    value: Any = record
    for part in name.split("."):  # a run without a certificate has no fields of one
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _operand(node: ast.expr, record: Record) -> int | float | None:
    """The number that an expression stands for in a sum or product, or None."""
    value = _meaning(node, value_of(node, record), None, record)
    return value if isinstance(value, int | float) else None


def _combine(op: ast.operator, a: float, b: float) -> float:
    try:
        value = ARITHMETIC[type(op)](a, b)
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return value if isinstance(value, int | float) else math.nan  # a power may be complex


def _meaning(node: ast.expr | None, value: Any, other: Any, record: Record) -> Any:
    """The value of an expression that is compared with `other`, which decides the meaning of `loss` and `status`."""
    name = node.id if isinstance(node, ast.Name) else None
    if name == "loss" and not isinstance(other, str):
        return record.get("final_loss", value)
    if name == "status" and other == "certified" and record.get("certified"):
        return "certified"
    if name == "status" and other == "jammed" and value == JAMMED_STATUS:
        return "jammed"
    return value


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, record: Record) -> bool:
    values = value_of(left, record), value_of(right, record)
    if isinstance(op, ast.In | ast.NotIn):
        comparable = isinstance(values[1], list)
        a, b = values
    else:
        a, b = _meaning(left, *values, record), _meaning(right, *values[::-1], record)
        comparable = _comparable(a, b) or (isinstance(op, ast.Eq | ast.NotEq) and (a is None or b is None))
    if not comparable:
        if a is None or b is None:
            return False
        shown = f"{ast.unparse(left)} is {values[0]!r}, {ast.unparse(right)} is {values[1]!r}"
        raise InputError(f"cannot compare them: {shown}, expected two numbers, two words, or a list after in")
    if isinstance(op, ast.In | ast.NotIn):
        return _contains(right, b, left, a, record) == isinstance(op, ast.In)
    return COMPARISONS[type(op)](a, b)


def _comparable(a: Any, b: Any) -> bool:
    return all(isinstance(x, int | float) for x in (a, b)) or all(isinstance(x, str) for x in (a, b))


def _contains(right: ast.expr, items: list[Any], left: ast.expr, value: Any, record: Record) -> bool:
    """Whether a value equals one of the items of a list."""
    nodes = right.elts if isinstance(right, ast.List | ast.Tuple) else [None] * len(items)
    return any(
        _meaning(left, value, item, record) == _meaning(node, item, value, record)
        for node, item in zip(nodes, items)
    )
