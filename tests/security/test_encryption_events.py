"""What a homeserver or a member does with the events and keys of an encrypted collection (threats A1 to A6, A12).

Everything is real: two clients, the homeserver, and a device of a member that lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from matrixdata.encryption import olm
from tests.faults.harness import Break, fault
from tests.security.stage import (
    ENCRYPTED,
    Session,
    Stage,
    causes,
    records,
    rewriting,
    staged,
    tell,
    temps,
    to_device_of,
    value,
)
from tests.servers import RECORD, TestServer, encoded, wait_until

if TYPE_CHECKING:
    from tests.servers import RawUser

pytestmark = pytest.mark.server

DECRYPTION = "matrixdata/encryption/decryption.py"
TO_DEVICE = "matrixdata/encryption/to_device.py"
OLM_DECRYPTION = "matrixdata/encryption/olm_decryption.py"
KEY_REQUESTS = "matrixdata/encryption/key_requests.py"
OUTBOUND = "matrixdata/encryption/outbound.py"
EDITS = "matrixdata/replica/edits.py"


@pytest.fixture(scope="module")
def stage(server_address, tmp_path_factory):
    server = TestServer(server_address, tmp_path_factory.mktemp("stage"))
    yield staged(server)
    for each in reversed(server.open):
        each.close()


@pytest.fixture(autouse=True)
def honest(stage):
    """After each test the server is honest again."""
    yield
    stage.wire.fault = stage.network.fault = lambda _: None


@fault(
    "T-A1",
    broken=Break(DECRYPTION, "source.origin.owner is not None and source.origin.owner != sender", "False"),
)
def test_a_record_under_another_name_or_in_another_room_is_nobodys(stage: Stage) -> None:
    event_id, content = stage.published(1.5)
    other = stage.alice.create_collection("other", trust="all", invite=[stage.bob.user_id])
    theirs = stage.bob.collection(other.room_id, trust="all")
    other.publish({"temp": 2.5}, timeout=30)
    stolen = stage.member.send(stage.room_id, content, ENCRYPTED)
    moved = stage.forge(content, room_id=other.room_id)

    wait_until(lambda: 1.5 in temps(stage.theirs))
    assert causes(stage.theirs, event_id, stolen) == [None, "mismatch"]
    assert causes(theirs, moved) == ["no_key"]
    assert temps(theirs) == [2.5]
    assert {record.sender for record in records(stage.theirs)} == {stage.alice.user_id}


@fault("T-A4", broken=Break(DECRYPTION, "source.new.append(", "id("))
def test_a_record_that_a_server_repeats_counts_once_also_after_a_restart(stage: Stage) -> None:
    event_id, content = stage.published(11.5)
    again = stage.forge(content)
    wait_until(lambda: 11.5 in temps(stage.theirs))
    assert causes(stage.theirs, event_id, again) == [None, "replayed"]

    stage.reopen()
    later = stage.forge(content)
    assert causes(stage.theirs, event_id, again, later) == [None, "replayed", "replayed"]
    assert temps(stage.theirs).count(11.5) == 1


@fault("T-A3", broken=Break(EDITS, "if original.sealed and not edit.sealed:", "if False:"))
def test_no_server_can_edit_an_encrypted_record_in_clear(stage: Stage) -> None:
    event_id, _ = stage.published(21.5)
    wait_until(lambda: 21.5 in temps(stage.theirs))
    [record] = [it for it in records(stage.theirs) if it.event_id == event_id]
    new = value(666, record.uid)
    relation = {"rel_type": "m.replace", "event_id": event_id}
    forged = stage.forge({**new, "m.new_content": new, "m.relates_to": relation}, RECORD)

    listed = {it.event_id: it for it in stage.theirs.invalid()}
    assert "not encrypted itself" in str(listed[forged].problems[0])
    assert 21.5 in temps(stage.theirs)
    assert 666 not in temps(stage.theirs)


def lying(stage: Stage, monkeypatch: pytest.MonkeyPatch, **lie: object) -> None:
    """What Mallory's device writes into its Olm messages from now on."""
    written, sender = olm.json_text, stage.mallory.me.user_id

    def other(payload):
        return written({**payload, **lie} if payload.get("sender") == sender else payload)

    monkeypatch.setattr(olm, "json_text", other)


@fault(
    "T-A2", "T-A5", "T-A6",
    broken=(
        Break(TO_DEVICE, "if event.type in _ONLY_ENCRYPTED:", "if event.type == 'm.room_key':\n        inbound.add(tx, "
              "inbound.InboundKey(event.content['room_id'], event.content['session_id'], 'S', 'E', 'device', "
              "event.content['session_key'], owner=event.sender))\n    elif event.type in _ONLY_ENCRYPTED:"),
        Break(TO_DEVICE, "key_requests.receive_forwarded(tx, event)", "inbound.imported("
              "tx, {**event.content, 'sender_claimed_keys': {'ed25519': 'E'}}, 'file')"),
        Break(OLM_DECRYPTION, 'if payload.get("sender") != message.sender:', "if False:"),
        Break(OLM_DECRYPTION, 'if payload.get("recipient") != tx.me.user_id:', "if False:"),
    ),
)  # fmt: skip
def test_no_key_is_taken_that_its_sender_did_not_give_to_this_very_device(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, alice, mallory = stage.bob.user_id, stage.alice.user_id, stage.mallory
    posing: list[str] = []

    def posed(_seen: object, answer: dict) -> None:
        for event in to_device_of(answer)["events"]:
            if event["sender"] == mallory.me.user_id and posing:
                event["sender"] = alice

    stage.network.fault = rewriting(posed, "/sync")
    planted: dict[str, str] = {}

    def plant(name: str, *, by: RawUser = stage.hers) -> Session:
        """A session, of which an event stands in the room, in Alice's name if nobody else is named."""
        session = Session(stage.room_id)
        planted[name] = by.send(stage.room_id, session.encrypt(value(666)), ENCRYPTED)
        return session

    # As it should be: a session of Mallory's is Mallory's.
    own = Session(stage.room_id)
    tell(mallory, bob, "m.room_key", own.room_key())
    # In clear, by the server; and in the room, by a member.
    body = {"messages": {bob: {"*": plant("in clear").room_key()}}}
    stage.hers.call("PUT", encoded("sendToDevice", "m.room_key", "clear"), body)
    in_room = own.encrypt(plant("in the room").room_key(), "m.room_key")
    shown = stage.member.send(stage.room_id, in_room, ENCRYPTED)
    # Forwarded, and never asked for.
    listed = stage.hers.call("POST", "keys/query", {"device_keys": {alice: []}})["device_keys"][alice]
    [hers] = listed.values()
    curve, ed = (key for _, key in sorted(hers["keys"].items()))
    tell(mallory, bob, "m.forwarded_room_key", plant("forwarded").forwarded(curve, ed))
    # By a member, in whose messages something is not so.
    for lie in (
        {"sender": alice},
        {"recipient": alice},
        {"recipient_keys": {"ed25519": ed}},
        {"keys": {"ed25519": ed}},
        {"sender_device_keys": hers},
    ):
        lying(stage, monkeypatch, **lie)
        tell(mallory, bob, "m.room_key", plant(f"lying: {sorted(lie)}", by=stage.member).room_key())
        monkeypatch.undo()
    # By a member, and the server says that it was Alice.
    posing.append("now")
    tell(mallory, bob, "m.room_key", plant("posing").room_key())
    lying(stage, monkeypatch, sender=alice)
    tell(mallory, bob, "m.room_key", plant("posing and lying").room_key())
    monkeypatch.undo()
    stage.heard()

    stolen = stage.forge(own.encrypt(value(666)))
    hers_own = stage.member.send(stage.room_id, own.encrypt(value(31)), ENCRYPTED)
    assert causes(stage.theirs, hers_own, shown, stolen) == [None, None, "mismatch"]
    assert dict(zip(planted, causes(stage.theirs, *planted.values()), strict=True)) == dict.fromkeys(
        planted, "no_key"
    )
    read = {(it.sender, it.value["temp"]) for it in records(stage.theirs)}
    assert (mallory.me.user_id, 31) in read
    assert 666 not in {temp for _, temp in read}


@fault(
    "T-A12",
    broken=Break(OUTBOUND, "messages = min(messages, excluded.messages)", "messages = excluded.messages"),
)
def test_settings_that_come_later_make_keys_serve_no_longer(server: TestServer) -> None:
    name = server.name("alice")
    alice, raw = server.connect(name), server.raw(name)
    state = {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 2}
    collection = {"v": 1, "name": "here", "uid": "here"}
    initial = [
        {"type": "m.room.encryption", "state_key": "", "content": state},
        {"type": "io.matrixdata.collection", "state_key": "", "content": collection},
    ]
    room_id = raw.create_room(initial_state=initial)
    mine = alice.collection(room_id, trust="all")
    assert mine.encrypted
    mine.publish({"temp": 0.5}, timeout=30)

    raw.put_state(room_id, "m.room.encryption", "", {**state, "rotation_period_msgs": 1_000_000})
    wait_until(lambda: "1000000" in repr([it.content for it in mine.history()]))
    for n in range(4):
        mine.publish({"temp": n + 1.5}, timeout=30)
    raw.put_state(room_id, "m.room.encryption", "", {"algorithm": "org.example.none"})
    mine.publish({"temp": 5.5}, timeout=30)

    sent = [it for it in raw.timeline(room_id) if it["sender"] == raw.user_id and "state_key" not in it]
    assert {it["type"] for it in sent} == {ENCRYPTED}
    assert len(sent) == 6
    by_session = [it["content"]["session_id"] for it in sent]
    assert max(by_session.count(session) for session in by_session) <= 2
