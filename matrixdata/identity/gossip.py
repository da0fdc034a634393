"""Private keys from one of our own devices to another (spec "Secrets": Sharing): only between verified ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from matrixdata.encryption import (
    backup,
    cross_signing,
    device_lists,
    identities,
    olm,
    outgoing,
    stored_secrets,
    to_device,
)
from matrixdata.encryption.reading import text_at
from matrixdata.encryption.stored_secrets import BACKUP, NAMES
from matrixdata.encryption.unpadded import decoded, encoded
from matrixdata.identity import backups, inbox
from matrixdata.identity.situation import public_keys, situation

if TYPE_CHECKING:
    from matrixdata.encryption.port import Device, ToDevice
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk

log = logging.getLogger("matrixdata.identity")

_REQUEST, _SEND = "m.secret.request", "m.secret.send"


class _Asked(msgspec.Struct, frozen=True):
    name: str
    devices: frozenset[str]


class Gossip:
    """What this process asked its account's other devices for, and what it gives them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._asked: dict[str, _Asked] = {}

    async def ask(self) -> int:
        """Ask our verified devices for the private keys that are not here; for how many they were asked."""
        asked = await self._desk.write(self._ask)
        self._asked |= asked
        if asked:
            await self._desk.courier.deliver()
        return len(asked)

    def _ask(self, tx: Transaction) -> dict[str, _Asked]:
        held = situation(tx).held
        others = frozenset(it.device_id for it in _verified(tx))
        asked: dict[str, _Asked] = {}
        for name in NAMES if others else ():
            if name in held or any(it.name == name for it in self._asked.values()):
                continue
            request = tx.me.new_id()
            asked[request] = _Asked(name, others)
            _tell(tx, others, {"action": "request", "name": name}, request)
        return asked

    async def attend(self) -> bool:
        """Deal with what arrived; whether a private key came."""
        if not await self._desk.read(inbox.is_waiting):
            return False
        if any(it.name == BACKUP for it in self._asked.values()):
            await backups.adopt(self._desk)  # the key is compared with the backup that it is for
        claims, came = await self._desk.write(self._attend)
        if claims:
            await self._desk.courier.deliver()
            _, more = await self._desk.write(self._attend)
            came = came or more
        if claims or came:
            await self._desk.courier.deliver()
        return came

    def _attend(self, tx: Transaction) -> tuple[bool, bool]:
        claims = came = False
        for number, event in inbox.waiting(tx, "m.secret."):
            if event.sender != tx.me.user_id:
                log.info("ignored a %s of %s: secrets stay in the account", event.type, event.sender)
                to_device.taken(tx, number)
            elif event.type == _REQUEST:
                claims |= self._on_request(tx, number, event)
            elif event.type == _SEND:
                came |= self._on_secret(tx, number, event)
            else:
                to_device.taken(tx, number)
        return claims, came

    # -- what others ask for ----------------------------------------------------------------------------
    def _on_request(self, tx: Transaction, number: int, event: ToDevice) -> bool:
        """Answer, or leave it until we can; whether a session is to be made first."""
        content = event.content
        device_id, request = text_at(content, "requesting_device_id"), text_at(content, "request_id")
        if content.get("action") != "request" or device_id in {None, tx.me.device_id} or request is None:
            self._cancelled(tx, number, event)
            return False
        name = text_at(content, "name") or ""
        key = stored_secrets.get(tx, name) if name in situation(tx).held else None
        device = next((it for it in _verified(tx) if it.device_id == device_id), None)
        if key is None or device is None:
            return False  # it may be verified yet; after ten minutes it is dropped
        secret = olm.encrypt(tx, device, _SEND, {"request_id": request, "secret": encoded(key)})
        if secret is None:
            return olm.claim(tx, [device]) is not None
        outgoing.queue_messages(tx, "m.room.encrypted", [(device.user_id, device.device_id, secret)])
        to_device.taken(tx, number)
        log.info("gave our device %s the private key %s", device.device_id, name)
        return False

    def _cancelled(self, tx: Transaction, number: int, event: ToDevice) -> None:
        """A request that is withdrawn, our own, or malformed; the one that it withdraws goes too."""
        to_device.taken(tx, number)
        request = text_at(event.content, "request_id")
        for other, asked in inbox.waiting(tx, _REQUEST):
            if (
                text_at(asked.content, "request_id") == request
                and event.content.get("action") == "request_cancellation"
            ):
                to_device.taken(tx, other)

    # -- what we asked for ------------------------------------------------------------------------------
    def _on_secret(self, tx: Transaction, number: int, event: ToDevice) -> bool:
        request = text_at(event.content, "request_id") or ""
        asked = self._asked.get(request)
        if asked is None:
            return False  # another process on this store may have asked for it
        to_device.taken(tx, number)
        sender = next((it for it in _verified(tx) if it.curve25519 == event.sender_key), None)
        if sender is None or sender.device_id not in asked.devices:
            log.warning("ignored a private key from a device that was not asked for it")
            return False
        if not _take(tx, asked.name, text_at(event.content, "secret") or ""):
            log.warning("ignored a private key that does not fit: %s", asked.name)
            return False
        del self._asked[request]
        _tell(tx, asked.devices - {sender.device_id}, {"action": "request_cancellation"}, request)
        return True


def _tell(tx: Transaction, devices: frozenset[str], content: dict[str, str], request: str) -> None:
    whole = {**content, "request_id": request, "requesting_device_id": tx.me.device_id}
    outgoing.queue_messages(tx, _REQUEST, [(tx.me.user_id, it, {**whole}) for it in sorted(devices)])


def _take(tx: Transaction, name: str, secret: str) -> bool:
    if name == BACKUP:
        private, current = decoded(secret, length=32), backup.current(tx)
        if private is None or current is None or backup.public_key(private) != current.public_key:
            return False
        stored_secrets.put(tx, BACKUP, private)
        return True
    identity = identities.identity(tx, tx.me.user_id)
    return identity is not None and cross_signing.take(tx, name, secret, public_keys(identity).get(name))


def _verified(tx: Transaction) -> list[Device]:
    """Our other devices that our identity signed, while we know that identity to be ours."""
    if not situation(tx).trusted:
        return []
    return [
        it
        for it in device_lists.devices_of(tx, [tx.me.user_id])
        if it.device_id != tx.me.device_id and not it.blocked and identities.standing(tx, it) == "verified"
    ]
