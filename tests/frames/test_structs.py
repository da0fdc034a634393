"""Objects as struct columns: the same cells and types as dotted columns have, in one column each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.frames import batches, rows_of, to_arrow, to_pandas, to_parquet, to_polars
from matrixdata.frames.flatten import MAX_COLUMNS
from tests.frames.records import records, same

SCHEMA = {
    "type": "object",
    "properties": {
        "place": {
            "type": ["object", "null"],
            "properties": {
                "room": {"type": "string"},
                "at": {"type": "object", "properties": {"lat": {"type": "number"}}},
                "since": {"type": "string", "format": "date-time"},
                "beds": {"type": "array", "items": {"type": "integer"}},
                "a.b": {"type": "boolean"},
            },
        },
        "either": {"type": ["object", "string"], "properties": {"n": {"type": "integer"}}},
        "n": {"type": "integer"},
    },
}
PLACE = pa.struct(
    {
        "room": pa.string(),
        "at": pa.struct({"lat": pa.float64()}),
        "since": pa.timestamp("us", "UTC"),
        "beds": pa.list_(pa.int64()),
        '"a.b"': pa.bool_(),
    }
)
ROW = {
    "place": {
        "room": "roof",
        "at": {"lat": 52.5},
        "since": "2026-01-01T00:00:00Z",
        "beds": [1, 2],
        "a.b": True,
    },
    "either": "text",
    "n": 2**53 + 1,
}


def no_null_members(value: Any) -> Any:
    """A record as structs tell it: a member that is null is as good as absent, an object of such is empty."""
    if not isinstance(value, dict):
        return value
    return {key: no_null_members(member) for key, member in value.items() if member is not None}


@settings(deadline=None)
@given(st.lists(records.filter(bool), max_size=6))
def test_every_value_is_in_the_table_as_it_was(rows: list[dict[str, Any]]) -> None:
    table = to_arrow(rows, structs=True)
    noted = json.loads(table.schema.metadata[b"matrixdata"]).get("columns", {})
    back = list(rows_of(table, nested=True))

    assert table.num_rows == len(rows)
    for found, row in zip(back, rows, strict=True):
        # What could not be a struct is told whole, with its nulls.
        assert same(found, no_null_members(row)) or (
            noted and same(no_null_members(found), no_null_members(row))
        )


@settings(deadline=None)
@given(st.lists(records.filter(bool), max_size=6))
def test_pandas_keeps_every_value_as_well(rows: list[dict[str, Any]]) -> None:
    frame = to_pandas(rows, structs=True)

    assert list(frame.columns) == to_arrow(rows, structs=True).column_names
    for found, row in zip(rows_of(frame, nested=True), rows, strict=True):
        assert same(no_null_members(found), no_null_members(row))


@pytest.mark.parametrize("rows", [[], [{}], [{"place": None}], [{"place": {}}], [ROW], [ROW, {}]])
def test_the_schema_states_the_type_whatever_the_rows(rows: list[dict[str, Any]]) -> None:
    schema = to_arrow(rows, schema=SCHEMA, structs=True).schema

    assert schema.remove_metadata().equals(
        pa.schema({"place": PLACE, "either": pa.string(), "n": pa.int64()})
    )
    assert schema.field("either").metadata == {b"matrixdata": b"json"}
    frame = to_pandas(rows, schema=SCHEMA, structs=True)
    assert frame.dtypes["place"] == pd.ArrowDtype(PLACE)
    assert frame.dtypes["either"].kind == "O"
    polars = to_polars(rows, schema=SCHEMA, structs=True)
    assert polars.schema["place"] == pl.from_arrow(pa.table({"place": pa.nulls(0, PLACE)})).schema["place"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([{"b": 1}, None], "struct<b: int64>"),
        ([{"b": 1}, {}], "struct<b: int64>"),
        ([{"b": None}], "struct<b: string>"),
        ([{"b": 1}, {"b": "x"}], "struct<b: string>"),
        ([{"b": {"c": 1.5}}, {"d": True}], "struct<b: struct<c: double>, d: bool>"),
        ([{"b": 1}, "text"], "string"),
        ([{"b": 1}, [1]], "string"),
        ([{}], "string"),
        ([None], "string"),
        ([[{"b": 1}]], "string"),
    ],
)
def test_without_a_schema_the_cells_decide_and_what_is_no_struct_is_json_text(
    cells: list[Any], kind: str
) -> None:
    table = to_arrow([{"a": cell} for cell in cells], structs=True)
    field = table.schema.field("a")

    assert str(field.type) == kind
    assert (field.metadata == {b"matrixdata": b"json"}) is (kind == "string")
    assert [no_null_members(row.get("a")) for row in rows_of(table)] == [*map(no_null_members, cells)]


def test_a_mixture_is_noted_unless_the_schema_allows_it() -> None:
    rows = [{"a": {"b": {"c": 1}}, "either": {"n": 1}}, {"a": {"b": "x"}, "either": "x"}]
    frame = to_pandas(rows, schema=SCHEMA, structs=True)

    assert list(frame.attrs["matrixdata"]["columns"]) == ["a.b"]
    assert frame["either"].tolist() == [{"n": 1}, "x"]
    assert frame["a"].struct.field("b").tolist() == ['{"c":1}', '"x"']


def test_chosen_columns_are_structs_too() -> None:
    table = to_arrow([ROW, {}], columns=["place.at", "n", "place", "elsewhere"], schema=SCHEMA, structs=True)

    assert [str(field.type) for field in table.schema] == [
        "struct<lat: double>",
        "int64",
        str(PLACE),
        "string",
    ]
    assert table.column("place.at").to_pylist() == [{"lat": 52.5}, None]


def test_a_key_of_the_records_own_gives_way_to_a_meta_column() -> None:
    table = to_arrow([{"time": {"n": 1}}], meta={"time": ["now"]}, structs=True)

    assert table.to_pylist() == [{'"time"': {"n": 1}, "time": "now"}]


def test_others_read_them(tmp_path: Path) -> None:
    path = to_parquet([ROW, {}], tmp_path / "x.parquet", schema=SCHEMA, structs=True)

    assert list(rows_of(pq.read_table(path), nested=True)) == [ROW, {}]
    assert next(iter(rows_of(pd.read_parquet(path), nested=True)))["n"] == ROW["n"]
    assert duckdb.sql(f"SELECT place.at.lat FROM '{path}'").fetchall() == [(52.5,), (None,)]
    assert pl.read_parquet(path)["place"].struct.field("room").to_list() == ["roof", None]
    frame = to_pandas([ROW, {}], schema=SCHEMA, structs=True)
    assert frame["place"].struct.field("room").tolist() == ["roof", pd.NA]
    assert frame["place"].isna().tolist() == [False, True]


def test_batches_are_of_one_type() -> None:
    parts = list(batches([ROW, {}, ROW], 2, schema=SCHEMA, structs=True))

    assert [part.num_rows for part in parts] == [2, 1]
    assert {str(part.schema.field("place").type) for part in parts} == {str(PLACE)}


def test_an_object_of_too_many_members_stays_whole() -> None:
    many = {f"k{n}": n for n in range(MAX_COLUMNS + 1)}
    table = to_arrow([{"a": many, "b": {"c": 1}}], structs=True)

    assert table.schema.field("a").type == pa.string()
    assert list(rows_of(table)) == [{"a": many, "b": {"c": 1}}]
