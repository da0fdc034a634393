"""What we publish for other implementers holds for this one, in both directions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from referencing import Registry

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.canonical import canonical_json
from matrixdata.protocol.content import (
    COLLECTION,
    SCHEMA,
    WireError,
    pack_collection,
    pack_record,
    pack_schema,
    parse_collection,
    parse_schema,
    unpack_record,
)
from matrixdata.protocol.time import read_time
from tests.protocol.vectors import SCHEMAS, vectors
from tests.strategies import exact, records


def validator(name):
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=Registry())  # an empty registry fetches nothing


RECORD_SCHEMA = validator("record")


@given(records())
def test_the_published_schema_accepts_whatever_we_pack(record):
    content = pack_record(record, uid="u")

    assert RECORD_SCHEMA.is_valid(content)


@pytest.mark.parametrize("case", vectors("record"))
def test_a_record_is_packed_and_unpacked_as_published(case):
    value = json.loads(case["value"])

    content = pack_record(value, uid=case["uid"], schema_hash=case.get("schema"), body=case.get("body"))
    record = unpack_record(case["content"])

    assert exact(content) == exact(case["content"])
    assert exact(record.value) == exact(value)
    assert (record.uid, record.schema_hash) == (case["uid"], case.get("schema"))
    validator("record").validate(content)


@pytest.mark.parametrize("case", vectors("read-record"))
def test_what_other_writers_may_write_is_understood(case):
    content = json.loads(case["content"])

    assert exact(unpack_record(content).value) == exact(json.loads(case["value"]))
    validator("record").validate(content)


@pytest.mark.parametrize("case", vectors("invalid-record"))
def test_what_is_no_record_is_refused_for_the_stated_reason(case):
    with pytest.raises(WireError) as refused:
        unpack_record(json.loads(case["content"]))

    assert {problem.rule for problem in refused.value.problems} == {case["rule"]}


@pytest.mark.parametrize("case", vectors("schema"))
def test_state_events_are_read_and_written_as_published(case):
    content, key = case["content"], case["state_key"]
    is_schema = case["type"] == SCHEMA
    assert case["type"] in {SCHEMA, COLLECTION}
    if not case["valid"]:
        with pytest.raises(WireError) as refused:
            parse_schema(key, content) if is_schema else parse_collection(content)
        assert {problem.rule for problem in refused.value.problems} == {case["rule"]}
        return

    validator("schema" if is_schema else "collection").validate(content)
    if is_schema:
        state = parse_schema(key, content)
        assert parse_schema(key, pack_schema(state)) == state
        assert (state.version, state.schema, state.hash) == (key, content["schema"], content["hash"])
        validator("schema").validate(pack_schema(state))
    else:
        collection = parse_collection(content)
        assert parse_collection(pack_collection(collection)) == collection
        assert collection.name == content["name"]
        validator("collection").validate(pack_collection(collection))


@pytest.mark.parametrize("case", vectors("time"))
def test_times_are_read_as_published(case):
    moment = read_time(json.loads(case["value"]), case["pointer"], case["unit"])

    assert moment == (None if case["microseconds"] is None else int(case["microseconds"]))


@pytest.mark.parametrize("case", vectors("canonical"))
def test_canonical_json_is_as_published(case):
    value = json.loads(case["value"])
    if "canonical" in case:
        assert canonical_json(value) == case["canonical"].encode()
        return
    with pytest.raises(RecordInvalid) as refused:
        canonical_json(value)
    assert {problem.rule for problem in refused.value.problems} == {case["rule"]}
