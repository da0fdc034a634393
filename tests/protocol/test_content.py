"""Contents of events: what is written reads back, what others write never crashes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.content import (
    COMPATIBILITIES,
    CollectionState,
    RecordContent,
    SchemaReference,
    SchemaState,
    TimeField,
    WireError,
    pack_collection,
    pack_record,
    pack_schema,
    parse_collection,
    parse_schema,
    schema_hash,
    unpack_record,
)
from matrixdata.protocol.time import TIME_UNITS
from tests.strategies import exact, json_values, records, texts

HASH = "sha256:" + "0" * 64
names = texts().filter(lambda text: 1 <= len(text.encode()) <= 255)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)


@given(records(), names, st.none() | hashes, st.none() | texts())
def test_a_record_reads_back(value, uid, stated, body):
    content = pack_record(value, uid=uid, schema_hash=stated, body=body)
    read = unpack_record(content)

    assert exact(read.value) == exact(value)
    assert (read.uid, read.schema_hash) == (uid, stated)
    assert ("numbers" in content, "schema" in content, "body" in content) == (
        bool(content.get("numbers")),
        stated is not None,
        body is not None,
    )


@given(
    st.builds(
        CollectionState,
        name=names,
        uid=names,
        time=st.none()
        | st.builds(TimeField, st.sampled_from(["", "/ts", "/a~1b/0"]), st.sampled_from(TIME_UNITS)),
        schema=st.none() | st.builds(SchemaReference, names, hashes),
        require_schema=st.booleans(),
    )
)
def test_a_collection_reads_back(state):
    assert parse_collection(pack_collection(state)) == state


@given(st.builds(SchemaState, names, st.text(), st.sampled_from(COMPATIBILITIES)))
def test_a_schema_reads_back(state):
    content = pack_schema(state)

    assert parse_schema(state.version, content) == state
    assert content["hash"] == state.hash == "sha256:" + hashlib.sha256(state.schema.encode()).hexdigest()


def test_a_schema_whose_text_was_changed_is_refused():
    content = pack_schema(SchemaState("1", "{}"))

    with pytest.raises(WireError, match="hash"):
        parse_schema("1", {**content, "schema": "{ }"})


garbage = st.one_of(
    json_values(), st.floats(), st.integers(), st.sampled_from([HASH, "\ud800", "sha256:", True])
)
MEMBERS = (
    "v",
    "uid",
    "value",
    "numbers",
    "schema",
    "body",
    "name",
    "time",
    "require_schema",
    "hash",
    "compatibility",
)
contents = st.one_of(
    garbage,
    st.dictionaries(st.sampled_from(MEMBERS), garbage),
    st.dictionaries(st.sampled_from(MEMBERS), garbage).map(lambda content: {**content, "v": 1}),
    st.dictionaries(st.sampled_from(MEMBERS), garbage).map(
        lambda content: {"v": 1, "uid": "u", "name": "n", "value": {}, "schema": HASH, **content}
    ),
    st.fixed_dictionaries(
        {
            "v": st.just(1),
            "name": st.just("n"),
            "uid": st.just("u"),
            "time": st.dictionaries(st.sampled_from(["pointer", "unit"]), garbage | st.just("/a")),
            "schema": st.dictionaries(st.sampled_from(["version", "hash"]), garbage),
        }
    ),
)


@pytest.mark.parametrize(
    "read", [unpack_record, parse_collection, lambda content: parse_schema("1", content)]
)
@given(content=contents)
def test_garbage_is_refused_with_reasons_and_nothing_else(read, content):
    try:
        read(content)
    except WireError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.message for problem in problems)


@pytest.mark.parametrize("version", [0, 2, 10**30, "1", None, True, [1]])
def test_another_version_is_said_to_be_unknown(version):
    for read in (unpack_record, parse_collection, lambda content: parse_schema("1", content)):
        with pytest.raises(WireError, match="unknown version"):
            read({"v": version, "uid": "u", "name": "n", "value": {}})


def test_all_reasons_are_told():
    with pytest.raises(WireError) as refused:
        unpack_record({"v": 1, "uid": "", "value": {"a": 1.5, "b": "x"}, "numbers": ["b"], "schema": "md5:"})

    found = {(problem.pointer, problem.rule) for problem in refused.value.problems}
    assert found == {("/uid", "name"), ("/schema", "hash"), ("/value/a", "float"), ("/numbers/0", "pattern")}


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"uid": ""}, "/uid"),
        ({"uid": "é" * 128}, "/uid"),
        ({"uid": "\ud800"}, "/uid"),
        ({"uid": "u", "schema_hash": "0" * 64}, "/schema"),
        ({"uid": "u", "body": "\ud800"}, "/body"),
    ],
)
def test_our_own_mistakes_raise_at_once(options, pointer):
    with pytest.raises(RecordInvalid) as refused:
        pack_record({}, **options)

    assert [problem.pointer for problem in refused.value.problems] == [pointer]


@pytest.mark.parametrize(
    "state",
    [
        CollectionState("", "u"),
        CollectionState("n" * 256, "u"),
        CollectionState("n", "u", TimeField("ts", "iso")),
        CollectionState("n", "u", TimeField("/ts", "min")),
        CollectionState("n", "u", schema=SchemaReference("1", "md5:0")),
    ],
)
def test_a_collection_out_of_bounds_is_not_written(state):
    with pytest.raises(RecordInvalid):
        pack_collection(state)


@pytest.mark.parametrize(
    "state", [SchemaState("", "{}"), SchemaState("1", "\ud800"), SchemaState("1", "{}", "no")]
)
def test_a_schema_out_of_bounds_is_not_written(state):
    with pytest.raises(RecordInvalid):
        pack_schema(state)


def test_the_same_hash_by_hand():
    assert schema_hash("{}") == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_an_unpacked_record_shares_nothing_that_its_reader_could_spoil():
    content = pack_record({"a": 1.5}, uid="u")

    assert unpack_record(content) == RecordContent("u", {"a": 1.5})
    assert content["value"] == {"a": "1.5"}
