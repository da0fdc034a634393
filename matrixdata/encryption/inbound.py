"""The Megolm sessions that we read with: which keys are taken, how two copies of one session become one, exports.

A session is its Ed25519 key, and each message is signed with it: a copy of the ratchet from earlier on reveals more,
but can add nothing in the sender's name.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import msgspec
from vodozemac import (
    ExportedSessionKey,
    InboundGroupSession,
    PickleException,
    SessionKey,
    SessionKeyDecodeException,
)

from matrixdata.encryption import device_lists, identities, withheld
from matrixdata.encryption.names import are_names
from matrixdata.encryption.port import MEGOLM, Session, Standing
from matrixdata.encryption.reading import text_at, texts_at
from matrixdata.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from matrixdata.encryption.port import ToDevice
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

Origin = Literal["own", "device", "forwarded", "backup", "file", "bundle"]
"""How a key came: made here; by Olm from the device that made it; from another device of ours that we asked; from the
key backup; from a key file; from whoever invited us (MSC4268)."""

_RANK: dict[Origin, int] = {"own": 3, "device": 2, "forwarded": 1, "backup": 0, "file": 0, "bundle": 0}
"""Whose word counts for more on where a session comes from."""

_SIGNED = frozenset[Origin]({"own", "device"})
"""Those whose keys the session itself signed (session-sharing format): nobody else can make one up."""

_MOST_FORWARDERS = 20

SHARED_HISTORY = ("shared_history", "m.shared_history")
"""The flag that later members may have a key: as the specification (1.19) has it, and as matrix-rust-sdk writes it."""

_SHARED_HISTORY = (*SHARED_HISTORY, "org.matrix.msc3061.shared_history")

_COLUMNS = (
    "id, room_id, session_id, sender_key, ed25519, origin, pickle, first_index, owner, shared, standing, forwarders, "
    "source"
)
_Row = tuple[int, str, str, str, str, Origin, str, int, "str | None", int, Standing, bytes, "str | None"]


@dataclass(frozen=True, slots=True)
class InboundKey:
    """A session key that somebody offers.

    Attributes:
        sender_key: Curve25519 key of the device that made the session, ed25519: its fingerprint, as far as the origin
            can say.
        key: in session-sharing format from "own" and "device", in export format from the others (Megolm spec).
        owner: the user whose device it is; None where the origin does not say.
        shared: whoever made it agrees that later members get it (`shared_history`).
        standing: the best that was ever known of that device, for "own" and "device".
        forwarders: Curve25519 keys of those through whom it came.
        source: for "bundle", the user on whose word we have it.
    """

    room_id: str
    session_id: str
    sender_key: str
    ed25519: str
    origin: Origin
    key: str = field(repr=False)
    owner: str | None = None
    shared: bool = False
    standing: Standing = "unknown"
    forwarders: tuple[str, ...] = ()
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A session as it is stored; see `InboundKey`.

    Attributes:
        id: of its row; 0 before it has one.
        first_index: number of the first message that it reads.
    """

    id: int
    room_id: str
    session_id: str
    sender_key: str
    ed25519: str
    origin: Origin
    pickle: str = field(repr=False)
    first_index: int
    owner: str | None
    shared: bool
    standing: Standing
    forwarders: tuple[str, ...]
    source: str | None


@dataclass(frozen=True, slots=True)
class Exported:
    """A session key as it goes into a backup or a key file.

    Attributes:
        session: which.
        first_index: number of the first message that it reads.
        origin: how we came by it.
        data: ExportedSessionData (spec "Key export format"); with a few members less, BackedUpSessionData.
    """

    session: Session
    first_index: int
    origin: Origin
    data: JSONObject = field(repr=False)


# -- taking -----------------------------------------------------------------------------------------------
def add(tx: Transaction, key: InboundKey) -> Session | None:
    """Take a session key, if it brings anything (threat A7).

    A second key for a session counts only if it is the same ratchet. Then the copy from earlier on is kept, and the
    word of whoever can say more about where the session comes from. Of two ratchets, the one that the session signed is
    the session's; where neither or both are, the one that came first stays.

    Returns:
        The session, when it is new here, reads more than before, or is better authenticated; else None.
    """
    ratchet = _ratchet(key)
    named = are_names(key.room_id, key.session_id, key.sender_key, key.ed25519)
    if ratchet is None or ratchet.session_id != key.session_id or not named:
        log.info(
            "a room key from %s is damaged, or another session's; refused",
            key.source or key.owner or key.origin,
        )
        return None
    offered = Stored(
        *(0, key.room_id, key.session_id, key.sender_key, key.ed25519, key.origin),
        ratchet.pickle(tx.me.pickle_key),
        ratchet.first_known_index,
        *(key.owner, key.shared, key.standing, key.forwarders, key.source),
    )
    known = find(tx, key.room_id, key.session_id)
    kept = offered if known is None else _merged(tx, known, offered, ratchet)
    if kept is None or kept == known:
        return None
    _write(tx, kept)
    session = Session(key.room_id, key.session_id)
    if kept.first_index == 0:
        withheld.came(tx, session)
    return session


def receive_room_key(tx: Transaction, event: ToDevice, claimed_ed25519: str) -> Session | None:
    """Take an m.room_key that came encrypted by Olm, of which `event.sender_key` is proof; in clear it is refused.

    Args:
        tx: the transaction.
        event: the decrypted event.
        claimed_ed25519: fingerprint that the sending device claims inside the Olm message.
    """
    content = event.content
    room_id, session_id = text_at(content, "room_id"), text_at(content, "session_id")
    key = text_at(content, "session_key")
    if event.sender_key is None or not room_id or not session_id or not key:
        log.info("a room key from %s was refused: not encrypted, or incomplete", event.sender)
        return None
    if content.get("algorithm") != MEGOLM:
        log.info("a room key from %s is for an algorithm that is not known here", event.sender)
        return None
    device = device_lists.by_key(tx, event.sender_key)
    standing = identities.standing(tx, device) if device and event.device_id else "unknown"
    return add(
        tx,
        InboundKey(
            *(room_id, session_id, event.sender_key, claimed_ed25519, "device", key),
            owner=event.sender,
            shared=is_shared(content),
            standing=standing,
        ),
    )


def is_shared(content: Mapping[str, JSON]) -> bool:
    """Whether whoever made a session agrees that later members get its key."""
    return any(content.get(name) is True for name in _SHARED_HISTORY)


def _merged(tx: Transaction, known: Stored, offered: Stored, ratchet: InboundGroupSession) -> Stored | None:
    """What is kept of both; None: the offer is refused."""
    better = _RANK[offered.origin] > _RANK[known.origin]
    common = max(known.first_index, offered.first_index)
    ours, theirs = opened(tx, known).export_at(common), ratchet.export_at(common)
    if ours is None or theirs is None or ours.to_base64() != theirs.to_base64():
        if better and offered.origin in _SIGNED:
            log.warning("a key for session %s from a %s was forged; replaced", known.session_id, known.origin)
            return replace(offered, id=known.id)
        log.info("a second key for session %s belongs to another ratchet; refused", known.session_id)
        return None
    if known.origin == offered.origin == "device" and known.sender_key != offered.sender_key:
        # A member who was given the key passes the session off as theirs. Nothing can tell which of two is right.
        log.info("a second device claims to have made session %s; refused", known.session_id)
        return None
    kept = replace(offered, id=known.id) if better else known
    earlier = offered if offered.first_index < known.first_index else known
    return replace(kept, pickle=earlier.pickle, first_index=earlier.first_index)


def _ratchet(key: InboundKey) -> InboundGroupSession | None:
    try:
        if key.origin in _SIGNED:
            return InboundGroupSession(SessionKey(key.key))
        return InboundGroupSession.import_session(ExportedSessionKey(key.key))
    except (SessionKeyDecodeException, UnicodeError):
        return None


# -- what is stored ---------------------------------------------------------------------------------------
def find(tx: Transaction, room_id: str, session_id: str) -> Stored | None:
    """The session of this id, None when there is none."""
    row = tx.connection.execute(
        f"SELECT {_COLUMNS} FROM megolm_inbound WHERE room_id = ? AND session_id = ?",  # noqa: S608  our columns
        (room_id, session_id),
    ).fetchone()
    return _stored(row) if row else None


def opened(tx: Transaction, session: Stored) -> InboundGroupSession:
    """The session's ratchet, for use inside this transaction.

    Raises:
        StoreCorrupt: it was changed, or sealed with another key.
    """
    try:
        return InboundGroupSession.from_pickle(session.pickle, tx.me.pickle_key)
    except PickleException as error:
        raise StoreCorrupt(
            "a stored room key cannot be opened: it was changed, or the store's key is another one"
        ) from error


def note_standing(tx: Transaction, session: Stored, standing: Standing) -> None:
    """So much is known of the device that made the session. It stays so when the device or its owner's keys go."""
    tx.connection.execute("UPDATE megolm_inbound SET standing = ? WHERE id = ?", (standing, session.id))


def _stored(row: _Row) -> Stored:
    forwarders: tuple[str, ...] = tuple(msgspec.json.decode(row[11], type=list[str]))
    return Stored(*row[:9], bool(row[9]), row[10], forwarders, row[12])


def _write(tx: Transaction, it: Stored) -> None:
    """A new row, or a better one in its place; what replays are known by stays with its id."""
    tx.connection.execute(
        f"INSERT INTO megolm_inbound ({_COLUMNS}) VALUES (nullif(?, 0), {', '.join('?' * 12)}) "  # noqa: S608  ours
        "ON CONFLICT (room_id, session_id) DO UPDATE SET sender_key = excluded.sender_key, ed25519 = excluded.ed25519, "
        "origin = excluded.origin, pickle = excluded.pickle, first_index = excluded.first_index, "
        "owner = excluded.owner, shared = excluded.shared, standing = excluded.standing, "
        "forwarders = excluded.forwarders, source = excluded.source, backed_up = NULL",
        (
            *(
                it.id,
                it.room_id,
                it.session_id,
                it.sender_key,
                it.ed25519,
                it.origin,
                it.pickle,
                it.first_index,
            ),
            *(it.owner, it.shared, it.standing, msgspec.json.encode(it.forwarders), it.source),
        ),
    )


# -- export and import ------------------------------------------------------------------------------------
def exported(tx: Transaction, *, room_id: str | None = None) -> Iterator[Exported]:
    """Every session, or those of one room, each from the first message on that it reads."""
    where, values = ("WHERE room_id = ?", (room_id,)) if room_id is not None else ("", ())
    rows = tx.connection.execute(f"SELECT {_COLUMNS} FROM megolm_inbound {where} ORDER BY id", values)  # noqa: S608  ours
    return (export(tx, _stored(row)) for row in rows)


def needs_backup(tx: Transaction, version: str, limit: int) -> list[Exported]:
    """Up to `limit` sessions that the backup of this version does not have as they are here."""
    rows = tx.connection.execute(
        f"SELECT {_COLUMNS} FROM megolm_inbound WHERE backed_up IS NULL OR backed_up <> ? ORDER BY id LIMIT ?",  # noqa: S608  ours
        (version, limit),
    ).fetchall()
    return [export(tx, _stored(row)) for row in rows]


def backed_up(tx: Transaction, version: str, keys: Iterable[Exported]) -> None:
    """The backup has these. One that became better meanwhile is still to be uploaded."""
    tx.connection.executemany(
        "UPDATE megolm_inbound SET backed_up = ? "
        "WHERE room_id = ? AND session_id = ? AND first_index = ? AND origin = ?",
        ((version, it.session.room_id, it.session.session_id, it.first_index, it.origin) for it in keys),
    )


def imported(
    tx: Transaction,
    data: Mapping[str, JSON],
    origin: Literal["backup", "file", "bundle"],
    *,
    room_id: str | None = None,
    session_id: str | None = None,
    source: str | None = None,
) -> Session | None:
    """Take a key as exported by anybody; see `add`. Whose it is, nothing proves (threat A13).

    Args:
        tx: the transaction.
        data: ExportedSessionData, BackedUpSessionData or HistoricRoomKey.
        origin: where it comes from.
        room_id: of which room it has to be; None: as it says.
        session_id: of which session; None: as it says.
        source: for "bundle", the user on whose word we have it.
    """
    room = text_at(data, "room_id") if room_id is None else room_id
    session = text_at(data, "session_id") if session_id is None else session_id
    key, sender_key = text_at(data, "session_key"), text_at(data, "sender_key")
    ed25519 = text_at(data, "sender_claimed_keys", "ed25519")
    if data.get("algorithm") != MEGOLM or not (room and session and key and sender_key and ed25519):
        log.info("a room key from a %s is incomplete, or for another algorithm; refused", origin)
        return None
    return add(
        tx,
        InboundKey(
            *(room, session, sender_key, ed25519, origin, key),
            # A bundle holds nothing else (spec "Shareable encryption sessions"), and does not say so of each.
            shared=origin == "bundle" or is_shared(data),
            forwarders=tuple(
                filter(are_names, texts_at(data, "forwarding_curve25519_key_chain")[:_MOST_FORWARDERS])
            ),
            source=source,
        ),
    )


def export(tx: Transaction, it: Stored) -> Exported:
    """One session, from the first message on that it reads."""
    key = opened(tx, it).export_at(it.first_index)
    assert key is not None  # noqa: S101  a session reads its own first message
    data: JSONObject = {
        "algorithm": MEGOLM,
        "room_id": it.room_id,
        "session_id": it.session_id,
        "sender_key": it.sender_key,
        "sender_claimed_keys": {"ed25519": it.ed25519},
        "forwarding_curve25519_key_chain": list(it.forwarders),
        "session_key": key.to_base64(),
        **dict.fromkeys(SHARED_HISTORY, it.shared),
    }
    return Exported(Session(it.room_id, it.session_id), it.first_index, it.origin, data)
