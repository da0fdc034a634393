"""The outbox's rows: read, added, changed and removed, each inside a transaction of its caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from matrixdata.errors import Conflict
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.sums import outbox_sum
from matrixdata.replica.wire import drop

if TYPE_CHECKING:
    import sqlite3

    from matrixdata.replica.outbox_item import Echo

ROLLED_BACK = "rolled_back"
"""Why an item is stuck that the server had acknowledged before it was restored from a backup."""

COLUMNS = ", ".join(OutboxItem.__struct_fields__)


def item_of(row: sqlite3.Row | tuple[object, ...]) -> OutboxItem:
    """From the values of COLUMNS."""
    item = OutboxItem(*row)
    return replace(item, made=bool(item.made), alone=bool(item.alone)) if item.made or item.alone else item


def checksum(item: OutboxItem) -> int:
    """Of what is sent and of where to."""
    return outbox_sum(item.room_id, item.uid, item.txn_id, item.content)


def is_droppable(item: OutboxItem) -> bool:
    """Whether it surely is not on its way to the server, or there."""
    return item.state == "stuck" or (item.state == "queued" and item.attempts == 0)


def note_acknowledged(c: sqlite3.Connection, room_id: str, event_id: str) -> None:
    """Our newest event in the room."""
    c.execute("REPLACE INTO acknowledged VALUES (?, ?)", (room_id, event_id))


def accept(c: sqlite3.Connection, item: OutboxItem) -> OutboxItem:
    """Add it, or find it here."""
    query = f"SELECT {COLUMNS} FROM entry WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
    row = c.execute(query, (item.room_id, item.uid)).fetchone()
    if row is None:
        add(c, item)
        row = c.execute(query, (item.room_id, item.uid)).fetchone()
    stored = item_of(row)
    if stored.content != item.content:
        raise uid_taken(item)
    return stored


def add(c: sqlite3.Connection, item: OutboxItem) -> int:
    """Add it; the id it has now."""
    key = c.execute(
        "INSERT INTO outbox (room_id, uid, txn_id, type, content, value, time, accepted_at, checksum, records, made,"
        " turn, alone) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(item.room_id, item.uid, item.txn_id, item.type),
            *(item.content, item.value, item.time, item.accepted_at, checksum(item)),
            *(item.records, item.made, item.turn, item.alone),
        ),
    ).lastrowid
    return key or 0


def members(c: sqlite3.Connection, item: OutboxItem) -> list[OutboxItem]:
    """The items that a batch was made of, as they fare with it."""
    if not item.made:
        return []
    query = f"SELECT {COLUMNS} FROM entry WHERE batch = ? ORDER BY id"  # noqa: S608  constants
    return [item_of(row) for row in c.execute(query, (item.id,)).fetchall()]


def mark_lost(c: sqlite3.Connection, item: OutboxItem) -> OutboxItem:
    """Keep what the server forgot. Idempotent: a crash may come before it is noted elsewhere."""
    query = f"SELECT {COLUMNS} FROM outbox WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
    here = c.execute(query, (item.room_id, item.uid)).fetchone()
    if here is None:
        accept(c, item)
    elif item_of(here).state != "sent":
        return item_of(here)  # on its way again, or waiting for somebody's decision
    # Without the old event id, under which the replica still has the row: it would pass for its echo. And without
    # attempts: it surely is not on the server, and must not be looked for in that replica.
    values = (ROLLED_BACK, item.room_id, item.uid)
    if here is not None:
        drop(c, item_of(here).id)
    c.execute(
        "UPDATE outbox SET state = 'stuck', reason = ?, event_id = NULL, attempts = 0, first_attempt = NULL"
        " WHERE room_id = ? AND uid = ?",
        values,
    )
    return item_of(c.execute(query, (item.room_id, item.uid)).fetchone())


def uid_taken(item: OutboxItem) -> Conflict:
    """The error for a uid that stands for another record."""
    return Conflict(
        f"uid {item.uid!r} is already used in {item.room_id} for another record; choose another uid"
    )


def settle(c: sqlite3.Connection, echo: Echo) -> list[OutboxItem]:
    """Remove the items whose event that is; how each ended."""
    rows = c.execute(
        f"SELECT {COLUMNS} FROM outbox WHERE event_id = ? OR txn_id = ? OR (room_id = ? AND uid = ?)",  # noqa: S608  constants
        (echo.event_id, echo.txn_id, echo.room_id, echo.uid),
    ).fetchall()
    return [ended for row in rows for ended in _settled(c, item_of(row), echo)]


def _settled(c: sqlite3.Connection, item: OutboxItem, echo: Echo) -> list[OutboxItem]:
    mine = echo.event_id == item.event_id or echo.txn_id == item.txn_id
    if (
        not mine
        and echo.value is not None
        and msgspec.json.decode(echo.value) != msgspec.json.decode(item.value)
    ):
        # Another device of ours used the uid for another record, which readers now count under it.
        c.execute(
            "UPDATE outbox SET state = 'stuck', reason = 'uid_conflict', batch = NULL WHERE id = ?",
            (item.id,),
        )
        return [replace(item, state="stuck", reason="uid_conflict")]
    ended = [item, *members(c, item)]
    c.execute("DELETE FROM outbox WHERE id = ?", (item.id,))
    if item.state == "queued":  # of a sent one the acknowledgement is noted, perhaps with later ones since
        note_acknowledged(c, item.room_id, echo.event_id)
    return [replace(each, state="synced", event_id=echo.event_id, reason=None) for each in ended]
