"""What a server, a member or whoever writes to a backup tries with room keys (threats A1, A4 to A7, A13)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.encryption import inbound, outbound, outgoing, recipients, withheld
from matrixdata.encryption.port import Clear, Session, SyncChanges, ToDevice, Undecryptable
from tests.encryption.conftest import ALICE, BOB, CAROL
from tests.encryption.exchange import Exchange, Peer
from tests.encryption.rooms import ROOM, TYPE, Owner, Room, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.encryption.inbound import Origin


@pytest.fixture
def room(alice: Peer, bob: Peer) -> Room:
    made = Room()
    made.join(alice, bob, policy="all")
    return made


def key(
    session: vodozemac.InboundGroupSession, index: int, origin: Origin, sender_key: str = "S", **more: Any
) -> inbound.InboundKey:
    exported = session.export_at(index)
    assert exported is not None
    return inbound.InboundKey(ROOM, session.session_id, sender_key, "E", origin, exported.to_base64(), **more)


def made() -> tuple[vodozemac.GroupSession, vodozemac.InboundGroupSession]:
    session = vodozemac.GroupSession()
    return session, vodozemac.InboundGroupSession(session.session_key)


# -- A1: an event moved to another sender or room ---------------------------------------------------------
def test_an_event_under_another_senders_name_is_not_taken(room: Room, alice: Peer, bob: Peer) -> None:
    event = room.send(alice, {"n": 1})
    bob.settle()

    assert room.seen(bob, replace(event, sender=BOB), replace(event, sender=CAROL), event) == [
        "mismatch",
        "mismatch",
        {"n": 1},
    ]


def test_an_event_moved_to_another_room_is_not_taken(room: Room, alice: Peer, bob: Peer) -> None:
    event = room.send(alice, {"n": 1})
    bob.settle()
    [exported] = bob.do(lambda tx: list(inbound.exported(tx)))
    bob.do(inbound.imported, exported.data, "backup", room_id="!other:one.example")
    bob.do(recipients.set_policy, "!other:one.example", "all", None)

    assert Room("!other:one.example").seen(bob, event) == ["mismatch"]
    assert Room("!third:one.example").seen(bob, event) == ["no_key"]


def test_a_member_who_passes_a_session_off_as_theirs_changes_nothing(
    room: Room, alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    """Carol knows the key, as a member does, and gives it to Bob as if she had made the session."""
    carol = peer(CAROL, "TABLET")
    room.join(carol, policy="all")
    event = room.send(alice, {"n": 1})
    bob.settle()
    carol.settle()
    carol.know(BOB)
    bob.know(CAROL)
    [(_, message)] = alice_keys(alice)
    carol.send(bob, "m.room_key", message)
    bob.settle()

    assert room.seen(bob, event, replace(event, sender=CAROL, event_id="$stolen")) == [{"n": 1}, "mismatch"]


def alice_keys(alice: Peer) -> list[tuple[str, dict[str, Any]]]:
    """Contents of the m.room_key that another member got of Alice's session; its signature is by the session."""
    with alice.transaction() as tx:
        session = outbound.current(tx, ROOM)
        assert session is not None
        return [(session.session_id, dict(outbound.room_key(tx, ROOM, session)))]


# -- A4: replay -------------------------------------------------------------------------------------------
def test_a_ciphertext_that_comes_again_as_another_event_is_a_replay(
    room: Room, alice: Peer, bob: Peer
) -> None:
    event = room.send(alice, {"n": 1})
    bob.settle()
    again = [replace(event, event_id="$again"), replace(event, origin_server_ts=1), event]

    assert room.seen(bob, event, *again) == [{"n": 1}, "replayed", "replayed", {"n": 1}]
    assert room.seen(bob, *again) == ["replayed", "replayed", {"n": 1}]


def test_a_replay_is_known_after_a_restart(room: Room, alice: Peer, bob: Peer) -> None:
    event = room.send(alice, {"n": 1})
    bob.settle()
    room.read(bob)
    restarted = Peer.__new__(Peer)  # what is on disk, and nothing that was in memory
    restarted.__dict__ |= bob.__dict__ | {"engine": type(bob.engine)(bob.me)}

    assert room.seen(restarted, replace(event, event_id="$again")) == ["replayed"]
    assert room.seen(restarted, event) == [{"n": 1}]


def test_what_was_not_taken_uses_no_index_up(room: Room, alice: Peer, bob: Peer) -> None:
    """Else a server could keep an event out by sending its ciphertext under another name first."""
    event = room.send(alice, {"n": 1})
    bob.settle()
    bob.do(recipients.set_policy, ROOM, "cross-signed", None)
    room.seen(bob, replace(event, event_id="$x", sender=CAROL), replace(event, event_id="$y"))
    bob.do(recipients.set_policy, ROOM, "all", None)

    assert room.seen(bob) == [{"n": 1}]


def test_a_better_key_does_not_forget_what_was_used(room: Room, alice: Peer, bob: Peer) -> None:
    room.prepare(alice)
    session, readable = made()
    message = session.encrypt(json.dumps({"type": TYPE, "content": {}, "room_id": ROOM}).encode())
    bob.do(inbound.add, key(readable, 0, "backup"))
    envelope = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": session.session_id,
        "ciphertext": message.to_base64(),
    }
    event = room.post(ALICE, envelope)
    assert room.seen(bob, event) == [{}]
    bob.do(inbound.add, key(readable, 0, "forwarded"))

    assert room.seen(bob, event, replace(event, event_id="$again")) == [{}, "replayed"]


# -- A5: keys in clear ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["m.room_key", "m.forwarded_room_key", "m.room_key_bundle"])
def test_keys_in_clear_are_refused(alice: Peer, kind: str) -> None:
    session, readable = made()
    exported = readable.export_at(0)
    assert exported is not None
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": ROOM,
        "session_id": session.session_id,
        "session_key": session.session_key.to_base64() if kind == "m.room_key" else exported.to_base64(),
        "sender_key": alice.device().curve25519,
        "sender_claimed_ed25519_key": alice.device().ed25519,
        "forwarding_curve25519_key_chain": [],
    }
    sent = ToDevice(kind, ALICE, content)
    posing = replace(sent, sender_key=None)

    assert not alice.do(alice.engine.receive, SyncChanges(to_device=(sent, posing))).sessions
    assert not alice.do(inbound.receive_room_key, sent, "E")
    assert alice.do(inbound.find, ROOM, session.session_id) is None


# -- A6: keys that nobody asked for -----------------------------------------------------------------------
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "verified"])
def test_a_forwarded_key_that_was_not_asked_for_is_refused(
    exchange: Exchange, alice: Peer, bob: Peer, peer: Callable[[str, str], Peer], signed: bool
) -> None:
    tablet = peer(BOB, "TABLET")
    if signed:
        owner = Owner(exchange, BOB).publish().sign(bob, tablet)
        for it in (bob, tablet):
            it.settle()
            verify(it, owner)
    bob.know(BOB)
    for it in (alice, tablet):
        it.know(ALICE, BOB)
        session, readable = made()
        exported = readable.export_at(0)
        assert exported is not None
        forwarded = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "room_id": ROOM,
            "session_id": session.session_id,
            "session_key": exported.to_base64(),
            "sender_key": alice.device().curve25519,
            "sender_claimed_ed25519_key": alice.device().ed25519,
            "forwarding_curve25519_key_chain": [],
        }
        it.send(bob, "m.forwarded_room_key", forwarded)
        bob.settle()
        assert bob.do(inbound.find, ROOM, session.session_id) is None


# -- A7: a second key for a session -----------------------------------------------------------------------
ORIGINS = st.sampled_from(["device", "forwarded", "backup", "file", "bundle"])


@given(offers=st.lists(st.tuples(ORIGINS, st.integers(0, 40), st.booleans()), min_size=1, max_size=6))
def test_copies_of_a_session_become_the_one_that_reads_most_on_the_best_word(
    offers: list[tuple[Origin, int, bool]],
) -> None:
    exchange = Exchange()
    peer = Peer(exchange, BOB, "DESK")
    session, readable = made()
    genuine: list[tuple[Origin, int]] = []
    for origin, index, is_forged in offers:
        source = readable
        if is_forged:  # another ratchet under the same id: what a key from a backup could hold
            source = forged(readable, index)
        if origin == "device":
            if is_forged or any(it == "device" for it, _ in genuine):
                continue
            peer.do(
                inbound.add,
                replace(key(readable, 0, "device"), key=session.session_key.to_base64(), owner=ALICE),
            )
            genuine.append((origin, 0))
            continue
        taken = peer.do(inbound.add, key(source, index, origin))
        if not genuine and is_forged:  # whoever comes first is believed, until the session's own word comes
            signed = replace(key(readable, 0, "device"), key=session.session_key.to_base64(), owner=ALICE)
            assert peer.do(inbound.add, key(readable, 0, "forwarded")) is None
            assert peer.do(inbound.add, signed) is not None
            assert peer.do(inbound.find, ROOM, session.session_id).origin == "device"
            genuine.append(("device", 0))
            continue
        if is_forged:
            assert taken is None
        else:
            genuine.append((origin, index))
    if not genuine:
        return
    kept = peer.do(inbound.find, ROOM, session.session_id)
    rank = ["own", "device", "forwarded"]
    best = min(rank.index(it) if it in rank else 9 for it, _ in genuine)
    assert kept.first_index == min(index for _, index in genuine)
    assert (rank.index(kept.origin) if kept.origin in rank else 9) == best
    ratchet = peer.do(inbound.opened, kept)
    assert ratchet.export_at(41).to_base64() == readable.export_at(41).to_base64()


def forged(session: vodozemac.InboundGroupSession, index: int) -> vodozemac.InboundGroupSession:
    """Another ratchet with the same session's public key."""
    exported = session.export_at(index)
    assert exported is not None
    raw = bytearray(base64.b64decode(exported.to_base64() + "=="))
    raw[5] ^= 1
    text = base64.b64encode(bytes(raw)).decode().rstrip("=")
    return vodozemac.InboundGroupSession.import_session(vodozemac.ExportedSessionKey(text))


def test_a_key_under_another_sessions_id_is_refused(alice: Peer) -> None:
    _, readable = made()
    other, _ = made()

    assert alice.do(inbound.add, replace(key(readable, 0, "file"), session_id=other.session_id)) is None
    assert alice.do(inbound.find, ROOM, other.session_id) is None


@given(text=st.text(max_size=60) | st.binary(max_size=200).map(lambda it: base64.b64encode(it).decode()))
def test_damaged_keys_are_refused_and_nothing_raises(text: str) -> None:
    peer = Peer(Exchange(), BOB, "DESK")
    for origin in ("device", "file"):
        offered = inbound.InboundKey(ROOM, "session", "S", "E", origin, text)
        assert peer.do(inbound.add, offered) is None


# -- A13: a backup proves nothing -------------------------------------------------------------------------
@pytest.mark.parametrize("origin", ["backup", "file"])
def test_a_key_from_a_backup_is_read_but_not_taken_for_proof(
    room: Room, alice: Peer, bob: Peer, origin: str
) -> None:
    event = room.send(alice, {"n": 1})
    [exported] = alice.do(lambda tx: list(inbound.exported(tx, room_id=ROOM)))
    bob.do(inbound.imported, exported.data, origin)
    [clear] = room.read(bob)
    assert isinstance(clear, Clear)
    assert clear.standing == "unauthenticated"

    for policy, outcome in (("cross-signed", {"n": 1}), ("verified", "untrusted")):
        bob.do(recipients.set_policy, ROOM, policy, None)
        assert room.seen(bob) == [outcome]
    # The device is known all the same, so the key cannot be used in another's name.
    bob.do(recipients.set_policy, ROOM, "all", None)
    assert room.seen(bob, replace(event, sender=CAROL, event_id="$x")) == ["mismatch"]

    received = bob.sync()
    [authentic] = room.read(bob)
    assert received.sessions == {Session(ROOM, clear.session_id)}
    assert isinstance(authentic, Clear)
    assert authentic.standing == "unsigned"


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "m.other"},
        {"session_key": "AQ"},
        {"session_key": None},
        {"session_id": "\ud800"},
        {"room_id": "x" * 256},
        {"room_id": 7},
        {"sender_key": ["a"]},
        {"sender_claimed_keys": "ed25519"},
        {"sender_claimed_keys": {"ed25519": "\udfff"}},
    ],
)
def test_keys_in_a_backup_that_are_none_are_refused(
    room: Room, alice: Peer, bob: Peer, change: dict[str, Any]
) -> None:
    room.prepare(alice)
    [exported] = alice.do(lambda tx: list(inbound.exported(tx, room_id=ROOM)))

    assert bob.do(inbound.imported, {**exported.data, **change}, "backup") is None
    assert (
        bob.do(inbound.imported, {**exported.data, "forwarding_curve25519_key_chain": "x"}, "backup")
        is not None
    )


# -- hostile ciphertexts ----------------------------------------------------------------------------------
@given(data=st.data())
def test_whatever_is_done_to_a_ciphertext_it_is_corrupt_and_the_event_still_reads(
    data: st.DataObject,
) -> None:
    room, bob, event = _written()
    envelope = json.loads(event.content)
    raw = bytearray(base64.b64decode(envelope["ciphertext"] + "=="))
    change = data.draw(st.sampled_from(["flip", "cut", "append", "text", "envelope"]))
    if change == "flip":
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    elif change == "cut":
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    elif change == "append":
        raw += data.draw(st.binary(min_size=1, max_size=80))
    text = base64.b64encode(bytes(raw)).decode().rstrip("=")
    if change == "text":
        text = data.draw(st.text(max_size=300))
    hostile = {**envelope, "ciphertext": text}
    if change == "envelope":
        name = data.draw(st.sampled_from(["algorithm", "session_id", "ciphertext"]))
        hostile = {**envelope, name: data.draw(st.none() | st.integers() | st.text(max_size=5) | st.just({}))}
    [outcome] = room.read(bob, [replace(event, content=json.dumps(hostile).encode())])

    assert isinstance(outcome, Undecryptable)
    assert outcome.cause in {"corrupt", "too_early", "unsupported", "no_key"}
    assert room.seen(bob, event) == [{"n": 1}]


def _written() -> tuple[Room, Peer, Any]:
    """A message that one session encrypted, and a reader of it from there on."""
    bob = Peer(Exchange(), BOB, "DESK")
    session, _ = made()
    for _ in range(5):
        session.encrypt(b"before")
    readable = vodozemac.InboundGroupSession(session.session_key)
    message = session.encrypt(json.dumps({"type": TYPE, "content": {"n": 1}, "room_id": ROOM}).encode())
    bob.do(inbound.add, key(readable, 5, "file"))
    room = Room()
    room.join(bob, policy="all")
    envelope = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": session.session_id,
        "ciphertext": message.to_base64(),
    }
    return room, bob, room.post(ALICE, envelope)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"t","content":[],"room_id":"!room:one.example"}',
        b'{"type":7,"content":{},"room_id":"!room:one.example"}',
        b'{"type":"t","content":{}}',
        b'{"type":"t","content":{"a":"\\ud800"},"room_id":"!room:one.example"}',
        b'{"type":"t","content":{"a":"\xff"},"room_id":"!room:one.example"}',
        b'{"type":"' + b"t" * 256 + b'","content":{},"room_id":"!room:one.example"}',
        b'{"type":"t","room_id":"!room:one.example","content":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    ],
)
def test_what_holds_no_event_is_corrupt(plaintext: bytes) -> None:
    bob = Peer(Exchange(), BOB, "DESK")
    session, readable = made()
    bob.do(inbound.add, key(readable, 0, "file"))
    room = Room()
    room.join(bob, policy="all")
    message = session.encrypt(plaintext)
    envelope = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": session.session_id,
        "ciphertext": message.to_base64(),
    }
    room.post(ALICE, envelope)

    assert room.seen(bob) == ["corrupt"]


def test_content_that_only_its_own_judge_can_judge_passes_unchanged() -> None:
    """Duplicate keys and strange numbers are the business of whoever reads records."""
    bob = Peer(Exchange(), BOB, "DESK")
    session, readable = made()
    bob.do(inbound.add, key(readable, 0, "file"))
    room = Room()
    room.join(bob, policy="all")
    content = b'{"a":1,"a":2,"b":1e400,"c":123456789012345678901234567890,"d": 0.1}'
    message = session.encrypt(b'{"room_id":"!room:one.example","type":"t","content":' + content + b"}")
    envelope = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": session.session_id,
        "ciphertext": message.to_base64(),
    }
    room.post(ALICE, envelope)
    [clear] = room.read(bob)

    assert isinstance(clear, Clear)
    assert clear.content == content


def test_a_state_event_is_never_decrypted(room: Room, alice: Peer, bob: Peer) -> None:
    event = room.send(alice, {"n": 1})
    bob.settle()

    assert room.seen(bob, replace(event, state_key=""), replace(event, fault="malformed")) == [
        "corrupt",
        "corrupt",
    ]


def test_a_withheld_notice_of_somebody_else_is_not_listened_to(
    room: Room, alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    event = room.send(alice, {"n": 1})
    session_id = json.loads(event.content)["session_id"]
    notice = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session_id, "code": "org.x"}
    mallory = peer(CAROL, "TABLET")
    with mallory.transaction() as tx:
        outgoing.queue_messages(
            tx, "m.room_key.withheld", [(BOB, "DESK", {**notice, "reason": "\x1b[31m" * 999})]
        )
    mallory.flush()
    inbox = bob.exchange.inboxes[BOB, "DESK"]
    inbox[:] = [it for it in inbox if it[1]["type"] == "m.room_key.withheld"]
    bob.sync()
    assert room.seen(bob) == ["no_key"]

    [told] = room.read(bob, [replace(event, sender=CAROL)])
    assert isinstance(told, Undecryptable)
    assert told.cause == "withheld"
    assert "\x1b" not in told.detail
    assert len(told.detail) < 1_000


def test_withheld_notices_take_a_bounded_space(bob: Peer) -> None:
    with bob.transaction() as tx:
        for n in range(withheld.MOST + 50):
            content = {
                "algorithm": "m.megolm.v1.aes-sha2",
                "room_id": ROOM,
                "session_id": f"s{n}",
                "code": "org.x",
            }
            withheld.note(tx, CAROL, content)

    assert bob.connection.execute("SELECT count(*) FROM withheld").fetchone()[0] <= withheld.MOST
