"""Giving the key of a room's session to those who are to read it, and telling the others why not.

Who was given it, and from which message on, is written in the transaction that queues the key for them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matrixdata.encryption import device_lists, olm, outbound, outgoing, recipients
from matrixdata.encryption.device_keys import identity_keys
from matrixdata.encryption.port import MEGOLM, Prepared
from matrixdata.encryption.recipients import LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.encryption.outbound import Outbound
    from matrixdata.encryption.port import Device, Outgoing
    from matrixdata.encryption.recipients import Chosen
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON

log = logging.getLogger("matrixdata.encryption")

_SHARED = frozenset({"shared", "world_readable"})
_TOLD = -1
_NO_OLM = "no way to send it a key: its server had none of its one-time keys"
_ANY_SESSION = ""
"""Stands for every session where a device was told once that no key can be sent to it."""

_Given = dict[tuple[str, str], tuple[str, int]]
"""By user and device id: the device's Curve25519 key, and the message from which on it reads, or _TOLD."""


def prepare(
    tx: Transaction, room_id: str, members: Iterable[str], *, history_visibility: str = "shared"
) -> Prepared:
    """Bring the room's session and its recipients up to date, so that the next message can be encrypted.

    A session is replaced when it is used up, when anybody who was a member or has its key is not to read any more,
    and when history visibility changed between what may and may not be shared with later members. Whoever joins gets
    the key from the next message on.

    Args:
        tx: the transaction.
        room_id: an encrypted room.
        members: user ids of everybody who is to be able to read: joined, and invited where the room's history
            visibility lets them read from their invite on.
        history_visibility: the room's, as m.room.history_visibility says ("shared" without one).

    Returns:
        What is to be sent before anything is encrypted: send it, report the answers, ask again, until there is
        nothing to be sent; then encrypt in that very transaction.

    Raises:
        DeviceUntrusted: the identity of a member changed, which somebody has to acknowledge.
    """
    everybody, shared = frozenset(members) | {tx.me.user_id}, history_visibility in _SHARED
    known = outbound.current(tx, room_id)
    if known is not None and _is_settled(tx, room_id, known, everybody, shared=shared):
        return Prepared(_under_way(tx, known), _left_out(tx, known))
    rule = recipients.policy(tx, room_id)
    queries = device_lists.ask(tx, [it for it in everybody if rule.allows(it, tx.me.user_id)])
    if queries:
        return Prepared(queries)
    chosen = recipients.choose(tx, rule, everybody)
    session = _session(tx, room_id, chosen, everybody, shared=shared)
    left_out = _give(tx, room_id, session, chosen)
    if isinstance(left_out, Prepared):
        return left_out
    _tell(tx, room_id, session, left_out)
    if not any(it.code == "m.no_olm" for it in left_out):  # those may be reached later, with no change here
        told = [(it.device.user_id, it.device.device_id, it.why) for it in left_out]
        outbound.settle(tx, room_id, told)
    return Prepared(_under_way(tx, session), tuple((it.device, it.why) for it in left_out))


def _is_settled(
    tx: Transaction, room_id: str, session: Outbound, everybody: frozenset[str], *, shared: bool
) -> bool:
    """Whether the session can be written with as it is: weighing a device takes a third of a millisecond."""
    same = session.members == everybody and session.shared == shared
    return same and outbound.is_settled(tx, session) and not outbound.is_used_up(tx, room_id, session)


def _left_out(tx: Transaction, session: Outbound) -> tuple[tuple[Device, str], ...]:
    found = ((device_lists.device(tx, user, device), why) for user, device, why in session.left_out)
    return tuple((device, why) for device, why in found if device is not None)


# -- which session ----------------------------------------------------------------------------------------
def _session(
    tx: Transaction, room_id: str, chosen: Chosen, everybody: frozenset[str], *, shared: bool
) -> Outbound:
    session = outbound.current(tx, room_id)
    if session is None or _has_to_go(tx, room_id, session, chosen, everybody, shared=shared):
        session = outbound.begin(tx, room_id, shared=shared)
    if session.members != everybody:
        outbound.note_members(tx, room_id, everybody)
    return session


def _has_to_go(
    tx: Transaction,
    room_id: str,
    session: Outbound,
    chosen: Chosen,
    everybody: frozenset[str],
    *,
    shared: bool,
) -> bool:
    if outbound.is_used_up(tx, room_id, session) or session.shared != shared:
        return True
    if not session.members <= everybody:  # who left may have the key, also by way of an invite (spec 1.19)
        return True
    readers = {(it.user_id, it.device_id, it.curve25519) for it in chosen.devices}
    given = _given(tx, session.session_id)
    return any((*who, key) not in readers for who, (key, index) in given.items() if index != _TOLD)


# -- giving -----------------------------------------------------------------------------------------------
def _give(tx: Transaction, room_id: str, session: Outbound, chosen: Chosen) -> list[LeftOut] | Prepared:
    """Queue the key for those who lack it; what is left are those who cannot or must not have it."""
    given = _given(tx, session.session_id)
    again = _to_be_given_again(tx, session.session_id)
    lacking = [
        it for it in chosen.devices if given.get(_who(it), ("", _TOLD))[1] == _TOLD or _who(it) in again
    ]
    if not lacking:
        return list(chosen.left_out)
    claim = olm.claim(tx, lacking)
    if claim is not None:
        return Prepared((claim,))
    content = outbound.room_key(tx, room_id, session)
    encrypted = [(it, olm.encrypt(tx, it, "m.room_key", content)) for it in lacking]
    reached = [(it, message) for it, message in encrypted if message is not None]
    outgoing.queue_messages(
        tx,
        "m.room.encrypted",
        [(it.user_id, it.device_id, message) for it, message in reached],
        purpose={"session": session.session_id},
    )
    for it, _ in reached:
        _note(tx, session.session_id, it, session.messages)
        _forget(tx, _ANY_SESSION, it)
    unreached = [LeftOut(it, "m.no_olm", _NO_OLM) for it, message in encrypted if message is None]
    return [*chosen.left_out, *unreached]


def _tell(tx: Transaction, room_id: str, session: Outbound, left_out: list[LeftOut]) -> None:
    """Tell those who get no key why, once a session; of a missing Olm session once until there was one."""
    if not left_out:
        return
    told = {**_given(tx, session.session_id), **_given(tx, _ANY_SESSION)}
    messages = []
    for it in left_out:
        if told.get(_who(it.device), ("", 0)) == (it.device.curve25519, _TOLD):
            continue
        by_session = it.code != "m.no_olm"
        _note(tx, session.session_id if by_session else _ANY_SESSION, it.device, _TOLD)
        notice: dict[str, JSON] = {
            "algorithm": MEGOLM,
            "sender_key": identity_keys(tx)[0],
            "code": it.code,
            "reason": it.why,
        }
        if by_session:
            notice |= {"room_id": room_id, "session_id": session.session_id}
        messages.append((it.device.user_id, it.device.device_id, notice))
    outgoing.queue_messages(tx, "m.room_key.withheld", messages, purpose={"session": session.session_id})


def _under_way(tx: Transaction, session: Outbound) -> tuple[Outgoing, ...]:
    """What was queued for this session and not answered yet."""
    return tuple(
        it.request
        for it in outgoing.under_way(tx, "to_device")
        if it.purpose.get("session") == session.session_id
    )


# -- who was given what -----------------------------------------------------------------------------------
def _given(tx: Transaction, session_id: str) -> _Given:
    rows = tx.connection.execute(
        "SELECT user_id, device_id, sender_key, ix FROM megolm_recipient WHERE session_id = ?", (session_id,)
    )
    return {(user_id, device_id): (key, index) for user_id, device_id, key, index in rows}


def given_from(tx: Transaction, session_id: str, device: Device) -> int | None:
    """From which message on we gave a device the key of a session of ours; None: not at all."""
    key, index = _given(tx, session_id).get(_who(device), ("", _TOLD))
    return index if key == device.curve25519 and index != _TOLD else None


def give_again(tx: Transaction, sender_key: str) -> None:
    """A device had to replace its Olm session with us: what was sent to it by the old one may be lost.

    It stays noted as one that may have the keys, so that they are replaced when it must not read any more.
    """
    tx.connection.execute("UPDATE megolm_recipient SET again = 1 WHERE sender_key = ?", (sender_key,))


def _to_be_given_again(tx: Transaction, session_id: str) -> set[tuple[str, str]]:
    rows = tx.connection.execute(
        "SELECT user_id, device_id FROM megolm_recipient WHERE session_id = ? AND again", (session_id,)
    )
    return set(rows.fetchall())


def _note(tx: Transaction, session_id: str, device: Device, index: int) -> None:
    # Given a second time, a device still may read from where it could the first time.
    tx.connection.execute(
        "INSERT INTO megolm_recipient (session_id, user_id, device_id, sender_key, ix) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET again = 0, sender_key = excluded.sender_key, ix = CASE "
        "WHEN sender_key = excluded.sender_key AND ix >= 0 THEN min(ix, excluded.ix) ELSE excluded.ix END",
        (session_id, device.user_id, device.device_id, device.curve25519, index),
    )


def _forget(tx: Transaction, session_id: str, device: Device) -> None:
    tx.connection.execute(
        "DELETE FROM megolm_recipient WHERE session_id = ? AND user_id = ? AND device_id = ?",
        (session_id, device.user_id, device.device_id),
    )


def _who(device: Device) -> tuple[str, str]:
    return device.user_id, device.device_id
