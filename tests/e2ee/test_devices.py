"""Devices on a real server: keys are always there to be claimed, and messages arrive whatever dies in between."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from matrixdata.encryption import device_keys, olm, to_device
from matrixdata.encryption.port import OLM
from tests.e2ee.devices import device
from tests.faults.harness import Break, fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.encryption.exchange import Peer
    from tests.servers import RawUser, TestServer

pytestmark = pytest.mark.server

DEVICE_KEYS = "matrixdata/encryption/device_keys.py"
SECRET = "m.secret.send"
ALGORITHM = "signed_curve25519"


def raw(peer: Peer) -> RawUser:
    return peer.exchange.user  # type: ignore[attr-defined, no-any-return]  # a Homeserver takes its place


def arrived(peer: Peer) -> list[Any]:
    return [event.content["n"] for _, event in peer.do(to_device.inbox)]


def counts(peer: Peer) -> int:
    return raw(peer).call("GET", "sync", timeout=0)["device_one_time_keys_count"].get(ALGORITHM, 0)


def claim_one(by: Peer, of: Peer) -> dict[str, Any]:
    """By plain HTTP, as somebody else would."""
    body = {"one_time_keys": {of.me.user_id: {of.me.device_id: ALGORITHM}}}
    answer = raw(by).call("POST", "keys/claim", body)
    return answer["one_time_keys"].get(of.me.user_id, {}).get(of.me.device_id, {})


@fault(
    "F30",
    broken=(
        Break(DEVICE_KEYS, 'body["fallback_keys"] = _new_fallback_key(tx)', "pass"),
        Break(DEVICE_KEYS, "(used and not 0 <= now - fallback_at < _FALLBACK_SERVES)", "False"),
        Break(DEVICE_KEYS, "if not body and on_server < ONE_TIME_KEYS:", "if not body and not used:"),
    ),
)
def test_when_all_one_time_keys_are_claimed_the_fallback_key_serves_and_is_renewed(
    server: TestServer,
) -> None:
    alice, bob = device(server, server.name("alice")), device(server, server.name("bob"))
    alice.know(bob.me.user_id)
    given = [claim_one(alice, bob) for _ in range(27)]
    [fallback] = given[-1].values()
    assert fallback["fallback"] is True
    assert fallback == next(iter(given[-2].values()))

    assert alice.send(bob, SECRET, {"n": 1})
    bob.clock.advance(2 * 3_600_000_000)
    bob.settle()

    assert arrived(bob) == [1]
    assert counts(bob) == 25
    again = [claim_one(alice, bob) for _ in range(26)][-1]
    assert next(iter(again.values()))["fallback"] is True
    assert again.keys() != given[-1].keys()


@fault(
    "F31",
    broken=Break(
        DEVICE_KEYS,
        "generate_one_time_keys(count)\n    save(tx, account)",
        "generate_one_time_keys(count)",
    ),
)
def test_an_upload_whose_answer_was_lost_is_sent_again_as_it_was(server: TestServer, tmp_path: Path) -> None:
    user = server.raw(server.name("alice"))
    first = device(server, "", user=user, path=str(tmp_path / "account.db"))
    bob = device(server, server.name("bob"))
    for _ in range(5):
        claim_one(bob, first)
    first.sync()
    [request] = first.do(first.engine.outgoing)[:1]
    assert request.kind == "upload"
    first.exchange.answer(first.me, request)
    first.connection.close()  # killed before the answer was noted

    again = device(server, "", user=user, path=str(tmp_path / "account.db"))
    for _ in range(5):
        claim_one(bob, again)
    again.settle()

    assert [it.problem for it in again.received if it.problem] == []
    assert counts(again) == 25
    bob.know(again.me.user_id)
    assert bob.send(again, SECRET, {"n": 1})
    again.settle()
    assert arrived(again) == [1]


@fault(
    "F32",
    broken=(
        Break("matrixdata/encryption/to_device.py", "in in_order(messages))", "in messages)"),
        Break("matrixdata/encryption/olm_decryption.py", "INSERT INTO olm_seen VALUES (?, ?)", "SELECT ?, ?"),
    ),
)
def test_more_than_a_hundred_messages_survive_a_restart_in_the_midst_and_any_order(
    server: TestServer, tmp_path: Path
) -> None:
    user = server.raw(server.name("bob"))
    bob = device(server, "", user=user, path=str(tmp_path / "account.db"))
    alice = device(server, server.name("alice"))
    alice.know(bob.me.user_id)
    assert alice.send(bob, SECRET, {"n": 0})
    bob.settle()
    target = alice.sees(bob)
    assert target is not None
    with alice.transaction() as tx:
        sealed = [olm.encrypt(tx, target, SECRET, {"n": n}) for n in range(1, 131)]
    backwards = sealed[99::-1] + sealed[:99:-1]  # in each of two sync responses
    for n, content in enumerate(backwards):
        body = {"messages": {bob.me.user_id: {bob.me.device_id: content}}}
        raw(alice).call("PUT", f"sendToDevice/m.room.encrypted/x{n}", body)

    before = sqlite3.connect(tmp_path / "account.db").execute("SELECT count(*) FROM olm_seen").fetchone()
    with suppress(ZeroDivisionError), bob.transaction() as tx:  # killed before its commit
        changes = bob.exchange.sync("", "", bob.engine.token(tx.connection))
        bob.engine.receive(tx.connection, changes)
        _ = 1 / 0
    bob.connection.close()
    bob = device(server, "", user=user, path=str(tmp_path / "account.db"))
    assert bob.connection.execute("SELECT count(*) FROM olm_seen").fetchone() == before
    token = bob.do(bob.engine.token)
    bob.settle()
    bob.do(bob.engine.receive, bob.exchange.sync("", "", token))  # what comes again is no more than once

    assert sorted(arrived(bob)) == list(range(131))
    assert "claim" not in [it.kind for it in bob.do(bob.engine.outgoing)]  # no session passes for broken


@fault(
    "F29",
    broken=Break(
        "matrixdata/encryption/device_keys.py", "return Received(problem=CLONED)", "return Received()"
    ),
)
def test_a_store_that_runs_on_two_machines_is_noticed(server: TestServer) -> None:
    user, other = server.raw(server.name("alice")), server.raw(server.name("bob"))
    here = device(server, "", user=user)
    there = device(server, "", user=user)
    here.connection.backup(there.connection)
    for peer in (here, there):
        body = {"one_time_keys": {user.user_id: {user.device_id: ALGORITHM}}}
        other.call("POST", "keys/claim", body)
        peer.settle()

    assert [it.problem for it in here.received if it.problem] == []
    assert device_keys.CLONED in [it.problem for it in there.received]


def test_a_session_that_broke_is_replaced_over_a_real_server(server: TestServer) -> None:
    alice, bob = device(server, server.name("alice")), device(server, server.name("bob"))
    alice.know(bob.me.user_id)
    bob.know(alice.me.user_id)
    alice.send(bob, SECRET, {"n": 1})
    bob.settle()
    bob.send(alice, SECRET, {"n": 2})
    alice.settle()
    bob.connection.execute("DELETE FROM olm_session")
    alice.send(bob, SECRET, {"n": "lost"})
    bob.settle()
    alice.settle()
    alice.send(bob, SECRET, {"n": 3})
    bob.settle()

    assert arrived(bob) == [1, 3]


def test_what_is_uploaded_is_what_a_server_takes_for_a_device(server: TestServer) -> None:
    alice = device(server, server.name("alice"))
    listed = raw(alice).call("POST", "keys/query", {"device_keys": {alice.me.user_id: []}})["device_keys"]
    keys = listed[alice.me.user_id][alice.me.device_id]

    assert OLM in keys["algorithms"]
    assert keys.pop("unsigned", {}) == {}  # the display name, which the server adds
    assert keys == alice.device().keys
