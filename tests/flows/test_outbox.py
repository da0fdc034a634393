"""What was accepted arrives, exactly once and in order, whatever the network, the server and the process do."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

import matrixdata as md
from tests.requirements import ROOT
from tests.servers import CUT, LOSE, SCHEMA, Answer, Proxy, RawUser, TestServer, uids, wait_until

pytestmark = pytest.mark.server


def reading(number):
    return {"device": "d1", "temp": number}


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def name(server):
    return server.name("writer")


@pytest.fixture
def client(server, network, name):
    return server.connect(name, url=network.url)


@pytest.fixture
def collection(client):
    return client.create_collection("readings", schema=SCHEMA, encrypted=False)


@pytest.fixture
def raw(server, name):
    return server.raw(name)


@dataclass
class Device:
    """One writer whose process comes and goes."""

    server: TestServer
    network: Proxy
    name: str
    room_id: str
    client: md.Client
    collection: md.Collection
    raw: RawUser

    def program(self, body, *arguments):
        """Another process on the same store, ended: what it said."""
        account = self.server.account(self.name)
        given = [self.network.url, account["user"], str(account["store"]), *arguments]
        command = [sys.executable, "-c", body, *given]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def device(server, network, name, client, collection, raw):  # noqa: PLR0917  pytest passes fixtures by name
    return Device(server, network, name, collection.room_id, client, collection, raw)


# --- durable before publish returns ------------------------------------------------------------------

PUBLISH_AND_DIE = """
import os, signal, sys
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
for number in range(int(sys.argv[4])):
    readings.publish({"device": "d1", "temp": number}, uid=f"u{number}", wait="queued")
print("accepted", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_accepted_offline_survives_sigkill_and_arrives_once(device):
    device.client.close()
    device.network.down()
    done = device.program(PUBLISH_AND_DIE, "5")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "accepted\n"
    assert device.raw.records(device.room_id) == []
    device.network.up()
    again = device.server.connect(device.name, url=device.network.url)
    wait_until(lambda: again.status().queued == 0)
    assert uids(device.raw.records(device.room_id)) == [f"u{n}" for n in range(5)]
    assert again.collection("readings").query().count() == 5
    assert uids(device.raw.records(device.room_id)) == [f"u{n}" for n in range(5)]


def test_offline_publish_returns_a_queued_receipt_and_sends_later(network, client, collection, raw):
    network.down()
    receipt = collection.publish(reading(1), timeout=0.2)
    assert (receipt.state, receipt.event_id) == ("queued", None)
    assert client.status().queued == 1
    network.up()
    assert receipt.wait("sent", timeout=20) in {"sent", "synced"}
    assert [event["event_id"] for event in raw.records(collection.room_id)] == [receipt.event_id]


def test_a_receipt_goes_from_queued_over_sent_to_synced(network, client, collection):
    network.fault = lambda seen: CUT if seen.is_send else None
    receipt = collection.publish(reading(1), wait="queued")
    assert receipt.state == "queued"
    network.fault = lambda _: None
    assert receipt.wait("sent", timeout=20) == "sent"
    assert receipt.event_id
    assert collection.publish(reading(2), wait="synced", timeout=20).state == "synced"
    assert receipt.wait("synced", timeout=20) == "synced"
    assert client.outbox.list() == []


# --- exactly once ------------------------------------------------------------------------------------


NO_ANSWERS = [
    CUT,
    LOSE,
    Answer(502, b"<html>Bad Gateway</html>"),
    Answer(200, b""),
    Answer(200, b'{"event_id": "$x'),
    Answer(200, b"<html>"),
    Answer(429, b'{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":100}'),
    Answer(429, b"", (("Retry-After", "0.1"),)),
    Answer(403, b"<html>captive portal</html>"),
    Answer(404, b"<html>deploying</html>"),
    Answer(302, b"", (("Location", "http://elsewhere.invalid/"),)),
]


def test_an_answer_that_is_none_is_retried_with_the_same_txn_id_and_bytes(network, collection, raw):
    receipts = []
    for fault in NO_ANSWERS:
        network.seen.clear()
        network.fault = lambda seen, fault=fault: fault if seen.is_send and sends(network) <= 2 else None
        receipt = collection.publish(reading(1), timeout=20)
        assert receipt.state in {"sent", "synced"}, fault
        sent = [seen for seen in network.seen if seen.is_send]
        assert len(sent) == 3, fault
        assert len(set(sent)) == 1, "every attempt has the same path, and so txn id, and the same bytes"
        receipts.append(receipt)
    assert uids(raw.records(collection.room_id)) == [receipt.uid for receipt in receipts]


def sends(network):
    return sum(seen.is_send for seen in network.seen)


def test_the_order_of_a_rooms_records_is_kept_over_failures(network, collection, raw):
    faults = iter([CUT, LOSE, None, LOSE, Answer(503), None, CUT])
    network.fault = lambda seen: next(faults, None) if seen.is_send else None
    receipts = [collection.publish(reading(n), wait="queued", uid=f"u{n}") for n in range(6)]
    assert {receipt.wait("sent", timeout=30) for receipt in receipts} <= {"sent", "synced"}
    assert uids(raw.records(collection.room_id)) == [f"u{n}" for n in range(6)]


def test_the_same_uid_with_the_same_content_is_one_record_and_with_other_content_a_conflict(
    network, client, collection, raw
):
    network.fault = lambda seen: CUT if seen.is_send else None
    collection.publish({"device": "d", "temp": 1, "n": 2}, uid="mine", wait="queued")
    collection.publish({"n": 2, "temp": 1, "device": "d"}, uid="mine", wait="queued")
    with pytest.raises(md.Conflict, match="mine"):
        collection.publish(reading(3), uid="mine", wait="queued")
    assert client.status().queued == 1
    network.fault = lambda _: None
    wait_until(lambda: client.status().queued == 0)
    assert uids(raw.records(collection.room_id)) == ["mine"]


def test_a_uid_stays_taken_after_its_record_has_arrived_and_left_the_outbox(client, collection, raw):
    first = collection.publish(reading(1), uid="mine", wait="synced", timeout=20)
    wait_until(lambda: client.outbox.list() == [])
    again = collection.publish(reading(1), uid="mine")
    assert (again.state, again.event_id) == ("synced", first.event_id)
    with pytest.raises(md.Conflict, match="mine"):
        collection.publish({"device": "d1", "temp": 1.0}, uid="mine")
    assert len(raw.records(collection.room_id)) == 1


def test_one_shot_publishing_asks_for_no_sync(device):
    network = device.network
    device.client.close()
    network.seen.clear()
    again = device.server.connect(device.name, url=network.url)
    assert again.collection("readings").publish(reading(1)).state == "sent"
    again.close()
    assert [seen.path for seen in network.seen if seen.is_sync] == []
    assert (
        len(network.seen) <= 4
    )  # the record, whether the room was replaced or encrypted meanwhile, perhaps whether the session stands


# --- refusals ----------------------------------------------------------------------------------------


def test_a_refusal_raises_and_is_kept_as_stuck_and_other_rooms_go_on(server, client, collection):
    owner = server.connect(server.name("owner"))
    theirs = owner.create_collection("read-only", encrypted=False)
    theirs.invite(client.user_id, role="reader")
    refused = client.collection(theirs.room_id)
    with pytest.raises(md.Rejected) as caught:
        refused.publish(reading(1), uid="refused")
    assert (caught.value.errcode, type(caught.value)) == ("M_FORBIDDEN", md.Rejected)
    receipt = collection.publish(reading(2))
    assert receipt.state in {"sent", "synced"}
    status = client.status()
    assert (status.queued, status.stuck) == (0, 1)
    owner.collection("read-only").invite(client.user_id, role="writer")
    client.outbox.retry("refused")
    wait_until(lambda: client.status().stuck == 0 and client.status().queued == 0)
    assert theirs.query().values() == [reading(1)]


def test_a_record_that_the_server_always_fails_on_gets_stuck_and_what_follows_goes_on(
    network, client, collection, raw
):
    network.fault = lambda seen: Answer(500) if seen.is_send and b'"poison"' in seen.body else None
    poison = collection.publish(reading(1), uid="poison", wait="queued")
    fine = collection.publish(reading(2), uid="fine", timeout=30)
    assert fine.state in {"sent", "synced"}
    with pytest.raises(md.Rejected, match="server_error"):
        poison.wait(timeout=20)
    assert (poison.state, poison.reason) == ("stuck", "server_error")
    assert [seen for seen in client.outbox.list() if seen.uid == "poison"]
    assert uids(raw.records(collection.room_id)) == ["fine"]


# --- what a query shows meanwhile --------------------------------------------------------------------


@pytest.mark.parametrize("order", [None, "time", "-time", "temp"])
def test_a_pending_record_shows_at_once_and_once_before_between_and_after_its_echo(
    network, collection, order
):
    collection.publish(reading(1), wait="synced", timeout=20)
    step = {"send": CUT, "sync": None}
    network.fault = lambda seen: step["send"] if seen.is_send else step["sync"] if seen.is_sync else None

    def shown():
        query = collection.query(order=order, timeout=0, on_incomplete="ignore")
        rows = query.records()
        temps = sorted(row.value["temp"] for row in rows)
        return temps, {row.value["temp"]: str(row.row_state) for row in rows}[2], query.completeness.pending

    receipt = collection.publish(reading(2), wait="queued")
    assert shown() == ([1, 2], "pending", 1)
    step.update(send=None, sync=CUT)
    assert receipt.wait("sent", timeout=20) in {"sent", "synced"}
    temps, _, _ = shown()
    assert temps == [1, 2]
    step.update(sync=None)
    assert receipt.wait("synced", timeout=20) == "synced"
    assert shown() == ([1, 2], "valid", 0)


# --- crashes between the two stores ------------------------------------------------------------------

CRASH = """
import os, signal, sys
import matrixdata as md
from matrixdata.publishing.drain import Drain
from matrixdata.receiving.intake import Intake
from matrixdata.replica.outbox import Outbox

async def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
readings.query().count()
match sys.argv[4]:
    case "before the request": Drain._attempt = die
    case "between answer and mark": Outbox.sent = die
    case "between echo and settling": Intake._settle = die
    case "between answer and mark, echo seen":
        async def never(*_): await __import__("anyio").sleep_forever()
        Outbox.sent = never
        Intake._settle = die
readings.publish({"device": "d1", "temp": 1}, uid="u1", wait="synced", timeout=30)
"""


@pytest.mark.parametrize(
    "moment",
    [
        "before the request",
        "between answer and mark",
        "between echo and settling",
        "between answer and mark, echo seen",
    ],
)
def test_killed_at_any_step_the_next_client_finishes_it_exactly_once(device, moment):
    device.client.close()
    done = device.program(CRASH, moment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = device.server.connect(device.name, url=device.network.url)
    readings = again.collection("readings")
    wait_until(lambda: again.status().queued == 0)
    assert readings.query().values() == [reading(1)]
    wait_until(lambda: again.outbox.list() == [])
    query = readings.query()
    assert (query.values(), query.completeness.pending) == ([reading(1)], 0)
    assert uids(device.raw.records(device.room_id)) == ["u1"]
