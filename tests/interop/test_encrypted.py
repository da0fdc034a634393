"""Encrypted collections shared with clients made by others, in both directions.

Policies: with matrix-nio, which has no cross-signing, "all"; with matrix-js-sdk the one that is named in each test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.records import record
from tests.servers import wait_until

if TYPE_CHECKING:
    import matrixdata as md
    from tests.interop.conftest import Peers
    from tests.interop.js_peer import JsPeer
    from tests.interop.nio_peer import NioPeer
    from tests.servers import TestServer

pytestmark = [pytest.mark.server, pytest.mark.node]
POLICY = "all"


def values(collection: md.Collection) -> list[Any]:
    return [found.value for found in collection.query(on_incomplete="ignore")]


def shared(server: TestServer, peer: JsPeer | NioPeer) -> md.Collection:
    """A collection of ours that the peer is in."""
    ours = server.connect(server.name("ours"))
    collection = ours.create_collection("greenhouse", trust=POLICY, invite=[peer.user_id])
    peer.join(collection.room_id)
    peer.wait_for_member(collection.room_id, ours.user_id)
    return collection


def test_nio_reads_our_records_and_we_read_its(peers: Peers, server: TestServer) -> None:
    nio = peers.nio(server.name("nio"))
    greenhouse = shared(server, nio)
    sent = greenhouse.publish({"device": "d1", "temp": 21.5})
    there = nio.event(sent.event_id)
    assert there["encrypted"]
    assert there["content"]["value"] == {"device": "d1", "temp": "21.5"}
    nio.send(greenhouse.room_id, record({"device": "d2", "temp": "-0.0"}, numbers=["/temp"]))
    wait_until(lambda: len(values(greenhouse)) == 2)
    assert [value["device"] for value in values(greenhouse)] == ["d1", "d2"]
    assert str(values(greenhouse)[1]["temp"]) == "-0.0"


def test_js_reads_our_records_and_we_read_its(peers: Peers, server: TestServer) -> None:
    js = peers.js(server.name("js"))
    greenhouse = shared(server, js)
    sent = greenhouse.publish({"device": "d1", "temp": 21.5})
    there = js.event(greenhouse.room_id, sent.event_id)
    assert (there["type"], there["wire_type"]) == ("io.matrixdata.record", "m.room.encrypted")
    assert there["content"]["value"] == {"device": "d1", "temp": "21.5"}
    js.send(greenhouse.room_id, record({"device": "d2"}))
    wait_until(lambda: len(values(greenhouse)) == 2)
    assert values(greenhouse)[1] == {"device": "d2"}


def test_a_room_that_nio_made_is_a_collection(peers: Peers, server: TestServer) -> None:
    nio = peers.nio(server.name("nio"))
    ours = server.connect(server.name("ours"))
    room = nio.create(ours.user_id)
    readings = ours.collection(room, trust=POLICY)
    nio.wait_for_member(room, ours.user_id)
    nio.send(room, record({"n": 1}))
    wait_until(lambda: values(readings) == [{"n": 1}])
    assert readings.encrypted
    assert nio.event(readings.publish({"n": 2}).event_id)["content"]["value"] == {"n": 2}


def test_an_edit_by_js_takes_the_place_of_its_record(peers: Peers, server: TestServer) -> None:
    js = peers.js(server.name("js"))
    greenhouse = shared(server, js)
    first = record({"device": "d1", "n": 1})
    sent = js.send(greenhouse.room_id, first)
    wait_until(lambda: values(greenhouse) == [{"device": "d1", "n": 1}])
    js.edit(greenhouse.room_id, sent, first | {"value": {"device": "d1", "n": 2}})
    wait_until(lambda: values(greenhouse) == [{"device": "d1", "n": 2}])


@pytest.mark.parametrize("who", ["nio", "js"])
def test_what_a_peer_redacts_is_gone(who: str, peers: Peers, server: TestServer) -> None:
    peer = peers.nio(server.name("nio")) if who == "nio" else peers.js(server.name("js"))
    greenhouse = shared(server, peer)
    sent = peer.send(greenhouse.room_id, record({"n": 1}))
    wait_until(lambda: values(greenhouse) == [{"n": 1}])
    if who == "nio":
        peer.redact(greenhouse.room_id, sent)
    else:
        peer.call("redact", room_id=greenhouse.room_id, event_id=sent)
    wait_until(lambda: values(greenhouse) == [])


def test_who_is_invited_later_reads_what_comes_then(peers: Peers, server: TestServer) -> None:
    nio = peers.nio(server.name("nio"))
    ours = server.connect(server.name("ours"))
    greenhouse = ours.create_collection("greenhouse", trust=POLICY)
    before = greenhouse.publish({"n": 1})
    greenhouse.invite(nio.user_id)
    nio.join(greenhouse.room_id)
    after = greenhouse.publish({"n": 2})
    assert nio.event(after.event_id)["content"]["value"] == {"n": 2}
    assert (nio.again(before.event_id) or {"failure": "no key"})["failure"] == "no key"
