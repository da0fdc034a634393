"""What a mapping filter finds, and how it answers mistakes."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.model.expression import And, Or, matches
from matrixdata.model.where import parse_where
from tests.frames.records import floats, integers, records, scalars, texts


def found(where: object, value: object) -> bool:
    return matches(parse_where(where), value)  # type: ignore[arg-type]  # mistakes are tested too


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ({}, {"a": 1}, True),
        ({}, 5, True),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
        ({"a": 21}, {"a": 21.0}, True),
        ({"a": 0}, {"a": -0.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": False}, {"a": False}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 2**53 + 1}, {"a": float(2**53)}, False),
        ({"a": {">": float(2**53)}}, {"a": 2**53 + 1}, True),
        ({"a": {">": 2**64 - 2}}, {"a": 2**64 - 1}, True),
        ({"a": {">": "é"}}, {"a": "\U0001f600"}, True),
        ({"a": {"<": "\uffff"}}, {"a": "\U0001f600"}, False),  # by code point, not by UTF-16 unit
        ({"a": {">": 1}}, {"a": "2"}, False),
        ({"a": {"<": "z"}}, {"a": True}, False),
        ({"a": {">": 1, "<=": 2}}, {"a": 2}, True),
        # null and missing
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {}, False),
        ({"a": {"!=": None}}, {"a": None}, False),
        ({"a": {"!=": None}}, {}, False),
        ({"a": {"!=": None}}, {"a": []}, True),
        ({"a": {"!=": 1}}, {"a": None}, False),
        ({"a": {"!=": 1}}, {"a": "1"}, True),
        ({"a": {"!=": 1}}, {"a": True}, True),
        ({"$not": {"a": 1}}, {}, True),
        ({"a": {"exists": True}}, {"a": None}, True),
        ({"a": {"exists": False}}, {}, True),
        ({"a": {"exists": True}}, [], False),
        # in
        ({"a": {"in": [1, None, "x"]}}, {"a": None}, True),
        ({"a": {"in": []}}, {"a": 1}, False),
        ({"a": {"in": [1]}}, {"a": True}, False),
        ({"a": {"not in": [1]}}, {"a": 2}, True),
        ({"a": {"not in": [1]}}, {"a": None}, False),
        ({"a": {"not in": []}}, {}, False),
        # logic
        ({"$or": [{"a": 1}, {"b": 1}]}, {"b": 1}, True),
        ({"$or": []}, {}, False),
        ({"$and": []}, {}, True),
        ({"$and": [{"a": {">": 1}}, {"$not": {"a": 3}}]}, {"a": 2}, True),
        # paths
        ({"a.b": 2}, {"a.b": 1, "a": {"b": 2}}, True),
        ({'"a.b"': 1}, {"a.b": 1, "a": {"b": 2}}, True),
        ({("n", "a.b"): 1}, {"n": {"a.b": 1}}, True),
        ({"a.0": 1}, {"a": [1]}, False),
        ({"a.b": 1}, {"a": "b"}, False),
        ({'"$or"': 1}, {"$or": 1}, True),
        ({("$or",): 1}, {"$or": 1}, True),
        # arrays and objects equal no operand, but differ from each
        ({"a": {"!=": 1}}, {"a": [1]}, True),
        ({"a": ""}, {"a": []}, False),
    ],
)
def test_what_a_filter_finds(where: object, value: object, expected: bool) -> None:
    assert found(where, value) is expected


@given(integers | floats, integers | floats)
def test_numbers_compare_by_their_mathematical_value(a: float, b: float) -> None:
    exact = {
        "=": Fraction(a) == Fraction(b),
        ">": Fraction(a) > Fraction(b),
        "<=": Fraction(a) <= Fraction(b),
    }

    assert {op: found({"x": {op: b}}, {"x": a}) for op in exact} == exact


@given(texts, texts)
def test_text_compares_by_code_point(a: str, b: str) -> None:
    assert found({"x": {"<": b}}, {"x": a}) == (a.encode("utf-32-be") < b.encode("utf-32-be"))


@given(scalars, records)
def test_tests_relate_as_they_should(operand: object, record: dict) -> None:
    def holds(op: str, given: object = operand) -> bool:
        return found({("a",): {op: given}}, record)

    present = holds("exists", True)
    assert present == ("a" in record)
    assert holds("=") + holds("!=") <= present
    assert holds("in", [operand]) == holds("=")
    assert holds("not in", [operand]) == (holds("!=") and holds("!=", None))
    assert found({"$not": {"a": operand}}, record) is not holds("=")
    if isinstance(operand, (int, float, str)) and not isinstance(operand, bool):
        assert holds(">=") == (holds(">") or holds("="))
        assert holds("<") + holds("=") + holds(">") <= present


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), scalars), max_size=3), records)
def test_logic_is_boolean(tests: list[tuple[str, object]], record: dict) -> None:
    parts = [{key: operand} for key, operand in tests]
    held = [found(part, record) for part in parts]

    assert found({"$and": parts}, record) == all(held)
    assert found({"$or": parts}, record) == any(held)
    assert found({"$not": {"$or": parts}}, record) == (not any(held))


@given(st.one_of(scalars, st.lists(scalars, max_size=2), records))
def test_no_record_makes_a_filter_raise(value: object) -> None:
    where = {"a.b": {">": 1, "!=": "x"}, "$or": [{"a": {"in": [1, None]}}, {'""': {"exists": False}}]}

    assert found(where, value) in (True, False)


def test_the_tree_compares_and_hashes_by_meaning() -> None:
    assert parse_where({"a": True}) != parse_where({"a": 1})
    assert hash(parse_where({"a": {"in": [1, "x"]}})) == hash(parse_where({"a": {"in": (1, "x")}}))
    assert isinstance(parse_where({"a": 1, "b": 2}), And)
    assert isinstance(parse_where({"$or": [{"a": 1}]}), Or)


def test_numpy_scalars_are_numbers() -> None:
    assert parse_where({"a": np.int64(5), "b": np.float64(0.5), "c": np.bool_(True)}) == parse_where(
        {"a": 5, "b": 0.5, "c": True}
    )
    assert parse_where({"a": {"in": np.array([1, 2])}}) == parse_where({"a": {"in": [1, 2]}})


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("temp > 20", TypeError, "mapping"),
        ([{"a": 1}], TypeError, "mapping"),
        ({"temp": {"=>": 20}}, ValueError, "did you mean '>='"),
        ({"temp": {"$gt": 20}}, ValueError, "did you mean '>'"),
        ({"temp": {"exist": True}}, ValueError, "did you mean 'exists'"),
        ({"temp": {"between": [1, 2]}}, ValueError, "both bounds"),
        ({"temp": {"$not": {"=": 1}}}, ValueError, "around paths"),
        ({"place": {"lat": 5}}, ValueError, "place.lat"),
        ({"place": {}}, ValueError, "tests nothing"),
        ({"$nor": []}, ValueError, "did you mean"),
        ({"$schema": "x"}, ValueError, r'"\$schema"'),
        ({"$or": {"a": 1}}, TypeError, "list of filters"),
        ({"$or": [{"a": {">": []}}]}, TypeError, r"\['\$or'\]\[0\]\['a'\]"),
        ({"$not": [{"a": 1}]}, TypeError, "mapping"),
        ({"a": math.nan}, ValueError, "exists"),
        ({"a": {"<": math.inf}}, ValueError, "inf"),
        ({"a": 2**64}, ValueError, "64 bits"),
        ({"a": [1, 2]}, TypeError, '"in"'),
        ({"a": {"in": "abc"}}, TypeError, "list of values"),
        ({"a": {"in": [math.nan]}}, ValueError, r"\['in'\]\[0\]"),
        ({"a": {">": None}}, TypeError, "order"),
        ({"a": {">": True}}, TypeError, "order"),
        ({"a": {"exists": 1}}, TypeError, "True or False"),
        ({"ts": {">": datetime(2026, 1, 1, tzinfo=UTC)}}, TypeError, "since="),
        ({"a": Decimal(1)}, TypeError, "Decimal"),
        ({"a": "\ud800"}, ValueError, "surrogate"),
        ({'"\\ud800"': 1}, ValueError, "surrogate"),
        ({"a..b": 1}, ValueError, "character 2"),
        ({5: 1}, TypeError, "path"),
        ({(): 1}, ValueError, "path"),
    ],
)
def test_a_mistake_raises_at_once_and_teaches(where: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_where(where)  # type: ignore[arg-type]  # the mistake under test


def test_filters_nested_without_end_are_refused() -> None:
    where: dict = {"a": 1}
    for _ in range(5_000):
        where = {"$not": where}

    with pytest.raises(ValueError, match="deep"):
        parse_where(where)
