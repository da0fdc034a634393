"""The mapping filter as a DuckDB test of a record's JSON text: the same answers as `model.expression.matches`.

DuckDB compares an integer with a double as doubles; so the kind of each number is asked first and the operand is
moved to the nearest value of that kind. Must not splice anything of a filter into SQL text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

from matrixdata.model.expression import And, Compare, Exists, Expression, In, Not, Operand, Operator, Or
from matrixdata.model.paths import Path


@dataclass(frozen=True, slots=True)
class DuckFilter:
    """A DuckDB expression over a VARCHAR column `value` of JSON texts; never NULL.

    Attributes:
        parameters: what its question marks stand for.
    """

    sql: str
    parameters: tuple[Any, ...] = ()


def compile_duckdb(expression: Expression) -> DuckFilter:
    """Compile a filter to DuckDB's SQL, exactly: it is true where `matches` is, and false elsewhere."""
    match expression:
        case And(operands):
            return _joined(" AND ", [compile_duckdb(operand) for operand in operands], "true")
        case Or(operands):
            return _joined(" OR ", [compile_duckdb(operand) for operand in operands], "false")
        case Not(operand):
            inner = compile_duckdb(operand)
            return DuckFilter(f"NOT ({inner.sql})", inner.parameters)
        case Compare(path, op, operand):
            return _leaf(path, _compared(path, op, operand))
        case In(path, operands):
            tests = [_compared(path, "=", operand) for operand in operands]
            return _leaf(path, _joined(" OR ", tests, "false"))
        case Exists(path):
            return _leaf(path, DuckFilter(f"{_KIND} IS NOT NULL", (_pointer(path),)))


_KIND = "json_type(value, ?::VARCHAR)"
_CELL = "json_extract_string(value, ?::VARCHAR)"


def _joined(word: str, tests: list[DuckFilter], empty: str) -> DuckFilter:
    if not tests:
        return DuckFilter(empty)
    return DuckFilter(
        f"({word.join(test.sql for test in tests)})",
        tuple(chain.from_iterable(test.parameters for test in tests)),
    )


def _pointer(path: Path) -> str:
    """The path as a JSON Pointer (RFC 6901)."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _leaf(path: Path, test: DuckFilter) -> DuckFilter:
    """False where the path is missing. Digits in a pointer would be an element, where an array stands."""
    parents = [path[:depth] for depth, key in enumerate(path) if key.isdecimal() or key == "-"]
    guards = [DuckFilter(f"{_KIND} = 'OBJECT'", (_pointer(parent),)) for parent in parents]
    whole = _joined(" AND ", [*guards, test], "true")
    return DuckFilter(f"coalesce({whole.sql}, false)", whole.parameters)


def _compared(path: Path, op: Operator, operand: Operand) -> DuckFilter:
    where = _pointer(path)
    if op == "!=":
        there = DuckFilter(f"{_KIND} <> 'NULL'", (where,))
        equal = _compared(path, "=", operand)
        return _joined(
            " AND ", [there, DuckFilter(f"NOT coalesce({equal.sql}, false)", equal.parameters)], "true"
        )
    match operand.kind:
        case "null":
            return DuckFilter(f"{_KIND} = 'NULL'", (where,))
        case "boolean":
            truth = "true" if operand.value else "false"
            return DuckFilter(f"({_KIND} = 'BOOLEAN' AND {_CELL} = ?)", (where, where, truth))
        case "number":
            return _compared_number(where, op, operand.value)
        case _:
            return DuckFilter(f"({_KIND} = 'VARCHAR' AND {_CELL} {op} ?)", (where, where, operand.value))


def _compared_number(where: str, op: Operator, operand: Any) -> DuckFilter:  # noqa: ANN401  int or float
    real, whole = _for_doubles(where, op, operand), _for_integers(where, op, operand)
    return DuckFilter(
        f"CASE {_KIND} WHEN 'DOUBLE' THEN {real.sql} WHEN 'BIGINT' THEN {whole.sql}"
        f" WHEN 'UBIGINT' THEN {whole.sql} ELSE false END",
        (where, *real.parameters, *whole.parameters, *whole.parameters),
    )


def _for_integers(where: str, op: Operator, operand: Any) -> DuckFilter:  # noqa: ANN401  int or float
    """How an integer compares: with an integer too, the operand rounded to the side that changes nothing."""
    if isinstance(operand, float) and not operand.is_integer():
        if op == "=":
            return DuckFilter("false")
        operand = math.ceil(operand) if op in {"<", ">="} else math.floor(operand)
    # Every integer of a record has at most 64 bits, so far beyond them all operands are alike.
    bounded = max(-(2**70), min(2**70, int(operand)))
    return DuckFilter(f"CAST({_CELL} AS HUGEINT) {op} CAST(? AS HUGEINT)", (where, str(bounded)))


def _for_doubles(where: str, op: Operator, operand: Any) -> DuckFilter:  # noqa: ANN401  int or float
    """How a double compares: with a double too; between two doubles lies none."""
    near = float(operand)
    if near != operand:
        if op == "=":
            return DuckFilter("false")
        up = op in {">", ">="}
        # d > n is the same as d >= the next double above n.
        if (near < operand) == up:
            near = math.nextafter(near, math.inf if up else -math.inf)
        op = ">=" if up else "<="
    return DuckFilter(f"CAST({_CELL} AS DOUBLE) {op} ?::DOUBLE", (where, near))
