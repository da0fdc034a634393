"""The peers understand each other: what a test of ours then shows is about us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import Peers
    from tests.servers import TestServer

pytestmark = [pytest.mark.server, pytest.mark.node]


def test_what_one_peer_encrypts_the_other_reads(peers: Peers, server: TestServer) -> None:
    js, nio = peers.js(server.name("js")), peers.nio(server.name("nio"))
    room = js.create(nio.user_id)
    nio.join(room)
    js.wait_for_member(room, nio.user_id)
    nio.wait_for_member(room, js.user_id)
    there = nio.event(js.send(room, {"n": 1}))
    assert (there["content"]["n"], there["type"], there["encrypted"]) == (1, "io.matrixdata.record", True)
    back = js.event(room, nio.send(room, {"n": 2}))
    assert (back["content"]["n"], back["wire_type"]) == (2, "m.room.encrypted")


def test_js_recovers_on_a_new_device_what_it_backed_up(peers: Peers, server: TestServer) -> None:
    name = server.name("js")
    first = peers.js(name)
    key = first.call("bootstrap", user=first.user_id, password=peers.password(name))["recovery_key"]
    room = first.create()
    sent = first.send(room, {"n": 1})
    wait_until(lambda: first.call("backed_up")["count"])  # it takes its time, up to ten seconds
    second = peers.js(name)
    second.call("recover", recovery_key=key)
    read = second.event(room, sent)
    assert (read["content"]["n"], read["wire_type"]) == (1, "m.room.encrypted")
    status = second.call("device", user_id=first.user_id, device_id=second.device_id)
    assert status["cross_signed"]
