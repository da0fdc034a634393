"""Batches carry any records exactly, keep within what an event may take, and are read within hard limits."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from matrixdata.protocol.batch import (
    ENCRYPTED_CONTENT_BYTES,
    MAX_RECORDS,
    MAX_TEXT_BYTES,
    Packer,
    pack_retraction,
    unpack_batch,
    unpack_retraction,
)
from matrixdata.protocol.canonical import MAX_CONTENT_BYTES, canonical_json
from matrixdata.protocol.numbers import WireError
from tests.protocol.vectors import SCHEMAS, vectors
from tests.strategies import exact, json_values, records

BATCH_SCHEMA = json.loads((SCHEMAS / "batch.json").read_text(encoding="utf-8"))
uids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def texts(values):
    return [msgspec.json.encode(value) for value in values]


def opened(content):
    return list(unpack_batch(json.loads(content)).members())


def opened_or_refused(content):
    try:
        return list(unpack_batch(content).members())
    except WireError as error:
        return [error]


def reading(number):
    return {
        "ts": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z",
        "device": "d1",
        "temp": 20 + number % 50 / 10,
    }


@given(values=st.lists(records(), min_size=1, max_size=30), uid=uids, own=st.none() | st.data())
def test_what_is_packed_comes_out_bit_for_bit(values, uid, own):
    named = None if own is None else own.draw(st.lists(uids, min_size=len(values), max_size=len(values)))

    packed = Packer().pack(texts(values), uid=uid, uids=named, schema_hash=None)
    members = opened(packed.content)

    assert packed.count == len(members) == len(values)
    assert exact([member.value for member in members]) == exact(values)
    assert [member.uid for member in members] == (named or [f"{uid}:{n}" for n in range(len(values))])
    assert not any(member.problems for member in members)
    Draft202012Validator(BATCH_SCHEMA).validate(json.loads(packed.content))


@pytest.mark.parametrize("limit", [MAX_CONTENT_BYTES, ENCRYPTED_CONTENT_BYTES])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("kind", ["readings", "noise", "mixed", "huge"])
def test_batches_are_full_and_never_too_large(limit, named, kind):
    chance = random.Random(7)
    noise = [base64.b85encode(chance.randbytes(500)).decode() for _ in range(400)]
    values = {
        "readings": [reading(n) for n in range(9000)],
        "noise": [{"noise": text} for text in noise],
        "mixed": [{"noise": noise[n % 400]} if n % 7 == 0 else reading(n) for n in range(2000)],
        "huge": [{"text": "ab" * 20_000, "n": n} for n in range(300)],
    }[kind]
    names = [f"{chance.getrandbits(128):x}" for _ in values] if named else None
    packer, at, sizes = Packer(limit), 0, []
    while at < len(values):
        left = names[at:] if names else None
        packed = packer.pack(texts(values[at:]), uid="b" * 22, uids=left, schema_hash="sha256:" + "0" * 64)
        members = opened(packed.content)
        assert exact([m.value for m in members]) == exact(values[at : at + packed.count])
        assert len(canonical_json(json.loads(packed.content))) == len(packed.content) <= limit
        at += packed.count
        sizes.append(len(packed.content) if packed.count < MAX_RECORDS and kind != "huge" else limit)
    assert min(sizes[:-1], default=limit) > 0.75 * limit


def test_typical_readings_of_more_than_an_hour_fit_in_one_event():
    packed = Packer().pack(
        texts(reading(n) for n in range(MAX_RECORDS)), uid="b", uids=None, schema_hash=None
    )

    assert packed.count > 4500


def test_what_does_not_fit_alone_is_not_packed():
    noise = base64.b85encode(random.Random(1).randbytes(60_000)).decode()

    assert Packer().pack(texts([{"a": noise}]), uid="b", uids=None, schema_hash=None) is None
    assert Packer().pack(texts([{"a": "x" * MAX_TEXT_BYTES}]), uid="b", uids=None, schema_hash=None) is None


@pytest.mark.parametrize("case", vectors("batch"))
def test_batches_are_read_as_published(case):
    content = json.loads(case["content"])
    if "rule" in case:
        with pytest.raises(WireError) as refused:
            list(unpack_batch(content).members())
        assert {problem.rule for problem in refused.value.problems} == {case["rule"]}
        return

    batch = unpack_batch(content)

    Draft202012Validator(BATCH_SCHEMA).validate(content)
    assert batch.schema_hash == case["schema"]
    for member, expected in zip(batch.members(), case["records"], strict=True):
        assert member.uid == expected["uid"]
        assert [p.rule for p in member.problems] == ([expected["rule"]] if "rule" in expected else [])
        if "value" in expected:
            assert exact(member.value) == exact(json.loads(expected["value"]))


def test_a_batch_that_unfolds_without_end_is_refused_before_it_does():
    bomb = zlib.compressobj(9)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(100)) + bomb.flush()
    content = {"v": 1, "uid": "b", "count": 1, "records": base64.b64encode(packed).decode()}
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="size"):
            unpack_batch(content).members()
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@given(
    text=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | json_values().map(msgspec.json.encode)
)
def test_whatever_is_compressed_is_read_or_refused_and_raises_nothing_else(text):
    content = {"v": 1, "uid": "b", "count": 1, "records": base64.b64encode(zlib.compress(text)).decode()}
    for member in opened_or_refused(content):
        assert member.problems or isinstance(member.value, dict)


@given(
    content=json_values()
    | st.fixed_dictionaries({"v": st.just(1), "uid": json_values(), "count": json_values()})
)
def test_whatever_stands_in_an_event_is_read_or_refused(content):
    for unpack in (unpack_batch, unpack_retraction):
        with contextlib.suppress(WireError):
            unpack(content)


@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_depth_ends_in_a_refusal(depth):
    text = b'{"values":[{"a":' + b"[" * depth + b"]" * depth + b"}]}"
    content = {"v": 1, "uid": "b", "count": 1, "records": base64.b64encode(zlib.compress(text)).decode()}
    (found,) = opened_or_refused(content)
    assert [p.rule for p in found.problems] == ["depth"]


def test_a_retraction_is_written_and_read():
    schema = json.loads((SCHEMAS / "retraction.json").read_text(encoding="utf-8"))

    content = pack_retraction("$batch", 12)

    Draft202012Validator(schema).validate(content)
    assert unpack_retraction(content) == ("$batch", 12)


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"event_id": ""}, {"event_id": "$b\t0001"}, {"index": -1}, {"index": 10_000}, {"index": True}],
)
def test_a_malformed_retraction_is_refused(change):
    with pytest.raises(WireError):
        unpack_retraction(pack_retraction("$batch", 12) | change)
