"""Servers that lack an endpoint, whatever they say of themselves: found out by asking, and done without."""

from __future__ import annotations

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault
from tests.servers import Answer, hidden_sliding

pytestmark = pytest.mark.server
UNRECOGNIZED = Answer(404, b'{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}')


def promised(seen):
    """The server says that it has simplified sliding sync, and has not."""
    return UNRECOGNIZED if "simplified_msc3575" in seen.path else None


@fault("F40", broken=Break("matrixdata/receiving/leading.py", "lacking.add(source.kind)", "pass"))
@pytest.mark.parametrize("lacks", [promised, hidden_sliding])
def test_a_server_without_sliding_sync_is_read_and_written_all_the_same(server, lacks):
    network, owner = server.proxy(), server.raw(server.name("owner"))
    network.fault = lacks
    client = server.connect(server.name("reader"), url=network.url)
    room_id = owner.create_room()
    owner.invite(room_id, client.user_id)
    (invite,) = client.invites()
    readings = invite.accept(name="readings")
    owner.send(room_id, {"v": 1, "uid": "o1", "value": {"temp": 1}})
    readings.publish({"temp": 2}, wait="synced", timeout=20)
    assert [value["temp"] for value in readings.query(timeout=20, on_incomplete="raise").values()] == [1, 2]
    with readings.subscribe() as subscription:
        owner.send(room_id, {"v": 1, "uid": "o2", "value": {"temp": 3}})
        assert subscription.get(timeout=20).value == {"temp": 3}
    assert client.status().problem is None


@fault("F40", broken=Break("matrixdata/protocol/features.py", "return _OF.get(name,", "return {}.get(name,"))
def test_what_a_server_lacks_is_named_in_words_with_what_it_would_need(server):
    network = server.proxy()
    client = server.connect(server.name("reader"), url=network.url)
    readings = client.create_collection("readings", encrypted=False)
    receipt = readings.publish({"temp": 1})
    network.fault = lambda seen: UNRECOGNIZED if "/context/" in seen.path else None
    with pytest.raises(md.Unsupported) as caught:
        readings.state(at=receipt.event_id).to_pandas()
    assert caught.value.feature == "a room's state at an event"
    assert "a homeserver that has GET /_matrix/client/v3/rooms/{}/context" in caught.value.needed
    assert "M_UNRECOGNIZED" in caught.value.needed
    assert any(event.type == "m.room.create" for event in readings.state())  # the rest goes on
