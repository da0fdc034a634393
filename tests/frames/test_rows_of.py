"""Rows from whatever people have them in."""

from __future__ import annotations

import datetime as dt
import decimal
import types

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from matrixdata.frames import rows_of

WHEN = dt.datetime(2026, 1, 1, 1, 0, 0, 500_000, tzinfo=dt.timezone(dt.timedelta(hours=1)))


def test_dicts_come_through_as_they_are_and_lazily() -> None:
    rows = [{"a": None, "b": float("nan")}, {}]

    assert next(rows_of(rows)) is rows[0]
    assert next(rows_of({"n": n} for n in iter(int, 1))) == {"n": 0}
    assert list(rows_of([types.MappingProxyType({"a": 1})])) == [{"a": 1}]
    assert list(rows_of(pd.Series([{"a": 1}]))) == [{"a": 1}]
    assert list(rows_of([{"a.b": 1}])) == [{"a.b": 1}]
    assert list(rows_of([{"a.b": 1}], nested=True)) == [{"a": {"b": 1}}]


def test_a_pandas_frame_gives_plain_python_values() -> None:
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan],
            "i": np.array([1, 2], dtype=np.int32),
            "I": pd.array([2**63 - 1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "s": ["x", None],
            "c": pd.Categorical(["x", "y"]),
            "t": pd.to_datetime([WHEN, None], utc=True),
            "ns": pd.to_datetime(
                ["2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:10Z"], format="ISO8601"
            ),
            "o": [np.float32(0.5), pd.NaT],
            "l": [np.array([1, 2]), [None, 1]],
            "w": [WHEN, dt.date(2026, 1, 2)],
            "d": [{"x": 1}, pd.NA],
        }
    )

    rows = list(rows_of(frame))

    assert rows == [
        {
            "f": 1.5, "i": 1, "I": 2**63 - 1, "b": True, "s": "x", "c": "x", "t": "2026-01-01T00:00:00.5Z",
            "ns": "2026-01-01T00:00:00.123456789Z", "o": 0.5, "l": [1, 2], "w": "2026-01-01T00:00:00.5Z", "d": {"x": 1},
        },
        {"i": 2, "c": "y", "ns": "2026-01-01T00:00:10Z", "l": [None, 1], "w": "2026-01-02"},
    ]  # fmt: skip
    assert {type(cell) for row in rows for cell in row.values()} <= {int, float, bool, str, list, dict}


@pytest.mark.parametrize(
    "kind", [pl.DataFrame, pa.table, pa.record_batch, lambda columns: duckdb.from_arrow(pa.table(columns))]
)
def test_frames_of_every_kind_give_the_same_rows(kind: object) -> None:
    columns = {
        "n": [2**53 + 1, None],
        "x": [1.5, 2.0],
        "s": ["a", None],
        "ok": [True, False],
        "l": [[1, None], []],
    }

    assert list(rows_of(kind(columns))) == [  # type: ignore[operator]  # one of the constructors above
        {"n": 2**53 + 1, "x": 1.5, "s": "a", "ok": True, "l": [1, None]},
        {"x": 2.0, "ok": False, "l": []},
    ]


def test_polars_times_categories_and_structs() -> None:
    frame = pl.DataFrame(
        {
            "t": [WHEN, None],
            "d": [dt.date(2026, 1, 2)] * 2,
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "s": [{"a": 1, "b": None}, {"a": 2, "b": "z"}],
            "ts": [[WHEN], []],
        }
    )

    assert list(rows_of(frame)) == [
        {
            "t": "2026-01-01T00:00:00.5Z",
            "d": "2026-01-02",
            "c": "x",
            "s": {"a": 1},
            "ts": ["2026-01-01T00:00:00.5Z"],
        },
        {"d": "2026-01-02", "c": "y", "s": {"a": 2, "b": "z"}, "ts": []},
    ]


def test_nan_is_missing_in_pandas_and_a_value_in_arrow() -> None:
    assert list(rows_of(pd.DataFrame({"x": [np.nan], "y": [1]}))) == [{"y": 1}]
    (row,) = rows_of(pl.DataFrame({"x": [float("nan")]}))
    assert row["x"] != row["x"]  # NaN, for the codec to refuse with its place


def test_more_rows_than_one_piece() -> None:
    frame = pd.DataFrame({"n": range(120_001)})

    assert [row["n"] for row in rows_of(frame)] == list(range(120_001))


def test_row_numbers_are_no_data_but_every_other_index_is() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3]})

    assert list(rows_of(frame[frame["n"] > 1])) == [{"n": 2}, {"n": 3}]
    for lost in (
        frame.set_index("n"),
        frame.set_index(pd.Index(["a", "b", "c"])),
        frame.groupby(["n", "n"]).size().to_frame("s"),
    ):
        with pytest.raises(ValueError, match="reset_index"):
            rows_of(lost)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ('{"a": 1}', TypeError, "JSON Lines"),
        (b"{}", TypeError, "JSON Lines"),
        ({"a": 1}, TypeError, "publish"),
        (5, TypeError, "not int"),
        (None, TypeError, "NoneType"),
        (pl.DataFrame({"a": [1]}).lazy(), TypeError, "collect"),
        (pd.DataFrame({5: [1]}), TypeError, "columns.map"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "two columns"),
        (pd.DataFrame({"t": pd.to_datetime(["2026-01-01"])}), ValueError, "'t'.*tz_localize"),
        (pd.DataFrame({"t": pd.to_timedelta(["1s"])}), TypeError, "'t'.*duration"),
        (pd.DataFrame({"t": pd.period_range("2026", periods=1)}), TypeError, "'t'"),
        (pd.DataFrame({"t": [1j]}), TypeError, "'t'"),
        (pa.table({"t": [dt.datetime(2026, 1, 1)]}), ValueError, "'t'.*time zone"),
        (pa.table({"t": [decimal.Decimal("1.5")]}), TypeError, "'t'.*decimal"),
        (pa.table({"t": [b"x"]}), TypeError, "'t'.*base64"),
        (pa.table({"t": [[{"u": dt.time(1)}]]}), TypeError, "'t.u'.*time"),
        (pa.table([[1], [2]], names=["a", "a"]), ValueError, "two columns"),
    ],
)  # fmt: skip
def test_a_mistake_raises_at_the_call_and_teaches(data: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        rows_of(data)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ([{"a": 1}, 5], TypeError, "row 1 is 5"),
        (["a"], TypeError, "row 0"),
        (pd.Series([1]), TypeError, "row 0"),
        (
            pd.DataFrame({"t": pd.Series([dt.datetime(2026, 1, 1)], dtype=object)}),
            ValueError,
            "'t'.*tz_localize",
        ),
        (
            pd.DataFrame({"t": pd.Series([np.datetime64("2026", "ns")], dtype=object)}),
            ValueError,
            "'t'.*zone",
        ),
        (pa.table({"t": pa.array([2**60], pa.timestamp("us", "UTC"))}), ValueError, "'t'.*years"),
    ],
)
def test_a_mistake_in_a_cell_raises_at_its_row(data: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        list(rows_of(data))
