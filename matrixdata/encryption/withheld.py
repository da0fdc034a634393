"""Why senders did not give us keys (m.room_key.withheld). It comes in clear, so it is a hint and decides nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from matrixdata.encryption.names import are_names
from matrixdata.encryption.port import MEGOLM, Session
from matrixdata.encryption.reading import text_at
from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.encryption.port import ToDevice
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON

log = logging.getLogger("matrixdata.encryption")

MOST = 10_000
"""Hints kept; beyond that the oldest go."""

HISTORY_NOT_SHARED: Final = "m.history_not_shared"
"""Said in bundles alone, by whoever invited us, about the sessions of others."""

_LONGEST_REASON = 200

_SENTENCES = {
    "m.blacklisted": "its sender blocked this device",
    "m.unverified": "its sender gives keys only to devices that are signed or verified: sign this one, with the "
    "recovery key or from another device of yours",
    "m.unauthorised": "its sender does not want this user to read it",
    "m.unavailable": "the device that was asked does not have it",
    "m.no_olm": "its sender found no way to send it here, as when this device had no one-time keys left",
    HISTORY_NOT_SHARED: "it was sent when the room did not let later members read what came before them",
}


def receive(tx: Transaction, event: ToDevice) -> Session | None:
    """Note why the sender keeps a session's key from us.

    Returns:
        The session; None when nothing is to be looked at again, as where the hint is about a whole device.
    """
    if text_at(event.content, "code") == HISTORY_NOT_SHARED:
        log.info("ignored what %s says of a room's history outside a bundle", event.sender)
        return None
    return note(tx, event.sender, event.content)


def note(tx: Transaction, sender: str, content: Mapping[str, JSON]) -> Session | None:
    """Note what `sender` says of a session's key; see `receive`."""
    code = text_at(content, "code") or ""
    room_id, session_id = text_at(content, "room_id") or "", text_at(content, "session_id") or ""
    if code == "m.no_olm" and not session_id:
        room_id, session_id = "", text_at(content, "sender_key") or ""
    fits = are_names(code, session_id, sender) and (are_names(room_id) or code == "m.no_olm")
    if content.get("algorithm") != MEGOLM or not fits:
        log.info("a withheld notice of %s is incomplete; ignored", sender)
        return None
    reason = safe_text((text_at(content, "reason") or "")[:_LONGEST_REASON])
    tx.connection.execute(
        "REPLACE INTO withheld (room_id, session_id, sender, code, reason) VALUES (?, ?, ?, ?, ?)",
        (room_id, session_id, sender, code, reason),
    )
    tx.connection.execute(
        "DELETE FROM withheld WHERE rowid <= (SELECT max(rowid) FROM withheld) - ?", (MOST,)
    )
    return Session(room_id, session_id) if room_id else None


def reason(tx: Transaction, room_id: str, session_id: str, sender: str, sender_key: str) -> str:
    """Why this sender keeps the session's key from us, in a sentence with its code; "" when they said nothing.

    Args:
        tx: the transaction.
        room_id: the session's room.
        session_id: the session.
        sender: who sent what we cannot read; what others say of it is not listened to, but for the bundle of
            whoever invited us.
        sender_key: as the unreadable event states it, which nothing proves; "" when it does not.
    """
    rows = tx.connection.execute(
        "SELECT code, reason FROM withheld WHERE (sender = ? OR code = ?) "
        "AND (room_id, session_id) IN (VALUES (?, ?), ('', ?)) ORDER BY room_id DESC",
        (sender, HISTORY_NOT_SHARED, room_id, session_id, sender_key),
    ).fetchall()
    return _sentence(*rows[0]) if rows else ""


def came(tx: Transaction, session: Session) -> None:
    """The session's key is here after all."""
    tx.connection.execute(
        "DELETE FROM withheld WHERE room_id = ? AND session_id = ?", (session.room_id, session.session_id)
    )


def _sentence(code: str, reason: str) -> str:
    # What others wrote stands only where the code says nothing (spec "m.room_key.withheld").
    return f"{_SENTENCES.get(code) or reason or 'its sender keeps it back'} ({code})"
