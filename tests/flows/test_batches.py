"""Many records travel in one event, and are records like any other for whoever publishes, reads and asks."""

from __future__ import annotations

import math
import os

import pytest

import matrixdata as md
from tests.e2ee.rooms import sealed, sealed_pair
from tests.faults.harness import child
from tests.servers import BATCH, RECORD, SCHEMA, wait_until
from tests.strategies import exact

pytestmark = pytest.mark.server
__all__ = ["sealed_pair"]


def reading(number):
    return {"device": "d1", "temp": number / 2, "n": number}


def numbers(records):
    return [record["content"]["value"]["n"] for record in records]


@pytest.fixture
def name(server):
    return server.name("batcher")


@pytest.fixture
def client(server, name):
    return server.connect(name)


@pytest.fixture
def collection(client):
    return client.create_collection("readings", schema=SCHEMA, encrypted=False)


@pytest.fixture
def raw(server, name, collection):  # noqa: ARG001  the user is made with the collection
    return server.raw(name)


def test_many_rows_are_few_events_and_every_row_comes_out_exactly(pair):
    rows = [{"device": "d1", "temp": n / 3, "big": 2**63 + n, "whole": float(n), "n": n} for n in range(3000)]

    report = pair.mine.publish_many(rows)

    assert (report.accepted, report.sent, report.queued) == (3000, 3000, 0)
    assert [exact(value) for value in pair.theirs.query().values()] == [exact(row) for row in rows]
    records = pair.theirs.query().records()
    assert len({record.event_id for record in records}) < 6
    assert [record.index for record in records[:3]] == [0, 1, 2]
    assert len({record.uid for record in records}) == 3000
    assert len(pair.theirs.query().to_pandas()) == 3000


@pytest.mark.parametrize(
    ("batch", "count", "batches"),
    [(None, 100, 0), (None, 101, 1), (True, 2, 1), (True, 1, 0), (False, 150, 0)],
)
def test_a_batch_is_made_where_it_is_asked_for_or_pays(collection, raw, batch, count, batches):
    collection.publish_many([reading(n) for n in range(count)], batch=batch)

    assert numbers(raw.records(collection.room_id)) == [*range(count)]
    assert len(raw.events(collection.room_id, BATCH)) == batches
    assert len(raw.events(collection.room_id)) == (0 if batches else count)


def test_rows_that_cannot_be_published_are_told_of_and_the_others_go(collection, raw):
    rows = [reading(n) for n in range(200)]
    rows[7] = {"device": "d1", "temp": "hot"}
    rows[9] = {"device": "d1", "temp": math.nan}
    rows[11] = {"device": os.urandom(60_000).hex(), "temp": 1}  # no event has room for that

    report = collection.publish_many(rows)

    assert [row.row for row in report.rejected] == [7, 9, 11]
    assert report.accepted == report.sent == 197
    assert len(raw.records(collection.room_id)) == 197
    with pytest.raises(md.TooLarge):
        collection.publish_many(rows[10:], on_error="raise")
    assert len(raw.records(collection.room_id)) == 197


def test_a_record_too_large_for_an_event_of_its_own_goes_compressed(collection, raw):
    report = collection.publish_many([{"device": "d1" * 40_000, "temp": 1}], batch=True)

    assert report.sent == 1
    (event,) = raw.events(collection.room_id, BATCH)
    assert event["content"]["count"] == 1


def test_what_is_pending_is_in_queries_and_in_the_outbox(server, name):
    network = server.proxy()
    client = server.connect(name, url=network.url)
    collection = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    network.down()

    report = collection.publish_many([reading(n) for n in range(300)], wait="queued")

    assert report.queued == 300
    assert client.status().queued == 300
    found = collection.query(timeout=0).records()
    assert [record.value["n"] for record in found] == [*range(300)]
    assert {str(record.row_state) for record in found} == {"pending"}
    assert collection.query({"n": {"<": 3}}, timeout=0).count() == 3
    (entry,) = client.outbox.list()
    assert (len(entry.value), entry.state) == (300, "queued")
    network.up()
    wait_until(lambda: client.status().queued == 0)
    assert collection.query().count() == 300
    wait_until(lambda: client.outbox.list() == [])
    assert len(server.raw(name).records(collection.room_id)) == 300


def test_a_batch_can_be_cancelled_before_it_leaves(server, name):
    network = server.proxy()
    client = server.connect(name, url=network.url)
    collection = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    network.down()
    collection.publish_many([reading(n) for n in range(300)], wait="queued")
    wait_until(lambda: client.outbox.list()[0].reason == "unreachable")
    client.outbox.cancel(client.outbox.list()[0].uid)
    assert client.status().queued == 0
    network.up()
    collection.publish(reading(1))
    assert numbers(server.raw(name).records(collection.room_id)) == [1]


def test_subscriptions_hand_out_each_record_and_go_on_within_a_batch(pair):
    with pair.theirs.subscribe(cursor="mine") as live:
        pair.mine.publish_many([reading(n) for n in range(250)])
        for number in range(100):
            record = live.get(timeout=20)
            assert (record.value["n"], record.index) == (number, number)
    with pair.theirs.subscribe(cursor="mine") as again:
        first = again.get(timeout=20).value["n"]
        assert first in {99, 100}  # the last one handed out counts once another is asked for
        assert [again.get(timeout=20).value["n"] for _ in range(249 - first)] == [*range(first + 1, 250)]
    with pair.theirs.subscribe(start="all") as whole:
        assert [whole.get(timeout=20).value["n"] for _ in range(250)] == [*range(250)]


def test_redacting_the_event_takes_back_all_of_it(pair):
    pair.mine.publish_many([reading(n) for n in range(150)])
    pair.mine.publish(reading(999))
    assert pair.theirs.query().count() == 151
    event_id = pair.mine.query().records()[0].event_id
    pair.raw(pair.writer).redact(pair.mine.room_id, event_id)
    wait_until(lambda: pair.theirs.query().count() == 1)
    assert pair.theirs.query().values()[0]["n"] == 999


def test_history_and_invalid_count_a_batch_as_the_event_it_is(collection, raw):
    good = collection.publish_many([reading(n) for n in range(120)])
    raw.send(collection.room_id, {"v": 1, "uid": "x", "count": 1, "records": "eJw="}, BATCH)
    assert good.sent == 120
    events = [event for event in collection.history() if event.type == BATCH]
    assert [event.row_state for event in events] == ["valid", "invalid"]
    (bad,) = collection.invalid()
    assert (bad.problems[0].rule, bad.index) == ("encoding", None)


def test_a_stream_leaves_in_batches_with_a_receipt_for_each_record(collection, raw):
    with collection.publisher(linger=600) as publisher:
        receipts = [publisher.publish(reading(n)) for n in range(50)]
    assert {receipt.state for receipt in receipts} <= {"sent", "synced"}
    (event,) = raw.events(collection.room_id, BATCH)
    assert {receipt.event_id for receipt in receipts} == {event["event_id"]}
    records = raw.records(collection.room_id)
    assert numbers(records) == [*range(50)]
    assert [record["content"]["uid"] for record in records] == [receipt.uid for receipt in receipts]
    with collection.publisher(linger=600, batch=False) as publisher:
        publisher.publish(reading(50))
        publisher.publish(reading(51))
    assert len(raw.events(collection.room_id, RECORD)) == 2


JOB = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
rows = ({"device": "d1", "temp": n / 2, "n": n} for n in range(20_000))
print(client.collection("readings").publish_many(rows, job="import", wait="queued").accepted)
"""


def test_a_job_in_batches_goes_on_after_a_kill(server, name):
    with server.connect(name) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account = server.account(name)
    process = child(
        JOB, account["homeserver"], account["user"], str(account["store"]), kill_at="publish.2 stored", nth=2
    )
    process.communicate(timeout=60)
    with server.connect(name) as client:
        rows = [reading(n) for n in range(20_000)]
        report = client.collection("readings").publish_many(rows, job="import", timeout=30)
        assert report.skipped > 100
        assert report.skipped + report.accepted == 20_000
        wait_until(lambda: client.status().queued == 0)
        again = client.collection("readings").publish_many(rows, job="import", timeout=30)
        assert (again.skipped, again.accepted) == (20_000, 0)
    assert numbers(server.raw(name).records(room_id)) == [*range(20_000)]


def test_in_an_encrypted_collection_a_batch_is_as_large_as_the_ciphertext_may_be(sealed_pair):
    rows = [{"device": os.urandom(30).hex(), "temp": n / 2, "n": n} for n in range(2500)]

    report = sealed_pair.mine.publish_many(rows, timeout=30)

    assert report.sent == 2500
    assert sealed_pair.theirs.query().values() == rows
    raw = sealed_pair.raw(sealed_pair.writer)
    assert raw.records(sealed_pair.room_id) == []
    sizes = [len(str(event["content"])) for event in sealed(raw, sealed_pair.room_id)]
    assert 2 <= len(sizes) <= 5
    assert max(sizes) > 50_000
