"""Keys of a room's past that cross from one implementation to the other (spec "Sharing keys between users").

The policy is "cross-signed", the default: only devices that their owner signed give and are given such keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.records import record
from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import Peers
    from tests.servers import TestServer

pytestmark = [pytest.mark.server, pytest.mark.node]


def test_who_joins_by_our_invite_with_js_reads_what_we_published_before(
    peers: Peers, server: TestServer
) -> None:
    name = server.name("js")
    js = peers.js(name)
    js.call("bootstrap", user=js.user_id, password=peers.password(name))
    ours = server.connect(server.name("ours"))
    greenhouse = ours.create_collection("greenhouse")
    before = greenhouse.publish({"n": 1}).event_id
    greenhouse.invite(js.user_id)
    wait_until(lambda: js.call("knows", room_id=greenhouse.room_id)["invited_by"] == ours.user_id)
    js.join(greenhouse.room_id)
    js.timeline(greenhouse.room_id, back=True)
    assert js.event(greenhouse.room_id, before)["content"]["value"] == {"n": 1}


def test_who_joins_by_a_js_invite_reads_what_js_sent_before(peers: Peers, server: TestServer) -> None:
    name = server.name("js")
    js = peers.js(name)
    js.call("bootstrap", user=js.user_id, password=peers.password(name))
    ours = server.connect(server.name("ours"))
    room_id = js.create()
    js.send(room_id, record({"n": 1}))
    js.call("invite", room_id=room_id, user_id=ours.user_id)
    [invite] = wait_until(ours.invites)
    theirs = invite.accept(name="theirs")
    wait_until(lambda: [it.value for it in theirs.query(on_incomplete="ignore")] == [{"n": 1}])
    [event] = [it for it in theirs.history() if it.encrypted]
    assert (event.standing, event.device) == ("unauthenticated", js.device_id)  # its user's word, not its own
