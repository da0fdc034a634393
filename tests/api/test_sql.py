"""SQL over collections by name, against a real server."""

from __future__ import annotations

import asyncio

import polars as pl
import pyarrow as pa
import pytest

import matrixdata as md
from matrixdata.collection.sql import AsyncSqlResult, merged
from matrixdata.connect.sql import SqlResult
from matrixdata.model import Completeness
from matrixdata.replica.duck_statement import SqlError
from tests.api.conftest import READINGS, Readings

pytestmark = pytest.mark.server


def sql(readings: Readings, text: str) -> SqlResult:
    inner = readings.client._client
    result = AsyncSqlResult(text, inner._directory.open, check=inner._services.check)
    return SqlResult(readings.client._portal, result)


def test_a_select_answers_from_the_collections_it_names(readings: Readings) -> None:
    result = sql(
        readings, "select device, count(*) as n, max(temp) as top from readings group by 1 order by 1"
    )

    expected = [
        {"device": d, "n": len(temps), "top": max(temps)}
        for d in ("d0", "d1", "d2")
        for temps in [[r["temp"] for r in READINGS if r["device"] == d]]
    ]
    assert result.records() == list(result) == expected
    assert result.count() == 3
    frame = result.to_pandas()
    assert frame["top"].tolist() == [row["top"] for row in expected]
    assert frame.attrs["matrixdata"] == {"collections": ["readings"], **result.completeness.as_dict()}
    assert result.completeness.complete
    assert result.to_polars()["n"].to_list() == result.to_arrow()["n"].to_pylist() == [3, 3, 2]


def test_other_libraries_read_a_result_and_it_says_what_it_was(readings: Readings) -> None:
    result = sql(readings, "select device, max(temp) as top from readings where temp > 1000 group by 1")

    assert "not run yet" in repr(result)
    assert "not run yet" in result._repr_html_()
    assert result.columns() == ["device", "top"]
    assert "last result: 0 rows, complete" in repr(result)
    assert pa.table(result).column_names == pl.DataFrame(result).columns == ["device", "top"]
    assert "0 rows of 2 columns" in result._repr_html_()
    assert "<script>" not in sql(readings, "select '<script>' as \"<script>\"")._repr_html_()


def test_nested_objects_and_what_matrix_says_are_columns(readings: Readings) -> None:
    user = readings.client.user_id
    result = sql(readings, f"select count(*) as n from readings where room.floor = 1 and _sender = '{user}'")

    assert result.records() == [{"n": 4}]
    (first,) = sql(readings, "select _event_id, _uid, _time from readings order by _time limit 1").records()
    assert first["_event_id"].startswith("$")
    assert first["_time"] == "2026-01-01T00:00:00Z"


def test_collections_are_joined(readings: Readings) -> None:
    names = readings.client.create_collection("names", encrypted=False, exist_ok=True)
    names.publish({"device": "d1", "place": "roof"}, wait="synced", uid="d1")

    joined = sql(readings, "select place, count(*) as n from readings join names using (device) group by all")

    assert joined.records() == [{"place": "roof", "n": 3}]


def test_mistakes_are_told_at_once_and_names_are_exact(readings: Readings) -> None:
    with pytest.raises(SqlError, match="only reads"):
        sql(readings, "delete from readings")
    with pytest.raises(SqlError, match="only in case"):
        sql(readings, "select * from readings, Readings")
    with pytest.raises(md.NotFound, match="readings"):
        sql(readings, "select * from Readings").records()


def test_a_result_is_as_complete_as_what_it_read() -> None:
    assert merged([]).complete
    both = merged([Completeness(gaps=1, invalid=2), Completeness(gaps=2, pending=1, fresh=False)])
    assert both == Completeness(gaps=3, invalid=2, pending=1, fresh=False)


def test_a_closed_client_says_so(readings: Readings) -> None:
    def closed() -> None:
        raise md.ClientClosed("closed")

    result = AsyncSqlResult("select 1", readings.client._client._directory.open, check=closed)
    with pytest.raises(md.ClientClosed):
        asyncio.run(result.records())
