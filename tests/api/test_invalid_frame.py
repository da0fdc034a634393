"""Quarantined records as a DataFrame: one row each, the same dtypes whatever is in it."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pandas as pd
import pytest

import matrixdata as md
from matrixdata.collection.quarantine import InvalidRecords

TIME = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else "object"
DTYPES = {
    "event_id": TEXT,
    "sender": TEXT,
    "time": "datetime64[us, UTC]",
    "pointer": TEXT,
    "rule": TEXT,
    "message": TEXT,
    "reasons": "object",
    "content": "object",
}
TWO = (md.Problem("/temp", "type", "must be a number", "'x'"), md.Problem("/n", "required", "is missing"))
SOME = md.InvalidRecord("$a", "@a:b", TIME, {"value": {"temp": "x"}}, TWO)
BARE = md.InvalidRecord("$b", "@a:b", TIME, None, ())
ODD = md.InvalidRecord("$\ud800", "@a:b", TIME, [10**30, "\ud800"], (md.Problem("/\ud800", "type", "no"),))


@pytest.mark.parametrize("found", [[], [BARE], [SOME], [ODD], [SOME, BARE, ODD]])
def test_dtypes_are_the_same_whatever_was_found(found):
    frame = InvalidRecords(found).to_pandas()
    assert frame.dtypes.astype(str).to_dict() == DTYPES
    assert len(frame) == len(found)


def test_a_row_says_what_arrived_and_every_reason():
    row = InvalidRecords([SOME]).to_pandas().iloc[0]
    assert (row["event_id"], row["time"], row["content"]) == ("$a", TIME, {"value": {"temp": "x"}})
    assert (row["pointer"], row["rule"], row["message"]) == ("/temp", "type", "must be a number")
    assert [(reason["pointer"], reason["rule"]) for reason in row["reasons"]] == [
        ("/temp", "type"),
        ("/n", "required"),
    ]


def test_it_is_a_list_all_the_same():
    found = InvalidRecords([SOME, BARE])
    for twin in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert twin == found == [SOME, BARE]
        assert len(twin.to_pandas()) == 2
