"""The Megolm session that we write a room with, and the room's settings for it. Gives no key to anybody.

The ratchet is read, used and written back in one transaction: it is stored before anything that it encrypted leaves,
so that no two messages are ever encrypted by one state of it (fault F28).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from vodozemac import GroupSession, PickleException

from matrixdata.encryption import device_keys, inbound
from matrixdata.encryption.inbound import InboundKey
from matrixdata.encryption.port import MEGOLM, Encrypted
from matrixdata.encryption.reading import json_text, parsed_object
from matrixdata.errors import KeyMissing, StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON

log = logging.getLogger("matrixdata.encryption")

_HOUR = 3_600_000_000
_WEEK = 7 * 24 * _HOUR
_MESSAGES, _MOST_MESSAGES = 100, 10_000
"""What a room gets that names no number of messages, and what it gets at most (threat A12)."""

_RELATION = "m.relates_to"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Outbound:
    """The session that a room is written with now.

    Attributes:
        created_at: microseconds since 1970 UTC.
        messages: encrypted so far, which is the index of the next one.
        shared: history visibility allowed to share it with later members when it was made.
        members: user ids of who were members when its key was last given out.
        settled: number of the change in whom we know and trust up to which it was shared; None: it is to be looked at.
        left_out: user id, device id and reason of each device that got no key then.
    """

    session_id: str
    pickle: str = field(repr=False)
    created_at: int
    messages: int
    shared: bool
    members: frozenset[str]
    settled: int | None
    left_out: tuple[tuple[str, str, str], ...]


# -- the room's settings ----------------------------------------------------------------------------------
def note_room(tx: Transaction, room_id: str, content: bytes) -> None:
    """The room's m.room.encryption was seen: from now on it is encrypted for ever, whatever the server says later.

    Settings that come later can only make sessions shorter. Content that makes no sense still means encryption.
    """
    settings = parsed_object(content) or {}
    messages = _between(settings.get("rotation_period_msgs"), 1, _MOST_MESSAGES, otherwise=_MESSAGES)
    # A period of nothing would make each message cost a key for every device: an hour at least, as others do.
    period = _between(
        settings.get("rotation_period_ms"), _HOUR // 1000, _WEEK // 1000, otherwise=_WEEK // 1000
    )
    tx.connection.execute(
        "INSERT INTO encrypted_room (room_id, messages, period) VALUES (?, ?, ?) ON CONFLICT (room_id) DO UPDATE SET "
        "messages = min(messages, excluded.messages), period = min(period, excluded.period)",
        (room_id, messages, period * 1000),
    )


def is_encrypted(tx: Transaction, room_id: str) -> bool:
    """Whether the room was ever seen to be encrypted."""
    return (
        tx.connection.execute("SELECT 1 FROM encrypted_room WHERE room_id = ?", (room_id,)).fetchone()
        is not None
    )


def encrypted_rooms(tx: Transaction) -> set[str]:
    """All rooms that were ever seen to be encrypted."""
    return {room_id for (room_id,) in tx.connection.execute("SELECT room_id FROM encrypted_room")}


def _between(value: JSON, least: int, most: int, *, otherwise: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return otherwise
    return max(least, min(value, most))


# -- the session ------------------------------------------------------------------------------------------
def current(tx: Transaction, room_id: str) -> Outbound | None:
    """The session that the room is written with, None when there is none yet or it was rotated."""
    row = tx.connection.execute(
        "SELECT session_id, pickle, created_at, messages, shared, members, settled, left_out FROM megolm_outbound "
        "WHERE room_id = ?",
        (room_id,),
    ).fetchone()
    if row is None:
        return None
    members = msgspec.json.decode(row[5], type=frozenset[str])
    left_out = msgspec.json.decode(row[7], type=tuple[tuple[str, str, str], ...])
    return Outbound(row[0], row[1], row[2], row[3], bool(row[4]), members, row[6], left_out)


def is_used_up(tx: Transaction, room_id: str, session: Outbound) -> bool:
    """Whether it has served as many messages, or as long, as the room's settings allow."""
    messages, period = _limits(tx, room_id)
    # A clock that was set back must not keep a session for ever.
    return session.messages >= messages or abs(tx.me.clock() - session.created_at) > period


def begin(tx: Transaction, room_id: str, *, shared: bool) -> Outbound:
    """A new session in place of the one before. We can read it ourselves from the start."""
    rotate(tx, room_id)
    session = GroupSession()
    tx.connection.execute(
        "INSERT INTO megolm_outbound (room_id, session_id, pickle, created_at, shared) VALUES (?, ?, ?, ?, ?)",
        (room_id, session.session_id, session.pickle(tx.me.pickle_key), tx.me.clock(), shared),
    )
    curve25519, ed25519 = device_keys.identity_keys(tx)
    inbound.add(
        tx,
        InboundKey(
            *(room_id, session.session_id, curve25519, ed25519, "own", session.session_key.to_base64()),
            owner=tx.me.user_id,
            shared=shared,
            standing="verified",
        ),
    )
    begun = current(tx, room_id)
    assert begun is not None  # noqa: S101  it was just written
    return begun


def note_members(tx: Transaction, room_id: str, members: Iterable[str]) -> None:
    """Its key was given out while these were members."""
    tx.connection.execute(
        "UPDATE megolm_outbound SET members = ? WHERE room_id = ?",
        (msgspec.json.encode(sorted(members)), room_id),
    )


def settle(tx: Transaction, room_id: str, left_out: Iterable[tuple[str, str, str]]) -> None:
    """Everybody was given its key who is to have it, as far as who is there and trusted now; these were left out."""
    tx.connection.execute(
        "UPDATE megolm_outbound SET settled = (SELECT n FROM trust_change), left_out = ? WHERE room_id = ?",
        (msgspec.json.encode(list(left_out)), room_id),
    )


def is_settled(tx: Transaction, session: Outbound) -> bool:
    """Whether nobody came, went or became more or less trusted since `settle`."""
    (changes,) = tx.connection.execute("SELECT n FROM trust_change").fetchone()
    return session.settled == int(changes)


def rotate(tx: Transaction, room_id: str) -> None:
    """Use the session no more; the next message gets a new one. To be called whenever somebody is seen to leave."""
    c = tx.connection
    c.execute(
        "DELETE FROM megolm_recipient WHERE session_id = (SELECT session_id FROM megolm_outbound WHERE room_id = ?)",
        (room_id,),
    )
    c.execute("DELETE FROM megolm_outbound WHERE room_id = ?", (room_id,))


def seen(tx: Transaction, room_id: str, session_id: str, index: int) -> None:
    """A message of our own session came back. One that this store has yet to write was written by a later state of it.

    Then it was put back whole, as from a backup of the disk, and the ratchet's state must not serve a second time.
    """
    session = current(tx, room_id)
    if session is None or session.session_id != session_id or index < session.messages:
        return
    log.warning(
        "this store was put back to an older state: %s is written with a new key from now on", room_id
    )
    rotate(tx, room_id)


def rotate_all(tx: Transaction) -> None:
    """Use none of the sessions any more.

    To be called when the store is an older copy of itself: the state of their ratchets may have been used since.
    """
    tx.connection.execute("DELETE FROM megolm_recipient WHERE session_id <> ''")
    tx.connection.execute("DELETE FROM megolm_outbound")


def room_key(tx: Transaction, room_id: str, session: Outbound) -> Mapping[str, JSON]:
    """Content of the m.room_key that lets its receiver read from the next message on, and nothing before."""
    return {
        "algorithm": MEGOLM,
        "room_id": room_id,
        "session_id": session.session_id,
        "session_key": _opened(tx, session.pickle).session_key.to_base64(),
        **dict.fromkeys(inbound.SHARED_HISTORY, session.shared),
    }


# -- encryption -------------------------------------------------------------------------------------------
def encrypt(tx: Transaction, room_id: str, event_type: str, content: bytes) -> Encrypted:
    """Encrypt an event for the room, by the session that `sharing.prepare` left nothing to do for.

    Call both in one transaction, and store what this returns in it too. What is sent again must be these bytes.

    Args:
        tx: the transaction.
        room_id: the room.
        event_type: of the event inside.
        content: JSON text of its content. `m.relates_to` is repeated in clear, for the server (spec "Forming
            relationships"); inside it is authenticated.

    Raises:
        KeyMissing: the room was not prepared, or the session is used up.
    """
    session = current(tx, room_id)
    if session is None or session.messages >= _limits(tx, room_id)[0]:
        raise KeyMissing(
            f"no session to write {room_id} with: it is to be prepared first, in the same transaction"
        )
    relation = _members.decode(content).get(_RELATION)
    ratchet = _opened(tx, session.pickle)
    named = json_text({"type": event_type, "room_id": room_id})
    message = ratchet.encrypt(named[:-1] + b',"content":' + content + b"}")
    tx.connection.execute(
        "UPDATE megolm_outbound SET pickle = ?, messages = ? WHERE room_id = ?",
        (ratchet.pickle(tx.me.pickle_key), ratchet.message_index, room_id),
    )
    envelope = json_text(
        {
            "algorithm": MEGOLM,
            "ciphertext": message.to_base64(),
            "device_id": tx.me.device_id,  # these two are deprecated, and still asked for by older readers
            "sender_key": device_keys.identity_keys(tx)[0],
            "session_id": session.session_id,
        }
    )
    if relation is not None:
        envelope = envelope[:-1] + b"," + json.dumps(_RELATION).encode() + b":" + bytes(relation) + b"}"
    return Encrypted(envelope, session.session_id, session.messages)


def _limits(tx: Transaction, room_id: str) -> tuple[int, int]:
    row = tx.connection.execute(
        "SELECT messages, period FROM encrypted_room WHERE room_id = ?", (room_id,)
    ).fetchone()
    return row or (_MESSAGES, _WEEK)


def _opened(tx: Transaction, pickle: str) -> GroupSession:
    try:
        return GroupSession.from_pickle(pickle, tx.me.pickle_key)
    except PickleException as error:
        raise StoreCorrupt(
            "the session that a room is written with cannot be opened: "
            "it was changed, or the store's key is another one"
        ) from error
