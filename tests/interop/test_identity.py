"""Identities, verification, backups and key files that cross from one implementation to the other.

The policy is "cross-signed", the default, unless a test says otherwise.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import matrixdata as md
from matrixdata.encryption.key_file import read, written
from tests.interop.records import record
from tests.servers import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import Peers
    from tests.interop.js_peer import JsPeer
    from tests.servers import TestServer

READY = 3  # VerificationPhase of matrix-js-sdk
pytestmark = [pytest.mark.server, pytest.mark.node]


def values(collection: md.Collection) -> list[Any]:
    return [found.value for found in collection.query(on_incomplete="ignore")]


def device_of(client: md.Client) -> str:
    return client.keys.status().device_id


def signed_js(peers: Peers, name: str) -> tuple[JsPeer, str]:
    """A js device signed by its owner, and the account's recovery key."""
    js = peers.js(name)
    key = js.call("bootstrap", user=js.user_id, password=peers.password(name))["recovery_key"]
    return js, key


def test_by_default_only_devices_signed_by_their_owner_get_keys(peers: Peers, server: TestServer) -> None:
    name = server.name("js")
    js = peers.js(name)
    ours = server.connect(server.name("ours"))
    greenhouse = ours.create_collection("greenhouse", invite=[js.user_id])
    js.join(greenhouse.room_id)
    js.wait_for_member(greenhouse.room_id, ours.user_id)
    before = greenhouse.publish({"n": 1}).event_id
    js.call("bootstrap", user=js.user_id, password=peers.password(name))
    wait_until(lambda: [it.standing for it in ours.keys.devices(js.user_id)] == ["cross-signed"])
    after = greenhouse.publish({"n": 2}).event_id
    assert js.event(greenhouse.room_id, after)["content"]["value"] == {"n": 2}
    unread = next(it for it in js.timeline(greenhouse.room_id) if it["event_id"] == before)
    assert unread["failure"] is not None
    js.send(greenhouse.room_id, record({"n": 3}))
    wait_until(lambda: {"n": 3} in values(greenhouse))
    status = js.call("device", user_id=ours.user_id, device_id=device_of(ours))
    assert status["cross_signed"]


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_people_verify_each_other_by_emoji(first: str, peers: Peers, server: TestServer) -> None:
    js, _ = signed_js(peers, server.name("js"))
    ours = server.connect(server.name("ours"))
    shared = ours.create_collection("shared", invite=[js.user_id])
    js.join(shared.room_id)
    js.wait_for_member(shared.room_id, ours.user_id)
    verify(first, ours, js, ours.user_id, js.user_id)
    assert [it.standing for it in ours.keys.devices(js.user_id)] == ["verified"]
    wait_until(lambda: js.call("user", user_id=ours.user_id)["verified"])


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_new_device_of_ours_is_verified_from_a_js_device(
    first: str, peers: Peers, server: TestServer
) -> None:
    name = server.name("both")
    js, _ = signed_js(peers, name)
    room = js.create()
    js.send(room, record({"n": 1}))
    wait_until(lambda: js.call("backed_up")["count"])  # it takes its time, up to ten seconds
    ours = server.connect(name)
    assert ours.keys.status().identity == "unsigned"
    verify(first, ours, js, js.user_id, js.user_id)
    wait_until(lambda: ours.keys.status().identity == "held")
    wait_until(lambda: js.call("device", user_id=js.user_id, device_id=device_of(ours))["cross_signed"])
    # The backup's key came along, and with it what was sent before this device was there.
    readings = ours.collection(room)
    wait_until(lambda: values(readings) == [{"n": 1}], 30)


def verify(first: str, ours: md.Client, js: JsPeer, our_user: str, their_user: str) -> None:
    if first == "ours":
        asked = ours.keys.verify(None if our_user == their_user else their_user)
        wait_until(lambda: js.call("verification")["phase"])
        js.call("accept_verification")
    else:
        js.call("request_verification", user_id=our_user, device_id=device_of(ours))
        (asked,) = wait_until(ours.keys.requests)
    with ThreadPoolExecutor(1) as pool:
        comparing = pool.submit(asked.compare, timeout=60)
        if first == "theirs":
            wait_until(lambda: js.call("verification")["phase"] == READY)
            js.call("start_sas")
        theirs = js.sas()
        mine = comparing.result()
        assert [list(pair) for pair in mine.emoji] == [[symbol, title] for symbol, title in theirs["emoji"]]
        assert list(mine.numbers) == theirs["decimal"]
        confirming = pool.submit(asked.confirm, timeout=60)
        assert js.confirm() == "done"
        confirming.result()


def test_what_js_backed_up_is_read_with_the_recovery_key_alone(peers: Peers, server: TestServer) -> None:
    name = server.name("both")
    js, key = signed_js(peers, name)
    room = js.create()
    js.send(room, record({"n": 1}))
    wait_until(lambda: js.call("backed_up")["count"])  # it takes its time, up to ten seconds
    js.close()
    ours = md.connect(**server.account(name), recovery_key=key)
    server.open.append(ours)
    assert ours.keys.status().identity == "held"
    assert values(ours.collection(room)) == [{"n": 1}]


def test_what_we_backed_up_js_reads_with_the_recovery_key_alone(peers: Peers, server: TestServer) -> None:
    name = server.name("both")
    ours = server.connect(name)
    key = ours.keys.set_up_recovery()
    notes = ours.create_collection("notes")
    sent = notes.publish({"n": 1})
    ours.keys.backup()
    ours.close()
    js = peers.js(name)
    js.call("recover", recovery_key=key)
    wait_until(lambda: js.call("knows", room_id=notes.room_id)["encrypted"])
    read = js.event(notes.room_id, sent.event_id)
    assert (read["content"]["value"], read["wire_type"]) == ({"n": 1}, "m.room.encrypted")
    assert js.call("device", user_id=js.user_id, device_id=js.device_id)["cross_signed"]


def quick_file(keys: list[Any], passphrase: str) -> str:
    """A key file of few rounds: nio takes half a minute for as many as we do."""
    return written(keys, passphrase, salt=os.urandom(16), iv=os.urandom(16), rounds=1_000)


def test_a_key_file_goes_both_ways_with_nio(peers: Peers, server: TestServer, tmp_path: Path) -> None:
    """Policy "all": nio has no cross-signing."""
    name = server.name("both")
    nio = peers.nio(name)
    room = nio.create()
    nio.send(room, record({"n": 1}))
    ours = server.connect(name)
    readings = ours.collection(room, trust="all")
    assert values(readings) == []
    nio.run(nio.client.export_keys(str(tmp_path / "theirs.txt"), "correct horse", count=1_000))
    assert ours.keys.import_file(tmp_path / "theirs.txt", "correct horse") == 1
    wait_until(lambda: values(readings) == [{"n": 1}])
    notes = ours.create_collection("notes")  # nio's device, unsigned, gets no key to it
    sent = notes.publish({"n": 2})
    wait_until(lambda: sent.event_id in nio.events)
    assert nio.events[sent.event_id]["failure"] is not None
    ours.keys.export_file(tmp_path / "ours.txt", "battery staple")
    keys = read((tmp_path / "ours.txt").read_text(), "battery staple")
    (tmp_path / "ours.txt").write_text(quick_file(keys, "battery staple"))
    nio.run(nio.client.import_keys(str(tmp_path / "ours.txt"), "battery staple"))
    assert nio.again(sent.event_id)["content"]["value"] == {"n": 2}


def test_keys_of_a_file_go_both_ways_with_js(peers: Peers, server: TestServer, tmp_path: Path) -> None:
    """Policy "all": its device is not signed. The file itself is left to those around it; js takes what is in one."""
    name = server.name("both")
    js = peers.js(name)
    room = js.create()
    js.send(room, record({"n": 1}))
    ours = server.connect(name)
    readings = ours.collection(room, trust="all")
    assert values(readings) == []
    (tmp_path / "theirs.txt").write_text(quick_file(js.call("export_keys")["keys"], "correct horse"))
    assert ours.keys.import_file(tmp_path / "theirs.txt", "correct horse") == 1
    wait_until(lambda: values(readings) == [{"n": 1}])
    notes = ours.create_collection("notes")  # js's device, unsigned, gets no key to it
    sent = notes.publish({"n": 2})
    wait_until(lambda: js.call("knows", room_id=notes.room_id)["encrypted"])
    ours.keys.export_file(tmp_path / "ours.txt", "battery staple")
    js.call("import_keys", keys=read((tmp_path / "ours.txt").read_text(), "battery staple"))
    assert js.event(notes.room_id, sent.event_id)["content"]["value"] == {"n": 2}
