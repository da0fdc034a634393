"""The mapping filter `where={"device": "d1", "temp": {">": 20}}` as a small tree, and what it means.

`model.where` parses it, `matches` decides it; engines compile the same tree and must agree with `matches`.
Knows no database. The docstring is long because it is the definition.

Semantics (two-valued: every test is true or false, and Not turns one into the other):

- A path is *missing* where a key is absent or a step is not an object. Every test of a missing path is false,
  but `{"exists": False}`. JSON null is present.
- `=` holds between equal values of one kind: null, boolean, number, string. Numbers are compared by their
  exact mathematical value, so 21 = 21.0, 0 = -0.0, and 2^53 + 1 differs from every double; `true` is not 1.
  `= None` finds null, not missing. An array or an object equals no operand.
- `!=` holds where the path is present, is not null and `=` does not hold; so, as in SQL, null is found by
  neither `= 1` nor `!= 1`. `!= None` means present and not null.
- `>`, `>=`, `<`, `<=` hold only between two numbers or two strings. Strings are ordered by code point.
- `in` is `=` to one of the list (an empty list: false). `not in` is present, not null and `=` to none.
- `$not` is plain negation, so `{"$not": {"a": 1}}` also finds rows where a is null or missing.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.model.paths import Path

Kind: TypeAlias = Literal["null", "boolean", "number", "string", "array", "object"]
Operator: TypeAlias = Literal["=", "!=", ">", ">=", "<", "<="]


class Operand(msgspec.Struct, frozen=True):
    """A scalar to compare with. The kind keeps `true` and 1 apart, which Python's `==` does not."""

    kind: Kind
    value: str | int | float | bool | None


class Compare(msgspec.Struct, frozen=True):
    """`path op operand`. With `>`, `>=`, `<`, `<=` the operand is a number or a string."""

    path: Path
    op: Operator
    operand: Operand


class In(msgspec.Struct, frozen=True):
    """The value at `path` equals one of the operands; never, when there are none."""

    path: Path
    operands: tuple[Operand, ...]


class Exists(msgspec.Struct, frozen=True):
    """Something, possibly null, stands at `path`."""

    path: Path


class And(msgspec.Struct, frozen=True):
    """All of them; true when there are none."""

    operands: tuple[Expression, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one of them; false when there are none."""

    operands: tuple[Expression, ...]


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    operand: Expression


Expression: TypeAlias = And | Or | Not | Compare | In | Exists

_MISSING = object()
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def matches(expression: Expression, value: object) -> bool:
    """Whether a record's value satisfies the filter. Never raises, whatever JSON the value is."""
    match expression:
        case Compare(path, op, operand):
            return _compares(_at(value, path), op, operand)
        case In(path, operands):
            found = _at(value, path)
            return any(_equal(found, operand) for operand in operands)
        case Exists(path):
            return _at(value, path) is not _MISSING
        case And(operands):
            return all(matches(operand, value) for operand in operands)
        case Or(operands):
            return any(matches(operand, value) for operand in operands)
        case Not(operand):
            return not matches(operand, value)


def _at(value: object, path: Path) -> object:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


_KINDS: dict[type, Kind] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def kind_of(value: object) -> Kind | None:
    """The kind of a JSON value; None for what is not plain JSON."""
    return _KINDS.get(type(value))


def _equal(found: object, operand: Operand) -> bool:
    # Python compares int with float exactly, and str by code point.
    return kind_of(found) == operand.kind and found == operand.value


def _compares(found: object, op: Operator, operand: Operand) -> bool:
    if op == "=":
        return _equal(found, operand)
    if op == "!=":
        return found is not _MISSING and found is not None and not _equal(found, operand)
    return kind_of(found) == operand.kind and _ORDER[op](found, operand.value)
