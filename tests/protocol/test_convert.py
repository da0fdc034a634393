"""What users hand in becomes JSON by the documented table, or is refused with advice."""

from __future__ import annotations

import enum
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.convert import to_json, to_record
from matrixdata.protocol.rules import check
from matrixdata.protocol.time import read_time
from tests.strategies import exact, json_values


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Plain(enum.Enum):
    ONE = 1


class Loud(str):
    def __str__(self):
        return "LOUD"


class Hundredfold(float):
    def __float__(self):
        return 100.0


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("given_value", "json_value"),
    [
        ((1, 2.0), [1, 2.0]),
        (Point(1, "a"), [1, "a"]),
        (MappingProxyType({"a": (None, True)}), {"a": [None, True]}),
        (OrderedDict(a=1), {"a": 1}),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        ([Colour.RED, Loud("quiet"), Hundredfold(-0.0)], ["red", "quiet", -0.0]),
        (np.float64(21), 21.0),
        (np.float32(0.1), 0.10000000149011612),
        (np.float16(0.5), 0.5),
        (np.int64(21), 21),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ({np.str_("a"): np.float64(-0.0)}, {"a": -0.0}),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (
            datetime(2026, 1, 1, 0, 0, 0, 5, timezone(timedelta(hours=-3.5))),
            "2026-01-01T00:00:00.000005-03:30",
        ),
        (datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=1172))), "2025-12-31T23:40:28Z"),
        (pd.Timestamp("2026-01-01", tz="Europe/Rome"), "2026-01-01T00:00:00+01:00"),
        (pd.Timestamp("2026-01-01T00:00:00.000000001Z"), "2026-01-01T00:00:00.000000001Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=repr,
)
def test_the_table(given_value, json_value):
    converted = to_json(given_value)

    assert exact(converted) == exact(json_value)
    assert check(converted) == []


@pytest.mark.parametrize(
    ("value", "rule", "advice"),
    [
        (datetime(2026, 1, 1), "type", "add a time zone"),
        (pd.Timestamp("2026-01-01"), "type", "add a time zone"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=1172))), "type", "years 1 to 9999"),
        (pd.NaT, "type", "None"),
        (pd.NA, "type", "None"),
        (float("nan"), "finite", "None"),
        (np.float64("nan"), "finite", "None"),
        (np.float32("inf"), "finite", "None"),
        (np.datetime64("2026-01-01"), "type", "pandas.Timestamp"),
        (np.timedelta64(1, "s"), "type", "timedelta64"),
        (np.longdouble(1), "type", "float(value)"),
        (np.array([1.5]), "type", "tolist"),
        (np.array(1.5), "type", "tolist"),
        (pd.Series([1]), "type", "tolist"),
        (pd.DataFrame(), "type", "publish_many"),
        (Decimal("1.5"), "type", "float(value)"),
        (b"abc", "type", "base64"),
        (bytearray(b"abc"), "type", "base64"),
        ({1}, "type", "sorted"),
        (frozenset(), "type", "sorted"),
        (1j, "type", "value.real"),
        (timedelta(1), "type", "total_seconds"),
        (time_of_day(1), "type", "isoformat"),
        (PurePosixPath("/a"), "type", "str(value)"),
        (iter([]), "type", "list(value)"),
        (range(3), "type", "list(value)"),
        (Plain.ONE, "type", "value.value"),
        (object(), "type", "write it as"),
        (2**64, "integer-range", "integers lie between"),
        ("\ud800", "unicode", "surrogate"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_table_lacks_is_refused_with_its_place_and_advice(value, rule, advice):
    with pytest.raises(RecordInvalid) as refused:
        to_json({"row": (0, value)})

    (problem,) = refused.value.problems
    assert (problem.pointer, problem.rule) == ("/row/1", rule)
    assert advice in problem.message


def test_all_problems_are_told_at_once():
    with pytest.raises(RecordInvalid) as refused:
        to_json({"a": {1}, "b": (float("nan"), {2: Decimal(1)}), "c": np.int64(1)})

    found = {(problem.pointer, problem.rule) for problem in refused.value.problems}
    assert found == {("/a", "type"), ("/b/0", "finite"), ("/b/1/2", "key"), ("/b/1/2", "type")}


@given(json_values())
def test_plain_json_passes_as_it_is(value):
    assert to_json(value) is value


@given(json_values())
def test_conversion_by_the_slow_way_changes_nothing(value):
    assert exact(to_json((value,))) == exact([value])


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_reads_back_as_the_same_moment(moment):
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    first = (datetime.min.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    last = (datetime.max.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    read = read_time(to_json({"ts": moment}), "/ts", "iso")

    assert read == (expected if first <= expected <= last else None)


def _holds_itself():
    value: dict = {}
    value["a"] = (value, value)
    return value


def _shared(times):
    value: tuple = (0,)
    for _ in range(times):
        value = (value, value)
    return value


def _deep(levels):
    value: tuple = ()
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("value", "rule"),
    [(_holds_itself(), "depth"), (_shared(40), "size"), (_deep(100_000), "depth")],
    ids=["holds itself", "shares children", "deep"],
)
def test_what_unfolds_without_end_is_refused(value, rule):
    with pytest.raises(RecordInvalid) as refused:
        to_json({"a": value})

    assert {problem.rule for problem in refused.value.problems} == {rule}


@pytest.mark.parametrize("value", [[], "text", 1, None, (("a", 1),), np.float64(1)], ids=repr)
def test_a_record_is_an_object(value):
    with pytest.raises(RecordInvalid, match="a record is a JSON object") as refused:
        to_record(value)

    (problem,) = refused.value.problems
    assert problem.rule == "type"
    assert type(value).__name__ in problem.message


def test_neither_numpy_nor_pandas_is_imported():
    code = (
        "import sys, matrixdata.protocol.content as c; c.pack_record({'a': (1.5,)}, uid='u'); "
        "assert not {'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
