"""Asking our own devices for keys that we lack, and answering them (spec "Key requests"). Never anybody else's.

Keys travel only between verified devices of our own user, and only where one was asked for (threat A6).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from matrixdata.encryption import device_lists, identities, inbound, olm, outgoing
from matrixdata.encryption.device_keys import identity_keys
from matrixdata.encryption.inbound import InboundKey
from matrixdata.encryption.names import are_names
from matrixdata.encryption.port import MEGOLM, Session
from matrixdata.encryption.reading import text_at, texts_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.encryption.inbound import Stored
    from matrixdata.encryption.port import Device, ToDevice
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_MOST_ASKED = 1_000
"""Requests of other devices that wait for their answer; a device that asks for more asks again later."""
_MOST_FORWARDERS = 20
_TYPE = "m.room_key_request"


# -- what we lack -----------------------------------------------------------------------------------------
def ask(tx: Transaction, sessions: Iterable[Session]) -> int:
    """Ask our other verified devices for these sessions; of each once an hour at most.

    The requests are queued. Nobody is asked while there is no other device of ours that is verified.

    Returns:
        For how many sessions somebody was asked now.
    """
    devices = [it for it in _own_others(tx) if _is_verified(tx, it)]
    if not devices:
        return 0
    to, asked = [it.device_id for it in devices], 0
    for session in sessions:
        if are_names(session.room_id, session.session_id) and _is_due(tx, session):
            _ask(tx, session, to)
            asked += 1
    return asked


def receive_forwarded(tx: Transaction, event: ToDevice) -> Session | None:
    """Take an m.forwarded_room_key: only from a verified device of ours, and only for a session that we asked for.

    Args:
        tx: the transaction.
        event: decrypted by Olm; in clear it is refused.
    """
    content = event.content
    session = Session(text_at(content, "room_id") or "", text_at(content, "session_id") or "")
    device = _verified(tx, event)
    request = _request(tx, session)
    if device is None or request is None or device.device_id not in request[1]:
        log.info(
            "a forwarded room key from %s was refused: not asked for, or not by a device of ours",
            event.sender,
        )
        return None
    key, sender_key = text_at(content, "session_key"), text_at(content, "sender_key")
    ed25519 = text_at(content, "sender_claimed_ed25519_key")
    if content.get("algorithm") != MEGOLM or not (key and sender_key and ed25519):
        log.info("a forwarded room key is incomplete; refused")
        return None
    chain = [it for it in texts_at(content, "forwarding_curve25519_key_chain") if are_names(it)]
    taken = inbound.add(
        tx,
        InboundKey(
            *(session.room_id, session.session_id, sender_key, ed25519, "forwarded", key),
            shared=inbound.is_shared(content),
            forwarders=(*chain[:_MOST_FORWARDERS], device.curve25519),
        ),
    )
    known = inbound.find(tx, session.room_id, session.session_id)
    if known is not None and known.first_index == 0:
        _cancel(tx, request[0], request[1])
    return taken


def _ask(tx: Transaction, session: Session, devices: list[str]) -> None:
    request = _request(tx, session)
    request_id = request[0] if request else tx.me.new_id()  # asked again, it is the same request
    tx.connection.execute(
        "REPLACE INTO key_request (id, room_id, session_id, at, devices) VALUES (?, ?, ?, ?, ?)",
        (request_id, session.room_id, session.session_id, tx.me.clock(), msgspec.json.encode(devices)),
    )
    body: JSONObject = {"algorithm": MEGOLM, "room_id": session.room_id, "session_id": session.session_id}
    _send(tx, devices, {"action": "request", "body": body}, request_id)


def _cancel(tx: Transaction, request_id: str, devices: list[str]) -> None:
    tx.connection.execute("DELETE FROM key_request WHERE id = ?", (request_id,))
    _send(tx, devices, {"action": "request_cancellation"}, request_id)


def _send(tx: Transaction, devices: list[str], content: Mapping[str, JSON], request_id: str) -> None:
    whole = {**content, "request_id": request_id, "requesting_device_id": tx.me.device_id}
    outgoing.queue_messages(tx, _TYPE, [(tx.me.user_id, it, whole) for it in devices])


def _request(tx: Transaction, session: Session) -> tuple[str, list[str]] | None:
    """Id of our request for this session, and who was asked."""
    row = tx.connection.execute(
        "SELECT id, devices FROM key_request WHERE room_id = ? AND session_id = ?",
        (session.room_id, session.session_id),
    ).fetchone()
    return (row[0], msgspec.json.decode(row[1], type=list[str])) if row else None


def _is_due(tx: Transaction, session: Session) -> bool:
    row = tx.connection.execute(
        "SELECT at FROM key_request WHERE room_id = ? AND session_id = ?",
        (session.room_id, session.session_id),
    ).fetchone()
    return row is None or not 0 <= tx.me.clock() - row[0] < _HOUR


# -- what others lack -------------------------------------------------------------------------------------
def receive_request(tx: Transaction, event: ToDevice) -> None:
    """Take an m.room_key_request. It comes in clear; what is answered goes encrypted to that device of ours alone."""
    content = event.content
    request_id, device_id = (
        text_at(content, "request_id") or "",
        text_at(content, "requesting_device_id") or "",
    )
    if event.sender != tx.me.user_id or device_id == tx.me.device_id or not are_names(request_id, device_id):
        return  # of others there are many, by design of older clients: not a line in the log for each
    c = tx.connection
    if content.get("action") == "request_cancellation":
        c.execute("DELETE FROM key_asked WHERE device_id = ? AND request_id = ?", (device_id, request_id))
        return
    room_id, session_id = (
        text_at(content, "body", "room_id") or "",
        text_at(content, "body", "session_id") or "",
    )
    is_megolm = text_at(content, "body", "algorithm") == MEGOLM
    (waiting,) = c.execute("SELECT count(*) FROM key_asked").fetchone()
    if content.get("action") != "request" or not is_megolm or not are_names(room_id, session_id):
        return
    if waiting < _MOST_ASKED:
        c.execute(
            "REPLACE INTO key_asked (request_id, device_id, room_id, session_id, at) VALUES (?, ?, ?, ?, ?)",
            (request_id, device_id, room_id, session_id, tx.me.clock()),
        )
    answer(tx)


def answer(tx: Transaction) -> None:
    """Answer what our own devices asked for, as far as we can now.

    Who is not verified yet may be within the day; a device with which there is no Olm session gets one first. So this
    is to be called also after devices changed and after claims were answered.
    """
    c, now = tx.connection, tx.me.clock()
    c.execute("DELETE FROM key_asked WHERE abs(? - at) > ?", (now, _DAY))
    rows = c.execute("SELECT device_id, request_id, room_id, session_id FROM key_asked").fetchall()
    if not rows:
        return
    devices = {it.device_id: it for it in _own_others(tx) if _is_verified(tx, it) and not it.blocked}
    waiting: list[Device] = []
    for device_id, request_id, room_id, session_id in rows:
        device, session = devices.get(device_id), inbound.find(tx, room_id, session_id)
        if device is None or session is None:
            continue
        message = olm.encrypt(tx, device, "m.forwarded_room_key", _forwarded(tx, session))
        if message is None:
            waiting.append(device)
            continue
        outgoing.queue_messages(tx, "m.room.encrypted", [(device.user_id, device_id, message)])
        c.execute("DELETE FROM key_asked WHERE device_id = ? AND request_id = ?", (device_id, request_id))
    olm.claim(tx, waiting)


def _forwarded(tx: Transaction, session: Stored) -> JSONObject:
    data = inbound.export(tx, session).data
    return {
        "algorithm": MEGOLM,
        "room_id": session.room_id,
        "session_id": session.session_id,
        "session_key": data["session_key"],
        "sender_key": session.sender_key,
        "sender_claimed_ed25519_key": session.ed25519,
        "forwarding_curve25519_key_chain": data["forwarding_curve25519_key_chain"],
        **dict.fromkeys(inbound.SHARED_HISTORY, session.shared),
    }


# -- which devices ----------------------------------------------------------------------------------------
def _own_others(tx: Transaction) -> list[Device]:
    own_key = identity_keys(tx)[0]
    return [it for it in device_lists.devices_of(tx, [tx.me.user_id]) if it.curve25519 != own_key]


def _is_verified(tx: Transaction, device: Device) -> bool:
    return identities.standing(tx, device) == "verified"


def _verified(tx: Transaction, event: ToDevice) -> Device | None:
    """The verified device of ours that sent this encrypted event; None: it is none."""
    if event.sender_key is None or event.sender != tx.me.user_id:
        return None
    device = device_lists.by_key(tx, event.sender_key)
    if device is None or device.user_id != tx.me.user_id or device.deleted or device.blocked:
        return None
    return device if _is_verified(tx, device) else None
