"""Conditions on the fields of records, for example: final_loss < 1e-3 and status == 'stationary'.

A condition is an expression of `formulas` that is true or false. Four names stand for conditions, also inside and, or, not:

    jammed        status == 'stationary': at a minimum with L > 0
    satisfied     status == 'satisfied'
    dead          status == 'dead'
    near(0.05)    |(P/N) / (P/N)* - 1| ≤ 0.05, with (P/N)* at the transition of these runs

Where the transition lies follows from all records together. This module does not know how: a `DistanceFinder` is passed in.
A field that only some of the records have is null for the others. `N` is n_effective_expected where there is no field N.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jamtools.errors import InputError, Remedy, nearest_of
from jamtools.formulas import (
    CONDITION_EXAMPLE,
    JAMMED_STATUS,
    MAX_QUOTED_TEXT,
    NAMED_CONSTANTS,
    Record,
    alone,
    field_of,
    names_in,
    parse,
    truth,
)

#: From all records to (P/N) / (P/N)* - 1 of each; None for a record whose transition is not known.
DistanceFinder = Callable[[Sequence[Record]], Sequence[float | None]]

#: The conditions that are the name of a state, and the `status` that each asks for.
NAMED_STATES = {"jammed": JAMMED_STATUS, "satisfied": "satisfied", "dead": "dead"}

#: |(P/N) / (P/N)* - 1| in the scope of a condition. It is no identifier, so that no condition can name it.
DISTANCE = "distance from the transition"

#: The field that `N` stands for in a record without a field N.
DEFAULT_OF_N = "n_effective_expected"

NEAR_EXAMPLE = "expected near(0.05) for P/N within 5 % of the transition"

#: Fields that a message names first, if the records have them.
FIELDS_NAMED_FIRST = ("status", "final_loss", "n_unsatisfied", "P", "N", "n_star", "width", "depth", "seed")

#: The largest number of fields, and of values of one field, that a message lists.
MAX_LISTED = 6


class Formula:
    """A text that was read as an expression over the fields of a record, with its named conditions replaced.

    text: what was given; tree: what it means; names: the fields that it uses, a.b for a field of a field. Raises InputError
    for a text that cannot be read or that holds anything else.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = parse(text, _NamedConditions())
        self.names = tuple(dict.fromkeys(names_in(self.tree)))

    @property
    def needs_distance(self) -> bool:
        """Whether near(…) stands in the text."""
        return DISTANCE in self.names

    def unknown(self, records: Iterable[Record]) -> str | None:
        """The first field of the text that none of the records has, or None. A field of a field may be missing."""
        known = _fields(records) | {DISTANCE, *NAMED_CONSTANTS}
        roots = (name if name == DISTANCE else name.partition(".")[0] for name in self.names)
        return next((name for name in roots if name not in known), None)

    def check(self, records: Sequence[Record]) -> None:
        """Raises InputError for a field that none of the records has; the message suggests the nearest one."""
        name = self.unknown(records)
        if name is None or not records:
            return
        fields = _fields(records)
        if any(record.get("status") == name for record in records):
            raise InputError(f'no field {name!r}; did you mean "status == {name!r}"?')
        if name != "status" and (nearest := nearest_of(name, fields | NAMED_STATES.keys())):
            raise InputError(f"no field {name!r}; did you mean {nearest}?")
        first = [field for field in FIELDS_NAMED_FIRST if field in fields]
        listed = [*first, *sorted(fields - {*first})][:MAX_LISTED]
        more = f" and {len(fields) - len(listed)} more" if len(fields) > len(listed) else ""
        asked = "" if name in self.text else f", which {self.text!r} asks for,"
        raise InputError(f"no field {name!r}{asked} among {', '.join(listed)}{more}", Remedy.SHOW_FIELDS)

    def values(self, records: Sequence[Record], distances: DistanceFinder | None = None) -> list[Any]:
        """The value of the expression for each record; None where a field of it is null. Raises InputError as `check`."""
        return [self._evaluated(alone, scope) for scope in self._scopes(records, distances)]

    def _scopes(
        self, records: Sequence[Record], distances: DistanceFinder | None = None
    ) -> list[dict[str, Any]]:
        """What the names mean, for each record."""
        self.check(records)
        if not self.needs_distance:
            found: Sequence[float | None] = [None] * len(records)
        elif distances is None:
            raise InputError("near(…) needs all runs of a sweep, expected a condition on one record")
        else:
            found = distances(records)
        nothing = dict.fromkeys(_fields(records))
        return [
            {**nothing, "N": record.get(DEFAULT_OF_N), **record, DISTANCE: None if x is None else abs(x)}
            for record, x in zip(records, found)
        ]

    def _evaluated(self, evaluate: Callable[[ast.expr, Record], Any], scope: Record) -> Any:
        try:
            return evaluate(self.tree, scope)
        except RecursionError as error:
            text = self.text[:MAX_QUOTED_TEXT]
            raise InputError(f"{text!r}… is nested too deeply; {CONDITION_EXAMPLE}") from error


class Condition(Formula):
    """A formula that is true or false. `condition(record)` decides for one record, `among` for records that belong together.

    Raises InputError for a text that is not a condition. Deciding raises InputError for a field that no record has, for
    values that cannot be compared, and for a value other than true or false where one of them is needed.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if not isinstance(self.tree, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Name | ast.Attribute):
            raise InputError(f"{text!r} compares nothing; {CONDITION_EXAMPLE}")

    def __call__(self, record: Record) -> bool:
        return self.among([record])[0]

    def among(self, records: Sequence[Record], distances: DistanceFinder | None = None) -> list[bool]:
        """Whether each record fulfils the condition; `distances` gives the meaning of near(…)."""
        return [self._evaluated(truth, scope) for scope in self._scopes(records, distances)]

    def values_in_words(self, records: Sequence[Record], distances: DistanceFinder | None = None) -> str:
        """What the fields of the condition are in these records: `depth is 2 or 3, final_loss is 1e-05 to 0.02`."""
        scopes = self._scopes(records, distances)
        return ", ".join(_values_in_words(name, scopes) for name in self.names if name not in NAMED_CONSTANTS)


class _NamedConditions(ast.NodeTransformer):
    """Replaces named conditions by what they mean."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "near":
            raise InputError(f"got near without a number, {NEAR_EXAMPLE}")
        status = NAMED_STATES.get(node.id)
        return node if status is None else _comparison("status", ast.Eq(), status)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return node  # dead.x is a field of a field

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not (isinstance(node.func, ast.Name) and node.func.id == "near"):
            return node
        argument = node.args[0] if len(node.args) == 1 and not node.keywords else None
        share = argument.value if isinstance(argument, ast.Constant) else None
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share < math.inf:
            raise InputError(f"got {ast.unparse(node)!r}, {NEAR_EXAMPLE}")
        return _comparison(DISTANCE, ast.LtE(), share)


def _comparison(name: str, op: ast.cmpop, value: str | int | float) -> ast.Compare:
    return ast.Compare(ast.Name(name, ast.Load()), [op], [ast.Constant(value)])


def _fields(records: Iterable[Record]) -> set[str]:
    """The fields that at least one of the records has."""
    names = {name for record in records for name in record}
    return names | {"N"} if DEFAULT_OF_N in names else names


def _values_in_words(name: str, scopes: Sequence[Record]) -> str:
    """`depth is 2 or 3`; the range of many numbers; the nearest name for a field of a field that no record has."""
    found = [field_of(name, scope) for scope in scopes]
    found = [str(value).lower() if isinstance(value, bool) else value for value in found]
    values = list(dict.fromkeys(value for value in found if isinstance(value, int | float | str)))
    outer, dot, _ = name.rpartition(".")
    if not values and dot:
        outside = [field_of(outer, scope) for scope in scopes]
        inner = {key for value in outside if isinstance(value, Mapping) for key in value}
        nearest = nearest_of(name, {f"{outer}.{key}" for key in inner})
        return f"{name} is null{f' (did you mean {nearest}?)' if nearest and nearest != name else ''}"
    if not values:
        return f"{name} is null"
    is_all_words = all(isinstance(value, str) for value in values)
    values = sorted(values, key=str if is_all_words else lambda value: (isinstance(value, str), value))
    if len(values) > MAX_LISTED and not is_all_words:
        return f"{name} is {values[0]:.3g} to {values[-1]:.3g}"
    words = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values[:MAX_LISTED]]
    return f"{name} is {' or '.join(words)}{' or …' if len(values) > MAX_LISTED else ''}"
