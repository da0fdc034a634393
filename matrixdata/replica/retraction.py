"""Taking back one record of a batch: its content goes for good, here. Inside a transaction.

The server keeps the batch as it is; only redacting the event takes content from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.model.member import BEHIND, SEPARATOR, event_of
from matrixdata.protocol.batch import without_records
from matrixdata.replica.redaction import empty
from matrixdata.replica.winners import choose_winner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


def retract(c: sqlite3.Connection, room: int, member: str, *, by: str) -> None:
    """Remove a record's content, now or when its batch comes; nobody but the batch's sender can."""
    query = "SELECT id, sender, uid, row_state FROM event WHERE room = ? AND event_id = ?"
    found = c.execute(query, (room, member)).fetchone()
    if found is None:
        c.execute("INSERT OR IGNORE INTO retraction VALUES (?, ?, ?)", (room, member, by))
        return
    key, sender, uid, state = found
    if sender != by or state == "redacted":
        return
    empty(c, room, key)
    if uid is not None:
        choose_winner(c, room, sender, uid)
    _strip(c, room, event_of(member))


def retract_awaited(c: sqlite3.Connection, room: int, batches: Iterable[str]) -> None:
    """Take back those records of new batches whose retraction came before them, as when history is paged back."""
    for event_id in batches:
        keys = (room, event_id + SEPARATOR, event_id + BEHIND)
        which = "FROM retraction WHERE room = ? AND member > ? AND member < ?"
        awaited = c.execute(f"SELECT member, sender {which}", keys).fetchall()
        c.execute(f"DELETE {which}", keys)
        for member, sender in awaited:
            retract(c, room, member, by=sender)


def _strip(c: sqlite3.Connection, room: int, event_id: str) -> None:
    """The batch's own content holds the record too. Its other records have rows of their own."""
    query = "SELECT content FROM event WHERE room = ? AND event_id = ?"
    found = c.execute(query, (room, event_id)).fetchone()
    if found is not None and found[0] is not None:
        c.execute(
            "UPDATE event SET content = ? WHERE room = ? AND event_id = ?",
            (without_records(found[0]), room, event_id),
        )
