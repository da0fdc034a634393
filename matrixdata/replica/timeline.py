"""SQL of one room's timeline: placing events, gaps, duplicates, redactions. Runs inside a transaction.

Positions order a room's events as its server told them. New events go after the newest. Where events are
missing, a block of positions is left free and a gap row keeps the place; what is fetched later is put in
from the gap's upper end downwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from matrixdata.replica.rows import EventRow, StateRow

# Room for 4 billion events in each gap, and for 2 billion gaps, in 64-bit positions.
_BLOCK = 1 << 32
# State of which a redaction leaves what the room's rules need (room versions, "Redactions"); it stays current.
_PROTECTED = "'m.room.create', 'm.room.member', 'm.room.join_rules', 'm.room.power_levels', 'm.room.history_visibility'"
_INSERT = """
    INSERT INTO event (room, position, event_id, type, state_key, sender, origin_time, content, record,
                       row_state, problems, uid, schema, value, time, change)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


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
        # Without a token of its own the gap is filled from the newest event backwards.
        _open_gap(c, room, lower=newest, upper=position + 1, token=prev_batch or "")
    for row in new:
        position += 1
        insert(c, room, position, row, kind="live")
    if new or opened:
        c.execute("UPDATE room SET newest = ? WHERE id = ?", (position, room))
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
        after -= 1
        insert(c, room, after, row, kind="backfilled", opened=gap[1])
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


def fill(
    c: sqlite3.Connection, gap_id: int, rows: Sequence[EventRow], *, token: str | None
) -> tuple[list[EventRow], bool]:
    """Put a page of older events (newest first) into a gap. Returns those added, and whether it is closed.

    The gap closes at the start of the room (`token` None) or where the page meets an event from below it.
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
    new = _without_repeats(row for row in rows if row.event_id not in have)
    for row in new:
        upper -= 1
        insert(c, room, upper, row, kind="backfilled", opened=0 if lower is None else opened)
    closed = token is None or bool(below)
    if closed:
        c.execute("DELETE FROM gap WHERE id = ?", (gap_id,))
    else:
        c.execute("UPDATE gap SET upper = ?, token = ? WHERE id = ?", (upper, token, gap_id))
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


def insert(
    c: sqlite3.Connection, room: int, position: int, row: EventRow, *, kind: str, opened: int = 0
) -> None:
    """Store one event not known before, its change row, and what it does to others."""
    change = c.execute(
        "INSERT INTO change (room, event, kind, opened) VALUES (?, 0, ?, ?)", (room, kind, opened)
    ).lastrowid
    key = c.execute(
        _INSERT,
        (
            *(
                room,
                position,
                row.event_id,
                row.type,
                row.state_key,
                row.sender,
                row.origin_time,
                row.content,
            ),
            *(row.record, row.row_state, row.problems, row.uid, row.schema, row.value, row.time, change),
        ),
    ).lastrowid
    c.execute("UPDATE change SET event = ? WHERE id = ?", (key, change))
    if row.uid is not None:
        choose_winner(c, room, row.sender, row.uid)
    if row.redacts:
        redact(c, room, row.redacts)
    if c.execute("DELETE FROM redaction WHERE room = ? AND event_id = ?", (room, row.event_id)).rowcount:
        redact(c, room, row.event_id)


def choose_winner(c: sqlite3.Connection, room: int, sender: str, uid: str) -> None:
    """Of all events with one (sender, uid), the smallest event id counts, in whatever order they came."""
    found = c.execute(
        "SELECT id FROM event WHERE room = ? AND uid = ? AND sender = ? ORDER BY event_id",
        (room, uid, sender),
    ).fetchall()
    if len(found) > 1:
        c.executemany(
            "UPDATE event SET shadowed = ? WHERE id = ?",
            [(int(n > 0), key) for n, (key,) in enumerate(found)],
        )
    elif found:
        c.execute("UPDATE event SET shadowed = 0 WHERE id = ?", found[0])


def redact(c: sqlite3.Connection, room: int, event_id: str) -> None:
    """Remove an event's content for good, now or when it comes; the row stays as a tombstone."""
    if event_id not in known(c, [event_id]):
        c.execute("INSERT OR IGNORE INTO redaction VALUES (?, ?)", (room, event_id))
    c.execute(
        f"UPDATE state SET content = x'7B7D' WHERE room = ? AND event_id = ? AND type NOT IN ({_PROTECTED})",  # noqa: S608  constants
        (room, event_id),
    )
    found = c.execute(
        "SELECT id, sender, uid FROM event WHERE room = ? AND event_id = ? AND row_state <> 'redacted'",
        (room, event_id),
    ).fetchone()
    if found is None:
        return
    key, sender, uid = found
    c.execute(
        "UPDATE event SET content = NULL, value = NULL, problems = NULL, uid = NULL, schema = NULL, shadowed = 0,"
        " row_state = 'redacted' WHERE id = ?",
        (key,),
    )
    c.execute("INSERT INTO change (room, event, kind) VALUES (?, ?, 'redaction')", (room, key))
    if uid is not None:
        choose_winner(c, room, sender, uid)


def set_state(c: sqlite3.Connection, room: int, rows: Sequence[StateRow]) -> None:
    """Make state events current, in the order given."""
    c.executemany(
        "REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(room, r.type, r.state_key, r.event_id, r.sender, r.origin_time, r.content) for r in rows],
    )
