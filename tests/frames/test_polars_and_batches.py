"""polars frames and Arrow batches: the columns and types of the Arrow table, in another wrapping."""

from __future__ import annotations

import sys
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.errors import MissingExtra
from matrixdata.frames import to_arrow
from matrixdata.frames.batches import batches
from matrixdata.frames.polars import to_polars
from tests.frames.records import records
from tests.frames.test_to_pandas import ROW, SCHEMA


@settings(deadline=None)
@given(st.lists(records, max_size=5))
def test_polars_shows_what_arrow_shows(rows: list[dict[str, Any]]) -> None:
    table, frame = to_arrow(rows), to_polars(rows)

    assert frame.columns == table.column_names
    assert frame.to_arrow().to_pylist() == table.to_pylist() or not table.column_names


def test_polars_has_the_types_of_the_schema_even_without_rows() -> None:
    for rows in ([], [ROW]):
        frame = to_polars(rows, schema=SCHEMA, meta={"sender": ["@a:hs"] * len(rows)})
        assert frame.schema["ts"] == pl.Datetime("us", "UTC")
        assert frame.schema["n"] == pl.Int64
        assert frame.schema["tags"] == pl.List(pl.String)
    assert frame["sender"].to_list() == ["@a:hs"]
    assert frame["n"].to_list() == [2**53 + 1]


def test_polars_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(MissingExtra, match=r"matrixdata\[polars\]"):
        to_polars([{"a": 1}])


@settings(deadline=None)
@given(st.lists(records.filter(bool), max_size=9), st.integers(1, 4))
def test_batches_are_the_table_in_parts_of_one_schema(rows: list[dict[str, Any]], size: int) -> None:
    table = to_arrow(rows)
    parts = list(batches(rows, size))

    assert [part.num_rows for part in parts[:-1]] == [size] * max(0, len(parts) - 1)
    assert all(part.schema.equals(table.schema, check_metadata=True) for part in parts)
    assert pa.Table.from_batches(parts, schema=table.schema).equals(table)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "9"])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="size"):
        batches([{"a": 1}], size)
