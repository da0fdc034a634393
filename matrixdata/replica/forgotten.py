"""SQL of what the server forgot: events it once gave us and no longer has. Runs inside a transaction.

Their rows stay and can be read. They no longer count as seen on the server, and give way to a copy sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.model.member import BEHIND
from matrixdata.protocol.batch import BATCH
from matrixdata.replica import timeline
from matrixdata.replica.rows import LostRecord
from matrixdata.replica.winners import choose_winner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from matrixdata.replica.rows import StateRow

KEPT = "NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.event = e.id)"
"""Holds of an event `e` that the server still has, as far as we know."""


def newest(c: sqlite3.Connection, room_id: str) -> str | None:
    """The newest event of a room that the server had when last seen."""
    query = (
        f"SELECT e.event_id FROM event e JOIN room r ON r.id = e.room WHERE r.room_id = ? AND {KEPT}"  # noqa: S608  constants
        " AND e.item IS NULL ORDER BY e.position DESC LIMIT 1"
    )
    row = c.execute(query, (room_id,)).fetchone()
    return row[0] if row else None


def after(c: sqlite3.Connection, room_id: str, event_id: str) -> list[str]:
    """The events that stand after one of a room's, the newest first."""
    query = (
        f"SELECT e.event_id FROM event e JOIN event a ON a.room = e.room WHERE a.event_id = ? AND {KEPT}"  # noqa: S608  constants
        " AND e.room = (SELECT id FROM room WHERE room_id = ?) AND e.position > a.position AND e.item IS NULL"
        " ORDER BY e.position DESC"
    )
    return [row[0] for row in c.execute(query, (event_id, room_id))]


def records_of(c: sqlite3.Connection, user_id: str, event_ids: Collection[str]) -> list[LostRecord]:
    """The valid records and whole batches of a user among events, in the timeline's order."""
    query = (
        "SELECT r.room_id, e.event_id, e.type, e.content, e.uid, ifnull(e.value, x''),"
        " ifnull(e.time, e.origin_time * 1000), e.origin_time, e.position FROM event e JOIN room r ON r.id = e.room"
        " WHERE e.event_id = ? AND e.sender = ? AND (e.record = 1 OR e.type = ?) AND e.row_state = 'valid'"
        " AND e.uid IS NOT NULL"
    )
    found = (c.execute(query, (event_id, user_id, BATCH)).fetchone() for event_id in event_ids)
    rows = sorted((row for row in found if row), key=lambda row: row[-1])
    return [LostRecord(*row[:-1]) for row in rows]


def forget(c: sqlite3.Connection, room_id: str, event_ids: Sequence[str], state: Sequence[StateRow]) -> None:
    """Note that the server no longer has these events, and make `state` the room's whole current state."""
    room = timeline.room_key(c, room_id)
    for event_id in event_ids:
        query = "SELECT id, sender, uid FROM event WHERE room = ? AND event_id >= ? AND event_id < ?"
        keys = (event_id, event_id + BEHIND)  # the event, and the records in it
        found = c.execute(query, (room, *keys)).fetchall()
        c.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", [row[:1] for row in found])
        for _, sender, uid in found:
            if uid is not None:
                choose_winner(c, room, sender, uid)
    c.execute("DELETE FROM state WHERE room = ?", (room,))
    timeline.set_state(c, room, state)
