"""A decoder written in another language from the document alone reads what we write, bit for bit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.protocol.content import pack_record
from tests.interop.javascript import read_with_javascript
from tests.protocol.vectors import cases
from tests.strategies import exact, records

pytestmark = pytest.mark.node


def test_every_published_record_is_read():
    published = cases("record")

    answers = read_with_javascript(case["content"] for case in published)

    for case, answer in zip(published, answers, strict=True):
        expected = {"uid": case["uid"], "schema": case.get("schema"), "value": json.loads(case["value"])}
        assert exact(answer) == exact(expected), case["name"]


def test_what_other_writers_may_write_is_read():
    published = cases("read-record")

    answers = read_with_javascript(case["content"] for case in published)

    for case, answer in zip(published, answers, strict=True):
        assert exact(answer["value"]) == exact(json.loads(case["value"])), case["name"]


def test_every_invalid_record_is_refused_for_the_same_reason():
    published = cases("invalid-record")

    answers = read_with_javascript(case["content"] for case in published)

    assert answers == [{"invalid": case["rule"]} for case in published]


def test_every_published_edit_leads_to_the_same_value():
    published = cases("edit")

    answers = read_with_javascript(case["events"] for case in published)

    for case, answer in zip(published, answers, strict=True):
        expected = {"value": json.loads(case["value"]), "edit": case["edit"], "invalid": case["invalid"]}
        assert exact(answer) == exact(expected), case["name"]


# Starting Node takes longer than reading, so each example is a whole room.
@settings(max_examples=8)
@given(st.lists(records(), min_size=30, max_size=60))
def test_whatever_is_published_is_read(published):
    answers = read_with_javascript(
        pack_record(value, uid=f"u{number}") for number, value in enumerate(published)
    )

    for number, (value, answer) in enumerate(zip(published, answers, strict=True)):
        assert exact(answer) == exact({"uid": f"u{number}", "schema": None, "value": value})
