"""The mapping filter as an SQLite test of a record's JSON text, so that rows it rules out are never decoded.

SQLite cannot decide everything (SQLite 3.40 measured: text ends at NUL, integers beyond 64 bits are rounded, keys
with quotes cannot be addressed). So each test is compiled twice: to SQL that is true wherever the test may be, and to
SQL that is true only where it must be; `$not` swaps the two. Must not splice anything of a filter into SQL text.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

import msgspec

from matrixdata.model.expression import And, Compare, Exists, Expression, In, Not, Operand, Operator, Or
from matrixdata.model.paths import Path

MAX_TESTS = 200
"""Filters of more tests are decided in Python alone: SQLite's expressions nest at most 1,000 deep."""

_TEXT = "CAST(e.value AS TEXT)"
_KIND = f"json_type({_TEXT}, ?)"
_CELL = f"json_extract({_TEXT}, ?)"
# Our encoder writes \u only for control characters, so few records have one. NUL is among them, at which
# json_extract ends a text; and an escape hides a key from a path.
_ODD = f"instr({_TEXT}, '\\u') > 0"
_UNSAYABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_AMONG = f"{_CELL} IN (SELECT value FROM json_each(?))"  # noqa: S608  constants and ? marks
_SLACK = 1e-12
"""SQLite may read a decimal fraction some units in the last place off, depending on version and platform."""


class SqliteFilter(msgspec.Struct, frozen=True):
    """A test for a WHERE clause over the table `e`.

    Attributes:
        sql: true for every record that `model.expression.matches`; `e.value` is its JSON text, as a BLOB.
        parameters: what its question marks stand for.
        exact: it is true for no others; else check each row with `matches`.
    """

    sql: str
    parameters: tuple[Any, ...]
    exact: bool


class _Sql(msgspec.Struct, frozen=True):
    text: str
    parameters: tuple[Any, ...] = ()


class _Test(msgspec.Struct, frozen=True):
    """`must` implies the test, the test implies `may`; one object where they are the same."""

    may: _Sql
    must: _Sql


_TRUE, _FALSE = _Sql("1"), _Sql("0")
_UNDECIDED = _Test(_TRUE, _FALSE)


def compile_sqlite(expression: Expression) -> SqliteFilter:
    """Compile a filter for SQLite 3.37 or later.

    The record texts must be as `msgspec.json.encode` writes them: valid, no key twice, nothing escaped that
    need not be.
    """
    test = _test(expression) if _size(expression) <= MAX_TESTS else _UNDECIDED
    return SqliteFilter(test.may.text, test.may.parameters, test.may is test.must)


def _size(expression: Expression) -> int:
    match expression:
        case And(operands) | Or(operands):
            return 1 + sum(map(_size, operands))
        case Not(operand):
            return 1 + _size(operand)
        case _:
            return 1


def _test(expression: Expression) -> _Test:
    match expression:
        case And(operands):
            return _joined(" AND ", [_test(operand) for operand in operands], _TRUE)
        case Or(operands):
            return _joined(" OR ", [_test(operand) for operand in operands], _FALSE)
        case Not(operand):
            test = _test(operand)
            may = _not(test.must)
            return _Test(may, may if test.may is test.must else _not(test.may))
        case Compare(path, op, operand):
            return _guarded(path, _compared(path, op, operand))
        case In(path, operands):
            return _guarded(path, _among(path, operands))
        case Exists(path):
            return _guarded(path, _same(f"{_KIND} IS NOT NULL", _json_path(path)))


def _joined(word: str, tests: list[_Test], empty: _Sql) -> _Test:
    if not tests:
        return _Test(empty, empty)

    def join(parts: list[_Sql]) -> _Sql:
        text = word.join(part.text for part in parts)
        return _Sql(f"({text})", tuple(chain.from_iterable(part.parameters for part in parts)))

    may = join([test.may for test in tests])
    if all(test.may is test.must for test in tests):
        return _Test(may, may)
    return _Test(may, join([test.must for test in tests]))


def _same(text: str, *parameters: object) -> _Test:
    sql = _Sql(text, parameters)
    return _Test(sql, sql)


def _not(sql: _Sql) -> _Sql:
    return _Sql(f"NOT ({sql.text})", sql.parameters)


def _json_path(path: Path) -> str:
    return "$" + "".join(f'."{key}"' for key in path)


def _guarded(path: Path, test: _Test) -> _Test:
    """Leave records with escapes undecided, and everything where the path cannot be said."""
    if any(_UNSAYABLE.search(key) for key in path):
        return _UNDECIDED
    # IFNULL, because a missing path is NULL in SQLite, and `$not` of NULL would be NULL again.
    return _Test(
        _Sql(f"(IFNULL({test.may.text}, 0) OR {_ODD})", test.may.parameters),
        _Sql(f"(IFNULL({test.must.text}, 0) AND NOT {_ODD})", test.must.parameters),
    )


def _compared(path: Path, op: Operator, operand: Operand) -> _Test:
    if op == "!=":
        there = _same(f"{_KIND} <> 'null'", _json_path(path))
        if operand.kind == "null":
            return there
        equal = _compared(path, "=", operand)
        different = _Test(_ifnot(equal.must), _ifnot(equal.may))
        return _joined(" AND ", [there, different], _TRUE)
    match operand.kind:
        case "null":
            return _same(f"{_KIND} = 'null'", _json_path(path))
        case "boolean":
            return _same(f"{_KIND} = ?", _json_path(path), "true" if operand.value else "false")
        case "number":
            return _compared_number(path, op, operand.value)
        case _:
            return _compared_text(path, op, str(operand.value))


def _ifnot(sql: _Sql) -> _Sql:
    return _Sql(f"NOT IFNULL({sql.text}, 0)", sql.parameters)


def _compared_text(path: Path, op: Operator, operand: str) -> _Test:
    """Exact but for records with escapes, which `_guarded` takes care of. BINARY orders UTF-8 by code point."""
    where = _json_path(path)
    if "\0" not in operand:
        return _same(f"({_KIND} = 'text' AND {_CELL} {op} ?)", where, where, operand)
    if op == "=":  # a text with NUL has an escape
        return _Test(_FALSE, _FALSE)
    may = _Sql(f"{_KIND} = 'text'", (where,))
    return _Test(may, _FALSE)


def _compared_number(path: Path, op: Operator, operand: Any) -> _Test:  # noqa: ANN401  int or float
    """Integers of 64 bits exactly; other numbers are doubles, read with some slack around the operand."""
    where = _json_path(path)
    kind = f"{_KIND} IN ('integer', 'real')"
    whole, parameter = _whole(op, operand)
    near = float(operand)
    slack = max(abs(near) * _SLACK, 1e-300)
    low, high = near - slack, near + slack
    around, surely = {
        "=": (f"{_CELL} BETWEEN ? AND ?", None),
        ">": (f"{_CELL} >= ?", f"{_CELL} > ?"),
        ">=": (f"{_CELL} >= ?", f"{_CELL} > ?"),
        "<": (f"{_CELL} <= ?", f"{_CELL} < ?"),
        "<=": (f"{_CELL} <= ?", f"{_CELL} < ?"),
    }[op]
    bounds = {"=": (low, high), ">": (low,), ">=": (low,)}.get(op, (high,))
    beyond = (high,) if op in {">", ">="} else (low,)

    def test(real: str, limits: tuple[float, ...]) -> _Sql:
        return _Sql(
            f"({kind} AND CASE typeof({_CELL}) WHEN 'integer' THEN {whole} ELSE {real} END)",
            (
                where,
                where,
                *([where, parameter] if parameter is not None else []),
                *([where, *limits] if limits else []),
            ),
        )

    must = test(surely, beyond) if surely else test("0", ())
    return _Test(test(around, bounds), must)


def _whole(op: Operator, operand: Any) -> tuple[str, int | float | None]:  # noqa: ANN401  int or float
    """The test of an integer of 64 bits; the operand as SQLite can hold it, None where it decides by itself."""
    if isinstance(operand, int) and operand >= 2**63:
        return ("1" if op in {"<", "<="} else "0"), None
    # SQLite compares an integer with a double by their exact values.
    return f"{_CELL} {op} ?", operand


def _among(path: Path, operands: tuple[Operand, ...]) -> _Test:
    where = _json_path(path)
    texts = [str(o.value) for o in operands if o.kind == "string" and "\0" not in str(o.value)]
    numbers = [o.value for o in operands if o.kind == "number"]
    tests = [_compared(path, "=", o) for o in dict.fromkeys(operands) if o.kind in {"null", "boolean"}]
    if texts:
        tests.append(
            _same(
                f"({_KIND} = 'text' AND {_AMONG})",
                where,
                where,
                json.dumps(texts, ensure_ascii=False),
            )
        )
    if numbers:
        tests.append(_among_numbers(where, numbers))
    return _joined(" OR ", tests, _FALSE)


def _among_numbers(where: str, numbers: list[Any]) -> _Test:
    whole = json.dumps([int(n) for n in numbers if n == int(n) and -(2**63) <= n < 2**63])
    low, high = float(min(numbers)), float(max(numbers))
    slack = max(abs(low), abs(high)) * _SLACK + 1e-300

    def test(real: str, *limits: object) -> _Sql:
        return _Sql(
            f"({_KIND} IN ('integer', 'real') AND CASE typeof({_CELL})"
            f" WHEN 'integer' THEN {_AMONG} ELSE {real} END)",
            (where, where, where, whole, *limits),
        )

    return _Test(test(f"{_CELL} BETWEEN ? AND ?", where, low - slack, high + slack), test("0"))
