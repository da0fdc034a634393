"""DataFrames: no value changed, no column lost, the same types whatever the rows."""

from __future__ import annotations

import math
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.frames import rows_of, to_pandas
from tests.frames.records import floats, integers, records, same, scalars, without_nulls
from tests.requirements import ROOT

TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"  # the text type of pandas 3, of pandas 2
SCHEMA = {
    "type": "object",
    "properties": {
        "ts": {"type": "string", "format": "date-time"},
        "device": {"type": ["string", "null"]},
        "temp": {"type": "number"},
        "n": {"type": "integer"},
        "ok": {"type": "boolean"},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
TYPES = {
    "ts": "datetime64[us, UTC]",
    "device": TEXT,
    "temp": "float64",
    "n": "Int64",
    "ok": "boolean",
    "place.lat": "float64",
    "tags": "object",
}
ROW = {
    "ts": "2026-01-01T00:00:00.5Z",
    "device": "d1",
    "temp": 21.5,
    "n": 2**53 + 1,
    "ok": True,
    "place": {"lat": 52.5},
    "tags": ["a"],
}


def types(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


@given(st.lists(records.filter(bool), max_size=6))
def test_every_value_is_in_the_frame_as_it_was(rows: list[dict]) -> None:
    frame = to_pandas(rows)
    back = list(rows_of(frame[[name for name in frame.columns if name]], nested=True))

    assert len(frame) == len(rows)
    assert all(map(same, back, map(without_nulls, rows)))


@given(st.lists(integers | floats | st.none(), min_size=1))
def test_numbers_are_never_rounded(numbers: list[float | None]) -> None:
    cells = to_pandas([{"x": number} for number in numbers])["x"]

    for number, cell in zip(numbers, cells, strict=True):
        if number is None:
            assert pd.isna(cell)
        else:
            assert int(cell) == number if isinstance(number, int) else cell == number
            assert math.copysign(1, cell) == math.copysign(1, number) or isinstance(number, int)


@given(st.lists(scalars, min_size=1), st.sampled_from(list(SCHEMA["properties"])))
def test_a_schema_that_values_do_not_meet_loses_nothing_and_says_so(cells: list[object], name: str) -> None:
    frame = to_pandas([{name: cell} for cell in cells], schema=SCHEMA)

    if name in TYPES and types(frame)[name] != TYPES[name]:
        assert name in frame.attrs["matrixdata"]["columns"]
    if name in frame and not str(frame[name].dtype).startswith("datetime"):
        back = [row.get(name) for row in rows_of(frame[[name]])]
        assert all(map(same, back, cells))


@pytest.mark.parametrize(
    "rows", [[], [{}], [dict.fromkeys(ROW)], [ROW], [ROW, {}], [{"place": {"lat": None}}]]
)
def test_with_a_schema_the_types_do_not_depend_on_the_rows(rows: list[dict]) -> None:
    frame = to_pandas(rows, schema=SCHEMA)

    assert {name: kind for name, kind in types(frame).items() if name != "place"} == TYPES
    assert list(frame.columns)[:5] == list(TYPES)[:5]
    assert "columns" not in frame.attrs["matrixdata"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([True, None], "boolean"),
        ([1, None, -(2**63)], "Int64"),
        ([0, 2**64 - 1, None], "UInt64"),
        ([-1, 2**63], "object"),
        ([1, 2.5, None], "float64"),
        ([2**53, 0.5], "float64"),
        ([2**53 + 1, 0.5], "object"),
        ([None, None], "object"),
        (["a", None], TEXT),
        ([True, 1], "object"),
        (["a", 1], "object"),
        ([[1], None], "object"),
        (["2026-01-01T00:00:00Z"], TEXT),
    ],
)
def test_without_a_schema_the_values_decide(cells: list[object], kind: str) -> None:
    frame = to_pandas([{"x": cell} for cell in cells])

    assert types(frame) == {"x": kind}
    assert [row.get("x") for row in rows_of(frame)] == cells


def test_keys_that_look_alike_have_their_own_columns() -> None:
    row = {"a.b": 1, "a": {"b": 2}, "é": 3, "e\u0301": 4, "": 5, "__proto__": 6, "🌡": 7, '"a.b"': 8}

    frame = to_pandas([row])

    assert list(frame.columns) == ['"a.b"', "a.b", "é", "e\u0301", '""', "__proto__", "🌡", '"\\"a.b\\""']
    assert frame.iloc[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_empty_object_shows() -> None:
    frame = to_pandas([{"a": {}}, {"a": {"b": 1}}, {}])

    assert frame["a"].tolist() == [{}, None, None]
    assert to_pandas([{}, {}]).shape[0] == 2


def test_records_that_are_no_objects_stand_in_one_column() -> None:
    assert to_pandas([1, 2])["value"].tolist() == [1, 2]
    assert to_pandas([[1], "a"])["value"].tolist() == [[1], "a"]
    mixed = to_pandas([{"value": 1}, 5])
    assert mixed["value"].tolist()[0] == 1
    assert mixed[""].tolist()[1] == 5


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01t00:00:00.000001z", "2026-01-01T00:00:00.000001Z"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_instants(text: str, instant: str) -> None:
    frame = to_pandas([{"ts": text}], schema=SCHEMA)

    assert types(frame)["ts"] == "datetime64[us, UTC]"
    assert next(rows_of(frame[["ts"]])) == {"ts": instant}


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-01-01T00:00:00.1234567Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "٢٠٢٦-01-01T00:00:00Z",
    ],
)
def test_one_text_that_is_no_exact_time_keeps_the_whole_column_text(text: str) -> None:
    frame = to_pandas([{"ts": "2026-01-01T00:00:00Z"}, {"ts": text}], schema=SCHEMA)

    assert frame["ts"].tolist() == ["2026-01-01T00:00:00Z", text]
    assert "RFC 3339" in frame.attrs["matrixdata"]["columns"]["ts"]


def test_chosen_columns_come_in_their_order_and_objects_whole() -> None:
    frame = to_pandas(
        [{"a": {"b": 1}, "c": 2}],
        columns=["c", "sender", "a", "a.b", "absent"],
        meta={"sender": ["@x:hs"], "n": [1]},
    )

    assert list(frame.columns) == ["c", "sender", "a", "a.b", "absent"]
    assert frame.iloc[0].tolist()[:4] == [2, "@x:hs", {"b": 1}, 1]
    assert types(to_pandas([], columns=["n", "x"], schema=SCHEMA)) == {"n": "Int64", "x": "object"}


@pytest.mark.parametrize(
    ("columns", "error"),
    [("temp", TypeError), ([1], TypeError), (["a", "a"], ValueError), (["a."], ValueError)],
)
def test_mistaken_columns_raise(columns: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        to_pandas([], columns=columns)  # type: ignore[arg-type]  # the mistake under test


def test_a_record_cannot_take_the_place_of_who_sent_it() -> None:
    frame = to_pandas([{"sender": "@admin:hs", "temp": 1}], meta={"sender": ["@eve:hs"]})

    assert frame["sender"].tolist() == ["@eve:hs"]
    assert frame['"sender"'].tolist() == ["@admin:hs"]


def test_meta_columns_have_types_of_their_own() -> None:
    when = pd.Timestamp("2026-01-01T00:00:00.5Z").to_pydatetime()

    frame = to_pandas([{"a": 1}, {}], meta={"time": [when, None], "event_id": ["$a", None], "n": [1, None]})

    assert types(frame) == {"a": "Int64", "time": "datetime64[us, UTC]", "event_id": TEXT, "n": "Int64"}
    with pytest.raises(ValueError, match="2 items for 1"):
        to_pandas([{}], meta={"n": [1, 2]})


def test_the_frame_states_what_it_lacks() -> None:
    frame = to_pandas([{"a": 1}], attrs={"complete": False, "gaps": 2})

    assert frame.attrs["matrixdata"] == {"complete": False, "gaps": 2}
    assert frame[frame["a"] > 0].attrs["matrixdata"]["gaps"] == 2


def test_values_can_be_set_in_the_frame() -> None:
    frame = to_pandas([ROW, {}], schema=SCHEMA)

    frame.loc[1, ["temp", "n", "ok", "device"]] = [1.5, 7, False, "d2"]

    assert frame.loc[1, "n"] == 7
    assert not frame.loc[1, "ok"]


def test_half_a_surrogate_pair_in_a_raw_event_does_not_raise() -> None:
    frame = to_pandas([{"a": "\ud800", "\ud800": 1}])

    assert frame["a"].tolist() == ["\ud800"]
    assert frame.iloc[0, 1] == 1


@pytest.mark.parametrize("absent", ["pandas", "pyarrow"])
def test_without_the_extra_the_base_install_still_imports(absent: str) -> None:
    script = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {absent!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import matrixdata.frames as frames
from matrixdata.errors import MissingExtra
assert not {{"pandas", "numpy", "pyarrow"}} & sys.modules.keys()
assert list(frames.rows_of([{{"a": 1}}])) == [{{"a": 1}}]
try:
    frames.to_pandas([{{"a": 1}}])
except MissingExtra as error:
    assert "matrixdata[data]" in str(error)
else:
    raise SystemExit("no error")
if {absent!r} == "pyarrow":
    for call in (frames.to_arrow, lambda rows: frames.to_parquet(rows, "x.parquet")):
        try:
            call([{{"a": 1}}])
        except MissingExtra as error:
            assert "matrixdata[data]" in str(error)
        else:
            raise SystemExit("no error")
else:
    assert frames.to_arrow([{{"a": 1}}]).num_rows == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
