"""A server that was away for long, forgot transaction ids, hangs or is restarted; a device that is gone."""

from __future__ import annotations

import os
import signal
import sqlite3
import time

import pytest

import matrixdata as md
from matrixdata import homeserver
from matrixdata.protocol import requests
from tests.faults.harness import Break, Ledger, fault
from tests.requirements import require
from tests.servers import BATCH, CUT, LOSE, SCHEMA, TestServer, wait_until

READBACK = "matrixdata/publishing/readback.py"
HOUR = 3_600_000_000
# It is sent again on the strength of a transaction id that nobody remembers.
NOT_LOOKED_FOR = Break(READBACK, "if item.attempts == 0:", "if True:")
ONE_PAGE_ONLY = Break(READBACK, "if page.end is None or page.end in search.seen:", "if True:")
CLOCK_IGNORED = Break(READBACK, "return not (0 <= slept < _RELIED_ON and ", "return not (")


def reading(number):
    return {"device": "d1", "temp": number}


@pytest.fixture
def own(tmp_path):
    """A homeserver that the test may harm."""
    require("server")
    place = tmp_path / "own"
    server = TestServer(homeserver.start(place, owned=True), tmp_path / "stores")
    yield server
    for each in reversed(server.open):
        each.close()
    homeserver.stop(place)


def forget_transaction_ids(server, network):
    """What Synapse does by itself after a day, and another server at a restart."""
    place = server.address.directory
    homeserver.stop(place)
    database = sqlite3.connect(place / "homeserver.db")
    gone = database.execute("DELETE FROM event_txn_id_device_id").rowcount
    database.commit()
    database.close()
    server.address = homeserver.start(place, owned=True)
    network.target = server.url
    return gone


@fault("F4", "P2", broken=(NOT_LOOKED_FOR, ONE_PAGE_ONLY, CLOCK_IGNORED))
def test_after_an_outage_of_more_than_a_day_a_busy_room_has_each_record_once(own):
    network, name, friend = own.proxy(), own.name("writer"), own.name("friend")
    now = [time.time_ns() // 1000]
    staying = own.connect(name, url=network.url, clock=lambda: now[0])
    leaving = own.connect(name, store="second", url=network.url)
    room = staying.create_collection("readings", schema=SCHEMA, encrypted=False, invite=[own.user_id(friend)])
    ledger = Ledger()
    writers = {"staying": room, "leaving": leaving.collection(room.room_id)}
    for who, readings in writers.items():
        assert readings.publish(reading(0), uid=f"{who} before").state in {"sent", "synced"}
        ledger.accept(f"{who} before")
    lost = []

    def lose_one_each(seen):
        if not seen.is_send:
            return None
        if seen.path in lost or len(lost) == 2:
            return CUT
        lost.append(seen.path)
        return LOSE

    network.fault = lose_one_each
    for who, readings in writers.items():
        arrived = readings.publish(reading(1), uid=f"{who} arrived", wait="queued")
        wait_until(lambda receipt=arrived: receipt.uncertain)
        readings.publish(reading(2), uid=f"{who} behind", wait="queued")
        ledger.accept(f"{who} arrived", f"{who} behind")
    wait_until(lambda: len(lost) == 2)
    network.down()
    leaving.close()

    me, other = own.raw(name), own.raw(friend)
    other.join(room.room_id)
    for number in range(55):  # more of our own than a first page holds, and others'
        ledger.accept(f"meanwhile {number}")
        me.send(room.room_id, {"v": 1, "uid": f"meanwhile {number}", "value": reading(number)})
        if number % 10 == 0:
            other.send(room.room_id, {"v": 1, "uid": "staying behind", "value": reading(number)})
    assert forget_transaction_ids(own, network) > 0
    now[0] += 25 * HOUR
    network.fault = lambda _: None
    network.up()
    again = own.connect(name, store="second", url=network.url)
    wait_until(lambda: staying.status().queued == 0 and again.status().queued == 0, 60)
    me, other = own.raw(name), own.raw(friend)
    mine = [event for event in me.records(room.room_id) if event["sender"] == me.user_id]
    found = [event["content"]["uid"] for event in mine]
    assert sorted(found) == sorted(ledger.accepted), "each once, and nothing else"
    for who in writers:
        assert found.index(f"{who} arrived") < found.index(f"{who} behind")


@fault("F4", broken=(NOT_LOOKED_FOR, Break(READBACK, "CARRIERS = (RECORD, BATCH)", "CARRIERS = (RECORD,)")))
def test_a_batch_whose_answer_was_lost_a_day_ago_is_there_once(own):
    network, name = own.proxy(), own.name("writer")
    client = own.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    room_id, me = readings.room_id, own.raw(name)
    network.fault = lambda seen: LOSE if seen.is_send else None
    readings.publish_many([reading(n) for n in range(200)], wait="queued")
    wait_until(lambda: me.events(room_id, BATCH))
    network.down()
    client.close()
    assert forget_transaction_ids(own, network) > 0
    network.fault = lambda _: None
    network.up()
    again = own.connect(name, url=network.url)
    wait_until(lambda: again.status().queued == 0)
    (event,) = own.raw(name).events(room_id, BATCH)
    assert event["content"]["count"] == again.collection("readings").query().count() == 200


@fault("F5", broken=NOT_LOOKED_FOR)
def test_after_its_device_was_deleted_the_outbox_drains_once_as_another_device(server):
    network, name = server.proxy(), server.name("writer")
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    lost = []

    def lose_the_first(seen):
        if seen.is_send and not lost:
            lost.append(seen)
            return LOSE
        return CUT if seen.is_send else None

    network.fault = lose_the_first
    arrived = readings.publish(reading(1), uid="arrived", wait="queued")
    wait_until(lambda: arrived.uncertain)
    readings.publish(reading(2), uid="behind", wait="queued")
    first = client.status().device_id
    server.raw(name).call("POST", "logout/all", {})
    network.fault = lambda _: None
    wait_until(lambda: "login" in (client.status().problem or ""))
    assert [entry.uid for entry in client.outbox.list()] == ["arrived", "behind"]
    client.close()
    raw = server.raw(name)
    again = md.connect(network.url, token=raw.token, store=server.account(name)["store"])
    server.open.append(again)
    assert again.status().device_id == raw.device_id != first
    wait_until(lambda: again.status().queued == 0)
    ledger = Ledger(accepted={"arrived", "behind"})
    ledger.check_server(raw, readings.room_id)
    ledger.check_reader(again, readings.room_id)


@fault("F12", broken=Break("matrixdata/protocol/requests.py", "timeout=SEND_TIMEOUT, ", "timeout=600, "))
def test_a_server_that_hangs_makes_the_outcome_unknown_and_sending_goes_on_when_it_wakes(own, monkeypatch):
    monkeypatch.setattr(requests, "SEND_TIMEOUT", 0.5)
    name = own.name("writer")
    client = own.connect(name)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    assert readings.publish(reading(0), uid="before").state in {"sent", "synced"}
    os.kill(own.address.pid, signal.SIGSTOP)
    try:
        receipt = readings.publish(reading(1), uid="hung", timeout=0.1)
        assert receipt.state == "queued"
        wait_until(lambda: receipt.reason == "no_answer")
        assert receipt.uncertain
        with pytest.raises(md.Unknown, match="hung"):
            client.outbox.cancel("hung")
        (entry,) = [entry for entry in client.outbox.list() if entry.uid == "hung"]
        assert entry.attempts >= 1
        assert entry.first_attempt <= entry.last_attempt <= entry.next_attempt
    finally:
        os.kill(own.address.pid, signal.SIGCONT)
    assert receipt.wait(timeout=20) in {"sent", "synced"}
    Ledger(accepted={"before", "hung"}).check_server(own.raw(name), readings.room_id)
