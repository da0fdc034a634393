"""Faults on the way out: what was accepted arrives once."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import matrixdata as md
from matrixdata import homeserver
from matrixdata.model.steps import STEPS
from matrixdata.replica.sums import outbox_sum
from tests.faults.harness import Break, Ledger, child, fault, run, was_killed
from tests.servers import CUT, LOSE, RECORD, SCHEMA, Answer, Held, TestServer, uids, wait_until

DRAIN = "matrixdata/publishing/drain.py"


def reading(number):
    return {"device": "d1", "temp": number}


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def name(server):
    return server.name("writer")


# A new transaction id for each attempt, which is what the outbox is there to prevent.
NEW_TXN = Break(
    DRAIN,
    "send_event(item.room_id, wire.type, item.txn_id, wire.content)",
    "send_event(item.room_id, wire.type, __import__('secrets').token_hex(8), wire.content)",
)
NOT_STORED = Break(
    "matrixdata/publishing/acceptance.py",
    "stored = await self._outbox.accept(items, job=job, packing=packing)",
    "stored = list(items)",
)


@fault("F1", broken=NEW_TXN)
def test_a_lost_answer_leads_to_one_event_and_the_same_id(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    lost = []

    def lose_twice(seen):
        if seen.is_send and len(lost) < 2:
            lost.append(seen)
            return LOSE
        return None

    network.fault = lose_twice
    receipt = readings.publish({"device": "d1", "temp": 1.5}, timeout=20)
    assert len(lost) == 2
    (event,) = server.raw(name).records(readings.room_id)
    assert receipt.event_id == event["event_id"]


PUBLISH = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
readings.query().count()
def say(words):
    sys.stdout.write(words + "\\n")  # in one piece: the end may come at any moment
    sys.stdout.flush()

for number in range(3):
    say(f"offer u{number}")
    readings.publish({"device": "d1", "temp": number}, uid=f"u{number}", wait="queued")
    say(f"accept u{number}")
say("offer u3")
readings.publish({"device": "d1", "temp": 3}, uid="u3", wait="synced", timeout=30)
"""


# What a killed process had begun is left lying.
NOT_GONE_ON_WITH = Break(
    "matrixdata/replica/outbox.py",
    "state = 'queued' AND room_id = ? AND batch IS NULL ORDER BY ifnull(turn, id) LIMIT 1",
    "state = 'queued' AND attempts = 0 AND room_id = ? AND batch IS NULL ORDER BY ifnull(turn, id) LIMIT 1",
)


@fault("F2", broken=(NOT_STORED, NOT_GONE_ON_WITH))
@pytest.mark.parametrize(
    "step", [step for step in STEPS if step.startswith(("publish", "read")) and "pack" not in step]
)
def test_killed_at_each_step_nothing_accepted_is_lost_or_doubled(server, name, step):
    with server.connect(name) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account = server.account(name)
    done = run(PUBLISH, account["homeserver"], account["user"], str(account["store"]), kill_at=step)
    assert was_killed(done), f"{step} was never reached: {done.stderr}"
    ledger = Ledger()
    for line in done.stdout.splitlines():
        what, uid = line.split()
        (ledger.offer if what == "offer" else ledger.accept)(uid)
    again = server.connect(name)
    wait_until(lambda: again.status().queued == 0)
    ledger.check_server(server.raw(name), room_id)
    ledger.check_reader(again, room_id)
    wait_until(lambda: again.outbox.list() == [])


# --- rate limits -------------------------------------------------------------------------------------


def limited(body=b"{}", header=None):
    return Answer(429, body, (("Retry-After", header),) if header else ())


def sends(network):
    return [seen for seen in network.seen if seen.is_send]


ODD_LIMITS = [
    limited(b'{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":120}', "1"),
    limited(header="0.1"),
    limited(),
    limited(b'{"retry_after_ms":-5}', "-7"),
    limited(b'{"retry_after_ms":"120"}', "soon"),
    limited(b"<html>slow down</html>"),
]


@fault("F9", broken=Break("matrixdata/transport/http.py", "if status == 429:", "if False:"))
def test_rate_limits_of_every_spelling_are_waited_out_and_order_is_kept(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    answers = iter(ODD_LIMITS)
    network.fault = lambda seen: next(answers, None) if seen.is_send else None
    receipts = [readings.publish(reading(n), uid=f"u{n}", wait="queued") for n in range(8)]
    assert {receipt.wait(timeout=30) for receipt in receipts} <= {"sent", "synced"}
    assert len(sends(network)) <= len(receipts) + len(ODD_LIMITS), "each refusal costs one request"
    assert uids(server.raw(name).records(readings.room_id)) == [f"u{n}" for n in range(8)]


@fault(
    "F9",
    broken=(
        Break(
            "matrixdata/transport/caller.py",
            "least = backoff.delay(self._hits, chance) if self._hits else 0.0",
            "least = 0.0",
        ),
        Break(
            "matrixdata/transport/caller.py",
            "limit = self.limits[request.kind]",
            'limit = self.limits["send"]',
        ),
    ),
)
def test_a_storm_of_rate_limits_is_no_busy_loop_and_reading_goes_on_meanwhile(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", encrypted=False)
    readings.publish(reading(0), wait="synced", timeout=20)
    network.fault = lambda seen: limited(b'{"retry_after_ms":0}') if seen.is_send else None
    network.seen.clear()
    began = time.monotonic()
    receipt = readings.publish(reading(1), wait="queued")
    wait_until(lambda: len(sends(network)) >= 5)
    # The pauses double from 0.1 to 0.2 s on.
    assert time.monotonic() - began > 0.7, "five requests at once, though each was refused"

    network.fault = lambda seen: limited(b'{"retry_after_ms":1000000000}') if seen.is_send else None
    wait_until(lambda: client.status().rate_limited > 3000)
    assert client.status().rate_limited < 2 * 3600, "not for the eleven days that were asked for"
    assert receipt.reason == "rate_limited"
    assert "rate_limited; again at" in repr(receipt)
    asked = len(sends(network))
    assert readings.publish(reading(2), timeout=0.1).state == "queued"
    server.raw(name).send(readings.room_id, {"v": 1, "uid": "theirs", "value": reading(3)})
    wait_until(lambda: readings.query(timeout=5).count() == 4)
    assert len(sends(network)) == asked


# --- answers that are none ---------------------------------------------------------------------------

NO_ANSWERS = [
    Answer(500, b'{"errcode":"M_UNKNOWN","error":"Internal server error"}'),
    Answer(502, b"<html>Bad Gateway</html>", (("Content-Type", "text/html"),)),
    Answer(503),
    Answer(504, b""),
    Answer(200, b""),
    Answer(200, b'{"event_id": "$x'),
    Answer(200, b"{}", (("Content-Type", "text/html"),)),
    Answer(200, b'{"event_id": ""}'),
    Answer(200, b'{"event_id": 7}'),
    Answer(200, b"[]"),
    Answer(200, b'{"event_id": "$\xff"}'),
]


@fault(
    "F10",
    broken=(
        Break("matrixdata/transport/http.py", "if status >= 500 or status < 400:", "if status < 400:"),
        Break(DRAIN, 'if not event_id.startswith("$") or len(event_id) > _LONGEST_ID:', "if False:"),
    ),
)
def test_an_answer_that_is_none_is_no_success_and_leaks_no_parser(server, network, name, caplog):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    for number, answer in enumerate(NO_ANSWERS):
        network.seen.clear()
        network.fault = lambda seen, answer=answer: (
            answer if seen.is_send and len(sends(network)) == 1 else None
        )
        receipt = readings.publish(reading(number), uid=f"u{number}", timeout=20)
        assert receipt.state in {"sent", "synced"}, answer
        assert len(sends(network)) == 2, answer
    records = server.raw(name).records(readings.room_id)
    assert uids(records) == [f"u{number}" for number in range(len(NO_ANSWERS))]
    assert records[-1]["event_id"] == receipt.event_id
    assert [record for record in caplog.records if record.exc_info] == []


# --- a record that the server fails on ---------------------------------------------------------------


@fault(
    "F11",
    broken=(
        Break(DRAIN, "_SUSPECT = 5", "_SUSPECT = 500"),
        Break(DRAIN, 'await self._means.outbox.stuck(item, "server_error")', "pass"),
    ),
)
def test_a_record_the_server_always_fails_on_is_set_aside_and_later_ones_flow(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    assert readings.publish(reading(0), uid="before").state in {"sent", "synced"}
    insert = (
        "INSERT INTO outbox (room_id, uid, txn_id, type, content, value, time, accepted_at, checksum)"
        " VALUES (?, 'poison', 'poison', ?, ?, ?, 0, 0, ?)"
    )
    # A lone surrogate, which publish refuses: written by hand, as a writer with a fault in it would.
    content = b'{"uid":"poison","v":1,"value":{"device":"\\ud800","temp":1}}'
    with closing(sqlite3.connect(server.account(name)["store"] / "account.db")) as database:
        checksum = outbox_sum(readings.room_id, "poison", "poison", content)
        database.execute(insert, (readings.room_id, RECORD, content, b'{"device":"?","temp":1}', checksum))
        database.commit()
    wait_until(lambda: len(sends(network)) >= 3)  # another process' commit is noticed
    client.close()  # the count of attempts outlives the process
    again = server.connect(name, url=network.url)
    fine = [again.collection("readings").publish(reading(n), uid=f"fine{n}", wait="queued") for n in range(2)]
    assert {receipt.wait(timeout=30) for receipt in fine} <= {"sent", "synced"}
    wait_until(lambda: again.status().stuck == 1)
    (stuck,) = [entry for entry in again.outbox.list() if entry.state == "stuck"]
    assert (stuck.uid, stuck.reason) == ("poison", "server_error")
    assert stuck.attempts >= 5
    assert sum(b"poison" in seen.body for seen in sends(network)) <= 8
    assert uids(server.raw(name).records(readings.room_id)) == ["before", "fine0", "fine1"]
    again.outbox.cancel("poison")
    assert again.status().stuck == 0


@fault(
    "F11",
    broken=Break(
        DRAIN, "if follower is not None and await self._tried(follower, pause) is Outcome.SENT:", "if True:"
    ),
)
def test_a_server_that_fails_on_everything_gets_nothing_stuck(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    network.fault = lambda seen: Answer(500) if seen.is_send else None
    receipts = [readings.publish(reading(n), uid=f"u{n}", wait="queued") for n in range(3)]
    wait_until(lambda: len(sends(network)) >= 6)
    assert [receipt.state for receipt in receipts] == ["queued"] * 3
    network.fault = lambda _: None
    assert {receipt.wait(timeout=30) for receipt in receipts} <= {"sent", "synced"}
    found = uids(server.raw(name).records(readings.room_id))
    assert sorted(found) == ["u0", "u1", "u2"]


# --- what was refused, and what can be called back ---------------------------------------------------


@fault("P6", broken=Break(DRAIN, "if item.attempts and await self._is_there(item):", "if False:"))
def test_a_refusal_after_a_lost_answer_is_no_refusal_of_what_arrived(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    lost = []

    def lose_then_refuse(seen):
        if seen.is_send and not lost:
            lost.append(seen)
            return LOSE
        return Answer(403, b'{"errcode":"M_FORBIDDEN"}') if seen.is_send else None

    network.fault = lose_then_refuse
    receipt = readings.publish(reading(1), uid="arrived", timeout=20)
    assert receipt.state in {"sent", "synced"}
    (event,) = server.raw(name).records(readings.room_id)
    assert event["event_id"] == receipt.event_id
    with pytest.raises(md.Rejected, match="M_FORBIDDEN"):
        readings.publish(reading(2), uid="refused", timeout=20)


@fault(
    "P6",
    broken=Break(
        "matrixdata/replica/outbox_rows.py",
        'item.state == "queued" and item.attempts == 0',
        'item.state == "queued"',
    ),
)
def test_only_what_surely_is_not_on_the_server_can_be_cancelled(server, network, name):
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    assert readings.publish(reading(0), uid="before").state in {"sent", "synced"}
    network.down()
    offline = readings.publish(reading(1), uid="offline", wait="queued")
    wait_until(lambda: offline.reason == "unreachable")
    wait_until(lambda: cancelled(client, "offline"))
    with pytest.raises(md.NotSent, match="cancelled"):
        offline.wait(timeout=5)
    lost = []
    network.fault = lambda seen: (
        (lost.append(seen) or (LOSE if len(lost) == 1 else CUT)) if seen.is_send else None
    )
    network.up()
    uncertain = readings.publish(reading(2), uid="uncertain", wait="queued")
    behind = readings.publish(reading(3), uid="behind", wait="queued")
    wait_until(lambda: uncertain.uncertain)
    with pytest.raises(md.Unknown, match="may be on the server") as raised:
        client.outbox.cancel("uncertain")
    assert raised.value.uid == "uncertain"
    client.outbox.cancel("behind")
    assert behind.state == "cancelled"
    with pytest.raises(md.NotFound):
        client.outbox.cancel("behind")
    network.fault = lambda _: None
    assert uncertain.wait(timeout=20) in {"sent", "synced"}
    assert uids(server.raw(name).records(readings.room_id)) == ["before", "uncertain"]


def cancelled(client, uid):
    """Cancelled, unless an attempt is under way this moment."""
    try:
        client.outbox.cancel(uid)
    except md.Unknown:
        return False
    return True


# --- the server dies ---------------------------------------------------------------------------------


@fault(
    "F3",
    broken=Break(
        DRAIN, 'outbox.delayed(item, "no_answer", again=again)', 'outbox.stuck(item, "server_error")'
    ),
)
def test_a_server_killed_under_load_has_everything_once_when_it_is_back(tmp_path):
    directory = tmp_path / "server"
    server = TestServer(homeserver.start(directory, owned=True), tmp_path / "stores")
    try:
        network = server.proxy()  # the server may come back on another port
        client = server.connect("ada", url=network.url)
        readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
        ledger, under_way = Ledger(), []

        def kill_in_the_middle(seen):
            if seen.is_send:
                under_way.append(seen)
                if len(under_way) in {8, 30}:
                    os.kill(server.address.pid, signal.SIGKILL)

        def publish(who):
            for number in range(12):
                uid = f"{who}.{number}"
                ledger.offer(uid)
                readings.publish(reading(number), uid=uid, timeout=0.2)
                ledger.accept(uid)

        network.fault = kill_in_the_middle
        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(publish, who) for who in range(4)]
            for kills in (8, 30):
                wait_until(lambda kills=kills: len(under_way) >= kills, 60)
                server.address = homeserver.start(directory, owned=True)
                network.target = server.url
            for each in working:
                each.result()
        wait_until(lambda: client.status().queued == 0, 60)
        assert len(ledger.accepted) == 48
        ledger.check_server(server.raw("ada"), readings.room_id)
        ledger.check_reader(client, readings.room_id)
    finally:
        for each in reversed(server.open):
            each.close()
        homeserver.stop(directory)


# --- hanging, sleeping, wrong clocks -----------------------------------------------------------------

INTERRUPTED = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
print("ready", flush=True)
try:
    readings.publish({"device": "d1", "temp": 1}, uid="hung", timeout=60)
except KeyboardInterrupt:
    client.close()
    print("interrupted", flush=True)
"""


@fault("F12", broken=Break("matrixdata/client/core.py", "self._work.cancel()", "pass"))
@pytest.mark.alone
def test_ctrl_c_returns_at_once_while_the_server_hangs_and_nothing_is_lost(server, network, name):
    with server.connect(name, url=network.url) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account, held = server.account(name), Held()
    network.fault = lambda seen: held if seen.is_send else None
    running = child(INTERRUPTED, network.url, account["user"], str(account["store"]))
    try:
        assert running.stdout.readline() == "ready\n"
        assert held.holding.wait(20)
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.stdout.readline() == "interrupted\n", running.stderr.read()
        assert time.monotonic() - began < 1
        assert running.wait(10) == 0
    finally:
        held.release()
        running.kill()
        running.communicate()
    again = server.connect(name, url=network.url)
    wait_until(lambda: again.status().queued == 0)
    Ledger(accepted={"hung"}).check_server(server.raw(name), room_id)


SLEEPER = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
print("ready", flush=True)
print(readings.publish({"device": "d1", "temp": 1}, uid="asleep", timeout=60).state, flush=True)
sys.stdin.readline()
"""


@fault("F35", broken=NEW_TXN)
def test_after_a_sleep_in_the_middle_of_a_send_it_goes_on_within_seconds(server, network, name):
    with server.connect(name, url=network.url) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account, held = server.account(name), Held()
    network.fault = lambda seen: held if seen.is_send else None
    running = child(SLEEPER, network.url, account["user"], str(account["store"]))
    try:
        assert running.stdout.readline() == "ready\n"
        assert held.holding.wait(20)
        raw = server.raw(name)
        wait_until(lambda: raw.records(room_id))
        running.send_signal(signal.SIGSTOP)
        network.down()  # what a router or server does to connections that nobody answers on
        held.release()
        network.fault = lambda _: None
        network.up()
        network.seen.clear()
        began = time.monotonic()
        running.send_signal(signal.SIGCONT)
        assert running.stdout.readline() in {"sent\n", "synced\n"}, running.stderr.read()
        assert time.monotonic() - began < 5
        assert len(sends(network)) <= 2
    finally:
        running.kill()
        running.communicate()
    Ledger(accepted={"asleep"}).check_server(raw, room_id)


@fault(
    "F34",
    broken=Break(
        "matrixdata/replica/outbox.py",
        "state = 'queued' AND room_id = ? AND batch IS NULL ORDER BY ifnull(turn, id) LIMIT 1",
        "state = 'queued' AND room_id = ? AND batch IS NULL ORDER BY accepted_at LIMIT 1",
    ),
)
def test_a_clock_that_is_wrong_or_jumps_changes_neither_order_nor_pace(server, network, name):
    year = 365 * 86_400_000_000
    now = [time.time_ns() // 1000]
    client = server.connect(name, url=network.url, clock=lambda: now[0])
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    network.down()
    receipts = []
    for number, step in enumerate([0, year, -2 * year, -3_600_000_000, 2 * year, -100 * year]):
        now[0] += step
        receipts.append(readings.publish(reading(number), uid=f"u{number}", wait="queued"))
    began = time.monotonic()
    wait_until(lambda: receipts[0].reason == "unreachable")
    network.up()
    for receipt in receipts:
        assert receipt.wait(timeout=20) in {"sent", "synced"}
        now[0] += year
    assert time.monotonic() - began < 20
    expected = [f"u{number}" for number in range(len(receipts))]
    assert uids(server.raw(name).records(readings.room_id)) == expected
    assert [record.uid for record in readings.query(timeout=10).records()] == expected
