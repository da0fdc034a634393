"""What the first page promises, seen by two clients of a real homeserver."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings

import matrixdata as md
from tests.interop.javascript import read_with_javascript
from tests.requirements import require
from tests.servers import SCHEMA
from tests.strategies import exact, records

pytestmark = pytest.mark.server

RECORD = {
    "device": "d1",
    "temp": 21.5,
    "n": 9007199254740993,
    "tags": ["ü", ""],
    "nested": {"a.b": 1, "a": {"b": -0.0}},
}
REFUSED = [
    ({"device": "d1", "temp": "hot"}, "/temp"),
    ({"device": "d1", "temp": float("nan")}, "/temp"),
    ({"device": "\ud800", "temp": 1}, "/device"),
    ({"device": "d1", "temp": 1, "big": 2**70}, "/big"),
]


def test_a_record_comes_back_equal_with_types_from_subscribe_and_from_query(pair):
    with pair.theirs.subscribe() as sub:
        receipt = pair.mine.publish(RECORD)
        assert receipt.state in {"sent", "synced"}
        got = sub.get(timeout=10)
    assert exact(got.value) == exact(RECORD)
    assert (got.sender, got.uid, got.event_id) == (pair.writer.user_id, receipt.uid, receipt.event_id)
    assert [exact(r.value) for r in pair.theirs.query()] == [exact(RECORD)]
    assert [exact(r.value) for r in pair.mine.query()] == [exact(RECORD)]


def test_a_frame_keeps_a_dotted_key_and_a_nested_one_apart(pair):
    pair.mine.publish(RECORD)
    query = pair.theirs.query()
    frame = query.to_pandas()
    row = frame.iloc[0].to_dict()
    assert (row["temp"], row["n"]) == (21.5, 9007199254740993)
    ones = [column for column in frame if column.endswith(("b", 'b"'))]
    assert len(ones) == 2
    assert sorted(map(float, (row[column] for column in ones))) == [-0.0, 1.0]
    assert frame.attrs["matrixdata"]["complete"] is True
    assert query.completeness.complete


@pytest.mark.parametrize(("record", "pointer"), REFUSED)
def test_what_cannot_be_published_is_refused_with_a_pointer_and_nothing_is_queued(pair, record, pointer):
    with pytest.raises(md.RecordInvalid) as caught:
        pair.mine.publish(record)
    assert pointer in [problem.pointer for problem in caught.value.problems]
    status = pair.writer.status()
    assert (status.queued, status.stuck) == (0, 0)
    assert pair.raw(pair.writer).records(pair.room_id) == []


def test_an_event_of_another_kind_sent_by_plain_http_is_in_the_history(pair):
    raw = pair.raw(pair.writer)
    event_id = raw.send(pair.room_id, {"anything": [1, "two"]}, "io.example.foreign")
    found = {event.event_id: event for event in pair.theirs.history()}[event_id]
    assert (found.type, found.content, found.row_state) == (
        "io.example.foreign",
        {"anything": [1, "two"]},
        "valid",
    )
    frame = pair.theirs.history().to_pandas()
    assert "io.example.foreign" in list(frame["type"])
    assert [event.event_id for event in pair.theirs.history()] == [
        event["event_id"] for event in raw.timeline(pair.room_id)
    ]
    assert pair.theirs.query().count() == 0


@pytest.mark.anyio
async def test_the_async_face_gives_the_same_under_asyncio_and_trio(server):
    writer, reader = server.name(), server.name()
    async with (
        md.connect_async(**server.account(writer)) as alice,
        md.connect_async(**server.account(reader)) as bob,
    ):
        mine = await alice.create_collection("x", schema=SCHEMA, encrypted=False, invite=[bob.user_id])
        theirs = await bob.collection(mine.room_id)
        async with theirs.subscribe() as sub:
            await mine.publish(RECORD)
            got = await sub.get(timeout=10)
        assert exact(got.value) == exact(RECORD)
        query = theirs.query()
        assert [exact(value) for value in await query.values()] == [exact(RECORD)]
        assert (await query.completeness).complete
        assert len(await query.to_pandas()) == 1
        for record, pointer in REFUSED:
            with pytest.raises(md.RecordInvalid) as caught:
                await mine.publish(record)
            assert pointer in [problem.pointer for problem in caught.value.problems]
        assert (await alice.status()).queued == 0
        raw = server.raw(writer)
        event_id = raw.send(mine.room_id, {}, "io.example.foreign")
        assert event_id in [event.event_id async for event in theirs.history()]


@pytest.mark.anyio
async def test_the_blocking_face_works_inside_a_running_event_loop(pair):
    def cell():
        pair.mine.publish(RECORD)
        return pair.theirs.query().values()

    assert [exact(value) for value in cell()] == [exact(RECORD)]


def test_the_blocking_face_works_from_many_threads_at_once(pair):
    failures = []

    def work(number):
        try:
            pair.mine.publish({"device": f"d{number}", "temp": number})
            assert pair.mine.query({"device": f"d{number}"}).count() == 1
        except BaseException as error:  # noqa: BLE001  it is shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sorted(value["temp"] for value in pair.theirs.query().values()) == list(range(8))


def test_any_json_record_arrives_bit_equal_here_and_in_javascript(server):
    examples = []

    @settings(max_examples=80, database=None)
    @given(records())
    def collect(record):
        examples.append(record)

    collect()
    writer, reader = server.connect(server.name()), server.connect(server.name())
    mine = writer.create_collection("any", encrypted=False, invite=[reader.user_id])
    theirs = reader.collection(mine.room_id)
    report = mine.publish_many(examples)
    assert report.rejected == ()
    assert report.sent == report.accepted == len(examples)
    sent = [exact(example) for example in examples]
    assert [exact(value) for value in theirs.query().values()] == sent
    assert [exact(value) for value in mine.query().values()] == sent
    with theirs.subscribe(start="all") as sub:
        assert [exact(sub.get(timeout=10).value) for _ in sent] == sent
    require("node")
    contents = [
        event["content"] for event in server.raw(writer.user_id[1:].split(":")[0]).records(mine.room_id)
    ]
    assert [exact(answer["value"]) for answer in read_with_javascript(contents)] == sent
