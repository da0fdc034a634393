"""What came encrypted: how it was read, or why not. Inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.replica.rows import Decryption
from matrixdata.replica.scan import STORED, stored_event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from matrixdata.replica.rows import EventRow, StoredEvent

_PART = 500


def note_decryptions(c: sqlite3.Connection, rows: Sequence[EventRow]) -> None:
    """Note how stored events were read."""
    c.executemany(
        "REPLACE INTO decryption SELECT id, ?, ?, ?, ?, ? FROM event WHERE event_id = ?",
        [(*_values(row.sealed), row.event_id) for row in rows if row.sealed is not None],
    )


def change_causes(c: sqlite3.Connection, rows: Sequence[EventRow]) -> None:
    """There is more to say of why these cannot be read."""
    c.executemany(
        "UPDATE decryption SET session = ?, device = ?, standing = ?, cause = ?, detail = ?"
        " WHERE event = (SELECT id FROM event WHERE event_id = ? AND row_state = 'undecryptable')",
        [(*_values(row.sealed), row.event_id) for row in rows if row.sealed is not None],
    )


def _values(found: Decryption) -> tuple[str | None, ...]:
    return found.session, found.device, found.standing, found.cause, found.detail


def sessions(c: sqlite3.Connection) -> list[tuple[str, str]]:
    """Room id and session of everything that cannot be read and may be some day."""
    query = (
        "SELECT DISTINCT r.room_id, d.session FROM decryption d JOIN event e ON e.id = d.event"
        " JOIN room r ON r.id = e.room WHERE d.cause IS NOT NULL AND d.session IS NOT NULL"
        " AND e.row_state = 'undecryptable' AND d.cause NOT IN ('replayed', 'corrupt', 'mismatch')"
    )
    return c.execute(query).fetchall()


def undecryptable(
    c: sqlite3.Connection,
    room_id: str,
    *,
    after: int,
    chosen: Collection[str] | None,
    senders: Collection[str] | None,
) -> list[tuple[int, StoredEvent]]:
    """Row number and event of what cannot be read in a room, behind a row: of these sessions, or by these senders."""
    tests, values = "", list[str]()
    for column, wanted in (("d.session", chosen), ("e.sender", senders)):
        if wanted is not None:
            tests += f" AND {column} IN ({','.join('?' * len(wanted))})"
            values += [*wanted]
    if senders is not None:
        tests += " AND d.cause = 'untrusted'"  # nothing else depends on who a device belongs to
    query = (
        f"SELECT e.id, {STORED} FROM event e LEFT JOIN decryption d ON d.event = e.id"  # noqa: S608  constants and ? marks
        " WHERE e.room = (SELECT id FROM room WHERE room_id = ?)"
        f" AND e.row_state = 'undecryptable' AND e.id > ?{tests} ORDER BY e.id LIMIT {_PART}"
    )
    return [(row[0], stored_event(row[1:])) for row in c.execute(query, (room_id, after, *values)).fetchall()]


def causes(c: sqlite3.Connection, room_id: str | None) -> dict[str, int]:
    """How many events cannot be read, by why; of one room or of all."""
    where = "" if room_id is None else " AND e.room = (SELECT id FROM room WHERE room_id = ?)"
    query = (
        "SELECT ifnull(d.cause, 'no_key'), count(*) FROM event e LEFT JOIN decryption d ON d.event = e.id"  # noqa: S608  constants
        f" WHERE e.row_state = 'undecryptable'{where} GROUP BY 1 ORDER BY 1"
    )
    return dict(c.execute(query, () if room_id is None else (room_id,)).fetchall())


def decryptions(c: sqlite3.Connection, room_id: str) -> dict[str, Decryption]:
    """How what came encrypted to a room was read, or why not, by event id."""
    query = (
        "SELECT e.event_id, d.session, d.device, d.standing, d.cause, d.detail FROM decryption d"
        " JOIN event e ON e.id = d.event WHERE e.room = (SELECT id FROM room WHERE room_id = ?)"
    )
    return {event_id: Decryption(*found) for event_id, *found in c.execute(query, (room_id,))}
