"""Devices with little: a client that only publishes, and a store that keeps within a limit."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

import pytest

import matrixdata as md
from matrixdata.collection import bulk
from matrixdata.replica.footprint import checked_footprint
from tests.servers import SCHEMA, Proxy, RawUser, TestServer, wait_until

LIMIT = 1_500_000


def big(number):
    return {"device": "d1", "temp": 1.5, "n": number, "picture": "x" * 25_000}


def size(store, *patterns):
    return sum(path.stat().st_size for pattern in patterns for path in store.glob(pattern))


@dataclass
class Device:
    """A device in the field, whose user made the collection on another machine."""

    server: TestServer
    network: Proxy
    name: str
    raw: RawUser
    room_id: str

    @property
    def store(self):
        return self.server.account(self.name)["store"]

    def connect(self, **options):
        client = md.connect(**self.server.account(self.name, url=self.network.url), **options)
        self.server.open.append(client)
        return client

    def numbers(self):
        """What the independent checker finds on the server, in its order."""
        return [event["content"]["value"]["n"] for event in self.raw.records(self.room_id)]


@pytest.fixture
def device(server):
    name = server.name("device")
    owner = server.connect(name, store=f"{name}-desk")
    room_id = owner.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    return Device(server, server.proxy(), name, server.raw(name), room_id)


def publish_until_full(readings):
    """The numbers that were accepted before the store refused one, and why it did."""
    for number in range(1000):
        try:
            readings.publish(big(number), wait="queued")
        except md.StoreFull as error:
            return [*range(number)], str(error)
    pytest.fail("the store never was full")


@pytest.mark.server
def test_without_a_replica_records_are_checked_and_sent_and_nothing_else_is_kept(device):
    client = device.connect(replica="none")
    readings = client.collection("readings")
    readings.publish(big(0))
    before = size(device.store, "replica.db*")
    with pytest.raises(md.RecordInvalid):
        readings.publish({"device": "d1", "temp": "hot"})
    assert readings.publish_many([big(number) for number in range(1, 12)], job="import").sent == 11
    assert device.numbers() == [*range(12)]
    assert size(device.store, "replica.db*") == before
    assert not [seen for seen in device.network.seen if seen.is_sync]
    assert [member.user_id for member in readings.members()] == [client.user_id]
    client.close()
    # The same store, opened for reading as well, goes on from there.
    again = device.connect()
    assert sorted(value["n"] for value in again.collection("readings").query().values()) == [*range(12)]


@pytest.mark.server
def test_a_client_that_only_publishes_says_so_to_who_wants_to_read(device):
    client = device.connect(replica="none")
    readings = client.collection(device.room_id)
    asked = [
        readings.query,
        readings.subscribe,
        readings.sync,
        readings.invalid,
        lambda: readings.history().records(),
        lambda: client.sql("select * from readings").to_pandas(),
        lambda: readings.publish(big(0), wait="synced"),
        lambda: readings.publish_many([big(0)], wait="synced"),
    ]
    for ask in asked:
        with pytest.raises(md.Unsupported, match="replica="):
            ask()
    assert client.outbox.list() == []


@pytest.mark.server
@pytest.mark.parametrize("replica", ["none", "full"])
def test_a_full_store_refuses_keeps_within_its_limit_and_drains(device, replica):
    client = device.connect(replica=replica, store_limit=LIMIT)
    readings = client.collection("readings")
    device.network.down()
    accepted, why = publish_until_full(readings)
    assert "1,500,000 bytes" in why
    assert 5 < len(accepted) < 100
    assert size(device.store, "*.db*") <= LIMIT * 1.1
    assert client.status().queued == len(accepted)
    device.network.up()
    wait_until(lambda: client.status().queued == 0)
    assert readings.publish(big(1000), timeout=20).state in {"sent", "synced"}
    assert device.numbers() == [*accepted, 1000]
    assert client.status().dropped == 0


@pytest.mark.server
def test_a_full_store_that_may_drop_drops_the_oldest_and_says_so(device, caplog):
    client = device.connect(replica="none", store_limit=LIMIT, on_full="drop_oldest")
    readings = client.collection("readings")
    device.network.down()
    with caplog.at_level(logging.WARNING, "matrixdata"):
        receipts = [readings.publish(big(number), wait="queued") for number in range(80)]
    gone = [receipt for receipt in receipts if receipt.state == "dropped"]
    assert 10 < len(gone) < 80
    assert gone == [receipt for receipt in receipts if receipt.reason == "store_full"]
    with pytest.raises(md.StoreFull):
        gone[0].wait()
    status = client.status()
    assert (status.dropped, status.queued) == (len(gone), 80 - len(gone))
    assert "were dropped" in caplog.text
    assert size(device.store, "*.db*") <= LIMIT * 1.1
    device.network.up()
    wait_until(lambda: client.status().queued == 0)
    # At most one of the oldest was being sent when the network went, and may have arrived: it is never dropped.
    kept = [number for number, receipt in enumerate(receipts) if receipt not in gone]
    assert device.numbers() == kept
    assert kept[1:] == [*range(80)][-len(kept) + 1 :]


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ("64MB", 64_000_000),
        ("2 MiB", 2**21),
        ("1.5gb", 1_500_000_000),
        (5_000_000, 5_000_000),
        ("2000kB", 2_000_000),
    ],
)
def test_a_limit_is_written_as_people_write_it(limit, size):
    assert checked_footprint("full", limit, "refuse").limit == size


@pytest.mark.parametrize(
    ("options", "which"),
    [
        ({"replica": "half"}, "replica="),
        ({"store_limit": "64 parsecs"}, "store_limit="),
        ({"store_limit": -5}, "store_limit="),
        ({"store_limit": 10}, "at least"),
        ({"store_limit": 1.5e9}, "store_limit="),
        ({"store_limit": True}, "store_limit="),
        ({"on_full": "drop_oldest"}, "store_limit="),
        ({"store_limit": "64MB", "on_full": "panic"}, "on_full="),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(options, which):
    with pytest.raises((ValueError, TypeError), match=which):
        md.connect("http://127.0.0.1:9", user="ada", password="secret", **options)


@pytest.mark.server
@pytest.mark.parametrize("way", ["publish_many", "publisher"])
def test_many_at_once_keep_within_the_limit_too(device, way):
    client = device.connect(replica="none", store_limit=LIMIT, on_full="drop_oldest")
    readings = client.collection("readings")
    device.network.down()
    if way == "publish_many":
        report = readings.publish_many([big(number) for number in range(80)], wait="queued")
        dropped = report.dropped
        assert (report.accepted, report.sent, report.queued) == (80, 0, 80 - dropped)
    else:
        with readings.publisher(linger=600, timeout=0) as publisher:
            for number in range(80):
                publisher.publish(big(number))
        dropped = client.status().dropped
    assert 10 < dropped < 80
    assert size(device.store, "*.db*") <= LIMIT * 1.2
    device.network.up()
    wait_until(lambda: client.status().queued == 0)
    assert len(device.numbers()) == 80 - dropped


@pytest.mark.server
def test_many_that_do_not_fit_leave_a_report_of_those_that_did_and_the_job_goes_on(device, monkeypatch):
    monkeypatch.setattr(bulk, "_GROUP", 8)
    client = device.connect(replica="none", store_limit=LIMIT)
    readings = client.collection("readings")
    rows = [big(number) for number in range(40)]
    device.network.down()
    with pytest.raises(md.StoreFull, match=r"rows were accepted before that") as caught:
        readings.publish_many(rows, job="import", wait="queued")
    report = caught.value.report
    assert 0 < report.accepted < 40
    assert (report.queued, report.skipped) == (report.accepted, 0)
    device.network.up()
    for _ in range(10):  # until there is room for all
        wait_until(lambda: client.status().queued == 0)
        with suppress(md.StoreFull):
            readings.publish_many(rows, job="import", timeout=20)
            break
    assert device.numbers() == [*range(40)]


@pytest.mark.server
def test_rows_of_a_job_that_were_dropped_unsent_are_accepted_by_its_next_run(device):
    client = device.connect(replica="none", store_limit=LIMIT, on_full="drop_oldest")
    readings = client.collection("readings")
    rows = [big(number) for number in range(40)]
    device.network.down()
    first = readings.publish_many(rows, job="import", wait="queued")
    assert first.dropped > 5
    device.network.up()
    wait_until(lambda: client.status().queued == 0)
    report = first
    for _ in range(20):  # what there is room for, until nothing is left
        wait_until(lambda: client.status().queued == 0)
        if report.skipped == 40:
            break
        report = readings.publish_many(rows, job="import", timeout=20)
    assert report.skipped == 40
    assert sorted(device.numbers()) == [*range(40)]
