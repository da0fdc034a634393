"""Rooms among the devices of an exchange, and owners who sign devices: what a test of room keys needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from matrixdata.encryption import identities, outbound, recipients, sharing
from matrixdata.encryption.port import Clear, Encrypted, Prepared, Undecryptable
from matrixdata.encryption.signing import signed
from matrixdata.encryption.unpadded import encoded
from matrixdata.protocol.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.encryption.exchange import Exchange, Peer

ROOM = "!room:one.example"
TYPE = "org.example.reading"


class Owner:
    """A user's cross-signing keys, made here so that no code of ours signs what it checks."""

    def __init__(self, exchange: Exchange, user_id: str) -> None:
        self.exchange, self.user_id = exchange, user_id
        self.keys = {usage: Ed25519PrivateKey.generate() for usage in ("master", "self_signing")}

    @property
    def master(self) -> str:
        return self._public("master")

    def _public(self, usage: str) -> str:
        return encoded(self.keys[usage].public_key().public_bytes_raw())

    def _signed(self, value: dict[str, Any], usage: str) -> dict[str, Any]:
        sign = self.keys[usage].sign
        key_id = f"ed25519:{self._public(usage)}"
        return signed(value, self.user_id, key_id, lambda text: encoded(sign(text)))

    def publish(self) -> Owner:
        """Put the identity on the server, in place of another if there was one."""
        made = {}
        for usage in self.keys:
            key = self._public(usage)
            value = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{key}": key}}
            made[usage] = self._signed(value, "master") if usage != "master" else value
        self.exchange.identities[self.user_id] = made
        self.exchange.changes.append(self.user_id)
        return self

    def sign(self, *peers: Peer) -> Owner:
        """Sign devices of this user."""
        for peer in peers:
            uploaded = self.exchange.devices[self.user_id, peer.me.device_id]
            assert uploaded.device_keys is not None
            uploaded.device_keys = self._signed(uploaded.device_keys, "self_signing")
        self.exchange.changes.append(self.user_id)
        return self


def verify(peer: Peer, owner: Owner) -> None:
    """That device compared the owner's master key, as by emoji."""
    peer.do(identities.set_verified, owner.user_id, owner.master)


@dataclass
class Room:
    """An encrypted room: its timeline, as its server has it."""

    room_id: str = ROOM
    members: list[str] = field(default_factory=list)
    visibility: str = "shared"
    settings: dict[str, Any] = field(default_factory=dict)
    timeline: list[Event] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: count(1))

    def join(self, *peers: Peer, policy: str | None = None) -> None:
        for peer in peers:
            if peer.me.user_id not in self.members:
                self.members.append(peer.me.user_id)
            content = json.dumps({"algorithm": "m.megolm.v1.aes-sha2", **self.settings}).encode()
            peer.do(outbound.note_room, self.room_id, content)
            if policy:
                peer.do(recipients.set_policy, self.room_id, policy, None)

    def prepare(self, peer: Peer) -> Prepared:
        """Send what is to be sent, until nothing is."""
        for _ in range(20):
            prepared = peer.do(self._prepare)
            if not prepared.requests:
                return prepared
            for request in prepared.requests:
                peer.deliver(request)
        raise AssertionError("preparing has no end")

    def _prepare(self, tx: Any) -> Prepared:
        return sharing.prepare(tx, self.room_id, self.members, history_visibility=self.visibility)

    def encrypt(self, peer: Peer, content: dict[str, Any], event_type: str = TYPE) -> Encrypted:
        """Prepare, and encrypt in the transaction in which nothing was left to be prepared."""
        self.prepare(peer)
        with peer.transaction() as tx:
            assert not self._prepare(tx).requests
            return outbound.encrypt(tx, self.room_id, event_type, json.dumps(content).encode())

    def send(self, peer: Peer, content: dict[str, Any], event_type: str = TYPE) -> Event:
        return self.post(peer.me.user_id, self.encrypt(peer, content, event_type).content)

    def post(self, sender: str, content: bytes | dict[str, Any], **changed: Any) -> Event:
        """Whatever content, as an event of the room."""
        number = next(self.numbers)
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        event = Event(
            **{
                "event_id": f"$event{number}",
                "type": "m.room.encrypted",
                "sender": sender,
                "origin_server_ts": 1_700_000_000_000 + number,
                "content": text,
            }
            | changed
        )
        self.timeline.append(event)
        return event

    def read(self, peer: Peer, events: Iterable[Event] | None = None) -> list[Clear | Undecryptable]:
        page = list(self.timeline if events is None else events)
        return peer.do(peer.engine.decrypt, self.room_id, page)

    def seen(self, peer: Peer, *events: Event) -> list[Any]:
        """The clear contents, or the causes why there is none."""
        return [
            json.loads(it.content) if isinstance(it, Clear) else it.cause
            for it in self.read(peer, events or None)
        ]
