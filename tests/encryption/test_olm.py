"""Encrypting to single devices: it arrives, once, in any order; what is broken mends itself."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from matrixdata.encryption import device_keys, device_lists, olm, outgoing, to_device
from matrixdata.encryption.port import SyncChanges, ToDevice
from tests.encryption.exchange import ALGORITHM, HOUR, SECOND, Exchange, Peer
from tests.faults.harness import Break, fault

if TYPE_CHECKING:
    from collections.abc import Callable

DECRYPTION = "matrixdata/encryption/olm_decryption.py"
SECRET = "m.secret.send"  # a type that ends in the inbox


def arrived(peer: Peer) -> list[object]:
    return [event.content["n"] for _, event in peer.do(to_device.inbox)]


def test_what_is_sent_arrives_with_the_device_it_came_from(alice: Peer, bob: Peer) -> None:
    assert alice.send(bob, SECRET, {"n": 1})
    result = bob.sync()

    [(_, event)] = bob.do(to_device.inbox)
    assert result.waiting
    assert (event.type, event.sender, event.content) == (SECRET, alice.me.user_id, {"n": 1})
    assert (event.sender_key, event.device_id) == (alice.device().curve25519, "PHONE")


def test_both_ways_and_on_and_on(alice: Peer, bob: Peer) -> None:
    for n in range(6):
        one, other = (alice, bob) if n % 2 else (bob, alice)
        one.send(other, SECRET, {"n": n})
        other.settle()

    assert (arrived(alice), arrived(bob)) == ([0, 2, 4], [1, 3, 5])


def test_both_begin_at_once(alice: Peer, bob: Peer) -> None:
    alice.send(bob, SECRET, {"n": 1})
    bob.send(alice, SECRET, {"n": 2})
    alice.settle()
    bob.settle()
    for n in (3, 5):
        alice.send(bob, SECRET, {"n": n})
        bob.settle()
        bob.send(alice, SECRET, {"n": n + 1})
        alice.settle()

    assert (arrived(alice), arrived(bob)) == ([2, 4, 6], [1, 3, 5])


@pytest.mark.parametrize("order", ["as sent", "reversed", "shuffled"])
@pytest.mark.parametrize("answered", [False, True], ids=["pre-key", "normal"])
def test_hundreds_at_once_in_any_order(alice: Peer, bob: Peer, order: str, answered: bool) -> None:
    if answered:
        alice.send(bob, SECRET, {"n": -1})
        bob.settle()
        bob.send(alice, SECRET, {"n": -1})
        alice.settle()
    for n in range(150):
        alice.send(bob, SECRET, {"n": n})
    changes = bob.exchange.sync("@bob:one.example", "DESK", bob.do(bob.engine.token), limit=1000)
    events = list(changes.to_device)
    if order == "reversed":
        events.reverse()
    elif order == "shuffled":
        random.Random(5).shuffle(events)

    bob.do(bob.engine.receive, SyncChanges(tuple(events)))

    assert arrived(bob)[answered:] == list(range(150))


def test_what_the_server_repeats_is_not_taken_twice_and_breaks_nothing(alice: Peer, bob: Peer) -> None:
    alice.send(bob, SECRET, {"n": 1})
    changes = bob.exchange.sync("@bob:one.example", "DESK", None)

    for _ in range(3):
        bob.do(bob.engine.receive, changes)

    assert arrived(bob) == [1]
    assert "claim" not in [it.kind for it in bob.do(bob.engine.outgoing)]


def test_a_transaction_that_fails_leaves_the_message_to_be_taken_again(alice: Peer, bob: Peer) -> None:
    alice.send(bob, SECRET, {"n": 1})
    changes = bob.exchange.sync("@bob:one.example", "DESK", None)

    with suppress(ZeroDivisionError), bob.transaction() as tx:
        bob.engine.receive(tx.connection, changes)
        _ = 1 / 0

    assert (arrived(bob), bob.do(bob.engine.token)) == ([], None)
    bob.sync()
    assert arrived(bob) == [1]


def test_a_device_without_keys_to_give_is_asked_again_after_an_hour(alice: Peer, bob: Peer) -> None:
    there = alice.exchange.devices["@bob:one.example", "DESK"]
    keys, there.one_time_keys, there.fallback = there.one_time_keys, {}, {}

    assert not alice.send(bob, SECRET, {"n": 1})
    assert alice.do(olm.claim, [alice.sees(bob)]) is None

    there.one_time_keys = keys
    alice.clock.advance(HOUR + SECOND)
    assert alice.send(bob, SECRET, {"n": 2})
    bob.sync()
    assert arrived(bob) == [2]


def test_a_device_on_a_server_that_is_down_is_asked_again_sooner(alice: Peer, bob: Peer) -> None:
    alice.exchange.down = {"one.example"}
    assert not alice.send(bob, SECRET, {"n": 1})

    alice.exchange.down = set()
    alice.clock.advance(HOUR // 10)
    assert alice.send(bob, SECRET, {"n": 2})


def test_nobody_claims_for_a_device_twice_at_once(alice: Peer, bob: Peer) -> None:
    device = alice.sees(bob)

    assert alice.do(olm.claim, [device]) == alice.do(olm.claim, [device])
    assert len(alice.do(outgoing.under_way, "claim")) == 1


@pytest.mark.parametrize("lie", ["other key", "no signature", "other's signature", "malformed", "weak"])
def test_a_claimed_key_that_its_device_did_not_sign_is_not_used(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer], lie: str
) -> None:
    mallory = peer("@mallory:two.example", "M")
    there = alice.exchange.devices["@bob:one.example", "DESK"]
    own = alice.exchange.take_key("@mallory:two.example", "M")
    key = next(iter(there.one_time_keys.values()))
    there.fallback = {}
    match lie:
        case "other key":
            key["key"] = next(iter(own.values()))["key"]
        case "no signature":
            del key["signatures"]
        case "other's signature":
            key["signatures"] = next(iter(own.values()))["signatures"]
        case "malformed":
            key["key"] = {"deep": [[[]]]}
        case "weak":
            key["key"] = "A" * 43
    there.one_time_keys = {f"{ALGORITHM}:x": key}
    assert mallory.device() != bob.device()

    assert not alice.send(bob, SECRET, {"n": 1})


# -- broken sessions --------------------------------------------------------------------------------------
def lose_sessions(peer: Peer) -> None:
    """As a store that was put back from a copy would."""
    with peer.transaction() as tx:
        tx.connection.execute("DELETE FROM olm_session")


def test_a_broken_session_is_replaced_and_both_sides_use_the_new_one(alice: Peer, bob: Peer) -> None:
    alice.send(bob, SECRET, {"n": 1})
    bob.settle()
    bob.send(alice, SECRET, {"n": 2})
    alice.settle()
    lose_sessions(bob)

    alice.send(bob, SECRET, {"n": "lost"})
    bob.settle()
    alice.settle()
    alice.send(bob, SECRET, {"n": 3})
    bob.settle()

    assert arrived(bob) == [1, 3]


def test_a_session_is_replaced_once_an_hour_at_most(alice: Peer, bob: Peer) -> None:
    def broken() -> int:
        lose_sessions(bob)
        alice.send(bob, SECRET, {"n": 0})
        bob.sync()
        return sum(it.kind == "claim" for it in bob.flush())

    alice.send(bob, SECRET, {"n": 1})
    bob.settle()
    bob.send(alice, SECRET, {"n": 2})
    alice.settle()

    assert [broken(), broken(), broken()] == [1, 0, 0]
    bob.clock.advance(HOUR + SECOND)
    assert [broken(), broken()] == [1, 0]


def test_messages_that_were_damaged_on_the_way_do_not_break_the_session(alice: Peer, bob: Peer) -> None:
    for n in range(3):
        alice.send(bob, SECRET, {"n": n})
    inbox = alice.exchange.inboxes["@bob:one.example", "DESK"]
    ciphertext = inbox[1][1]["content"]["ciphertext"][bob.device().curve25519]
    ciphertext["body"] = ciphertext["body"][:-4] + "AAAA"
    bob.settle()

    assert arrived(bob) == [0, 2]
    alice.settle()
    bob.send(alice, SECRET, {"n": 3})
    alice.settle()
    assert arrived(alice) == [3]


# -- a message that is not what it must be (A2, A5) -------------------------------------------------------
def forged(alice: Peer, bob: Peer, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], None]) -> None:
    """A message of Alice's device with something else inside than her client would write."""
    written = olm.json_text

    def other(payload: dict) -> bytes:
        change(payload)
        return written(payload)

    monkeypatch.setattr(olm, "json_text", other)
    alice.send(bob, SECRET, {"n": 1})
    monkeypatch.undo()


LIES: dict[str, Callable[[dict], object]] = {
    "another sender": lambda it: it.update(sender="@carol:two.example"),
    "another recipient": lambda it: it.update(recipient="@carol:two.example"),
    "no recipient": lambda it: it.pop("recipient"),
    "another recipient's key": lambda it: it["recipient_keys"].update(ed25519=it["keys"]["ed25519"]),
    "no recipient's key": lambda it: it.pop("recipient_keys"),
    "another fingerprint": lambda it: it.update(keys={"ed25519": it["recipient_keys"]["ed25519"]}),
    "no fingerprint": lambda it: it.update(keys={}),
    "another fingerprint, no device keys": lambda it: (
        it.pop("sender_device_keys"),
        it.update(keys={"ed25519": it["recipient_keys"]["ed25519"]}),
    ),
    "device keys of another device": lambda it: it.update(sender_device_keys=another_device(it["sender"])),
    "device keys and fingerprint of another device": lambda it: (
        it.update(sender_device_keys=another_device(it["sender"])),
        it.update(keys={"ed25519": it["sender_device_keys"]["keys"]["ed25519:OTHER"]}),
    ),
    "device keys of another user": lambda it: it["sender_device_keys"].update(user_id="@carol:two.example"),
    "device keys not signed": lambda it: it["sender_device_keys"].update(signatures={}),
    "device keys changed": lambda it: it["sender_device_keys"]["algorithms"].append("m.new"),
    "device keys of another shape": lambda it: it.update(sender_device_keys=["x"]),
    "no type": lambda it: it.update(type=None),
    "no content": lambda it: it.update(content="text"),
    "content without bottom": lambda it: it.update(content=deep(500)),
}


def another_device(user_id: str) -> dict[str, object]:
    return dict(Peer(Exchange(), user_id, "OTHER").device().keys)


def deep(levels: int) -> dict[str, object]:
    content: dict[str, object] = {"n": 1}
    for _ in range(levels):
        content = {"n": content}
    return content


@fault(
    "T-A2",
    broken=(
        Break(DECRYPTION, 'payload.get("sender") != message.sender', "False"),
        Break(DECRYPTION, 'payload.get("recipient") != tx.me.user_id', "False"),
        Break(DECRYPTION, 'text_at(payload, "recipient_keys", "ed25519") != identity_keys(tx)[1]', "False"),
        Break(DECRYPTION, "known.user_id != message.sender or known.ed25519 != ed25519", "False"),
    ),
)
@pytest.mark.parametrize("lie", LIES)
def test_a_payload_that_does_not_fit_its_sender_is_discarded(
    alice: Peer, bob: Peer, monkeypatch: pytest.MonkeyPatch, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    forged(alice, bob, monkeypatch, LIES[lie])
    bob.settle()
    assert bob.do(to_device.inbox) == []
    assert "ignored" in caplog.text

    alice.send(bob, SECRET, {"n": 2})  # by the same session, which is none the worse
    bob.settle()
    assert arrived(bob) == [2]


UNKNOWN = (
    *("another recipient", "another recipient's key", "another fingerprint", "no fingerprint"),
    *("device keys of another device", "device keys and fingerprint of another device"),
    *("device keys not signed", "device keys changed"),
)


@fault(
    "T-A2",
    broken=(
        Break(
            DECRYPTION,
            "isinstance(described, str) or described.ed25519 != ed25519",
            "isinstance(described, str)",
        ),
        Break(DECRYPTION, "device.curve25519 != message.sender_key", "False"),
    ),
)
@pytest.mark.parametrize("lie", UNKNOWN)
def test_a_device_not_known_yet_must_fit_its_own_keys(
    bob: Peer, peer: Callable[[str, str], Peer], monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    carol = peer("@carol:two.example", "C")
    carol.know("@bob:one.example")
    forged(carol, bob, monkeypatch, LIES[lie])
    bob.sync()

    assert bob.do(to_device.inbox) == []
    assert bob.do(device_lists.by_key, carol.device().curve25519) is None


def test_a_server_that_changes_the_sender_gets_nothing_believed(alice: Peer, bob: Peer) -> None:
    alice.send(bob, SECRET, {"n": 1})
    [(number, event)] = alice.exchange.inboxes["@bob:one.example", "DESK"]
    honest = dict(event)
    event["sender"] = "@carol:two.example"
    bob.settle()
    assert arrived(bob) == []

    alice.exchange.inboxes["@bob:one.example", "DESK"].append((number + 1000, honest))
    bob.settle()
    assert arrived(bob) == [1]  # and the lie did not use up the message


@fault("T-A5", broken=Break("matrixdata/encryption/to_device.py", "event.type in _ONLY_ENCRYPTED", "False"))
@pytest.mark.parametrize("kind", ["m.room_key", "m.forwarded_room_key", "m.secret.send"])
def test_keys_and_secrets_in_clear_are_refused(
    bob: Peer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": "!r", "session_id": "s", "session_key": "k"}
    result = bob.do(bob.engine.receive, SyncChanges((ToDevice(kind, "@alice:one.example", content),)))

    assert not result.sessions
    assert not result.waiting
    assert bob.do(to_device.inbox) == []
    assert "not encrypted" in caplog.text


HOSTILE: list[dict[str, object]] = [
    {},
    {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA", "session_id": "s"},
    {"algorithm": "m.olm.v9", "ciphertext": {}},
    {"algorithm": ["m.olm.v1.curve25519-aes-sha2"]},
    {"algorithm": "m.olm.v1.curve25519-aes-sha2"},
    {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": 5, "ciphertext": []},
    {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "k" * 43, "ciphertext": {"KEY": "text"}},
    *(
        {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": sender_key,
            "ciphertext": {"KEY": {"type": kind, "body": body}},
        }
        for sender_key in ("", "A" * 43, "é", "A" * 100_000, "\ud800")
        for kind in (0, 1, True, None, -1, 2**80, 1.0)
        for body in ("", "A", "AwAA", "é", "=", "A" * 1_000_000, None, {"a": 1})
    ),
    deep(5_000),
]


def test_nothing_that_anybody_sends_raises(bob: Peer, caplog: pytest.LogCaptureFixture) -> None:
    own = bob.device().curve25519
    events = []
    for given in HOSTILE:
        content = given
        if "KEY" in (content.get("ciphertext") or {}):
            content = {**content, "ciphertext": {own: content["ciphertext"]["KEY"]}}  # type: ignore[index]  # ours
        events += [
            ToDevice("m.room.encrypted", "@alice:one.example", content),  # type: ignore[arg-type]  # on purpose
            ToDevice("m.room.encrypted", "\ud800", content),  # type: ignore[arg-type]  # on purpose
            ToDevice("m.key.verification.request", "@alice:one.example", content),  # type: ignore[arg-type]  # same
        ]

    bob.do(bob.engine.receive, SyncChanges(tuple(events), token="after"))
    bob.flush()

    assert bob.do(bob.engine.token) == "after"
    assert json.dumps(caplog.text)


def test_the_inbox_does_not_grow_without_end(bob: Peer) -> None:
    event = ToDevice("m.key.verification.request", "@mallory:two.example", {"n": 0})
    for _ in range(6):
        bob.do(bob.engine.receive, SyncChanges((event,) * 250))

    assert len(bob.do(to_device.inbox)) == 1_000


# -- devices not known yet ---------------------------------------------------------------------------------
def test_a_message_of_a_device_that_is_not_listed_yet_names_it_by_the_keys_inside(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    tablet = peer("@alice:one.example", "TABLET")
    tablet.know("@bob:one.example")
    tablet.send(bob, SECRET, {"n": 1})
    tablet.exchange.devices["@alice:one.example", "TABLET"].device_keys = None  # logged out at once
    bob.settle()

    [(_, event)] = bob.do(to_device.inbox)
    device = bob.do(device_lists.by_key, tablet.device().curve25519)
    assert event.device_id == "TABLET"
    assert device is not None
    assert device.deleted
    assert bob.sees(tablet) is None
    assert alice.device() == bob.sees(alice)


def test_a_message_of_a_client_that_sends_no_keys_along_makes_us_ask(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    carol = peer("@carol:two.example", "C")
    carol.know("@bob:one.example")
    forged(carol, bob, monkeypatch, lambda it: it.pop("sender_device_keys"))
    bob.settle()

    [(_, event)] = bob.do(to_device.inbox)
    assert event.device_id is None
    assert bob.sees(carol) == carol.device()
    assert bob.sees(alice) == alice.device()


def test_who_lists_a_key_that_is_another_device_s_does_not_keep_that_one_out(
    alice: Peer, bob: Peer, exchange: Exchange, peer: Callable[[str, str], Peer]
) -> None:
    carol = peer("@carol:two.example", "C")
    carol.know("@bob:one.example")
    mallory = peer("@mallory:two.example", "M")
    keys = mallory.device().keys
    false_keys = {**keys["keys"], "curve25519:M": carol.device().curve25519}  # type: ignore[dict-item]  # an object
    false = mallory.do(device_keys.sign, {**keys, "keys": false_keys, "signatures": {}})
    exchange.devices["@mallory:two.example", "M"].device_keys = false
    bob.know("@mallory:two.example")
    assert bob.sees(mallory) is not None

    carol.send(bob, SECRET, {"n": 1})
    bob.settle()

    assert arrived(bob) == [1]
    assert bob.sees(mallory) is None
    assert bob.sees(carol) == carol.device()
    assert alice.device() == bob.sees(alice)
