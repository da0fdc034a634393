"""Keys between the devices of one user, and keys of a room's past for somebody invited (MSC4268, threat A14)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from matrixdata.encryption import device_lists, history, inbound, key_requests, recipients
from matrixdata.encryption.port import Clear, Session, Undecryptable
from tests.encryption.conftest import ALICE, BOB, CAROL
from tests.encryption.exchange import HOUR, Exchange, Peer
from tests.encryption.rooms import ROOM, Owner, Room, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.protocol.events import Event


@dataclass
class Scene:
    """Bob's desk reads what Alice wrote before his tablet was there."""

    room: Room
    exchange: Exchange
    alice: Peer
    desk: Peer
    tablet: Peer
    owner: Owner
    event: Event

    @property
    def session(self) -> Session:
        return Session(ROOM, json.loads(self.event.content)["session_id"])

    def trust(self) -> None:
        """Bob signs both devices, and both hold his identity for verified."""
        self.owner.publish().sign(self.desk, self.tablet)
        for it in (self.desk, self.tablet):
            it.settle()
            verify(it, self.owner)

    def settle(self) -> None:
        for _ in range(4):
            self.tablet.settle()
            self.desk.settle()


@pytest.fixture
def scene(exchange: Exchange, alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]) -> Scene:
    room = Room()
    room.join(alice, bob, policy="all")
    event = room.send(alice, {"n": 1})
    bob.settle()
    tablet = peer(BOB, "TABLET")
    room.join(tablet, policy="all")
    tablet.know(ALICE)
    for it in (bob, tablet):
        it.know(BOB)
        it.settle()
    return Scene(room, exchange, alice, bob, tablet, Owner(exchange, BOB), event)


def test_a_verified_device_of_ours_is_asked_and_answers(scene: Scene) -> None:
    scene.trust()
    assert scene.room.seen(scene.tablet) == ["no_key"]
    assert scene.tablet.do(key_requests.ask, [scene.session]) == 1
    scene.tablet.flush()
    scene.settle()
    [clear] = scene.room.read(scene.tablet)

    assert isinstance(clear, Clear)
    assert clear.standing == "unauthenticated"
    assert scene.session in {it for result in scene.tablet.received for it in result.sessions}
    # Who was asked is told that it is settled.
    assert scene.tablet.connection.execute("SELECT count(*) FROM key_request").fetchone() == (0,)
    assert scene.desk.connection.execute("SELECT count(*) FROM key_asked").fetchone() == (0,)


def test_nobody_is_asked_while_no_other_device_is_verified(scene: Scene) -> None:
    assert scene.tablet.do(key_requests.ask, [scene.session]) == 0
    assert not scene.tablet.flush()


def test_one_session_is_asked_for_once_an_hour_by_the_same_request(scene: Scene) -> None:
    scene.trust()
    asked = []
    for _ in range(2):
        asked.append(scene.tablet.do(key_requests.ask, [scene.session]))
        asked.append(scene.tablet.do(key_requests.ask, [scene.session]))
        scene.tablet.clock.advance(HOUR)
    requests = [json.loads(it.body) for it in scene.tablet.flush() if it.event_type == "m.room_key_request"]

    assert asked == [1, 0, 1, 0]
    assert len({it["messages"][BOB]["DESK"]["request_id"] for it in requests}) == 1


def test_a_device_that_is_not_verified_gets_nothing_until_it_is(scene: Scene) -> None:
    """A server can add a device, and ask in its name: only the owner's signature makes it one of ours."""
    scene.owner.publish().sign(scene.desk)
    scene.desk.settle()
    verify(scene.desk, scene.owner)
    request = {
        "action": "request",
        "body": {"algorithm": "m.megolm.v1.aes-sha2", **vars_of(scene.session)},
        "request_id": "one",
        "requesting_device_id": "TABLET",
    }
    inject(scene.exchange, "m.room_key_request", BOB, request)
    scene.settle()
    assert not keys_sent(scene)

    scene.owner.sign(scene.tablet)
    scene.desk.settle()
    assert keys_sent(scene)


@pytest.mark.parametrize("change", ["sender", "cancelled", "blocked", "old", "unknown session", "nonsense"])
def test_what_is_not_to_be_answered_is_not(scene: Scene, change: str) -> None:
    scene.owner.publish().sign(scene.desk)
    scene.desk.settle()
    verify(scene.desk, scene.owner)
    request: dict[str, Any] = {
        "action": "request",
        "body": {"algorithm": "m.megolm.v1.aes-sha2", **vars_of(scene.session)},
        "request_id": "one",
        "requesting_device_id": "TABLET",
    }
    if change == "unknown session":
        request["body"]["session_id"] = "other"
    if change == "nonsense":
        request["body"] = [request["body"]]
    inject(scene.exchange, "m.room_key_request", ALICE if change == "sender" else BOB, request)
    if change == "cancelled":
        inject(scene.exchange, "m.room_key_request", BOB, {**request, "action": "request_cancellation"})
    scene.desk.settle()
    if change == "blocked":
        scene.desk.do(device_lists.block, BOB, "TABLET", True)
    if change == "old":
        scene.desk.clock.advance(25 * HOUR)
    scene.owner.sign(scene.tablet)
    scene.desk.settle()

    assert not keys_sent(scene)


def test_a_forwarded_key_is_taken_only_from_who_was_asked(
    scene: Scene, peer: Callable[[str, str], Peer]
) -> None:
    scene.trust()
    scene.tablet.do(key_requests.ask, [scene.session])
    scene.tablet.flush()
    spy = peer(BOB, "SPY")
    spy.know(BOB)
    scene.tablet.know(BOB)
    [exported] = scene.desk.do(lambda tx: list(inbound.exported(tx)))
    forwarded = {**exported.data, "sender_claimed_ed25519_key": "E"}
    spy.send(scene.tablet, "m.forwarded_room_key", forwarded)
    scene.tablet.settle()
    assert scene.tablet.do(inbound.find, ROOM, scene.session.session_id) is None

    scene.owner.sign(spy)  # verified from now on, and yet not the one that was asked
    scene.tablet.settle()
    spy.send(scene.tablet, "m.forwarded_room_key", forwarded)
    scene.tablet.settle()
    assert scene.tablet.do(inbound.find, ROOM, scene.session.session_id) is None


def vars_of(session: Session) -> dict[str, str]:
    return {"room_id": session.room_id, "session_id": session.session_id}


def inject(exchange: Exchange, kind: str, sender: str, content: dict[str, Any]) -> None:
    """What a server can put into anybody's inbox."""
    event = {"type": kind, "sender": sender, "content": content}
    exchange.inboxes[BOB, "DESK"].append((next(exchange.numbers), event))


def keys_sent(scene: Scene) -> bool:
    before = scene.tablet.do(inbound.find, ROOM, scene.session.session_id)
    assert before is None
    return any(it["type"] == "m.room.encrypted" for _, it in scene.exchange.inboxes[BOB, "TABLET"])


# -- history for somebody invited -------------------------------------------------------------------------
FILE = {
    "v": "v2",
    "url": "mxc://one.example/bundle",
    "key": {"k": "canary-of-the-file"},
    "iv": "iv",
    "hashes": {"sha256": "h"},
}


@dataclass
class Past:
    """Alice wrote in Bob's presence, shared and not shared; Carol is about to be invited by Alice."""

    room: Room
    alice: Peer
    bob: Peer
    carol: Peer
    owners: dict[str, Owner]


@pytest.fixture
def past(exchange: Exchange, alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]) -> Past:
    carol = peer(CAROL, "TABLET")
    peers = (alice, bob, carol)
    owners = {it.me.user_id: Owner(exchange, it.me.user_id).publish().sign(it) for it in peers}
    for it in peers:
        it.know(ALICE, BOB, CAROL)
        it.settle()
    room = Room()
    room.join(alice, bob)
    room.send(alice, {"n": 1})
    room.send(bob, {"n": 2})
    room.visibility = "joined"
    room.send(bob, {"n": 3})
    alice.settle()
    room.join(carol)
    return Past(room, alice, bob, carol, owners)


def offer(past: Past, inviter: Peer) -> dict[str, Any]:
    """The inviter offers their bundle to Carol; what is in its file."""
    past.carol.do(history.accept, ROOM, ALICE)
    assert past.carol.do(history.due) == []
    while requests := inviter.do(history.unready, CAROL):
        for it in requests:
            inviter.deliver(it)
    bundle = inviter.do(history.bundle, ROOM)
    assert bundle is not None
    prepared = inviter.do(history.offer, ROOM, CAROL, FILE)
    assert not prepared.left_out
    inviter.flush()
    past.carol.settle()
    return json.loads(json.dumps(bundle))


def test_who_is_invited_reads_what_was_shared_on_the_inviters_word(past: Past) -> None:
    bundle = offer(past, past.alice)
    assert past.room.seen(past.carol) == ["no_key"] * 3
    assert past.carol.do(history.due) == [(ROOM, ALICE)]
    assert past.carol.do(history.offered, ROOM, ALICE) == FILE
    sessions = past.carol.do(history.take, ROOM, ALICE, bundle)
    first, second, third = past.room.read(past.carol)

    assert len(sessions) == 3
    assert isinstance(first, Clear)
    assert isinstance(second, Clear)
    assert (first.standing, second.standing) == ("unauthenticated", "unauthenticated")
    assert isinstance(third, Undecryptable)
    assert (third.cause, "(m.history_not_shared)" in third.detail) == ("withheld", True)
    assert past.carol.do(inbound.find, ROOM, first.session_id).source == ALICE
    assert past.carol.do(history.offered, ROOM, ALICE) is None
    past.carol.do(recipients.set_policy, ROOM, "verified", None)
    assert past.room.seen(past.carol)[:2] == ["untrusted", "untrusted"]


def test_only_who_invited_us_is_listened_to(past: Past) -> None:
    bundle = offer(past, past.bob)

    assert past.carol.do(history.due) == []
    assert past.carol.do(history.offered, ROOM, ALICE) is None
    assert past.carol.do(history.take, ROOM, ALICE, bundle) == frozenset()
    assert past.room.seen(past.carol) == ["no_key"] * 3


def test_a_bundle_brings_keys_of_its_room_alone(past: Past) -> None:
    bundle = offer(past, past.alice)
    other = [{**it, "room_id": "!other:one.example"} for it in bundle["room_keys"]]

    assert past.carol.do(history.take, ROOM, ALICE, {"room_keys": other, "withheld": [7]}) == frozenset()
    assert past.carol.connection.execute("SELECT count(*) FROM megolm_inbound").fetchone() == (0,)


@pytest.mark.parametrize("bundle", [{}, {"room_keys": None}, {"room_keys": [None, 1, {}], "withheld": "x"}])
def test_a_bundle_that_is_none_brings_nothing(past: Past, bundle: dict[str, Any]) -> None:
    offer(past, past.alice)

    assert past.carol.do(history.take, ROOM, ALICE, bundle) == frozenset()


def test_a_bundle_goes_to_devices_alone_that_their_owner_signed(
    past: Past, peer: Callable[[str, str], Peer]
) -> None:
    spy = peer(CAROL, "SPY")
    past.alice.settle()
    while requests := past.alice.do(history.unready, CAROL):
        for it in requests:
            past.alice.deliver(it)
    prepared = past.alice.do(history.offer, ROOM, CAROL, FILE)

    assert [it.device_id for it, _ in prepared.left_out] == [spy.me.device_id]
    assert all(list(json.loads(it.body)["messages"][CAROL]) == ["TABLET"] for it in prepared.requests)


def test_an_offer_of_an_unsigned_device_is_refused(past: Past, peer: Callable[[str, str], Peer]) -> None:
    spy = peer(ALICE, "SPY")
    spy.know(CAROL)
    past.carol.settle()
    past.carol.do(history.accept, ROOM, ALICE)
    spy.send(past.carol, "m.room_key_bundle", {"room_id": ROOM, "file": FILE})
    past.carol.settle()
    assert past.carol.do(history.offered, ROOM, ALICE) is None
    assert past.carol.do(history.due) == []

    past.owners[ALICE].sign(spy)
    past.carol.settle()
    assert past.carol.do(history.due) == [(ROOM, ALICE)]


def test_the_file_of_an_offer_is_sealed_in_the_store(past: Past) -> None:
    offer(past, past.alice)

    assert past.carol.do(history.offered, ROOM, ALICE) == FILE
    dump = "\n".join(past.carol.connection.iterdump())  # in which blobs are hexadecimal
    assert ROOM in dump
    assert "canary" not in dump
    assert b"canary".hex().upper() not in dump
