"""What is printed is inert, reads back equal, and fits the terminal."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.cli.output import inert, json_line
from matrixdata.cli.records import flat, picked
from matrixdata.cli.table import table
from matrixdata.cli.terms import where_of

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
)
rows = st.lists(st.dictionaries(text, values, max_size=4), min_size=1, max_size=5)


@given(values)
def test_a_line_of_json_reads_back_equal_and_cannot_command_a_terminal(value: object) -> None:
    line = json_line(value)

    assert line.isprintable()
    assert json.loads(line) == value
    if isinstance(value, float):
        assert math.copysign(1, json.loads(line)) == math.copysign(1, value)


@given(text)
def test_no_line_of_a_message_can_command_a_terminal(said: str) -> None:
    assert all(line.isprintable() for line in inert(said).split("\n"))


@given(rows, st.integers(20, 200))
def test_a_table_has_a_line_a_row_and_only_printable_text(
    records: list[dict[str, object]], width: int
) -> None:
    cells = flat(records)
    laid_out = table(cells.rows, cells.columns, width=width) if cells.columns else None

    if laid_out is not None:
        lines = laid_out.text.split("\n")
        assert len(lines) == len(records) + 1
        assert all(line.isprintable() for line in lines)


def test_a_table_puts_numbers_to_the_right_and_leaves_out_what_does_not_fit() -> None:
    records = [{"name": "a", "n": 1, "x": {"y": 2.5}}, {"name": "bb", "n": 100}]
    cells = flat(records, ["name", "n"])

    wide, narrow = (table(cells.rows, cells.columns, width=width) for width in (80, 10))

    assert cells.columns == ["name", "n", "x.y"]
    assert wide.text.splitlines()[1:] == ["a       1  2.5", "bb    100"]
    assert narrow.text.splitlines() == ["name    n", "a       1", "bb    100"]
    assert narrow.left_out == ("x.y",)


def test_picking_columns_keeps_absent_and_null_apart() -> None:
    assert picked({"a": {"b": None}, "c": 1}, ["a.b", "d", "a.b.c"]) == {"a.b": None}


@pytest.mark.parametrize(
    ("term", "where"),
    [
        ("device=d1", {"device": {"=": "d1"}}),
        ("temp > 20", {"temp": {">": 20}}),
        ("temp<=-1.5e3", {"temp": {"<=": -1500.0}}),
        ("a.b!=true", {"a.b": {"!=": True}}),
        ('zip="007"', {"zip": {"=": "007"}}),
        ("note=", {"note": {"=": ""}}),
        ("url=http://x/?a=1", {"url": {"=": "http://x/?a=1"}}),
        ('note="two words"', {"note": {"=": "two words"}}),
        ("note = 'it''s'", {"note": {"=": "it's"}}),
        ('"my key"=1', {'"my key"': {"=": 1}}),
        ('a."b.c".0=1', {'a."b.c".0': {"=": 1}}),
        ('{"temp": {">": 20}}', {"temp": {">": 20}}),
    ],
)
def test_a_typed_filter_means_what_it_says(term: str, where: dict[str, object]) -> None:
    assert where_of([term]) == where
    assert where_of([term, "x=1"]) == {"$and": [where, {"x": {"=": 1}}]}


@pytest.mark.parametrize(
    "term",
    [
        "ok",
        "temp > 20 AND device = 'd1'",
        "note=two words",
        "20 < temp",
        "temp > abs(x)",
        "temp*2>40",
        "temp>20or x<3",
        "a='b' or c='d'",
        'a="b" or c="d"',
    ],
)
def test_what_could_mean_more_than_one_comparison_is_sql(term: str) -> None:
    assert where_of([term]) == term
    with pytest.raises(ValueError, match="AND"):
        where_of([term, "x=1"])


def test_every_expression_must_hold_whatever_it_ends_with() -> None:
    assert where_of(["a or b -- c", "d"]) == "(a or b -- c\n) AND (d\n)"


@pytest.mark.parametrize("term", ["=1", "{not json}", ""])
def test_a_filter_that_is_none_says_how_to_write_one(term: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        where_of([term])
