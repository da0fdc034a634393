"""A kill at each step of encrypting and of receiving keys: no state of a ratchet serves twice, nothing is lost."""

from __future__ import annotations

import pytest

from matrixdata.model.steps import STEPS
from tests.e2ee.rooms import sealed, used
from tests.faults.harness import Break, fault, run, was_killed
from tests.servers import SCHEMA, hidden_sliding, wait_until

WRITE = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
for number in range(3):
    readings.publish({"device": "d1", "temp": number}, uid=f"u{number}", wait="queued")
    sys.stdout.write(f"u{number}\\n")
    sys.stdout.flush()
readings.publish({"device": "d1", "temp": 3}, uid="u3", timeout=30)
"""
READ = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection(sys.argv[4], trust="all")
readings.query(timeout=30, on_incomplete="ignore").count()
"""
WRITING = [*(step for step in STEPS if step.startswith("seal")), "publish.3 sending", "publish.3 answered"]
CARRYING = ["keys.1 sending", "keys.2 answered"]
READING = ["read.2 keys", "read.3 writing", "read.3 committed"]
# The ciphertext leaves, and the ratchet behind it was not stored.
NOT_STORED = Break(
    "matrixdata/encryption/outbound.py",
    '"UPDATE megolm_outbound SET pickle = ?, messages = ? WHERE room_id = ?"',
    '"UPDATE megolm_outbound SET pickle = coalesce(pickle, ?), messages = ? WHERE room_id = ?"',
)
# What a /sync token acknowledges is deleted by the server.
ROOMS_FIRST = Break(
    "matrixdata/receiving/leading.py",
    """        received = await self._keys.store(batch)
        await self._intake.sync(batch, kind=source.kind, token=batch.token)
""",
    """        await self._intake.sync(batch, kind=source.kind, token=batch.token)
        received = await self._keys.store(batch)
""",
)


def account_of(server, name, **how):
    account = server.account(name, **how)
    return account["homeserver"], account["user"], str(account["store"])


@fault("F28", broken=NOT_STORED)
@pytest.mark.parametrize(
    ("step", "nth"), [*((step, 1) for step in WRITING), *((step, 2) for step in CARRYING)]
)
def test_killed_while_it_encrypts_every_record_is_read_and_no_state_of_the_ratchet_serves_twice(
    server, step, nth
):
    name, reader = server.name("writer"), server.connect(server.name("reader"))
    with server.connect(name) as client:
        mine = client.create_collection("readings", schema=SCHEMA, trust="all", invite=[reader.user_id])
        theirs = reader.collection(mine.room_id, trust="all")
    done = run(WRITE, *account_of(server, name), kill_at=step, nth=nth)
    assert was_killed(done), f"{step} was never reached: {done.stderr}"
    accepted = set(done.stdout.split())
    again = server.connect(name)
    again.collection("readings").publish({"device": "d1", "temp": 9}, uid="u9")
    wait_until(lambda: again.status().queued == 0)
    found = [record.uid for record in theirs.query(timeout=30, on_incomplete="raise").records()]
    assert sorted({*found}) == sorted(found)
    assert accepted | {"u9"} <= {*found}
    places = [used(event) for event in sealed(server.raw(name), theirs.room_id)]
    assert len(places) == len({*places})


@fault("F32", broken=ROOMS_FIRST)
@pytest.mark.parametrize("step", READING)
def test_killed_while_it_receives_keys_a_reader_loses_none(server, step):
    name, writer, network = server.name("reader"), server.connect(server.name("writer")), server.proxy()
    network.fault = hidden_sliding  # there the token of the rooms is that of the keys too
    with server.connect(name, url=network.url) as client:
        mine = writer.create_collection("readings", schema=SCHEMA, trust="all", invite=[client.user_id])
        client.collection(mine.room_id, trust="all")
    mine.publish_many([{"device": "d1", "temp": number} for number in range(3)])
    done = run(READ, *account_of(server, name, url=network.url), mine.room_id, kill_at=step)
    assert was_killed(done), f"{step} was never reached: {done.stderr}"
    again = server.connect(name, url=network.url).collection(mine.room_id)
    found = again.query(timeout=30, on_incomplete="raise").records()
    assert [record.value["temp"] for record in found] == [0, 1, 2]
