"""Storing events not known before: their rows, their change rows, and what they do to others. Inside a transaction.

Many at once: a history of a million events passes here, so each statement serves a whole page.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from matrixdata.replica.decryptions import note_decryptions
from matrixdata.replica.edits import settle_arrivals
from matrixdata.replica.redaction import mark_unscrubbed, redact, redact_awaited
from matrixdata.replica.retraction import retract, retract_awaited
from matrixdata.replica.winners import choose_winner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from matrixdata.replica.rows import EventRow

_INSERT = """
    INSERT INTO event (id, room, position, event_id, type, state_key, sender, origin_time, content, record,
                       row_state, problems, uid, schema, value, time, edits, item, sealed, change, born)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_CHANGE = "INSERT INTO change (id, room, event, kind, opened) VALUES (?, ?, ?, ?, ?)"
_AT_ONCE = 1000


def insert(
    c: sqlite3.Connection,
    room: int,
    placed: Sequence[tuple[int, EventRow]],
    *,
    kind: Literal["live", "backfilled", "late_key"],
    opened: int = 0,
) -> None:
    """Store events, each with its position; none may be known yet. Their changes are numbered in this order."""
    if not placed:
        return
    change = _next_change(c)
    key: int = c.execute("SELECT ifnull(max(id), 0) + 1 FROM event").fetchone()[0]
    apart = enumerate(_apart(placed))
    while rows := list(islice(apart, _AT_ONCE)):
        c.executemany(_INSERT_CHANGE, [(change + n, room, key + n, kind, opened) for n, _ in rows])
        c.executemany(
            _INSERT, [_values(room, key + n, position, row, change + n) for n, (position, row) in rows]
        )
    note_decryptions(c, [row for _, row in placed])
    _choose_winners(c, room, key)
    for _, row in placed:
        if row.redacts:
            redact(c, room, row.redacts)
        if row.retracts:
            retract(c, room, row.retracts, by=row.sender)
    redact_awaited(c, room, key)
    retract_awaited(c, room, [row.event_id for _, row in placed if row.parts])
    settle_arrivals(c, room, key, [row.edits for _, row in placed if row.edits])
    if any(row.row_state == "redacted" for _, row in placed):
        mark_unscrubbed(c)


def _apart(placed: Sequence[tuple[int, EventRow]]) -> Iterator[tuple[int, EventRow]]:
    """The rows to store: of a batch its own, and behind it that of each record, at the positions that follow."""
    for position, row in placed:
        if row.parts is None:
            yield position, row
        else:
            yield from enumerate(row.parts(), position)


def _next_change(c: sqlite3.Connection) -> int:
    found = c.execute("SELECT seq + 1 FROM sqlite_sequence WHERE name = 'change'").fetchone()
    number: int = found[0] if found else 1
    return number


def _values(room: int, key: int, position: int, row: EventRow, change: int) -> tuple[object, ...]:
    return (
        *(key, room, position, row.event_id, row.type, row.state_key, row.sender, row.origin_time),
        *(row.content, row.record, row.row_state, row.problems, row.uid, row.schema, row.value, row.time),
        *(row.edits, row.item, row.sealed is not None),
        *(change, change if row.row_state == "valid" else None),
    )


def _choose_winners(c: sqlite3.Connection, room: int, first: int) -> None:
    """Where the new rows bring a (sender, uid) that others have too, choose among them."""
    shared = c.execute(
        "SELECT DISTINCT e.sender, e.uid FROM event e WHERE e.id >= ? AND e.record = 1 AND e.uid IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM event o WHERE o.room = ? AND o.uid = e.uid AND o.sender = e.sender"
        " AND o.record = 1 AND o.id <> e.id)",
        (first, room),
    ).fetchall()
    for sender, uid in shared:
        choose_winner(c, room, sender, uid)
