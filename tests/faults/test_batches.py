"""What is promised of records holds for those that travel in batches, however they got into them."""

from __future__ import annotations

import pytest

import matrixdata as md
from tests.faults.harness import Break, Ledger, fault, run, was_killed
from tests.servers import BATCH, LOSE, SCHEMA, Answer, uids, wait_until

pytestmark = pytest.mark.server

DRAIN, PACKING = "matrixdata/publishing/drain.py", "matrixdata/replica/packing.py"


def reading(number):
    return {"device": "d1", "temp": number / 2, "n": number}


def limited(milliseconds):
    return Answer(429, b'{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":%d}' % milliseconds)


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def name(server):
    return server.name("batcher")


@pytest.fixture
def client(server, network, name):
    return server.connect(name, url=network.url)


@pytest.fixture
def readings(client):
    return client.create_collection("readings", schema=SCHEMA, encrypted=False)


@pytest.fixture
def raw(server, name, readings):  # noqa: ARG001  the user is made with the collection
    return server.raw(name)


@fault(
    "F1",
    broken=Break(
        DRAIN,
        "send_event(item.room_id, wire.type, item.txn_id, wire.content)",
        "send_event(item.room_id, wire.type, __import__('secrets').token_hex(8), wire.content)",
    ),
)
def test_a_lost_answer_leads_to_one_batch(network, readings, raw):
    lost = []

    def lose_twice(seen):
        if seen.is_send and len(lost) < 2:
            lost.append(seen)
            return LOSE
        return None

    network.fault = lose_twice
    report = readings.publish_many([reading(n) for n in range(200)], timeout=20)
    assert (len(lost), report.sent) == (2, 200)
    (event,) = raw.events(readings.room_id, BATCH)
    assert event["content"]["count"] == 200
    assert readings.query().count() == 200


@fault(
    "F9",
    broken=(
        Break(DRAIN, "await self._means.pack(self._room_id)", "pass"),
        Break(PACKING, "uids=[item.uid for item in found]", "uids=None"),
    ),
)
def test_what_waits_behind_a_rate_limit_leaves_in_one_event_under_its_own_uids(
    network, client, readings, raw
):
    network.fault = lambda seen: limited(400) if seen.is_send else None
    receipts = [readings.publish(reading(n), uid=f"u{n}", wait="queued") for n in range(30)]
    wait_until(lambda: sum(seen.is_send for seen in network.seen) >= 2)
    assert client.status().queued == 30
    assert len(readings.query(timeout=0).values()) == 30
    assert [entry.uid for entry in client.outbox.list()] == [f"u{n}" for n in range(30)]
    assert {receipt.state for receipt in receipts} == {"queued"}
    network.fault = lambda _: None
    assert {receipt.wait(timeout=20) for receipt in receipts} <= {"sent", "synced"}
    assert uids(raw.records(readings.room_id)) == [f"u{n}" for n in range(30)]
    assert len(raw.events(readings.room_id, BATCH)) == 1
    assert receipts[0].event_id == receipts[29].event_id
    assert [value["n"] for value in readings.query().values()] == [*range(30)]
    wait_until(lambda: client.outbox.list() == [])
    assert {receipt.state for receipt in receipts} == {"synced"}
    # Each is still the record of its uid: publishing it once more publishes nothing.
    readings.publish(reading(7), uid="u7")
    assert len(raw.records(readings.room_id)) == 30


@fault("F9", broken=Break(PACKING, "alone or item.attempts or", "alone or"))
def test_what_may_have_left_is_never_packed(network, readings, raw):
    sent = []

    def lose_the_first(seen):
        if not seen.is_send:
            return None
        sent.append(seen)
        return LOSE if len(sent) == 1 else limited(300) if len(sent) < 4 else None

    network.fault = lose_the_first
    receipts = [readings.publish(reading(n), uid=f"u{n}", wait="queued") for n in range(12)]
    assert {receipt.wait(timeout=30) for receipt in receipts} <= {"sent", "synced"}
    assert next(iter(uids(raw.events(readings.room_id)))) == "u0"
    assert uids(raw.records(readings.room_id)) == [f"u{n}" for n in range(12)]


def test_a_long_queue_leaves_in_few_events_and_what_is_to_stay_alone_does(network, client, readings, raw):
    network.down()
    readings.publish_many([reading(n) for n in range(20)], batch=False, wait="queued")
    for n in range(20, 150):
        readings.publish(reading(n), uid=f"u{n}", wait="queued")
    network.up()
    wait_until(lambda: client.status().queued == 0)
    records = raw.records(readings.room_id)
    assert [record["content"]["value"]["n"] for record in records] == [*range(150)]
    assert len(raw.events(readings.room_id)) >= 20
    assert len(raw.events(readings.room_id, BATCH)) in {1, 2}


def test_one_of_them_can_be_cancelled_while_they_wait(network, client, readings, raw):
    network.fault = lambda seen: limited(300) if seen.is_send else None
    receipts = [readings.publish(reading(n), uid=f"u{n}", wait="queued") for n in range(10)]
    wait_until(lambda: sum(seen.is_send for seen in network.seen) >= 3)

    def cancelled():
        try:
            client.outbox.cancel("u4")
        except md.Unknown:  # an attempt is under way just now: it may be on the server
            return False
        return True

    wait_until(cancelled)
    assert receipts[4].state == "cancelled"
    network.fault = lambda _: None
    others = receipts[:4] + receipts[5:]
    assert {receipt.wait(timeout=20) for receipt in others} <= {"sent", "synced"}
    assert "u4" not in uids(raw.records(readings.room_id))
    assert len(raw.records(readings.room_id)) == 9


def test_a_refused_batch_is_stuck_with_its_records_and_goes_again_on_request(network, client, readings, raw):
    refusal = Answer(403, b'{"errcode":"M_FORBIDDEN","error":"not now"}')
    answers = iter([limited(200)])
    network.fault = lambda seen: next(answers, refusal) if seen.is_send else None
    receipts = [readings.publish(reading(n), uid=f"u{n}", wait="queued") for n in range(10)]
    wait_until(lambda: {receipt.state for receipt in receipts} == {"stuck"})
    assert client.status().stuck == 10
    assert {entry.reason for entry in client.outbox.list()} == {"M_FORBIDDEN"}
    network.fault = lambda _: None
    client.outbox.retry("u3")
    wait_until(lambda: receipts[3].state in {"sent", "synced"})
    assert client.outbox.retry_all() >= 0
    assert {receipt.wait(timeout=20) for receipt in receipts} <= {"sent", "synced"}
    assert sorted(uids(raw.records(readings.room_id))) == sorted(f"u{n}" for n in range(10))


STREAM = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
def say(words):
    sys.stdout.write(words + "\\n")
    sys.stdout.flush()

for number in range(40):
    say(f"offer u{number}")
    readings.publish({"device": "d1", "temp": number, "n": number}, uid=f"u{number}", wait="queued")
    say(f"accept u{number}")
import time
time.sleep(60)
"""


@fault(
    "F2",
    broken=Break("matrixdata/replica/migrations/account_0001.sql", "WHEN OLD.made = 1", "WHEN 0"),
)
@pytest.mark.parametrize(
    "step",
    [
        "publish.3 packing",
        "publish.3 packed",
        "publish.3 sending",
        "publish.3 answered",
        "publish.4 recorded",
    ],
)
def test_killed_around_packing_nothing_is_lost_or_doubled(server, network, name, step):
    with server.connect(name, url=network.url) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account = server.account(name)
    answers = iter([limited(300)])
    network.fault = lambda seen: next(answers, None) if seen.is_send else None
    nth = 2 if step == "publish.3 sending" else 1  # the first attempt is turned away
    arguments = (network.url, account["user"], str(account["store"]))
    done = run(STREAM, *arguments, kill_at=step, nth=nth)
    assert was_killed(done), f"{step} was never reached: {done.stderr}"
    ledger = Ledger()
    for line in done.stdout.splitlines():
        what, uid = line.split()
        (ledger.offer if what == "offer" else ledger.accept)(uid)
    again = server.connect(name, url=network.url)
    wait_until(lambda: again.status().queued == 0)
    ledger.check_server(server.raw(name), room_id)
    ledger.check_reader(again, room_id)
    wait_until(lambda: again.outbox.list() == [])
