"""Canonical bytes read back equal, and sizes are those of bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.protocol.canonical import MAX_CONTENT_BYTES, MAX_EVENT_BYTES, canonical_json, check_size
from matrixdata.protocol.content import RECORD, pack_record
from tests.strategies import exact, records

NAMES = {"event_type": RECORD, "room_id": "!room:hs", "sender": "@ada:hs"}


@given(records())
def test_canonical_bytes_are_one_form_of_the_same_value(record):
    content = pack_record(record, uid="u")
    canonical = canonical_json(content)

    assert exact(json.loads(canonical)) == exact(content)
    assert canonical_json(json.loads(canonical)) == canonical
    assert canonical_json(dict(reversed(content.items()))) == canonical


def test_content_is_counted_in_bytes():
    fits = {"x": "é" * ((MAX_CONTENT_BYTES - 8) // 2)}

    assert check_size(fits, **NAMES) == len(canonical_json(fits)) == MAX_CONTENT_BYTES
    with pytest.raises(TooLarge) as refused:
        check_size({"x": fits["x"] + "é"}, **NAMES)
    assert (refused.value.size, refused.value.limit) == (MAX_CONTENT_BYTES + 2, MAX_CONTENT_BYTES)


@pytest.mark.parametrize("name", ["event_type", "room_id", "sender", "state_key"])
def test_names_are_counted_in_bytes(name):
    check_size({}, **{**NAMES, name: "é" * 127 + "x"})
    with pytest.raises(TooLarge):
        check_size({}, **{**NAMES, name: "é" * 128})


def test_names_that_swell_when_escaped_leave_less_for_content():
    content = {"x": "a" * (MAX_CONTENT_BYTES - 8)}
    swollen = dict.fromkeys((*NAMES, "state_key"), "\x00" * 255)

    check_size(content, **NAMES)
    with pytest.raises(TooLarge) as refused:
        check_size(content, **swollen)
    assert refused.value.limit < MAX_EVENT_BYTES


def test_content_that_matrix_forbids_is_refused_with_its_place():
    with pytest.raises(RecordInvalid) as refused:
        check_size({"a": [1.5]}, **NAMES)

    assert [(problem.pointer, problem.rule) for problem in refused.value.problems] == [("/a/0", "float")]
