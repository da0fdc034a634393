"""SQL of one room's timeline: placing events, gaps, duplicates. Runs inside a transaction.

Positions order a room's events as its server told them. New events go after the newest. Where events are
missing, a block of positions is left free and a gap row keeps the place; what is fetched later is put in
from the gap's upper end downwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.replica.inserting import insert
from matrixdata.replica.redaction import is_redacted, redact_state

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from matrixdata.replica.rows import EventRow, StateRow

# An event has a slot of positions: its own, and one for each record if it is a batch.
SLOT = 1 << 14
# In 64-bit positions: room for 63 late events between any two neighbours (order.py makes more), for 16 million events
# in each gap, and for a hundred thousand gaps.
STEP = SLOT << 6
_BLOCK = 1 << 44


def room_key(c: sqlite3.Connection, room_id: str) -> int:
    """The room's row id; made on first sight."""
    c.execute("INSERT OR IGNORE INTO room (room_id) VALUES (?)", (room_id,))
    key: int = c.execute("SELECT id FROM room WHERE room_id = ?", (room_id,)).fetchone()[0]
    return key


def known(c: sqlite3.Connection, event_ids: Sequence[str]) -> set[str]:
    """Which of these events the replica has."""
    found: set[str] = set()
    for start in range(0, len(event_ids), 500):
        part = event_ids[start : start + 500]
        marks = ",".join("?" * len(part))
        query = f"SELECT event_id FROM event WHERE event_id IN ({marks})"  # noqa: S608  only ? marks
        found.update(row[0] for row in c.execute(query, part))
    return found


def newest_at(c: sqlite3.Connection, room_id: str, change: int) -> str | None:
    """See `Rooms.newest_at`."""
    query = (
        "SELECT event_id FROM event WHERE room = (SELECT id FROM room WHERE room_id = ?) AND change <= ?"
        " ORDER BY position DESC LIMIT 1"
    )
    found = c.execute(query, (room_id, change)).fetchone()
    return found[0] if found else None


def reached(c: sqlite3.Connection, room_id: str, event_id: str) -> int | None:
    """See `Rooms.reached`."""
    query = (
        "SELECT e.position FROM event e JOIN room r ON r.id = e.room WHERE r.room_id = ? AND e.event_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM gap g WHERE g.room = e.room AND g.upper > e.position)"
    )
    found = c.execute(query, (room_id, event_id)).fetchone()
    return found[0] if found else None


def append(
    c: sqlite3.Connection, room: int, rows: Sequence[EventRow], *, limited: bool, prev_batch: str | None
) -> list[EventRow]:
    """Put live events at the end of the timeline, recording a gap before them if some were left out."""
    have = known(c, [row.event_id for row in rows])
    older = _put_into_gaps(c, room, rows, have) if have else []
    had = have.union(row.event_id for row in older)
    new = _without_repeats(row for row in rows if row.event_id not in had)
    newest = c.execute("SELECT newest FROM room WHERE id = ?", (room,)).fetchone()[0]
    position = 0 if newest is None else newest
    # A response that overlaps with what we have leaves nothing out, whatever it says; and a first one is the
    # whole only if it starts with the room's creation (measured: /sync denies a limit and leaves that out).
    missing = limited or (newest is None and not any(_is_creation(row) for row in rows))
    opened = missing and not have and (limited or prev_batch is not None)
    if opened:
        position += _BLOCK
        if newest is None:  # what fills this gap comes from /messages, in its order
            c.execute("UPDATE room SET compared = ? WHERE id = ?", (position, room))
        # Without a token of its own the gap is filled from the newest event backwards.
        _open_gap(c, room, lower=newest, upper=position + STEP, token=prev_batch or "")
    placed = [(position + n * STEP, row) for n, row in enumerate(new, start=1)]
    if placed or opened:
        newest = placed[-1][0] if placed else position
        c.execute("UPDATE room SET newest = ? WHERE id = ?", (newest, room))
    insert(c, room, placed, kind="live")
    return [*older, *new]


def _put_into_gaps(
    c: sqlite3.Connection, room: int, rows: Sequence[EventRow], have: set[str]
) -> list[EventRow]:
    """Place events of a replayed response that stand right before known ones, where a gap awaits them."""
    placed: list[EventRow] = []
    after: int | None = None
    for row in reversed(rows):
        if row.event_id in have:
            query = "SELECT position FROM event WHERE room = ? AND event_id = ?"
            found = c.execute(query, (room, row.event_id)).fetchone()
            after = found[0] if found else None
            continue
        query = "SELECT id, iif(lower IS NULL, 0, opened) FROM gap WHERE room = ? AND upper = ?"
        gap = None if after is None else c.execute(query, (room, after)).fetchone()
        if gap is None or after is None:
            after = None
            continue
        after -= STEP
        insert(c, room, [(after, row)], kind="backfilled", opened=gap[1])
        c.execute("UPDATE gap SET upper = ? WHERE id = ?", (after, gap[0]))
        placed.append(row)
    return placed


def _is_creation(row: EventRow) -> bool:
    return row.type == "m.room.create" and row.state_key == ""


def _without_repeats(rows: Iterable[EventRow]) -> list[EventRow]:
    return list({row.event_id: row for row in rows}.values())


def _open_gap(c: sqlite3.Connection, room: int, *, lower: int | None, upper: int, token: str) -> None:
    c.execute(
        "INSERT INTO gap (room, lower, upper, token, opened)"
        " VALUES (?, ?, ?, ?, (SELECT ifnull(max(id), 0) FROM change))",
        (room, lower, upper, token),
    )


def gap_token(c: sqlite3.Connection, gap_id: int) -> str | None:
    """Where a gap is to be filled from; None when it is closed."""
    found = c.execute("SELECT token FROM gap WHERE id = ?", (gap_id,)).fetchone()
    return found[0] if found else None


def fill(
    c: sqlite3.Connection, gap_id: int, rows: Sequence[EventRow], *, token: str | None
) -> tuple[list[EventRow], bool]:
    """Put a page of older events (newest first) into a gap. Returns those added, and whether it is closed.

    The gap closes at the start of the room (`token` None) or where the page meets events from below it, and
    nothing but those: events of servers that were apart stand between known ones.
    """
    found = c.execute("SELECT room, lower, upper, opened FROM gap WHERE id = ?", (gap_id,)).fetchone()
    if found is None:
        return [], True
    room, lower, upper, opened = found
    have = known(c, [row.event_id for row in rows])
    below = _at_or_below(c, have, room, lower)
    if below and lower is not None and _has_gap_below(c, room, lower):
        # The page goes on past this gap and into the next one, where the rest of it belongs.
        rows = rows[: next(n for n, row in enumerate(rows) if row.event_id in below)]
    first_below = next((n for n, row in enumerate(rows) if row.event_id in below), len(rows))
    last_new = max((n for n, row in enumerate(rows) if row.event_id not in have), default=-1)
    new = _without_repeats(row for row in rows if row.event_id not in have)
    placed = [(upper - n * STEP, row) for n, row in enumerate(new, start=1)]
    insert(c, room, placed, kind="backfilled", opened=0 if lower is None else opened)
    upper -= len(new) * STEP
    closed = token is None or (bool(below) and last_new < first_below)
    if closed:
        c.execute("DELETE FROM gap WHERE id = ?", (gap_id,))
    else:
        # A page with nothing new mends nothing: in a loop of pages the problem would come and go.
        query = "UPDATE gap SET upper = ?, token = ?, problem = iif(?, NULL, problem) WHERE id = ?"
        c.execute(query, (upper, token, bool(new), gap_id))
    return new, closed


def _at_or_below(c: sqlite3.Connection, have: set[str], room: int, lower: int | None) -> set[str]:
    """Which of these known events stand below a gap."""
    if lower is None or not have:
        return set()
    marks = ",".join("?" * len(have))
    query = f"SELECT event_id FROM event WHERE room = ? AND position <= ? AND event_id IN ({marks})"  # noqa: S608  only ? marks
    return {row[0] for row in c.execute(query, (room, lower, *have))}


def _has_gap_below(c: sqlite3.Connection, room: int, lower: int) -> bool:
    query = "SELECT 1 FROM gap WHERE room = ? AND upper <= ? LIMIT 1"
    return c.execute(query, (room, lower)).fetchone() is not None


def set_state(c: sqlite3.Connection, room: int, rows: Sequence[StateRow]) -> None:
    """Make state events current, in the order given."""
    c.executemany(
        "REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (room, r.type, r.state_key, r.event_id, r.sender, r.origin_time, r.content, r.redacted)
            for r in rows
        ],
    )
    for row in rows:
        # A response from before a redaction, answered or replayed after it, must not bring the content back.
        if is_redacted(c, room, row.event_id):
            redact_state(c, room, row.event_id)
