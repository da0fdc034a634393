"""A named job can be run again: what it accepted is passed over, what is left is published, nothing counts twice."""

from __future__ import annotations

import pytest

import matrixdata as md
from matrixdata.publishing import AsyncReceipt
from tests.servers import SCHEMA, uids

pytestmark = pytest.mark.server


def rows(count, start=0):
    return [{"device": "d1", "temp": float(number), "n": number} for number in range(start, count)]


@pytest.fixture
def name(server):
    return server.name("importer")


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def client(server, network, name):
    return server.connect(name, url=network.url)


@pytest.fixture
def collection(client):
    return client.create_collection("readings", schema=SCHEMA, encrypted=False)


@pytest.fixture
def numbers(server, name, collection):
    """What the independent checker finds on the server, in its order."""
    raw = server.raw(name)
    return lambda: [event["content"]["value"]["n"] for event in raw.records(collection.room_id)]


def test_a_job_run_again_publishes_nothing_twice_and_goes_on_with_rows_that_were_added(collection, numbers):
    first = collection.publish_many(rows(20), job="import-7")
    again = collection.publish_many(rows(20), job="import-7")
    longer = collection.publish_many(rows(23), job="import-7")
    assert (first.accepted, first.skipped) == (20, 0)
    assert (again.accepted, again.skipped, again.queued) == (0, 20, 0)
    assert (longer.accepted, longer.sent, longer.skipped) == (3, 3, 20)
    assert "20 accepted before" in str(longer)
    assert numbers() == [*range(23)]


def test_a_row_that_was_rejected_is_published_once_it_is_mended(collection, numbers):
    broken = [*rows(2), {"device": "d1", "n": 2}, *rows(4, start=3)]
    first = collection.publish_many(broken, job="import")
    second = collection.publish_many(broken, job="import")
    assert [row.row for row in first.rejected] == [row.row for row in second.rejected] == [2]
    mended = collection.publish_many(rows(4), job="import", on_error="raise")
    assert (mended.accepted, mended.skipped) == (1, 3)
    assert sorted(numbers()) == [0, 1, 2, 3]


@pytest.mark.parametrize("on_error", ["collect", "raise"])
def test_other_rows_under_the_name_of_a_job_are_noticed(collection, numbers, on_error):
    collection.publish_many(rows(5), job="import")
    other = rows(5)
    other[3] = {**other[3], "temp": 99.5}
    with pytest.raises(md.Conflict, match=r"row 3 of job 'import'"):
        collection.publish_many(other, job="import", on_error=on_error)
    assert numbers() == [*range(5)]
    # The order of keys makes no other row.
    turned = [dict(reversed(row.items())) for row in rows(5)]
    assert collection.publish_many(turned, job="import").skipped == 5


def test_jobs_are_told_apart_by_name_and_by_collection(client, collection, numbers):
    collection.publish_many(rows(2), job="monday")
    assert collection.publish_many(rows(2), job="tuesday").accepted == 2
    assert numbers() == [0, 1, 0, 1]
    other = client.create_collection("others", encrypted=False)
    assert other.publish_many(rows(2), job="monday").accepted == 2


def test_a_job_run_again_waits_for_what_the_first_run_left_queued(network, client, collection, numbers):
    network.down()
    left = collection.publish_many(rows(30), job="import", wait="queued")
    network.up()
    again = collection.publish_many(rows(30), job="import", timeout=20)
    assert (left.accepted, again.skipped) == (30, 30)
    assert client.status().queued == 0
    assert numbers() == [*range(30)]


def test_the_same_job_from_two_machines_counts_once_for_readers(server, name, collection):
    collection.publish_many(rows(5), job="import", wait="synced")
    elsewhere = server.connect(name, store=f"{name}-elsewhere").collection(collection.room_id)
    elsewhere.publish_many(rows(5), job="import", wait="synced")
    reader = server.connect(name, store=f"{name}-reader").collection(collection.room_id)
    assert sorted(value["n"] for value in reader.query().values()) == [*range(5)]
    assert len(set(uids(server.raw(name).records(collection.room_id)))) == 5


@pytest.mark.parametrize("job", ["", " ", "a\nb", "x" * 256, 7])
def test_a_job_needs_a_name(collection, job):
    with pytest.raises((ValueError, TypeError), match="job="):
        collection.publish_many(rows(1), job=job)


@pytest.mark.parametrize("progress", [None, lambda *_: None])
def test_a_row_of_many_costs_no_more_than_one_of_few(collection, monkeypatch, progress):
    looks = 0
    state = AsyncReceipt.state.fget

    def looked(receipt):
        nonlocal looks
        looks += 1
        return state(receipt)

    monkeypatch.setattr(AsyncReceipt, "state", property(looked))
    rows = [{"device": "d1", "temp": number} for number in range(300)]
    report = collection.publish_many(rows, batch=False, timeout=60, progress=progress)
    assert report.sent == 300
    assert looks < 30 * 300, looks
