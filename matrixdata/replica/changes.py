"""Reading the change feed: what happened to a room's events since a change. Inside a read transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matrixdata.replica.rows import FeedEntry, FeedPage, GapRow
from matrixdata.replica.scan import STORED, WAS_VALID, stored_event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

# Whether another event with this (sender, uid) became valid earlier, so that its record was delivered with that one.
_REPEAT = (
    "e.uid IS NOT NULL AND EXISTS (SELECT 1 FROM event o WHERE o.room = e.room AND o.uid = e.uid"
    " AND o.sender = e.sender AND o.record = 1 AND o.row_state = e.row_state"
    " AND ifnull(o.born, o.change) < ifnull(e.born, e.change))"
)
# By a redaction everything is, and an edit by the next; of several changes of other kinds each may matter to somebody.
_OVERTAKEN = (
    "EXISTS (SELECT 1 FROM change n WHERE n.event = c.event AND n.id > c.id"
    " AND n.kind IN ('redaction', 'revalidated', 'invalidated', 'edited')"
    " AND (n.kind = 'redaction' OR n.kind = 'edited' AND c.kind = 'edited'))"
)


def newest_change(c: sqlite3.Connection) -> int:
    """Number of the newest change committed, 0 before the first."""
    newest: int = c.execute("SELECT ifnull(max(id), 0) FROM change").fetchone()[0]
    return newest


def gaps_of(c: sqlite3.Connection, room_id: str) -> list[GapRow]:
    """Unfilled stretches of a room, the newest first."""
    query = (
        "SELECT g.id, r.room_id, g.token, g.lower IS NULL, g.opened, g.problem FROM gap g JOIN room r ON r.id = g.room"
        " WHERE r.room_id = ? ORDER BY g.upper DESC"
    )
    rows = c.execute(query, (room_id,)).fetchall()
    return [
        GapRow(key, room, token, bool(start), opened, problem)
        for key, room, token, start, opened, problem in rows
    ]


def changes_after(
    c: sqlite3.Connection, room_id: str, *, after: int, since: int | None, most: int, states: Sequence[str]
) -> FeedPage:
    """See `Rooms.feed`."""
    marks = ",".join("?" * len(states))
    query = (
        f"SELECT {STORED}, e.position, e.record, e.shadowed, {_REPEAT}, ifnull(c.id = e.born, 0),"  # noqa: S608  constants and ? marks
        " c.id, c.kind, o.kind, o.opened"
        " FROM change c JOIN event e ON e.id = c.event"
        " JOIN change o ON o.id = iif(c.by IS NULL, e.change, (SELECT x.change FROM event x WHERE x.id = c.by))"
        " WHERE c.room = (SELECT id FROM room WHERE room_id = ?) AND c.id > ?"
        f" AND (e.row_state IN ({marks}) OR c.kind = 'redaction' OR c.id = e.born)"
        f" AND NOT {_OVERTAKEN} ORDER BY c.id LIMIT ?"
    )
    newest = newest_change(c)
    rows = c.execute(query, (room_id, after, *states, most)).fetchall()
    more = len(rows) == most
    # A gap that opened when `since` was the newest change opened after it: nothing is in between.
    wanted = [row for row in rows if since is None or row[-2] != "backfilled" or row[-1] >= since > 0]
    found = [_entry(row) for row in wanted]
    passed = {e.event.event_id for e in found if e.first and e.event.row_state not in {"valid", "redacted"}}
    return FeedPage(
        tuple(_latest(e for e in found if e.event.row_state in states or e.kind == "redaction")),
        rows[-1][-4] if more else newest,
        more,
        tuple(gaps_of(c, room_id)),
        frozenset(passed),
    )


def _latest(entries: Iterable[FeedEntry]) -> list[FeedEntry]:
    """Without what an edit in the same page tells again: both would show the value as it is now."""
    found = list(entries)
    edited = {e.event.event_id: e.change for e in found if e.kind == "edited"}
    return [e for e in found if e.kind == "redaction" or e.change >= edited.get(e.event.event_id, 0)]


def passed_at(c: sqlite3.Connection, room_id: str, change: int) -> frozenset[str]:
    """See `Rooms.passed`."""
    rows = c.execute(
        "SELECT e.event_id FROM event e JOIN room r ON r.id = e.room WHERE r.room_id = ?"  # noqa: S608  constants
        " AND e.id IN (SELECT event FROM change INDEXED BY change_again WHERE kind = 'invalidated'"
        " AND kind IN ('redaction', 'revalidated', 'invalidated', 'edited'))"
        f" AND e.born <= ? AND e.row_state <> 'redacted' AND NOT ({WAS_VALID})",
        (room_id, change, change, change),
    )
    return frozenset(row[0] for row in rows)


def _entry(row: Any) -> FeedEntry:  # noqa: ANN401  a row of the query above
    return FeedEntry(
        row[-4],
        row[-3],
        stored_event(row[:-9]),
        record=bool(row[-8]),
        shadowed=bool(row[-7]),
        repeat=bool(row[-6]),
        position=row[-9],
        opened=row[-1],
        first=bool(row[-5]),
    )
