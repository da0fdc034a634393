"""Encrypted rooms: who reads what is written, who does not, and what is said to them."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from matrixdata.encryption import device_lists, identities, inbound, outbound, outgoing, recipients
from matrixdata.encryption.port import Clear, Undecryptable
from matrixdata.encryption.transaction import Transaction
from matrixdata.errors import DeviceUntrusted, KeyMissing
from matrixdata.protocol.events import parse_event
from tests.encryption import vectors
from tests.encryption.conftest import ALICE, BOB, CAROL
from tests.encryption.exchange import HOUR, Exchange, Peer
from tests.encryption.rooms import ROOM, TYPE, Owner, Room, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.encryption.port import Policy


@pytest.fixture
def room(alice: Peer, bob: Peer) -> Room:
    """Alice and Bob, who trust any device."""
    made = Room()
    made.join(alice, bob, policy="all")
    return made


def session_of(event: object) -> str:
    return str(json.loads(event.content)["session_id"])  # type: ignore[attr-defined]  # an Event


# -- reading ----------------------------------------------------------------------------------------------
def test_what_is_written_is_read_by_every_member_and_its_writer(room: Room, alice: Peer, bob: Peer) -> None:
    event = room.send(alice, {"n": 1.5})
    bob.settle()

    [theirs], [own] = room.read(bob), room.read(alice)
    assert isinstance(theirs, Clear)
    assert isinstance(own, Clear)
    assert (theirs.type, json.loads(theirs.content)) == (TYPE, {"n": 1.5})
    assert (theirs.device_id, theirs.standing) == ("PHONE", "unsigned")
    assert (theirs.sender_key, theirs.session_id) == (alice.device().curve25519, session_of(event))
    assert (own.content, own.standing) == (theirs.content, "verified")


def test_the_server_sees_neither_type_nor_content(room: Room, alice: Peer) -> None:
    event = room.send(alice, {"canary": "sesame"})

    assert b"sesame" not in event.content
    assert TYPE.encode() not in event.content
    assert set(json.loads(event.content)) == {
        "algorithm",
        "ciphertext",
        "device_id",
        "sender_key",
        "session_id",
    }


def test_what_another_implementation_encrypted_is_read(bob: Peer) -> None:
    event = parse_event(json.dumps(vectors.ENCRYPTED_EVENT).encode())
    assert event is not None
    room = Room("!room:id")
    bob.do(inbound.imported, vectors.SESSION, "file")
    [outcome] = room.read(bob, [event])

    assert isinstance(outcome, Clear)
    assert (outcome.type, json.loads(outcome.content)) == (vectors.ENCRYPTED_TYPE, vectors.ENCRYPTED_CONTENT)
    [kept] = bob.do(lambda tx: list(inbound.exported(tx)))
    assert kept.data["session_key"] == vectors.SESSION["session_key"]
    assert kept.data["shared_history"] is True


def test_another_ratchet_that_another_implementation_made_for_a_session_is_refused(bob: Peer) -> None:  # A7
    bob.do(inbound.imported, vectors.SESSION_LATER, "file")
    first = bob.do(inbound.imported, vectors.SESSION, "file")
    event = parse_event(json.dumps(vectors.ENCRYPTED_EVENT).encode())
    assert event is not None

    assert first is None
    assert Room("!room:id").seen(bob, event) == ["too_early"]


def test_what_comes_before_its_key_is_read_when_the_key_has_come(room: Room, alice: Peer, bob: Peer) -> None:
    room.send(alice, {"n": 1})

    [before] = room.read(bob)
    result = bob.sync()
    assert isinstance(before, Undecryptable)
    assert (before.cause, before.session_id) == ("no_key", session_of(room.timeline[0]))
    assert {it.session_id for it in result.sessions} == {before.session_id}
    assert room.seen(bob) == [{"n": 1}]


def test_a_page_is_read_in_its_own_order_whatever_that_is(room: Room, alice: Peer, bob: Peer) -> None:
    for n in range(6):
        room.send(alice if n % 2 else bob, {"n": n})
    alice.settle()
    bob.settle()

    assert room.seen(bob, *reversed(room.timeline)) == [{"n": n} for n in (5, 4, 3, 2, 1, 0)]
    assert room.seen(alice) == [{"n": n} for n in range(6)]


def test_who_comes_later_reads_from_then_on_by_the_same_session(
    room: Room, alice: Peer, peer: Callable[[str, str], Peer]
) -> None:
    first = room.send(alice, {"n": 1})
    carol = peer(CAROL, "TABLET")
    room.join(carol, policy="all")
    second = room.send(alice, {"n": 2})
    carol.settle()

    assert session_of(first) == session_of(second)
    assert room.seen(carol) == ["too_early", {"n": 2}]


def test_a_new_device_of_a_member_reads_from_then_on(
    room: Room, alice: Peer, peer: Callable[[str, str], Peer]
) -> None:
    room.send(alice, {"n": 1})
    tablet = peer(BOB, "TABLET")
    room.join(tablet)
    alice.settle()
    room.send(alice, {"n": 2})
    tablet.settle()

    assert room.seen(tablet)[1] == "untrusted"  # by its own policy: Alice's device is not signed
    tablet.do(recipients.set_policy, ROOM, "all", None)
    assert room.seen(tablet) == ["too_early", {"n": 2}]


# -- rotation ---------------------------------------------------------------------------------------------
def test_who_leaves_reads_nothing_of_what_comes_after(room: Room, alice: Peer, bob: Peer) -> None:
    first = room.send(alice, {"n": 1})
    bob.settle()
    room.members.remove(BOB)
    second = room.send(alice, {"n": 2})
    bob.settle()

    assert session_of(first) != session_of(second)
    assert room.seen(bob) == [{"n": 1}, "no_key"]


def test_who_was_only_invited_and_went_may_have_the_key_all_the_same(room: Room, alice: Peer) -> None:
    room.members.append("@nobody:one.example")  # no devices that could have been given a key
    first = room.send(alice, {"n": 1})
    room.members.remove("@nobody:one.example")

    assert session_of(first) != session_of(room.send(alice, {"n": 2}))


def test_a_device_that_is_removed_or_blocked_gets_no_more_keys(
    room: Room, exchange: Exchange, alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    tablet = peer(BOB, "TABLET")
    room.join(tablet, policy="all")
    alice.settle()
    sent = [room.send(alice, {"n": 1})]
    alice.do(device_lists.block, BOB, "TABLET", True)
    sent.append(room.send(alice, {"n": 2}))
    alice.do(device_lists.block, BOB, "TABLET", False)
    sent.append(room.send(alice, {"n": 3}))
    del exchange.devices[BOB, "TABLET"]
    exchange.changes.append(BOB)
    alice.settle()
    sent.append(room.send(alice, {"n": 4}))
    tablet.settle()
    bob.settle()

    assert room.seen(bob) == [{"n": n} for n in (1, 2, 3, 4)]
    assert room.seen(tablet) == [{"n": 1}, "withheld", {"n": 3}, "no_key"]
    assert session_of(sent[1]) == session_of(sent[2])


@pytest.mark.parametrize(
    ("settings", "used"),
    [({"rotation_period_msgs": 3}, 3), ({}, 100), ({"rotation_period_msgs": 10**6}, 10_000)],
)
def test_a_session_serves_as_many_messages_as_the_room_says_and_no_more_than_we_allow(
    alice: Peer, settings: dict[str, int], used: int
) -> None:
    room = Room(settings=settings)
    room.join(alice, policy="all")
    first = room.send(alice, {})
    alice.connection.execute("UPDATE megolm_outbound SET messages = ?", (used - 1,))
    last = room.send(alice, {})

    assert session_of(first) == session_of(last)
    alice.connection.execute("UPDATE megolm_outbound SET messages = ?", (used,))
    with pytest.raises(KeyMissing):
        alice.do(outbound.encrypt, ROOM, TYPE, b"{}")
    assert session_of(room.send(alice, {})) != session_of(last)


@pytest.mark.parametrize(
    ("settings", "hours"),
    [
        ({"rotation_period_ms": 7_200_000}, 2),
        ({}, 168),
        ({"rotation_period_ms": 1}, 1),
        ({"rotation_period_ms": 10**15}, 168),
    ],
)
def test_a_session_serves_as_long_as_the_room_says_within_bounds(
    alice: Peer, settings: dict[str, int], hours: int
) -> None:
    room = Room(settings=settings)
    room.join(alice, policy="all")
    first = session_of(room.send(alice, {}))
    alice.clock.advance(hours * HOUR - HOUR // 60)
    assert session_of(room.send(alice, {})) == first
    alice.clock.advance(HOUR // 60)
    second = session_of(room.send(alice, {}))
    assert second != first
    alice.clock.advance(-365 * 24 * HOUR)
    assert session_of(room.send(alice, {})) != second


def test_history_visibility_that_begins_or_ceases_to_share_takes_a_new_session(
    room: Room, alice: Peer
) -> None:
    sessions = []
    for visibility in ("shared", "world_readable", "joined", "invited", "shared"):
        room.visibility = visibility
        sessions.append(session_of(room.send(alice, {})))

    assert sessions[0] == sessions[1]
    assert sessions[2] == sessions[3]
    assert len(set(sessions)) == 3


# -- A12 --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "later",
    [
        b"{}",
        b'{"algorithm":null}',
        b"[]",
        b"\xff",
        b'{"algorithm":"m.megolm.v1.aes-sha2","rotation_period_msgs":9999}',
    ],
)
def test_a_room_once_encrypted_stays_so_and_its_settings_are_never_loosened(
    alice: Peer, later: bytes
) -> None:
    alice.do(outbound.note_room, ROOM, b'{"algorithm":"m.megolm.v1.aes-sha2","rotation_period_msgs":7}')
    alice.do(outbound.note_room, ROOM, later)

    assert alice.do(outbound.is_encrypted, ROOM)
    assert alice.do(outbound.encrypted_rooms) == {ROOM}
    [(messages, period)] = alice.connection.execute("SELECT messages, period FROM encrypted_room").fetchall()
    assert (messages, period) == (7, 168 * HOUR)


def test_a_policy_alone_makes_no_room_encrypted(alice: Peer) -> None:
    alice.do(recipients.set_policy, ROOM, "verified", [BOB])

    assert not alice.do(outbound.is_encrypted, ROOM)
    assert alice.do(recipients.policy, ROOM) == recipients.RoomPolicy("verified", frozenset({BOB}))


# -- F28: one state of the ratchet, one message -----------------------------------------------------------
def test_a_message_whose_transaction_was_lost_was_never_encrypted(room: Room, alice: Peer, bob: Peer) -> None:
    room.prepare(alice)

    alice.connection.execute("BEGIN")
    lost = outbound.encrypt(Transaction(alice.connection, alice.me), ROOM, TYPE, b'{"n":1}')
    alice.connection.execute("ROLLBACK")
    kept = room.encrypt(alice, {"n": 2})

    # What was rolled back may share its index with what came after; it never left this machine.
    assert (lost.session_id, lost.index) == (kept.session_id, kept.index)
    room.post(ALICE, kept.content)
    bob.settle()
    assert room.seen(bob) == [{"n": 2}]


def test_a_store_that_was_put_back_writes_on_with_new_sessions(room: Room, alice: Peer) -> None:
    room.send(alice, {"n": 1})
    copy = sqlite3.connect(":memory:")
    alice.connection.backup(copy)
    before = room.encrypt(alice, {"n": 2})
    copy.backup(alice.connection)
    copy.close()
    alice.do(outbound.rotate_all)
    after = room.encrypt(alice, {"n": 3})

    assert before.session_id != after.session_id


# -- relations --------------------------------------------------------------------------------------------
EDIT = {"rel_type": "m.replace", "event_id": "$original"}


def test_a_relation_stands_in_clear_and_comes_back_with_the_content(
    room: Room, alice: Peer, bob: Peer
) -> None:
    content = {"m.relates_to": EDIT, "m.new_content": {"n": 2}}
    event = room.send(alice, content)
    bob.settle()

    assert json.loads(event.content)["m.relates_to"] == EDIT
    assert b"m.new_content" not in event.content
    assert room.seen(bob) == [content]


def test_a_relation_that_stands_only_in_clear_is_the_one_that_counts(
    room: Room, alice: Peer, bob: Peer
) -> None:
    envelope = json.loads(room.encrypt(alice, {"n": 1, "é": "\\"}).content)
    room.post(ALICE, {**envelope, "m.relates_to": EDIT})
    bob.settle()

    assert room.seen(bob) == [{"n": 1, "é": "\\", "m.relates_to": EDIT}]


@pytest.mark.parametrize("shown", [None, {**EDIT, "event_id": "$another"}, "nonsense", {}])
def test_an_edit_that_was_turned_to_another_event_on_the_way_is_not_taken(
    room: Room, alice: Peer, bob: Peer, shown: object
) -> None:
    envelope = json.loads(room.encrypt(alice, {"m.relates_to": EDIT, "m.new_content": {}}).content)
    envelope.pop("m.relates_to")
    room.post(ALICE, envelope if shown is None else {**envelope, "m.relates_to": shown})
    bob.settle()

    assert room.seen(bob) == ["mismatch"]


# -- whom we trust ----------------------------------------------------------------------------------------
@pytest.fixture
def carol(peer: Callable[[str, str], Peer]) -> Peer:
    return peer(CAROL, "TABLET")


@pytest.fixture
def owners(exchange: Exchange, alice: Peer, bob: Peer, carol: Peer) -> dict[str, Owner]:
    """Alice and Bob signed their devices; Carol has no identity."""
    made = {it.me.user_id: Owner(exchange, it.me.user_id).publish().sign(it) for it in (alice, bob)}
    for it in (alice, bob, carol):
        it.know(ALICE, BOB, CAROL)
        it.settle()
    return made


def test_by_default_keys_go_to_devices_that_their_owner_signed(
    owners: dict[str, Owner], alice: Peer, bob: Peer, carol: Peer
) -> None:
    assert set(owners) == {ALICE, BOB}
    room = Room()
    room.join(alice, bob, carol)
    prepared = room.prepare(alice)
    room.send(alice, {"n": 1})
    room.send(carol, {"n": 2})
    bob.settle()
    carol.settle()

    assert [(it.user_id, why) for it, why in prepared.left_out] == [(CAROL, "not signed by its owner")]
    [by_alice, by_carol] = room.read(bob)
    assert isinstance(by_alice, Clear)
    assert by_alice.standing == "cross-signed"
    assert isinstance(by_carol, Undecryptable)
    assert by_carol.cause in {"untrusted", "no_key"}
    [withheld, _] = room.read(carol)
    assert isinstance(withheld, Undecryptable)
    assert withheld.cause == "withheld"
    assert "(m.unverified)" in withheld.detail


def test_records_of_an_unsigned_device_are_read_once_its_owner_signed_it(
    owners: dict[str, Owner], exchange: Exchange, bob: Peer, carol: Peer
) -> None:
    assert owners
    room = Room()
    room.join(bob)
    room.join(carol, policy="all")
    room.send(carol, {"n": 1})
    bob.settle()
    assert room.seen(bob) == ["untrusted"]

    Owner(exchange, CAROL).publish().sign(carol)
    bob.settle()
    assert room.seen(bob) == [{"n": 1}]


def test_what_is_verified_is_told_from_what_is_signed(
    owners: dict[str, Owner], alice: Peer, bob: Peer
) -> None:
    room = Room()
    room.join(alice, bob, policy="verified")
    refused = room.prepare(alice)
    assert [(it.user_id, why) for it, why in refused.left_out] == [(BOB, "its owner is not verified")]

    verify(alice, owners[BOB])
    room.send(alice, {"n": 1})
    bob.settle()
    assert room.seen(bob) == ["untrusted"]

    verify(bob, owners[ALICE])
    [clear] = room.read(bob)
    assert isinstance(clear, Clear)
    assert clear.standing == "verified"


def test_members_who_are_not_on_the_list_get_no_key_and_are_not_read(
    room: Room, alice: Peer, bob: Peer, carol: Peer
) -> None:
    room.join(carol, policy="all")
    carol.know(ALICE, BOB)
    alice.know(CAROL)
    alice.do(recipients.set_policy, ROOM, "all", [BOB])
    room.send(alice, {"n": 1})
    room.send(carol, {"n": 2})
    for it in (alice, bob, carol):
        it.settle()

    assert room.seen(bob) == [{"n": 1}, {"n": 2}]
    assert room.seen(carol) == ["withheld", {"n": 2}]
    assert room.seen(alice) == [{"n": 1}, "untrusted"]


@pytest.mark.parametrize("policy", ["cross-signed", "verified", "all"])
@pytest.mark.parametrize("verified", [False, True])
def test_nothing_is_sent_to_an_identity_that_changed_until_that_is_acknowledged(  # A9
    owners: dict[str, Owner], alice: Peer, bob: Peer, policy: str, verified: bool
) -> None:
    room = Room()
    room.join(alice, bob, policy=policy)
    if verified:
        verify(alice, owners[BOB])
    room.send(alice, {"n": 1})
    Owner(alice.exchange, BOB).publish().sign(bob)
    alice.settle()

    if policy == "all" and not verified:
        room.send(alice, {"n": 2})
        return
    with pytest.raises(DeviceUntrusted) as raised:
        room.send(alice, {"n": 2})
    assert raised.value.user_ids == (BOB,)
    assert f"client.keys.acknowledge({BOB!r})" in str(raised.value)

    alice.do(identities.acknowledge, BOB)
    room.send(alice, {"n": 3})
    bob.settle()
    bob.do(recipients.set_policy, ROOM, "all", None)
    assert room.seen(bob, room.timeline[-1]) == ["withheld" if policy == "verified" else {"n": 3}]


def test_a_device_that_the_server_slipped_in_gets_no_key_and_is_not_believed(  # A9
    owners: dict[str, Owner], alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    assert owners
    spy = peer(BOB, "SPY")
    room = Room()
    room.join(alice, bob, spy)
    alice.settle()
    room.send(alice, {"n": 1})
    spy.do(recipients.set_policy, ROOM, "all", None)
    room.send(spy, {"forged": True})
    for it in (alice, bob, spy):
        it.settle()

    assert room.seen(spy)[0] == "withheld"
    assert room.seen(bob)[0] == {"n": 1}
    assert room.seen(alice)[1] == "untrusted"


def test_what_a_device_wrote_stays_trusted_when_it_is_removed(
    owners: dict[str, Owner], exchange: Exchange, alice: Peer, bob: Peer
) -> None:
    assert owners
    room = Room()
    room.join(alice, bob)
    room.send(alice, {"n": 1})
    bob.settle()
    del exchange.devices[ALICE, "PHONE"]
    Owner(exchange, ALICE).publish()
    bob.settle()

    assert room.seen(bob) == [{"n": 1}]


def test_who_is_left_out_is_said_as_long_as_that_is_so(
    owners: dict[str, Owner], exchange: Exchange, alice: Peer, bob: Peer, carol: Peer
) -> None:
    assert owners
    room = Room()
    room.join(alice, bob, carol)
    left_out = [[it.user_id for it, _ in room.prepare(alice).left_out] for _ in range(3)]
    Owner(exchange, CAROL).publish().sign(carol)
    alice.settle()
    left_out.append([it.user_id for it, _ in room.prepare(alice).left_out])

    assert left_out == [[CAROL], [CAROL], [CAROL], []]


@pytest.mark.parametrize(("policy", "members"), [("cross-signed", None), ("all", [CAROL])])
def test_whoever_is_trusted_no_more_reads_no_more(
    room: Room, alice: Peer, bob: Peer, policy: Policy, members: list[str] | None
) -> None:
    room.send(alice, {"n": 1})
    alice.do(recipients.set_policy, ROOM, policy, members)
    room.send(alice, {"n": 2})
    bob.settle()

    assert room.seen(bob) == [{"n": 1}, "withheld"]


# -- what those are told who get no key -------------------------------------------------------------------
def test_who_is_left_out_is_told_once_a_session(room: Room, exchange: Exchange, alice: Peer) -> None:
    alice.do(recipients.set_policy, ROOM, "cross-signed", None)
    for _ in range(3):
        room.send(alice, {})
    notices = [it for _, it in exchange.inboxes[BOB, "DESK"] if it["type"] == "m.room_key.withheld"]
    alice.do(outbound.rotate, ROOM)
    room.send(alice, {})
    again = [it for _, it in exchange.inboxes[BOB, "DESK"] if it["type"] == "m.room_key.withheld"]

    assert (len(notices), len(again)) == (1, 2)
    assert notices[0]["content"]["code"] == "m.unverified"


def test_a_device_that_cannot_be_reached_is_told_once_and_gets_the_key_when_it_can(
    room: Room, exchange: Exchange, alice: Peer, bob: Peer
) -> None:
    uploaded = exchange.devices[BOB, "DESK"]
    one_time_keys, fallback = dict(uploaded.one_time_keys), dict(uploaded.fallback)
    uploaded.one_time_keys.clear()
    uploaded.fallback.clear()
    prepared = room.prepare(alice)
    room.send(alice, {"n": 1})
    alice.do(outbound.rotate, ROOM)
    room.send(alice, {"n": 2})
    notices = [it for _, it in exchange.inboxes[BOB, "DESK"] if it["type"] == "m.room_key.withheld"]
    bob.sync()
    [first, _] = room.read(bob)

    assert len(prepared.left_out) == len(notices) == 1
    assert notices[0]["content"].keys() & {"room_id", "session_id"} == set()
    assert isinstance(first, Undecryptable)
    assert (first.cause, "(m.no_olm)" in first.detail) == ("withheld", True)

    uploaded.one_time_keys.update(one_time_keys)
    uploaded.fallback.update(fallback)
    alice.clock.advance(2 * HOUR)
    room.send(alice, {"n": 3})
    bob.settle()
    assert room.seen(bob)[2] == {"n": 3}


def broken_while_the_key_was_on_its_way(room: Room, alice: Peer, bob: Peer) -> None:
    """Bob lost his Olm sessions, a key came by one of them, and he has just told Alice of a new one."""
    room.send(alice, {"n": 0})
    bob.settle()
    room.send(bob, {"n": 1})
    alice.settle()
    alice.do(outbound.rotate, ROOM)
    bob.connection.execute("DELETE FROM olm_session")
    room.send(alice, {"n": "lost"})
    bob.settle()
    alice.settle()


def test_a_key_that_was_lost_with_a_broken_session_is_given_again(room: Room, alice: Peer, bob: Peer) -> None:
    broken_while_the_key_was_on_its_way(room, alice, bob)
    room.send(alice, {"n": 2})
    bob.settle()

    assert room.seen(bob) == [{"n": 0}, {"n": 1}, "too_early", {"n": 2}]
    assert session_of(room.timeline[2]) == session_of(room.timeline[3])


def test_who_waits_for_a_key_again_still_makes_it_be_replaced_by_leaving(
    room: Room, alice: Peer, bob: Peer
) -> None:
    broken_while_the_key_was_on_its_way(room, alice, bob)
    room.members.remove(BOB)
    room.send(alice, {"n": 2})

    assert session_of(room.timeline[2]) != session_of(room.timeline[3])


def test_a_key_for_many_devices_goes_in_few_requests(alice: Peer) -> None:
    messages = [(BOB, f"SENSOR{number}", {"n": number}) for number in range(120)]
    requests = alice.do(outgoing.queue_messages, "m.room.encrypted", messages)

    assert [len(json.loads(it.body)["messages"][BOB]) for it in requests] == [100, 20]
