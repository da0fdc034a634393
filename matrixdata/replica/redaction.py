"""What removes content for good: redactions, met after what they redact or before. Inside a transaction.

SQLite overwrites what is deleted (secure_delete), but its log keeps older pages: see `Rooms.scrub`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.model.member import BEHIND, SEPARATOR
from matrixdata.protocol.batch import BATCH
from matrixdata.protocol.pruning import pruned
from matrixdata.replica.edits import forget, release, settle
from matrixdata.replica.winners import choose_winner

if TYPE_CHECKING:
    import sqlite3

_EMPTIED = (
    "content = NULL, value = NULL, problems = NULL, uid = NULL, schema = NULL, shadowed = 0,"
    " row_state = 'redacted'"
)
_UNSCRUBBED = "unscrubbed"  # in `meta`, with the newest redaction, while content may still stand in the log


def redact(c: sqlite3.Connection, room: int, event_id: str) -> None:
    """Remove an event's content for good, now or when it comes; the row stays as a tombstone."""
    redact_state(c, room, event_id)
    found = c.execute(
        "SELECT id, sender, uid, edits, row_state, type FROM event WHERE room = ? AND event_id = ? AND item IS NULL",
        (room, event_id),
    ).fetchone()
    if found is None:
        c.execute("INSERT OR IGNORE INTO redaction VALUES (?, ?)", (room, event_id))
    elif found[4] != "redacted":
        key, sender, uid, edits, _, kind = found
        if kind == BATCH:
            _empty_members(c, room, event_id)
        empty(c, room, key)
        if uid is not None:
            choose_winner(c, room, sender, uid)
        release(c, room, event_id)
        if edits is not None:
            settle(c, room, edits, tell=True, by=key)


def redact_state(c: sqlite3.Connection, room: int, event_id: str) -> None:
    """Take the content of a state event that is current, except what the room's rules need; it stays current."""
    query = "SELECT type, state_key, content FROM state WHERE room = ? AND event_id = ? AND redacted = 0"
    for event_type, state_key, content in c.execute(query, (room, event_id)).fetchall():
        c.execute(
            "UPDATE state SET content = ?, redacted = 1 WHERE room = ? AND type = ? AND state_key = ?",
            (pruned(event_type, content), room, event_type, state_key),
        )


def is_redacted(c: sqlite3.Connection, room: int, event_id: str) -> bool:
    """Whether a redaction of this event was met, with the event or without it."""
    query = (
        "SELECT 1 FROM redaction WHERE room = ?1 AND event_id = ?2 UNION ALL"
        " SELECT 1 FROM event WHERE room = ?1 AND event_id = ?2 AND row_state = 'redacted'"
    )
    return c.execute(query, (room, event_id)).fetchone() is not None


def mark_unscrubbed(c: sqlite3.Connection) -> None:
    """From now on content of a redacted event may stand in the log, here or in that of the outbox."""
    c.execute("REPLACE INTO meta SELECT ?, max(id) FROM change", (_UNSCRUBBED,))


def unscrubbed(c: sqlite3.Connection) -> str | None:
    """The newest redaction whose content may still stand in the database's log; None when there is none."""
    row = c.execute("SELECT value FROM meta WHERE key = ?", (_UNSCRUBBED,)).fetchone()
    return row[0] if row else None


def scrubbed(c: sqlite3.Connection, upto: str) -> None:
    """The log was emptied when `upto` was the newest redaction."""
    c.execute("DELETE FROM meta WHERE key = ? AND value = ?", (_UNSCRUBBED, upto))


def redact_awaited(c: sqlite3.Connection, room: int, first: int) -> None:
    """Redact those of the rows from `first` on whose redaction came before them, as when history is paged back."""
    if c.execute("SELECT 1 FROM redaction WHERE room = ? LIMIT 1", (room,)).fetchone() is None:
        return
    awaited = c.execute(
        "SELECT event_id FROM event WHERE id >= ? AND room = ? AND item IS NULL AND event_id IN"
        " (SELECT event_id FROM redaction WHERE room = ?)",
        (first, room, room),
    ).fetchall()
    for (event_id,) in awaited:
        c.execute("DELETE FROM redaction WHERE room = ? AND event_id = ?", (room, event_id))
        redact(c, room, event_id)


def empty(c: sqlite3.Connection, room: int, key: int) -> None:
    """Make a row a tombstone, and tell the feed."""
    forget(c, key)
    c.execute(
        f"UPDATE event SET {_EMPTIED}, edits = NULL, record = record OR edits IS NOT NULL OR type = ? WHERE id = ?",  # noqa: S608  constants
        (BATCH, key),
    )
    c.execute("INSERT INTO change (room, event, kind) VALUES (?, ?, 'redaction')", (room, key))
    mark_unscrubbed(c)


def _empty_members(c: sqlite3.Connection, room: int, event_id: str) -> None:
    """Make tombstones of a batch's records; that of the batch tells the feed. Others of their uids may count now."""
    keys = (event_id + SEPARATOR, event_id + BEHIND)
    twins = c.execute(
        "SELECT e.sender, e.uid FROM event e WHERE e.event_id > ? AND e.event_id < ? AND EXISTS"
        " (SELECT 1 FROM event o WHERE o.room = ? AND o.uid = e.uid AND o.sender = e.sender AND o.id <> e.id)",
        (*keys, room),
    ).fetchall()
    c.execute(f"UPDATE event SET {_EMPTIED} WHERE event_id > ? AND event_id < ?", keys)  # noqa: S608  constants
    for sender, uid in twins:
        choose_winner(c, room, sender, uid)
