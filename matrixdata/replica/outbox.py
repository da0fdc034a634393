"""The outbox: what was accepted and has not been seen to arrive. Durable before anyone is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import Conflict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from matrixdata.replica.database import Database

ROLLED_BACK = "rolled_back"
"""Why an item is stuck that the server had acknowledged before it was restored from a backup."""

_COLUMNS = (
    "id, room_id, uid, txn_id, type, content, value, time, accepted_at, state, event_id, reason, attempts"
)

# So many acknowledged records, at least, are kept for queries until a sync brings them back.
_KEEP_SENT = 1000


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One accepted write.

    Attributes:
        id: its place in the order of acceptance; 0 before it is stored.
        content: the exact bytes of the event's content, the same on every attempt.
        value: the record as JSON text.
        time: the record's time, microseconds since 1970 UTC.
        accepted_at: when publish accepted it, microseconds since 1970 UTC.
        state: "queued", "sent" (acknowledged, not yet seen in the replica) or "stuck"; listeners also meet
            "synced", when the replica holds the event and the item leaves the outbox.
        reason: why it is stuck: the server's errcode, or one of ours.
    """

    room_id: str
    uid: str
    txn_id: str
    type: str
    content: bytes
    value: bytes
    time: int
    accepted_at: int
    id: int = 0
    state: str = "queued"
    event_id: str | None = None
    reason: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Echo:
    """An event of ours seen in the replica, sent from here or from another device.

    Attributes:
        value: the record as JSON text; None where there is none.
    """

    event_id: str
    room_id: str
    uid: str | None
    txn_id: str | None
    value: bytes | None


def _item(row: sqlite3.Row | tuple[object, ...]) -> OutboxItem:
    names = _COLUMNS.split(", ")
    return OutboxItem(**dict(zip(names, row, strict=True)))


class Outbox:
    """The outbox table. Who sends, and when, is publishing's."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.on_change: list[Callable[[OutboxItem], None]] = []
        """Called in the event loop after a commit that changed an item's state."""
        self._acknowledged = 0

    async def accept(self, items: Sequence[OutboxItem]) -> list[OutboxItem]:
        """Store items durably, all or none, and return them with their ids.

        An item whose (room, uid) is already here with the same content is that one again, not another.

        Raises:
            Conflict: the uid already stands for other content.
        """

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            return [_accept(c, item) for item in items]

        return await self._db.write(work)

    async def next(self, *, skip_rooms: Iterable[str] = (), most: int = 16) -> list[OutboxItem]:
        """The oldest queued item of each room not being sent to already."""
        skipped = list(skip_rooms)
        marks = ",".join("?" * len(skipped))
        query = (
            f"SELECT {_COLUMNS} FROM outbox WHERE id IN (SELECT min(id) FROM outbox WHERE state = 'queued'"  # noqa: S608  only constants and ? marks
            f" AND room_id NOT IN ({marks}) GROUP BY room_id) ORDER BY id LIMIT ?"
        )
        rows = await self._db.read(lambda c: c.execute(query, (*skipped, most)).fetchall())
        return [_item(row) for row in rows]

    async def next_in(self, room_id: str) -> OutboxItem | None:
        """The oldest queued item of one room."""
        query = f"SELECT {_COLUMNS} FROM outbox WHERE state = 'queued' AND room_id = ? ORDER BY id LIMIT 1"  # noqa: S608  constants
        row = await self._db.read(lambda c: c.execute(query, (room_id,)).fetchone())
        return _item(row) if row else None

    async def by_txn(self, txn_ids: Sequence[str]) -> list[OutboxItem]:
        """The items with these transaction ids that are still here."""
        query = f"SELECT {_COLUMNS} FROM outbox WHERE txn_id = ?"  # noqa: S608  constants

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            found = (c.execute(query, (txn_id,)).fetchone() for txn_id in txn_ids)
            return [_item(row) for row in found if row]

        return await self._db.read(work)

    async def find(self, room_id: str, uid: str) -> OutboxItem | None:
        """The item with that uid, if it is still here."""
        query = f"SELECT {_COLUMNS} FROM outbox WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
        row = await self._db.read(lambda c: c.execute(query, (room_id, uid)).fetchone())
        return _item(row) if row else None

    async def list(self, room_id: str | None = None, *, states: Sequence[str] = ()) -> list[OutboxItem]:
        """Items in the order of acceptance, of one room or of all, in some states or in all."""
        marks = ",".join("?" * len(states))
        query = (
            f"SELECT {_COLUMNS} FROM outbox WHERE (? IS NULL OR room_id = ?)"  # noqa: S608  constants and ? marks
            + (f" AND state IN ({marks})" if states else "")
            + " ORDER BY id"
        )
        rows = await self._db.read(lambda c: c.execute(query, (room_id, room_id, *states)).fetchall())
        return [_item(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        """How many items are in each state."""
        query = "SELECT state, count(*) FROM outbox GROUP BY state"
        return dict(await self._db.read(lambda c: c.execute(query).fetchall()))

    async def attempted(self, item_id: int) -> None:
        """Count an attempt that had no outcome."""
        await self._db.write(
            lambda c: c.execute("UPDATE outbox SET attempts = attempts + 1 WHERE id = ?", (item_id,))
        )

    async def sent(self, item_id: int, event_id: str) -> None:
        """The server acknowledged it."""
        await self._set(
            "UPDATE outbox SET state = 'sent', event_id = ?, reason = NULL WHERE id = ? AND state = 'queued'",
            (event_id, item_id),
            item_id,
        )
        self._acknowledged += 1
        if self._acknowledged % _KEEP_SENT == 0:
            # A client that only writes never meets its echoes. What is forgotten here comes back with a sync.
            query = "DELETE FROM outbox WHERE state = 'sent' AND id <= ?"
            await self._db.write(lambda c: c.execute(query, (item_id - _KEEP_SENT,)))

    async def stuck(self, item_id: int, reason: str) -> None:
        """It cannot be sent as things stand; later items go on."""
        await self._set(
            "UPDATE outbox SET state = 'stuck', reason = ? WHERE id = ? AND state = 'queued'",
            (reason, item_id),
            item_id,
        )

    async def lost(self, items: Sequence[OutboxItem]) -> None:
        """The server acknowledged these and no longer has them: keep them as stuck, to be sent again on request."""

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            return [_lost(c, item) for item in items]

        for item in await self._db.write(work):
            self._tell(item)

    async def retry(self, uid: str) -> bool:
        """Queue stuck items with that uid again; False when there are none."""
        query = "UPDATE outbox SET state = 'queued', reason = NULL, attempts = 0 WHERE uid = ? AND state = 'stuck'"
        rows = await self._db.write(lambda c: c.execute(f"{query} RETURNING {_COLUMNS}", (uid,)).fetchall())
        for row in rows:
            self._tell(_item(row))
        return bool(rows)

    async def cancel(self, uid: str) -> bool:
        """Drop stuck items with that uid; False when there are none."""
        query = "DELETE FROM outbox WHERE uid = ? AND state = 'stuck'"
        return await self._db.write(lambda c: c.execute(query, (uid,)).rowcount) > 0

    async def settle(self, echoes: Sequence[Echo]) -> None:
        """Remove what the replica now holds. Idempotent, so it may run after any crash."""
        if not echoes:
            return
        gone = await self._db.write(lambda c: [item for echo in echoes for item in _settle(c, echo)])
        for item in gone:
            self._tell(item)

    async def scrub(self) -> bool:
        """Empty the database's log of what was removed; False while somebody reads."""
        return await self._db.scrub()

    def _tell(self, item: OutboxItem) -> None:
        for listener in self.on_change:
            listener(item)

    async def _set(self, query: str, values: tuple[object, ...], item_id: int) -> None:
        def work(c: sqlite3.Connection) -> OutboxItem | None:
            c.execute(query, values)
            row = c.execute(f"SELECT {_COLUMNS} FROM outbox WHERE id = ?", (item_id,)).fetchone()  # noqa: S608  constants
            return _item(row) if row else None

        item = await self._db.write(work)
        if item is not None:
            self._tell(item)


def _accept(c: sqlite3.Connection, item: OutboxItem) -> OutboxItem:
    query = f"SELECT {_COLUMNS} FROM outbox WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
    row = c.execute(query, (item.room_id, item.uid)).fetchone()
    if row is None:
        c.execute(
            "INSERT INTO outbox (room_id, uid, txn_id, type, content, value, time, accepted_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(item.room_id, item.uid, item.txn_id, item.type),
                *(item.content, item.value, item.time, item.accepted_at),
            ),
        )
        row = c.execute(query, (item.room_id, item.uid)).fetchone()
    stored = _item(row)
    if stored.content != item.content:
        raise uid_taken(item)
    return stored


def _lost(c: sqlite3.Connection, item: OutboxItem) -> OutboxItem:
    """Idempotent: a crash may come before it is noted elsewhere that the item is dealt with."""
    query = f"SELECT {_COLUMNS} FROM outbox WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
    here = c.execute(query, (item.room_id, item.uid)).fetchone()
    if here is None:
        _accept(c, item)
    elif _item(here).state != "sent":
        return _item(here)  # on its way again, or waiting for somebody's decision
    # Without the old event id, under which the replica still has the row: it would pass for its echo.
    values = (ROLLED_BACK, item.room_id, item.uid)
    c.execute(
        "UPDATE outbox SET state = 'stuck', reason = ?, event_id = NULL WHERE room_id = ? AND uid = ?", values
    )
    return _item(c.execute(query, (item.room_id, item.uid)).fetchone())


def uid_taken(item: OutboxItem) -> Conflict:
    """The error for a uid that stands for another record."""
    return Conflict(
        f"uid {item.uid!r} is already used in {item.room_id} for another record; choose another uid"
    )


def _settle(c: sqlite3.Connection, echo: Echo) -> list[OutboxItem]:
    rows = c.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE event_id = ? OR txn_id = ? OR (room_id = ? AND uid = ?)",  # noqa: S608  constants
        (echo.event_id, echo.txn_id, echo.room_id, echo.uid),
    ).fetchall()
    return [_settled(c, _item(row), echo) for row in rows]


def _settled(c: sqlite3.Connection, item: OutboxItem, echo: Echo) -> OutboxItem:
    mine = echo.event_id == item.event_id or echo.txn_id == item.txn_id
    if (
        not mine
        and echo.value is not None
        and msgspec.json.decode(echo.value) != msgspec.json.decode(item.value)
    ):
        # Another device of ours used the uid for another record, which readers now count under it.
        c.execute("UPDATE outbox SET state = 'stuck', reason = 'uid_conflict' WHERE id = ?", (item.id,))
        return replace(item, state="stuck", reason="uid_conflict")
    c.execute("DELETE FROM outbox WHERE id = ?", (item.id,))
    return replace(item, state="synced", event_id=echo.event_id, reason=None)
