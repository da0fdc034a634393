"""This device's keys: the server always has some to give, the same ones after every crash."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from matrixdata.encryption import device_keys, olm, to_device
from matrixdata.encryption.port import SyncChanges
from matrixdata.encryption.signing import is_signed
from tests.encryption.exchange import ALGORITHM, HOUR, SECOND, Exchange, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "m.secret.send"


def kinds(peer: Peer) -> list[str]:
    return [it.kind for it in peer.do(peer.engine.outgoing)]


def test_a_new_device_publishes_keys_that_it_signed(alice: Peer) -> None:
    there = alice.exchange.devices["@alice:one.example", "PHONE"]
    ed25519 = alice.device().ed25519
    signed = [there.device_keys, *there.one_time_keys.values(), *there.fallback.values()]

    assert len(there.one_time_keys) == 25
    assert len(there.fallback) == 1
    assert [key["fallback"] for key in there.fallback.values()] == [True]
    for value in signed:
        assert value is not None
        assert is_signed(value, "@alice:one.example", "ed25519:PHONE", ed25519)


def test_an_upload_is_the_same_bytes_until_it_is_answered(exchange: Exchange) -> None:
    peer = Peer(exchange, "@alice:one.example", "PHONE")
    [first, *_] = peer.do(peer.engine.outgoing)
    exchange.answer(peer.me, first)  # and the answer is lost
    [second, *_] = peer.do(peer.engine.outgoing)

    assert (first.id, first.body) == (second.id, second.body)
    peer.deliver(second)
    peer.flush()
    assert kinds(peer) == []
    assert not any(it.problem for it in peer.received)


def test_a_transaction_that_fails_uses_up_no_ids(exchange: Exchange) -> None:
    peer = Peer(exchange, "@alice:one.example", "PHONE")
    with suppress(ZeroDivisionError), peer.transaction() as tx:
        lost = peer.engine.outgoing(tx.connection)[0]
        _ = 1 / 0
    peer.flush()

    there = exchange.devices["@alice:one.example", "PHONE"]
    assert there.fallback.keys() == json.loads(lost.body)["fallback_keys"].keys()
    assert not any(it.problem for it in peer.received)


def test_keys_that_were_claimed_are_replaced(alice: Peer) -> None:
    there = alice.exchange.devices["@alice:one.example", "PHONE"]
    for _ in range(20):
        alice.exchange.take_key("@alice:one.example", "PHONE")
    alice.settle()

    assert len(there.one_time_keys) == 25
    assert not there.given.keys() & there.one_time_keys.keys()


def test_when_all_are_claimed_the_fallback_key_serves_and_is_replaced(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    there = alice.exchange.devices["@bob:one.example", "DESK"]
    while there.one_time_keys:
        alice.exchange.take_key("@bob:one.example", "DESK")
    before = dict(there.fallback)
    carol = peer("@carol:two.example", "C")
    carol.know("@bob:one.example")
    assert carol.send(bob, SECRET, {"n": 1})
    late = alice.do(olm.claim, [alice.sees(bob)])
    alice.deliver(late)  # a session with the fallback key too, used much later

    bob.sync()
    bob.flush()
    assert there.fallback == before  # it is not an hour old
    bob.clock.advance(HOUR + SECOND)
    bob.sync()
    bob.flush()

    assert there.fallback.keys() != before.keys()
    alice.send(bob, SECRET, {"n": 2})  # with the key before
    bob.settle()
    assert [event.content["n"] for _, event in bob.do(to_device.inbox)] == [1, 2]


def test_an_unused_fallback_key_stays(alice: Peer) -> None:
    before = dict(alice.exchange.devices["@alice:one.example", "PHONE"].fallback)
    alice.clock.advance(1_000 * HOUR)
    alice.settle()

    assert alice.exchange.devices["@alice:one.example", "PHONE"].fallback == before


def test_while_an_upload_is_under_way_there_is_no_second(alice: Peer) -> None:
    none_left = SyncChanges(one_time_keys={}, fallback_unused=())
    alice.clock.advance(2 * HOUR)
    alice.do(alice.engine.receive, none_left)
    first = kinds(alice)
    alice.do(alice.engine.receive, none_left)

    assert first.count("upload") == kinds(alice).count("upload") == 1


def test_a_server_that_lost_the_device_keys_gets_them_again(alice: Peer) -> None:
    there = alice.exchange.devices["@alice:one.example", "PHONE"]
    before, there.device_keys = there.device_keys, None
    alice.exchange.changes.append("@alice:one.example")
    alice.settle()

    assert there.device_keys == before


def test_a_copy_of_the_store_in_use_elsewhere_is_noticed(alice: Peer, exchange: Exchange) -> None:
    copy = Peer(exchange, "@alice:one.example", "PHONE")
    alice.connection.backup(copy.connection)
    for it in (alice, copy):
        exchange.take_key("@alice:one.example", "PHONE")
        it.do(it.engine.receive, SyncChanges(one_time_keys={ALGORITHM: 5}))
        it.flush()

    assert [it.problem for it in alice.received if it.problem] == []
    assert [it.problem for it in copy.received if it.problem] == [device_keys.CLONED]


def test_a_server_that_takes_no_keys_is_told_of_and_not_asked_on_and_on(exchange: Exchange) -> None:
    peer = Peer(exchange, "@alice:one.example", "PHONE")
    [request] = [it for it in peer.do(peer.engine.outgoing) if it.kind == "upload"]
    result = peer.do(peer.engine.refused, request.id, "M_UNRECOGNIZED: no encryption here")

    assert "no encryption here" in result.problem
    assert "copy" not in result.problem
    assert "upload" not in kinds(peer)
    peer.clock.advance(61 * SECOND)
    peer.flush()
    there = exchange.devices["@alice:one.example", "PHONE"]
    assert there.device_keys == peer.device().keys
    assert (len(there.one_time_keys), len(there.fallback)) == (25, 1)


def test_another_store_for_the_same_device_is_noticed(alice: Peer, exchange: Exchange) -> None:
    other = Peer(exchange, "@alice:one.example", "PHONE")
    other.flush()
    other.settle()
    alice.settle()

    assert device_keys.CLONED in [it.problem for it in [*alice.received, *other.received]]


def test_a_login_as_another_device_begins_anew(alice: Peer, bob: Peer) -> None:
    bob.send(alice, SECRET, {"n": 1})
    alice.settle()
    again = Peer(alice.exchange, "@alice:one.example", "TABLET")
    alice.connection.backup(again.connection)
    again.do(again.engine.open)
    again.flush()
    bob.settle()

    assert again.device().curve25519 != alice.device().curve25519
    assert again.do(to_device.inbox) == []
    assert bob.sees(again) == again.device()
    assert again.sees(bob) == bob.device()
    assert again.do(again.engine.token) is None


def test_no_secret_leaves_or_is_shown(alice: Peer) -> None:
    pickle = alice.connection.execute("SELECT pickle FROM olm_account").fetchone()[0]
    shown = repr([alice.me, alice.do(alice.engine.outgoing), alice.engine.__dict__])

    assert pickle not in shown
    assert "kkkk" not in shown
