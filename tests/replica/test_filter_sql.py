"""The mapping filter in SQLite: what it rules out, `matches` does not find; with the check, the same answers."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.model.expression import And, Compare, Not, Operand, matches
from matrixdata.model.where import parse_where
from matrixdata.replica.filter_sql import compile_sqlite
from tests.frames.records import keys, scalars, values
from tests.replica import filters

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, value BLOB) STRICT")
    connection.executemany("INSERT INTO event VALUES (?, ?)", enumerate(filters.texts()))
    yield connection
    connection.close()


def passed(connection: sqlite3.Connection, expression: Any, table: str = "event") -> list[int]:
    compiled = compile_sqlite(expression)
    query = f"SELECT e.id FROM {table} e WHERE {compiled.sql}"
    return [row for (row,) in connection.execute(query, compiled.parameters)]


def test_the_same_rows_as_in_python_for_every_filter(connection: sqlite3.Connection) -> None:
    found = {}
    for number, expression in enumerate(filters.expressions()):
        rows = frozenset(passed(connection, expression))
        # Checking the rows with `matches`, as callers do, keeps those that it finds: which is known already.
        found[number] = rows if compile_sqlite(expression).exact else rows & filters.expected()[number]

    assert filters.differences(found) == []
    assert sum(bool(rows) for rows in filters.expected()) > filters.FILTERS / 2


def test_what_sqlite_lets_through_beyond_the_answer_is_little(connection: sqlite3.Connection) -> None:
    ordinary = [{"temp": {">": 60}}, {"weather": "snow"}, {"temp_max": {"in": [10, 12.8]}}, {"n": 2**53 + 1}]
    for where in ordinary:
        expression = parse_where(where)
        answer = sum(matches(expression, record) for record in filters.records())
        assert answer <= len(passed(connection, expression)) <= answer + filters.RECORDS / 5


def check_one(expression: Any, found: Sequence[Any]) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, value BLOB) STRICT")
        connection.executemany(
            "INSERT INTO event VALUES (?, ?)", [(i, msgspec.json.encode(v)) for i, v in enumerate(found)]
        )
        rows = set(passed(connection, expression))
        answer = {i for i, value in enumerate(found) if matches(expression, value)}
        assert rows >= answer
        assert rows == answer or not compile_sqlite(expression).exact
    connection.close()


@settings(deadline=None)
@given(
    st.lists(values, max_size=4),
    st.lists(keys, min_size=1, max_size=2).map(tuple),
    st.sampled_from(["=", "!=", ">", "<="]),
    scalars,
    st.booleans(),
)
def test_no_record_that_matches_is_ever_ruled_out(
    found: list[Any], path: tuple[str, ...], op: str, operand: Any, negated: bool
) -> None:
    if op in {">", "<="} and (operand is None or isinstance(operand, bool)):
        operand = 1
    where: Any = {path: {op: operand}}
    expression = parse_where({"$not": where} if negated else where)

    check_one(expression, [*found, *({path[0]: value} for value in [*found, operand])])


@pytest.mark.parametrize(
    "where", [{"a": True}, {"a": None}, {"a": {"exists": False}}, {"a": "x"}, {"a": {"!=": None}}]
)
def test_true_is_not_1_and_null_is_not_missing(where: dict[str, Any]) -> None:
    check_one(
        parse_where(where),
        [{"a": True}, {"a": 1}, {"a": None}, {}, [], {"a": "true"}, {"a": "x\0y"}, {"a": "x"}],
    )


def test_everything_of_a_filter_is_a_parameter() -> None:
    hostile = "x') OR 1=1 --"
    compiled = compile_sqlite(parse_where({(hostile,): hostile, "a": {"in": [hostile]}}))

    assert "OR 1=1" not in compiled.sql
    assert compiled.sql.count("?") == len(compiled.parameters)


def test_a_filter_too_large_for_sqlite_is_left_to_python() -> None:
    tests = tuple(Compare((f"k{i}",), "!=", Operand("number", i)) for i in range(3000))
    deep: Any = Compare(("a",), "=", Operand("null", None))
    for _ in range(300):
        deep = Not(deep)

    for expression in (And(tests), deep, parse_where({"a": {"in": [f"d{i}" for i in range(50_000)]}})):
        check_one(expression, [{"a": None}, {"a": "d7"}, {"k0": 1}])
