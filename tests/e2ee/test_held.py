"""Who suddenly is somebody else gets nothing until a human has decided; what is published waits for that."""

from __future__ import annotations

import matrixdata as md
from matrixdata import homeserver
from tests.e2ee.rooms import reading, sealed, temps
from tests.faults.harness import Break, fault
from tests.servers import SCHEMA, wait_until


@fault(
    "T-A9",
    broken=Break(
        "matrixdata/publishing/drain.py",
        'await means.outbox.delayed(item, "identity_changed", again=None)',
        'await means.outbox.stuck(item, "identity_changed")',
    ),
)
def test_a_changed_identity_holds_what_is_published_until_it_is_acknowledged(server):
    name = server.name("reader")
    writer, reader = server.connect(server.name("writer")), server.connect(name)
    mine = writer.create_collection("x", schema=SCHEMA, invite=[reader.user_id])
    theirs = reader.collection(mine.room_id)
    mine.publish(reading(1))
    assert temps(mine) == [1]
    wait_until(lambda: temps(theirs, on_incomplete="ignore") == [1])

    new = server.connect(name, store="another")
    new.keys.reset_identity(homeserver.register(server.address, name))
    held = []

    def is_held():
        try:
            mine.publish(reading(2), timeout=5)
        except md.DeviceUntrusted as error:
            held.append(error)
        return held

    wait_until(is_held, 40)
    assert held[0].user_ids == (reader.user_id,)
    assert {item.reason for item in writer.outbox.list() if item.state == "queued"} == {"identity_changed"}
    before = len(sealed(server.raw(name), mine.room_id))

    writer.keys.acknowledge(reader.user_id)
    wait_until(lambda: writer.status().queued == 0, 30)
    assert len(sealed(server.raw(name), mine.room_id)) == before + 1
    again = new.collection(mine.room_id)
    wait_until(lambda: 2 in temps(again, on_incomplete="ignore"))
