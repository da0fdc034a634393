"""Faults on the way out: what was accepted arrives once."""

from __future__ import annotations

import pytest

from matrixdata.model.steps import STEPS
from tests.faults.harness import Break, Ledger, fault, run, was_killed
from tests.servers import LOSE, SCHEMA, wait_until

SENDER = "matrixdata/publishing/sender.py"


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def name(server):
    return server.name("writer")


# A new transaction id for each attempt, which is what the outbox is there to prevent.
NEW_TXN = Break(
    SENDER,
    "await self._caller.call(request, patience=_PATIENCE)",
    "await self._caller.call("
    "send_event(item.room_id, item.type, __import__('secrets').token_hex(8), item.content), patience=0)",
)
NOT_STORED = Break(
    "matrixdata/publishing/acceptance.py", "stored = await self._outbox.accept(items)", "stored = list(items)"
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
for number in range(3):
    print("offer", f"u{number}", flush=True)
    readings.publish({"device": "d1", "temp": number}, uid=f"u{number}", wait="queued")
    print("accept", f"u{number}", flush=True)
print("offer", "u3", flush=True)
readings.publish({"device": "d1", "temp": 3}, uid="u3", wait="synced", timeout=30)
"""


@fault("F2", broken=(NOT_STORED, NEW_TXN))
@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith(("publish", "read"))])
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
