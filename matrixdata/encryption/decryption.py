"""Decrypting a room's events, a page at a time: what is inside, or why that cannot be known (threats A1, A4).

No session is kept between pages: unpickling takes 13 µs, the signature of one message six times as long. Within a page
each session is looked up once and read forward, as a ratchet goes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from vodozemac import DecodeException, MegolmDecryptionException, MegolmMessage

from matrixdata.encryption import inbound, outbound, recipients, withheld
from matrixdata.encryption.envelope import Envelope, joined, read_envelope, read_inside
from matrixdata.encryption.names import are_names
from matrixdata.encryption.port import Clear, Undecryptable
from matrixdata.encryption.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vodozemac import InboundGroupSession

    from matrixdata.encryption.inbound import Stored
    from matrixdata.encryption.provenance import Provenance
    from matrixdata.encryption.recipients import RoomPolicy
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.protocol.events import Event

_DIGEST = 16  # bytes; enough that no two events of a store meet


class _Message(msgspec.Struct, frozen=True):
    """One event of the page whose envelope is in order."""

    place: int
    event: Event
    envelope: Envelope
    index: int
    megolm: MegolmMessage


@dataclass(frozen=True, slots=True)
class _Source:
    """The session of some messages, opened."""

    session: Stored
    ratchet: InboundGroupSession
    origin: Provenance
    rule: RoomPolicy
    own_user: str
    used: dict[int, bytes]  # digests of the events that used an index, by index
    new: list[tuple[int, int, bytes]] = field(default_factory=list)  # rows of those that are to be noted


def decrypt(tx: Transaction, room_id: str, events: Sequence[Event]) -> list[Clear | Undecryptable]:
    """What each of these m.room.encrypted events of one room holds, in the same order.

    The indexes that they use are noted: another event with the same ciphertext is a replay from then on. The same
    event may come again.

    Args:
        tx: the transaction.
        room_id: where the events were found, whatever they say.
        events: not redacted.
    """
    found: list[Clear | Undecryptable | None] = [None] * len(events)
    messages = []
    for place, event in enumerate(events):
        message = _read(place, event)
        if isinstance(message, Undecryptable):
            found[place] = message
        else:
            messages.append(message)
    rule = recipients.policy(tx, room_id)
    messages.sort(key=lambda it: (it.envelope.session_id, it.index, it.place))
    for session_id, group in groupby(messages, key=lambda it: it.envelope.session_id):
        for place, outcome in _by_session(tx, room_id, session_id, list(group), rule):
            found[place] = outcome
    assert None not in found  # noqa: S101  each was either refused or in one of the groups
    return [it for it in found if it is not None]


def _read(place: int, event: Event) -> _Message | Undecryptable:
    if event.fault or event.state_key is not None:
        return Undecryptable("corrupt", event.fault or "a state event cannot be encrypted")
    envelope = read_envelope(event.content)
    if isinstance(envelope, Undecryptable):
        return envelope
    if not are_names(envelope.session_id):
        return Undecryptable("corrupt", "the encrypted event names no session")
    try:
        message = MegolmMessage.from_base64(envelope.ciphertext)
    except (DecodeException, UnicodeError):
        return Undecryptable("corrupt", "the ciphertext is damaged", envelope.session_id)
    return _Message(place, event, envelope, message.message_index(), message)


def _by_session(
    tx: Transaction, room_id: str, session_id: str, messages: list[_Message], rule: RoomPolicy
) -> Iterator[tuple[int, Clear | Undecryptable]]:
    session = inbound.find(tx, room_id, session_id)
    if session is None:
        yield from ((it.place, _missing(tx, room_id, it)) for it in messages)
        return
    origin = provenance(tx, session)
    used = _used(tx, session, messages)
    source = _Source(session, inbound.opened(tx, session), origin, rule, tx.me.user_id, used)
    for message in messages:
        yield message.place, _refused(source, message) or _decrypted(tx, source, message)
    tx.connection.executemany("INSERT INTO megolm_index (session, ix, event) VALUES (?, ?, ?)", source.new)
    if session.origin == "own" and source.new:
        outbound.seen(tx, room_id, session_id, source.new[-1][1])


# -- before decrypting ------------------------------------------------------------------------------------
def _refused(source: _Source, message: _Message) -> Undecryptable | None:
    """Why the session's messages are not taken from this sender, without looking into them."""
    session_id, sender = source.session.session_id, message.event.sender
    if source.origin.fault:
        return Undecryptable("mismatch", source.origin.fault, session_id)
    if source.origin.owner is not None and source.origin.owner != sender:
        return Undecryptable("mismatch", "its session belongs to another user than its sender", session_id)
    if not source.rule.allows(sender, source.own_user):
        return Undecryptable(
            "untrusted", "its sender is not among the members that are read here", session_id
        )
    why = recipients.refusal(source.rule, source.origin.standing)
    return Undecryptable("untrusted", f"its device is not trusted: {why}", session_id) if why else None


def _missing(tx: Transaction, room_id: str, message: _Message) -> Undecryptable:
    session_id = message.envelope.session_id
    why = _withheld(tx, room_id, message)
    if why:
        return Undecryptable("withheld", why, session_id)
    return Undecryptable(
        "no_key",
        "its key has not come: it may be on its way, in the key backup, on another device of yours, or it was sent "
        "before this device was there",
        session_id,
    )


def _withheld(tx: Transaction, room_id: str, message: _Message) -> str:
    it = message.envelope
    return withheld.reason(tx, room_id, it.session_id, message.event.sender, it.sender_key)


def _used(tx: Transaction, session: Stored, messages: list[_Message]) -> dict[int, bytes]:
    rows = tx.connection.execute(
        "SELECT ix, event FROM megolm_index WHERE session = ? AND ix BETWEEN ? AND ?",
        (session.id, messages[0].index, messages[-1].index),
    )
    return dict(rows.fetchall())


# -- decrypting -------------------------------------------------------------------------------------------
def _decrypted(tx: Transaction, source: _Source, message: _Message) -> Clear | Undecryptable:
    session = source.session
    if message.index < session.first_index:
        why = _withheld(tx, session.room_id, message)
        if why:
            return Undecryptable("withheld", why, session.session_id)
        return Undecryptable(
            "too_early", "its key was given to us only for what came later", session.session_id
        )
    try:
        plaintext = source.ratchet.decrypt(message.megolm).plaintext
    except MegolmDecryptionException:
        return Undecryptable(
            "corrupt", "the ciphertext is damaged, or not by its session", session.session_id
        )
    outcome = _clear(source, message, plaintext)
    if isinstance(outcome, Clear) and not _is_first(source, message):
        detail = "another event came with the same message of its session before"
        return Undecryptable("replayed", detail, session.session_id)
    return outcome


def _clear(source: _Source, message: _Message, plaintext: bytes) -> Clear | Undecryptable:
    session, origin = source.session, source.origin
    inside = read_inside(plaintext)
    if inside is None:
        return Undecryptable("corrupt", "what was encrypted is no event", session.session_id)
    if inside.room_id != session.room_id:
        return Undecryptable("mismatch", "it was encrypted for another room", session.session_id)
    content = joined(inside.content, message.envelope.relation)
    if content is None:
        detail = "what it relates to was changed outside the encryption"
        return Undecryptable("mismatch", detail, session.session_id)
    return Clear(
        inside.type, content, session.session_id, session.sender_key, origin.device_id, origin.standing
    )


def _is_first(source: _Source, message: _Message) -> bool:
    """Whether the message's index was not used by another event; now it is by this one."""
    event = message.event
    digest = hashlib.sha256(f"{event.event_id}\0{event.origin_server_ts}".encode()).digest()[:_DIGEST]
    known = source.used.get(message.index)
    if known is None:
        source.used[message.index] = digest
        source.new.append((source.session.id, message.index, digest))
    return known is None or known == digest
