"""A stage for attacks on encrypted collections: Alice writes, Bob reads, Mallory is a member; the server is hostile.

What a homeserver does in Alice's name is done here with another session of hers, which has no keys of hers: that is
just what her homeserver has. What it does to answers is done on their way to Bob, or to Alice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from vodozemac import GroupSession, InboundGroupSession

from matrixdata.encryption import device_lists, olm, outgoing
from tests.e2ee.devices import device
from tests.servers import RECORD, TestServer, encoded, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata import Client, Collection, Record
    from tests.encryption.exchange import Peer
    from tests.servers import Proxy, RawUser, Seen

ENCRYPTED = "m.room.encrypted"
MEGOLM = "m.megolm.v1.aes-sha2"
_numbers = count(1)


def value(temp: float, uid: str = "") -> dict[str, Any]:
    """A record's content, as the wire format has it."""
    return {"v": 1, "uid": uid or f"forged-{next(_numbers)}", "value": {"temp": temp}}


class Session:
    """A Megolm session that an attacker made."""

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id
        self._ratchet = GroupSession()
        self._id = self._ratchet.session_id
        self._key = self._ratchet.session_key
        self._exported = InboundGroupSession(self._key).export_at(0)

    def encrypt(self, content: dict[str, Any], kind: str = RECORD) -> dict[str, Any]:
        """The content of an m.room.encrypted."""
        text = json.dumps({"type": kind, "content": content, "room_id": self.room_id}).encode()
        return {
            "algorithm": MEGOLM,
            "ciphertext": self._ratchet.encrypt(text).to_base64(),
            "session_id": self._id,
        }

    def room_key(self) -> dict[str, Any]:
        """The content of an m.room_key."""
        return {
            "algorithm": MEGOLM,
            "room_id": self.room_id,
            "session_id": self._id,
            "session_key": self._key.to_base64(),
        }

    def forwarded(self, curve25519: str, ed25519: str) -> dict[str, Any]:
        """The content of an m.forwarded_room_key that says whose session it is."""
        assert self._exported is not None
        return {
            **self.room_key(),
            "session_key": self._exported.to_base64(),
            "sender_key": curve25519,
            "sender_claimed_ed25519_key": ed25519,
            "forwarding_curve25519_key_chain": [],
        }


def tell(peer: Peer, user_id: str, kind: str, content: dict[str, Any]) -> None:
    """Encrypt a to-device event for every device of a user, and send it."""
    peer.do(peer.engine.track, [user_id])
    peer.flush()
    devices = peer.do(device_lists.devices_of, [user_id])
    assert devices
    claim = peer.do(olm.claim, devices)
    if claim:
        peer.deliver(claim)
    with peer.transaction() as tx:
        messages = [
            (it.user_id, it.device_id, message)
            for it in devices
            if (message := olm.encrypt(tx, it, kind, content)) is not None
        ]
        outgoing.queue_messages(tx, ENCRYPTED, messages)
    peer.flush()
    assert messages


@dataclass
class Stage:
    """`alice`'s traffic goes through `wire`, `bob`'s through `network`; `hers` is what her homeserver writes as her."""

    server: TestServer
    wire: Proxy
    network: Proxy
    alice: Client
    bob: Client
    hers: RawUser
    mallory: Peer
    mine: Collection
    theirs: Collection
    names: tuple[str, str]

    @property
    def room_id(self) -> str:
        return self.mine.room_id

    @property
    def member(self) -> RawUser:
        """Mallory, over plain HTTP."""
        return self.mallory.exchange.user  # type: ignore[attr-defined, no-any-return]  # a Homeserver stands there

    def published(self, temp: float) -> tuple[str, dict[str, Any]]:
        """A record of Alice's: event id, and the content as her server has it."""
        receipt = self.mine.publish({"temp": temp}, timeout=30)
        assert receipt.event_id is not None
        return receipt.event_id, self.content(receipt.event_id)

    def content(self, event_id: str) -> dict[str, Any]:
        return self.event(event_id)["content"]

    def event(self, event_id: str) -> dict[str, Any]:
        return self.hers.call("GET", encoded("rooms", self.room_id, "event", event_id))

    def forge(self, content: dict[str, Any], kind: str = ENCRYPTED, room_id: str = "") -> str:
        """An event in Alice's name."""
        return self.hers.send(room_id or self.room_id, content, kind)

    def heard(self) -> None:
        """Wait until Bob has read something new, and so everything before it."""
        temp = next(_numbers) + 0.25
        self.published(temp)
        wait_until(lambda: temp in temps(self.theirs))

    def reopen(self) -> None:
        """Bob's program ends, and starts again on its store."""
        self.bob.close()
        self.bob = self.server.connect(self.names[1], url=self.network.url)
        self.theirs = self.bob.collection(self.room_id)


def staged(server: TestServer, **options: Any) -> Stage:
    """A new stage; `options` are of `create_collection`."""
    wire, network = server.proxy(), server.proxy()
    names = server.name("alice"), server.name("bob")
    alice, bob = server.connect(names[0], url=wire.url), server.connect(names[1], url=network.url)
    mallory = device(server, server.name("mallory"))
    invite = [bob.user_id, mallory.me.user_id]
    options = {"trust": "all", **options}
    mine = alice.create_collection("greenhouse", invite=invite, **options)
    mallory.exchange.user.join(mine.room_id)  # type: ignore[attr-defined]  # a Homeserver stands there
    theirs = bob.collection(mine.room_id, trust=options["trust"])
    return Stage(server, wire, network, alice, bob, server.raw(names[0]), mallory, mine, theirs, names)


def records(collection: Collection) -> list[Record]:
    """What somebody reads; undecryptable events are no reason to fail here."""
    return list(collection.query(timeout=20, on_incomplete="ignore").records())


def temps(collection: Collection) -> list[float]:
    """The temperatures that somebody reads."""
    return sorted(record.value["temp"] for record in records(collection))


def causes(collection: Collection, *event_ids: str) -> list[str | None]:
    """Why each of these cannot be read; None for what can."""
    found = {event.event_id: event.cause for event in collection.history(timeout=20)}
    return [found[event_id] for event_id in event_ids]


def rewriting(change: Callable[[Seen, Any], None], *ends: str) -> Callable[[Seen], Any]:
    """A fault for a proxy: JSON answers of paths with one of these in them are changed in place."""

    def fault(seen: Seen) -> Any:
        if not any(part in seen.path for part in ends):
            return None

        def edit(content: bytes) -> bytes:
            answer = json.loads(content)
            change(seen, answer)
            return json.dumps(answer).encode()

        return edit

    return fault


def to_device_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The to-device part of a sync answer, of whichever kind: its `events` may be changed."""
    part = answer.get("extensions", answer)
    return part.setdefault("to_device", {"events": []})
