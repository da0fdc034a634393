"""A decoder written in another language from the document alone reads what we write, bit for bit."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.protocol.batch import Packer
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


def batch(content):
    """How the decoder in JavaScript is given a batch: with its type, for nothing else tells."""
    return f'{{"type":"io.matrixdata.batch","content":{content}}}'


def test_every_published_batch_is_read_or_refused_for_the_same_reason():
    published = cases("batch")

    answers = read_with_javascript(batch(case["content"]) for case in published)

    for case, answer in zip(published, answers, strict=True):
        if "rule" in case:
            assert answer == {"invalid": case["rule"]}, case["name"]
            continue
        expected = [
            {**each, "value": json.loads(each["value"])} if "value" in each else each
            for each in case["records"]
        ]
        assert exact(answer) == exact({"schema": case["schema"], "records": expected}), case["name"]


@settings(max_examples=8)
@given(st.lists(records(), min_size=1, max_size=60), st.booleans())
def test_whatever_is_published_in_a_batch_is_read(published, named):
    uids = [f"own {number}" for number in range(len(published))] if named else None
    packed = Packer().pack([*map(msgspec.json.encode, published)], uid="b", uids=uids, schema_hash=None)

    (answer,) = read_with_javascript([batch(packed.content.decode())])

    assert packed.count == len(published)
    expected = [
        {"uid": uids[number] if named else f"b:{number}", "value": value}
        for number, value in enumerate(published)
    ]
    assert exact(answer["records"]) == exact(expected)


# Starting Node takes longer than reading, so each example is a whole room.
@settings(max_examples=8)
@given(st.lists(records(), min_size=30, max_size=60))
def test_whatever_is_published_is_read(published):
    answers = read_with_javascript(
        pack_record(value, uid=f"u{number}") for number, value in enumerate(published)
    )

    for number, (value, answer) in enumerate(zip(published, answers, strict=True)):
        assert exact(answer) == exact({"uid": f"u{number}", "schema": None, "value": value})
