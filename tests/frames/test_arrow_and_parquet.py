"""Arrow tables and Parquet files: explicit types, nothing rounded, readable by others."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.frames import rows_of, to_arrow, to_pandas, to_parquet
from tests.frames.records import records, same, without_nulls
from tests.frames.test_to_pandas import ROW, SCHEMA, types


@given(st.lists(records.filter(bool), max_size=6))
def test_every_value_is_in_the_table_as_it_was(rows: list[dict]) -> None:
    table = to_arrow(rows)
    back = rows_of(table.select([name for name in table.column_names if name]), nested=True)

    assert table.num_rows == len(rows)
    assert all(map(same, back, map(without_nulls, rows)))


@given(st.lists(records, max_size=4))
def test_pandas_and_arrow_show_the_same_columns(rows: list[dict]) -> None:
    assert list(to_pandas(rows).columns) == to_arrow(rows).column_names


@pytest.mark.parametrize("rows", [[], [{}], [ROW], [ROW, dict.fromkeys(ROW)]])
def test_with_a_schema_the_types_do_not_depend_on_the_rows(rows: list[dict]) -> None:
    table = to_arrow(rows, schema=SCHEMA)

    assert table.schema.remove_metadata().equals(
        pa.schema(
            {
                "ts": pa.timestamp("us", "UTC"),
                "device": pa.string(),
                "temp": pa.float64(),
                "n": pa.int64(),
                "ok": pa.bool_(),
                "place.lat": pa.float64(),
                "tags": pa.list_(pa.string()),
            }
        )
    )


@pytest.mark.parametrize(
    ("cells", "kind", "text"),
    [
        ([[1, 2], [], None, [None]], pa.list_(pa.int64()), False),
        ([[1, 2.5]], pa.list_(pa.float64()), False),
        ([[[1.5, 2.5]], [[]]], pa.list_(pa.list_(pa.float64())), False),
        ([["a"], [1]], pa.string(), True),
        ([[2**53 + 1, 0.5]], pa.string(), True),
        ([[]], pa.string(), True),
        ([[{"a": 1}]], pa.string(), True),
        ([1, "a", True, None, {}], pa.string(), True),
        ([None], pa.string(), True),
        ([2**64 - 1, None], pa.uint64(), False),
        (["\ud800", "a"], pa.string(), True),
    ],
)
def test_arrays_are_lists_where_all_items_have_one_type_else_json(
    cells: list, kind: pa.DataType, text: bool
) -> None:
    table = to_arrow([{"x": cell} for cell in cells])
    field = table.schema.field("x")

    assert field.type == kind
    assert (field.metadata == {b"matrixdata": b"json"}) is text
    assert [row.get("x") for row in rows_of(table)] == cells


def test_others_read_the_table() -> None:
    table = to_arrow([ROW, {}], schema=SCHEMA)

    assert pl.from_arrow(table)["n"].to_list() == [2**53 + 1, None]
    assert duckdb.from_arrow(table).select('n, "place.lat"').fetchall() == [(2**53 + 1, 52.5), (None, None)]


def test_a_parquet_file_opens_everywhere_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = to_parquet([ROW, {}], tmp_path / "x.parquet", schema=SCHEMA, attrs={"complete": False, "gaps": 1})

    table = pq.read_table(path)
    assert table.column("n").to_pylist() == [2**53 + 1, None]
    assert json.loads(table.schema.metadata[b"matrixdata"]) == {"complete": False, "gaps": 1}
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    frame = pd.read_parquet(path)
    assert frame.attrs["matrixdata"] == {"complete": False, "gaps": 1}
    read_as = {"string": "object"}  # pandas 2 reads text as objects, pandas 3 as the text it writes
    assert types(frame) == {
        name: read_as.get(kind, kind) for name, kind in types(to_pandas([ROW, {}], schema=SCHEMA)).items()
    }
    assert frame["n"].tolist()[0] == 2**53 + 1
    assert list(rows_of(frame, nested=True)) == list(rows_of(table, nested=True)) == [ROW, {}]
    assert pl.read_parquet(path)["temp"].to_list() == [21.5, None]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(rows=st.lists(records, max_size=4))
def test_a_parquet_file_holds_every_row(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    path = to_parquet(rows, tmp_path_factory.mktemp("parquet") / "x.parquet")

    assert pq.read_table(path).equals(to_arrow(rows))


def test_a_parquet_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = to_parquet([{"a": 1}], tmp_path / "x.parquet")

    def fail(_table: object, file: object, **_: object) -> None:
        file.write(b"PAR1 half")  # type: ignore[attr-defined]  # an open file
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="space"):
        to_parquet([{"a": 2}], path)

    assert pq.read_table(path).to_pylist() == [{"a": 1}]
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]


def test_a_path_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"such directory.*elsewhere"):
        to_parquet([{"a": 1}], tmp_path / "elsewhere" / "x.parquet")
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        to_parquet([{"a": 1}], tmp_path)
    assert list(tmp_path.iterdir()) == []
