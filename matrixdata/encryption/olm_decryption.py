"""Decrypting what single devices sent us, and every check that the spec asks for before it is believed.

A message that fails a check leaves no trace: neither ratchet nor one-time key is used up by it.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from vodozemac import AnyOlmMessage, Curve25519PublicKey

from matrixdata.encryption import device_answers, device_lists, olm, olm_sessions
from matrixdata.encryption.device_keys import identity_keys, load, save
from matrixdata.encryption.port import Device, ToDevice
from matrixdata.encryption.reading import object_at, parsed_object, text_at
from matrixdata.encryption.unpadded import decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vodozemac import Account, Session

    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

_LONGEST = 400_000  # base64; a to-device message of our peers takes 2 to 3 kB, Synapse lets pass about 64 kB
_REMEMBERED = 30 * 24 * 3_600_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """An Olm message for this device, not decrypted yet."""

    sender: str
    sender_key: str
    kind: int
    ciphertext: bytes

    def digest(self) -> bytes:
        """Names it, for noticing one that the server repeats."""
        head = f"{self.sender}\0{self.sender_key}\0{self.kind}\0".encode(errors="surrogatepass")
        return hashlib.sha256(head + self.ciphertext).digest()


class Decrypted(msgspec.Struct, frozen=True):
    """What was inside, and the fingerprint of the device that sent it, by its own word if `event.device_id` is None."""

    event: ToDevice
    ed25519: str


class AccountAtWork:
    """This device's account, read once for all the messages that come together: with many keys it takes 50 ms.

    Belongs to one transaction.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._account: Account | None = None

    def get(self) -> Account:
        """The account, in which a session that is made uses up a one-time key."""
        if self._account is None:
            self._account = load(self._tx)
        return self._account

    def save(self) -> None:
        """Keep what was used up."""
        save(self._tx, self.get())

    def discard(self) -> None:
        """Nothing was used up after all."""
        self._account = None


class _Opened(msgspec.Struct, frozen=True):
    session: Session
    clear: bytes
    is_new: bool = False  # the session, which used up a one-time key


def message_for(own_key: str, event: ToDevice) -> Message | None:
    """The Olm message in an m.room.encrypted event; None where there is none for this device."""
    sender_key = text_at(event.content, "sender_key")
    ours = object_at(event.content, "ciphertext", own_key)
    kind, body = ours.get("type"), ours.get("body")
    if sender_key is None or type(kind) is not int or kind not in {0, 1}:
        return None
    ciphertext = decoded(body) if isinstance(body, str) and len(body) <= _LONGEST else None
    return None if not ciphertext else Message(event.sender, sender_key, kind, ciphertext)


def decrypt(tx: Transaction, message: Message, account: AccountAtWork) -> Decrypted | None:
    """Decrypt and check a message; what comes of it is written in this transaction.

    Returns:
        None where there is nothing to act on: the server repeated it, the session is broken (which is noted and
        mended), or what is inside is not what it must be (which is logged).
    """
    digest = message.digest()
    if tx.connection.execute("SELECT 1 FROM olm_seen WHERE digest = ?", (digest,)).fetchone():
        return None
    opened = _opened(tx, message, account)
    if opened is None:
        log.info("a message of %s cannot be decrypted; the session is replaced", message.sender)
        olm.found_broken(tx, message.sender, message.sender_key)
        return None
    checked = _checked(tx, message, opened.clear)
    if isinstance(checked, str):
        log.warning("ignored an encrypted message of %s: %s", message.sender, checked)
        account.discard()
        return None
    if opened.is_new:
        account.save()
    olm_sessions.received(tx, message.sender_key, opened.session)
    tx.connection.execute("INSERT INTO olm_seen VALUES (?, ?)", (digest, tx.me.clock()))
    return checked


def forget_old(tx: Transaction) -> None:
    """Let go of the digests that no server repeats any more."""
    tx.connection.execute("DELETE FROM olm_seen WHERE at < ?", (tx.me.clock() - _REMEMBERED,))


# -- decrypting -------------------------------------------------------------------------------------------
def _opened(tx: Transaction, message: Message, account: AccountAtWork) -> _Opened | None:
    try:
        any_message = AnyOlmMessage.from_parts(message.kind, message.ciphertext)
        pre_key = any_message.to_pre_key()
    except ValueError:  # each of vodozemac's errors is one
        return None
    if pre_key is None:
        for session in olm_sessions.with_device(tx, message.sender_key):
            opened = _decrypted_by(session, any_message)
            if opened is not None:
                return opened
        return None
    known = olm_sessions.find(tx, message.sender_key, pre_key.session_id())
    if known is not None:
        return _decrypted_by(known, any_message)
    try:
        sender_key = Curve25519PublicKey.from_base64(message.sender_key)
        session, clear = account.get().create_inbound_session(sender_key, pre_key)
    except ValueError:
        return None
    return _Opened(session, clear, is_new=True)


def _decrypted_by(session: Session, message: AnyOlmMessage) -> _Opened | None:
    try:
        return _Opened(session, session.decrypt(message))
    except ValueError:
        return None


# -- checking (spec "Validation of incoming decrypted events") ---------------------------------------------
def _checked(tx: Transaction, message: Message, clear: bytes) -> Decrypted | str:
    """What is inside, or why that is not believed."""
    payload = parsed_object(clear)
    fault = "it is no event" if payload is None else _fault(tx, message, payload)
    if payload is None or fault:
        return fault or ""
    device = _device(tx, message, payload)
    return device if isinstance(device, str) else _decrypted(message, payload, device)


def _fault(tx: Transaction, message: Message, payload: JSONObject) -> str | None:
    if payload.get("sender") != message.sender:
        return "it names another sender"
    if payload.get("recipient") != tx.me.user_id:
        return "it is for another user"
    if text_at(payload, "recipient_keys", "ed25519") != identity_keys(tx)[1]:
        return "it is for another device"
    if text_at(payload, "keys", "ed25519") is None:
        return "it does not name its device's fingerprint"
    if not isinstance(payload.get("type"), str) or not isinstance(payload.get("content"), dict):
        return "it is no event"
    return None


def _device(tx: Transaction, message: Message, payload: JSONObject) -> Device | str | None:
    """The device that sent it; None: not known yet; text: why it cannot be the one."""
    ed25519 = text_at(payload, "keys", "ed25519")
    known = device_lists.by_key(tx, message.sender_key)
    if "sender_device_keys" in payload:
        keys = object_at(payload, "sender_device_keys")
        if known is not None and known.keys == keys:  # checked before
            return _same(message, known, ed25519)
        described = _described(message, keys)
        if isinstance(described, str) or described.ed25519 != ed25519:
            return "the device keys in it do not fit"
        found = device_answers.introduced(tx, described)
        if found is None and known is not None and known.user_id == message.sender:
            return "its device's fingerprint is another than before"
        if known is None or known.user_id != message.sender:
            _look_up(tx, message.sender)
        return found
    if known is None:
        _look_up(tx, message.sender)
        return None
    return _same(message, known, ed25519)


def _same(message: Message, known: Device, ed25519: str | None) -> Device | str:
    if known.user_id != message.sender or known.ed25519 != ed25519:
        return "it comes from another device than it says"
    return known


def _described(message: Message, keys: Mapping[str, JSON]) -> Device | str:
    device = device_answers.device_from(message.sender, text_at(keys, "device_id") or "", keys)
    if isinstance(device, Device) and device.curve25519 != message.sender_key:
        return "its identity key is another"
    return device


def _look_up(tx: Transaction, user_id: str) -> None:
    device_lists.track(tx, [user_id])
    device_lists.mark_stale(tx, [user_id])


def _decrypted(message: Message, payload: JSONObject, device: Device | None) -> Decrypted:
    event = ToDevice(
        text_at(payload, "type") or "",
        message.sender,
        object_at(payload, "content"),
        message.sender_key,
        device.device_id if device else None,
    )
    return Decrypted(event, text_at(payload, "keys", "ed25519") or "")
