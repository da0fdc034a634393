"""Parses the mapping filter `where={"device": "d1", "temp": {">": 20}}` into the tree of `model.expression`.

Every mistake raises at the call, with its place in the mapping and what to write instead.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from datetime import date

from matrixdata.model.expression import And, Compare, Exists, Expression, In, Not, Operand, Or
from matrixdata.model.paths import Path, format_path, parse_path
from matrixdata.model.problem import shown

MAX_DEPTH = 64
"""How deep `$and`, `$or` and `$not` may nest."""


_OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "in", "not in", "exists")
_LOGICAL = ("$and", "$or", "$not")
_MEANT = {
    "==": "=", "eq": "=", "$eq": "=", "is": "=",
    "<>": "!=", "ne": "!=", "$ne": "!=", "not": "!=", "is not": "!=",
    "gt": ">", "$gt": ">", "gte": ">=", "$gte": ">=", "ge": ">=", "=>": ">=",
    "lt": "<", "$lt": "<", "lte": "<=", "$lte": "<=", "le": "<=", "=<": "<=",
    "$in": "in", "isin": "in", "nin": "not in", "$nin": "not in", "not_in": "not in",
    "$exists": "exists",
}  # fmt: skip
_OUTSIDE = 'logical words stand around paths: {"$not": {"temp": {">": 20}}}'
_ADVICE = {
    "$and": _OUTSIDE,
    "$or": _OUTSIDE,
    "$not": _OUTSIDE,
    "between": 'write both bounds: {">=": low, "<=": high}',
    "like": "there is no pattern matching here; an SQL expression has LIKE",
    "contains": "elements of arrays cannot be tested here; an SQL expression can",
}


def parse_where(where: Mapping[str | Path, object]) -> Expression:
    """Parse a mapping filter; `model.expression` defines what it then means.

    Keys are paths (`model.paths`: `a.b`, `nested."a.b"`, or a tuple of keys). A plain value means `=`; a
    mapping holds operators, all of which must hold: `=`, `!=`, `>`, `>=`, `<`, `<=`, `in`, `not in`, `exists`.
    `$and` and `$or` take a list of filters, `$not` takes one. A record's own key that starts with `$` is
    written in quotes (`'"$or"'`) or as a tuple (`("$or",)`). Operands are numbers, text, booleans and None.

    Args:
        where: the filter; an empty mapping is true of every record.

    Raises:
        TypeError: a part of it has a type that means nothing there; the message says where and what fits.
        ValueError: an unknown operator, a path that is none, or an operand that no record can hold (NaN,
            an infinity, an integer beyond 64 bits, text that is not Unicode).
    """
    return _all_of(where, "where", 0)


def _all_of(where: object, place: str, depth: int) -> Expression:
    if not isinstance(where, Mapping):
        raise TypeError(
            f"{place}: a filter is a mapping of paths to values, such as "
            f'{{"device": "d1", "temp": {{">": 20}}}}, not a {type(where).__name__}'
        )
    if depth > MAX_DEPTH:
        raise ValueError(f"{place}: filters nest at most {MAX_DEPTH} deep")
    parts = [part for key, spec in where.items() for part in _entry(key, spec, place, depth)]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _entry(key: object, spec: object, place: str, depth: int) -> list[Expression]:
    if isinstance(key, str) and key.startswith("$"):
        return [_logical(key, spec, f"{place}[{key!r}]", depth)]
    try:
        path = parse_path(key)  # type: ignore[arg-type]  # anything may be given; parse_path says what fits
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from None
    _unicode("".join(path), place)
    here = f"{place}[{format_path(path)!r}]"
    if not isinstance(spec, Mapping):
        return [Compare(path, "=", _operand(spec, here))]
    if not spec:
        raise ValueError(f"{here}: an empty mapping tests nothing; {_allowed()}")
    return [part for op, given in spec.items() for part in _test(path, op, given, here)]


def _logical(word: str, spec: object, place: str, depth: int) -> Expression:
    if word == "$not":
        return Not(_all_of(spec, place, depth + 1))
    if word not in _LOGICAL:
        close = difflib.get_close_matches(word, _LOGICAL, n=1)
        raise ValueError(
            f"{place}: unknown logical word {shown(word)}"
            + (f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(_LOGICAL)}.")
            + f" A record's key of that name is written in quotes: {shown(format_path((word,), quote=True))}"
        )
    if isinstance(spec, (str, bytes, Mapping)) or not isinstance(spec, Iterable):
        raise TypeError(f"{place}: {word} takes a list of filters, not a {type(spec).__name__}")
    parts = tuple(_all_of(each, f"{place}[{i}]", depth + 1) for i, each in enumerate(spec))
    return And(parts) if word == "$and" else Or(parts)


def _test(path: Path, op: object, given: object, place: str) -> list[Expression]:
    here = f"{place}[{op!r}]"
    match op:
        case "=" | "!=":
            return [Compare(path, op, _operand(given, here))]
        case ">" | ">=" | "<" | "<=":
            operand = _operand(given, here)
            if operand.kind not in ("number", "string"):
                raise TypeError(f"{here}: only numbers and text have an order, not {shown(given)}")
            return [Compare(path, op, operand)]
        case "in":
            return [In(path, _operands(given, here))]
        case "not in":
            none = Operand("null", None)
            return [Compare(path, "!=", none), Not(In(path, _operands(given, here)))]
        case "exists":
            if not isinstance(given, bool):
                raise TypeError(f"{here}: True or False, not {shown(given)}")
            return [Exists(path) if given else Not(Exists(path))]
    raise ValueError(f"{place}: {_unknown_operator(path, op)}")


def _unknown_operator(path: Path, op: object) -> str:
    text = f"unknown operator {shown(op)}"
    if isinstance(op, str):
        close = (
            [_MEANT[op.lower()]] if op.lower() in _MEANT else difflib.get_close_matches(op, _OPERATORS, n=1)
        )
        if op.lower() in _ADVICE:
            text += f"; {_ADVICE[op.lower()]}"
        elif close:
            text += f"; did you mean {close[0]!r}?"
        else:
            text += f"; for the key {shown(op)} inside, use the path {shown(format_path((*path, op)))}"
    return f"{text}. {_allowed()}"


def _allowed() -> str:
    return "The operators are " + ", ".join(map(repr, _OPERATORS))


def _operands(given: object, place: str) -> tuple[Operand, ...]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"{place}: a list of values, not {shown(given)}")
    return tuple(_operand(each, f"{place}[{i}]") for i, each in enumerate(given))


def _operand(given: object, place: str) -> Operand:
    if type(given).__module__ == "numpy" and hasattr(given, "item") and getattr(given, "ndim", 1) == 0:
        given = given.item()
    match given:
        case None:
            return Operand("null", None)
        case bool():
            return Operand("boolean", given)
        case int():
            if not -(2**63) <= given < 2**64:
                raise ValueError(f"{place}: records hold integers of 64 bits, not {shown(given)}")
            return Operand("number", int(given))
        case float():
            if not math.isfinite(given):
                raise ValueError(
                    f"{place}: no record holds {given}; for missing values use "
                    '{"exists": False}, for null use None'
                )
            return Operand("number", float(given))
        case str():
            _unicode(given, place)
            return Operand("string", str.__str__(given))  # an Enum's own str() may name the class
    raise TypeError(f"{place}: {_no_operand(given)}")


def _no_operand(given: object) -> str:
    if isinstance(given, date):  # datetime is a date too
        return (
            "times in records are text or numbers and do not compare with a datetime; "
            "use since= and until=, or give the text or number as the records have it"
        )
    if isinstance(given, (list, tuple, set, frozenset)):
        return 'for one of several values write {"in": [...]}; arrays themselves cannot be compared'
    return f"numbers, text, booleans and None can be compared, not a {type(given).__name__}"


def _unicode(text: str, place: str) -> None:
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f"{place}: {shown(text)} holds half of a surrogate pair, which no record can")
