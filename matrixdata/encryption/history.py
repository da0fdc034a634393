"""Keys of a room's past for somebody invited (spec "Sharing keys between users", MSC4268).

A bundle is a file in the media store, encrypted like an attachment; who carries it there and back is not decided
here. Only sessions whose makers agreed go into one, and only one from whoever invited us is opened (threat A14).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matrixdata.encryption import device_lists, identities, inbound, olm, outgoing, withheld
from matrixdata.encryption.names import are_names
from matrixdata.encryption.port import MEGOLM, Prepared, Session
from matrixdata.encryption.reading import json_text, object_at, parsed_object, text_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.encryption.port import Device, Outgoing, ToDevice
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

_MOST_OFFERS = 1_000
_DAY = 24 * 3_600_000_000
_MONTH = 30 * _DAY
_LONGEST = 10_000  # bytes of a reference to a file
_OFFER = "key bundle"


# -- giving -----------------------------------------------------------------------------------------------
def bundle(tx: Transaction, room_id: str) -> JSONObject | None:
    """What may be given of a room's keys to somebody invited: a RoomKeyBundle, to be uploaded as a file.

    Sessions whose maker did not agree are named in it as withheld.

    Returns:
        None when there is nothing to give.
    """
    keys: list[JSON] = []
    kept_back: list[JSON] = []
    for it in inbound.exported(tx, room_id=room_id):
        named: JSONObject = {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": it.session.session_id,
            "sender_key": it.data["sender_key"],
        }
        if it.data["shared_history"]:
            claimed, key = it.data["sender_claimed_keys"], it.data["session_key"]
            keys.append({**named, "sender_claimed_keys": claimed, "session_key": key})
        else:
            kept_back.append({**named, "code": "m.history_not_shared", "reason": "History not shared"})
    return {"room_keys": keys, "withheld": kept_back} if keys else None


def unready(tx: Transaction, user_id: str) -> tuple[Outgoing, ...]:
    """What is to be sent before a bundle can be offered to that user: send it, report the answers, ask again."""
    queries = device_lists.ask(tx, [user_id])
    if queries:
        return queries
    claim = olm.claim(tx, _trusted(tx, user_id))
    return (claim,) if claim else ()


def offer(tx: Transaction, room_id: str, user_id: str, file: Mapping[str, JSON]) -> Prepared:
    """Tell the devices of somebody whom we are about to invite where the bundle is: once, when nothing is `unready`.

    Only devices that their owner signed are told: a bundle is much to lose.

    Args:
        tx: the transaction.
        room_id: the room.
        user_id: whom we invite.
        file: EncryptedFile of the uploaded bundle (spec "Sending encrypted attachments").

    Returns:
        What is to be sent, before the invite; and which devices are not told.
    """
    content: JSONObject = {"room_id": room_id, "file": dict(file)}
    trusted = _trusted(tx, user_id)
    encrypted = [(it, olm.encrypt(tx, it, "m.room_key_bundle", content)) for it in trusted]
    messages = [(it.user_id, it.device_id, message) for it, message in encrypted if message is not None]
    left_out = [(it, "no way to send it a key") for it, message in encrypted if message is None]
    others = [it for it in device_lists.devices_of(tx, [user_id]) if it not in trusted]
    left_out += [(it, "not signed by its owner") for it in others]
    return Prepared(outgoing.queue_messages(tx, "m.room.encrypted", messages), tuple(left_out))


def _trusted(tx: Transaction, user_id: str) -> list[Device]:
    return [it for it in device_lists.devices_of(tx, [user_id]) if not it.blocked and _is_signed(tx, it)]


def _is_signed(tx: Transaction, device: Device) -> bool:
    return identities.standing(tx, device) in {"cross-signed", "verified"}


# -- taking -----------------------------------------------------------------------------------------------
def receive(tx: Transaction, event: ToDevice) -> bool:
    """Note an m.room_key_bundle; nothing is downloaded for it, as anybody can offer anything.

    Args:
        tx: the transaction.
        event: decrypted by Olm; in clear it is refused.

    Returns:
        Whether there is an offer now.
    """
    room_id, file = text_at(event.content, "room_id") or "", object_at(event.content, "file")
    reference = json_text(file)
    fits = are_names(room_id) and text_at(file, "url") and len(reference) <= _LONGEST
    if event.sender_key is None or not fits:
        log.info("room keys offered by %s were refused: not encrypted, or incomplete", event.sender)
        return False
    c, now = tx.connection, tx.me.clock()
    sealed = tx.seal(reference, _OFFER)
    c.execute("DELETE FROM key_bundle WHERE abs(? - at) > ?", (now, _MONTH))
    c.execute(
        "REPLACE INTO key_bundle (room_id, sender, sender_key, sealed, at) VALUES (?, ?, ?, ?, ?)",
        (room_id, event.sender, event.sender_key, sealed, now),
    )
    c.execute(
        "DELETE FROM key_bundle WHERE (room_id, sender) IN "
        "(SELECT room_id, sender FROM key_bundle ORDER BY at DESC LIMIT -1 OFFSET ?)",
        (_MOST_OFFERS,),
    )
    return True


def accept(tx: Transaction, room_id: str, inviter: str) -> None:
    """We are about to join a room by this user's invite: what they offer for it within a day is to be opened."""
    tx.connection.execute("REPLACE INTO key_invite VALUES (?, ?, ?)", (room_id, inviter, tx.me.clock()))
    device_lists.track(tx, [inviter])  # to know whether the device that offers is theirs


def due(tx: Transaction) -> list[tuple[str, str]]:
    """Rooms that we joined lately whose inviter offered keys, with who that is: `offered` says where the file is.

    To be asked after `accept`, when an offer came, when devices became known, and after a restart.
    """
    rows = tx.connection.execute(
        "SELECT room_id, inviter FROM key_invite JOIN key_bundle USING (room_id) "
        "WHERE sender = inviter AND abs(? - key_invite.at) <= ? ORDER BY room_id",
        (tx.me.clock(), _DAY),
    ).fetchall()
    return [(room_id, inviter) for room_id, inviter in rows if offered(tx, room_id, inviter) is not None]


def has_receivers(tx: Transaction, user_id: str) -> bool:
    """Whether any device of that user could be told of a bundle, as far as is known."""
    return bool(_trusted(tx, user_id))


def offered(tx: Transaction, room_id: str, inviter: str) -> JSONObject | None:
    """The file with the room's keys that whoever invited us offered: an EncryptedFile. None: nothing to download.

    An offer counts only if it came from a device that its owner signed, as far as is known now.
    """
    row = tx.connection.execute(
        "SELECT sealed, sender_key FROM key_bundle WHERE room_id = ? AND sender = ?", (room_id, inviter)
    ).fetchone()
    device = device_lists.by_key(tx, row[1]) if row else None
    if device is None or device.user_id != inviter or not _is_signed(tx, device):
        return None
    return parsed_object(tx.unseal(row[0], _OFFER))


def take(tx: Transaction, room_id: str, inviter: str, bundle: Mapping[str, JSON]) -> frozenset[Session]:
    """Take the keys of a downloaded bundle: those of that room, on the inviter's word alone.

    Args:
        tx: the transaction.
        room_id: the room that we joined.
        inviter: who invited us to it, and offered the bundle; from anybody else nothing is taken.
        bundle: the file, decrypted and parsed.

    Returns:
        Sessions for which there is now a key, or a word on why there is none.
    """
    if offered(tx, room_id, inviter) is None:
        log.info("a bundle of room keys was not offered by %s, who invited us; refused", inviter)
        return frozenset()
    given_up(tx, room_id, inviter)
    found = set[Session | None]()
    for key in _objects(bundle, "room_keys"):
        if text_at(key, "room_id") == room_id:
            found.add(inbound.imported(tx, key, "bundle", source=inviter))
    for notice in _objects(bundle, "withheld"):
        if text_at(notice, "room_id") == room_id:
            found.add(withheld.note(tx, inviter, notice))
    return frozenset(it for it in found if it is not None)


def given_up(tx: Transaction, room_id: str, inviter: str) -> None:
    """The offer is dealt with, or its file is gone."""
    tx.connection.execute("DELETE FROM key_bundle WHERE room_id = ? AND sender = ?", (room_id, inviter))


def _objects(value: Mapping[str, JSON], key: str) -> list[JSONObject]:
    found = value.get(key)
    return [it for it in found if isinstance(it, dict)] if isinstance(found, list) else []
