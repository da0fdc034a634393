"""A room that was upgraded: nothing more is written to the old one, by nobody of ours, and reading goes on."""

from __future__ import annotations

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault
from tests.servers import encoded, wait_until

pytestmark = pytest.mark.server
STANDING = "matrixdata/receiving/standing.py"


def reading(number):
    return {"temp": number}


def upgraded(raw, room_id):
    return raw.call("POST", f"{encoded('rooms', room_id)}/upgrade", {"new_version": "11"})["replacement_room"]


@pytest.fixture
def name(server):
    return server.name("owner")


@fault(
    "F21",
    broken=Break(
        STANDING,
        "        if new_room_id is not None:\n            raise RoomReplaced",
        "        if not room_id:\n            raise RoomReplaced",
    ),
)
def test_an_upgraded_room_is_read_to_its_end_and_written_to_no_more(server, name):
    client, raw = server.connect(name), server.raw(name)
    readings = client.create_collection("readings", encrypted=False)
    readings.publish(reading(1))
    with readings.subscribe(start="all") as subscription:
        assert subscription.get(timeout=20).value == reading(1)
        new_room_id = upgraded(raw, readings.room_id)
        with pytest.raises(md.RoomReplaced) as replaced:
            subscription.get(timeout=20)
    assert (replaced.value.room_id, replaced.value.new_room_id) == (readings.room_id, new_room_id)
    for refused in (lambda: readings.publish(reading(2)), lambda: readings.publish_many([reading(2)])):
        with pytest.raises(md.RoomReplaced) as replaced:
            refused()
        assert replaced.value.new_room_id == new_room_id
    assert client.outbox.list() == []
    assert readings.query(on_incomplete="raise").values() == [reading(1)]
    assert len(raw.records(readings.room_id)) == 1


@fault("F21", broken=Break("matrixdata/publishing/drain.py", "if barred is not None:", "if False:"))
def test_what_was_queued_and_what_a_mere_writer_publishes_stays_out_of_an_upgraded_room(server, name):
    network, raw = server.proxy(), server.raw(name)
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", encrypted=False)
    network.down()
    receipt = readings.publish(reading(1), wait="queued")
    client.close()
    upgraded(raw, readings.room_id)
    network.up()
    again = server.connect(
        name, url=network.url
    )  # which never reads, and owns the room: the server would let it
    wait_until(
        lambda: [(each.uid, each.reason) for each in again.outbox.list()] == [(receipt.uid, "room_replaced")]
    )
    with pytest.raises(md.RoomReplaced):
        again.collection("readings").publish(reading(2))
    assert raw.records(readings.room_id) == []


@fault("F21", broken=Break(STANDING, 'found.startswith("!") and found != room_id', "found != room_id"))
@pytest.mark.parametrize(
    "content", [{"replacement_room": 7}, {"replacement_room": ""}, {"replacement_room": "nowhere"}]
)
def test_a_tombstone_that_names_no_room_changes_nothing(server, name, content):
    client, raw = server.connect(name), server.raw(name)
    readings = client.create_collection("readings", encrypted=False)
    assert raw.put_state(readings.room_id, "m.room.tombstone", "", content).status_code == 200
    readings.publish(reading(1), wait="synced")
    assert readings.query(on_incomplete="raise").values() == [reading(1)]
