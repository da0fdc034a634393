"""The outbox: what was accepted and has not been seen to arrive. Durable before anyone is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import Conflict
from matrixdata.replica.jobs import note_rows
from matrixdata.replica.sums import DAMAGED, outbox_sum
from matrixdata.replica.watch import Watch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from matrixdata.replica.database import Database
    from matrixdata.replica.jobs import JobRows

log = logging.getLogger("matrixdata.replica")

ROLLED_BACK = "rolled_back"
"""Why an item is stuck that the server had acknowledged before it was restored from a backup."""

_COLUMNS = (
    "id, room_id, uid, txn_id, type, content, value, time, accepted_at, state, event_id, reason, "
    "attempts, first_attempt, last_attempt, next_attempt, after_event"
)


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
            "synced", when the replica holds the event and the item leaves the outbox, and "cancelled".
        reason: why it is not sent: the server's errcode, or one of `model.delivery`.
        attempts: how many attempts may have reached the server, the one under way among them; 0 means that it
            is surely not there.
        first_attempt, last_attempt, next_attempt: microseconds since 1970 UTC by the local clock, for people:
            nothing is decided by them.
        after_event: our newest event in the room when it was first attempted, None if there was none.
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
    first_attempt: int | None = None
    last_attempt: int | None = None
    next_attempt: int | None = None
    after_event: str | None = None


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


def checksum(item: OutboxItem) -> int:
    """Of what is sent and of where to."""
    return outbox_sum(item.room_id, item.uid, item.txn_id, item.content)


class Outbox:
    """The outbox table. Who sends, and when, is publishing's."""

    def __init__(self, database: Database, *, keep_sent: int = 1000) -> None:
        self._db = database
        self._keep_sent = keep_sent  # so many, at least, for queries until a sync brings them back
        self.on_change: list[Callable[[OutboxItem], None]] = []
        """Called in the event loop after a commit that changed an item's state."""
        self._acknowledged = 0

    def watch(self) -> Watch:
        """Tells when any process has written here."""
        return Watch(self._db.path)

    async def accept(self, items: Sequence[OutboxItem], *, job: JobRows | None = None) -> list[OutboxItem]:
        """Store items durably, all or none, and return them with their ids; `job` notes them as its rows.

        An item whose (room, uid) is already here with the same content is that one again, not another.

        Raises:
            Conflict: the uid already stands for other content, or the job has a row already.
        """

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            if job is not None:
                note_rows(c, job)
            return [_accept(c, item) for item in items]

        return await self._db.write(work)

    async def rooms_waiting(self, *, skip: Iterable[str] = (), most: int = 100) -> list[str]:
        """Rooms in which something is queued, the oldest first."""
        skipped = list(skip)
        marks = ",".join("?" * len(skipped))
        query = (
            f"SELECT room_id FROM outbox WHERE state = 'queued' AND room_id NOT IN ({marks})"  # noqa: S608  only ? marks
            " GROUP BY room_id ORDER BY min(id) LIMIT ?"
        )
        rows = await self._db.read(lambda c: c.execute(query, (*skipped, most)).fetchall())
        return [room_id for (room_id,) in rows]

    async def head(self, room_id: str) -> OutboxItem | None:
        """The oldest queued item of one room."""
        return await self._first("state = 'queued' AND room_id = ? ORDER BY id LIMIT 1", (room_id,))

    async def follower(self, item: OutboxItem) -> OutboxItem | None:
        """A queued item behind that one in its room: the one least often attempted, of those the oldest."""
        which = "state = 'queued' AND room_id = ? AND id > ? ORDER BY attempts, id LIMIT 1"
        return await self._first(which, (item.room_id, item.id))

    async def _first(self, which: str, values: tuple[object, ...]) -> OutboxItem | None:
        """The first that is what was accepted. What decayed on the disk is kept and listed, and never sent."""
        query = f"SELECT {_COLUMNS}, checksum FROM outbox WHERE {which}"  # noqa: S608  constants
        while row := await self._db.read(lambda c: c.execute(query, values).fetchone()):
            item = _item(row[:-1])
            if checksum(item) == row[-1]:
                return item
            log.error("record %s in the outbox is damaged: it is kept there, and not sent", item.uid)
            await self.stuck(item, DAMAGED)
        return None

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

    # -- attempts ---------------------------------------------------------------------------------------
    async def begin(self, item: OutboxItem, now: int) -> bool:
        """Note durably, before a byte leaves, that it may reach the server; False if it is not queued any more."""
        query = (
            "UPDATE outbox SET attempts = attempts + 1, first_attempt = coalesce(first_attempt, ?),"
            " last_attempt = ?, next_attempt = NULL, after_event = CASE attempts WHEN 0 THEN"
            " (SELECT event_id FROM acknowledged WHERE room_id = outbox.room_id) ELSE after_event END"
            " WHERE id = ? AND state = 'queued'"
        )
        return await self._db.write(lambda c: c.execute(query, (now, now, item.id)).rowcount) > 0

    async def came_back(self, item: OutboxItem, reason: str, *, again: int | None = None) -> None:
        """The attempt that `begin` noted did not reach the server, or was turned away there without effect."""
        await self._set(
            "UPDATE outbox SET reason = ?, next_attempt = ?, attempts = attempts - 1,"
            " first_attempt = CASE attempts WHEN 1 THEN NULL ELSE first_attempt END"
            " WHERE id = ? AND state = 'queued'",
            (reason, again, item.id),
            item.id,
        )

    async def delayed(self, item: OutboxItem, reason: str, *, again: int | None) -> None:
        """It is not sent for now, for a reason; what earlier attempts led to stays as open as it was."""
        await self._set(
            "UPDATE outbox SET reason = ?, next_attempt = ? WHERE id = ? AND state = 'queued'",
            (reason, again, item.id),
            item.id,
        )

    async def sent(self, item: OutboxItem, event_id: str) -> None:
        """The server acknowledged it, or was found to have it."""

        def work(c: sqlite3.Connection) -> None:
            query = (
                "UPDATE outbox SET state = 'sent', event_id = ?, reason = NULL, next_attempt = NULL"
                " WHERE id = ? AND state = 'queued'"
            )
            if c.execute(query, (event_id, item.id)).rowcount:
                _acknowledged(c, item.room_id, event_id)

        await self._change(work, item.id)
        self._acknowledged += 1
        if self._acknowledged % self._keep_sent == 0:
            # A client that only writes never meets its echoes. What is forgotten here comes back with a sync.
            query = "DELETE FROM outbox WHERE state = 'sent' AND id <= ?"
            await self._db.write(lambda c: c.execute(query, (item.id - self._keep_sent,)))

    async def stuck(self, item: OutboxItem, reason: str, *, refused: bool = False) -> None:
        """It cannot be sent as things stand; later items go on. `refused`: the attempt under way had no effect."""
        await self._set(
            "UPDATE outbox SET state = 'stuck', reason = ?, next_attempt = NULL, attempts = attempts - ?,"
            " first_attempt = CASE attempts WHEN ? THEN NULL ELSE first_attempt END"
            " WHERE id = ? AND state = 'queued'",
            (reason, int(refused), int(refused), item.id),
            item.id,
        )

    async def lost(self, items: Sequence[OutboxItem]) -> None:
        """The server acknowledged these and no longer has them: keep them as stuck, to be sent again on request."""

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            return [_lost(c, item) for item in items]

        for item in await self._db.write(work):
            self._tell(item)

    # -- mending ----------------------------------------------------------------------------------------
    async def retry(self, uid: str | None = None) -> int:
        """Queue stuck items again, those with that uid or all; how many there were."""
        query = (
            "UPDATE outbox SET state = 'queued', reason = NULL"
            " WHERE state = 'stuck' AND (? IS NULL OR uid = ?) AND reason IS NOT ?"
        )
        rows = await self._db.write(
            lambda c: c.execute(f"{query} RETURNING {_COLUMNS}", (uid, uid, DAMAGED)).fetchall()
        )
        for row in rows:
            self._tell(_item(row))
        return len(rows)

    async def cancel(self, uid: str) -> Sequence[OutboxItem]:
        """Drop the items with that uid that are stuck, or queued and surely not on the server.

        Returns:
            Those dropped, with the state "cancelled". If there are none, those that were not: they may be on
            the server, or are.
        """

        def work(c: sqlite3.Connection) -> Sequence[OutboxItem]:
            query = f"SELECT {_COLUMNS} FROM outbox WHERE uid = ? ORDER BY id"  # noqa: S608  constants
            found = [_item(row) for row in c.execute(query, (uid,)).fetchall()]
            dropped = [item for item in found if _is_droppable(item)]
            for item in dropped:
                c.execute("DELETE FROM outbox WHERE id = ?", (item.id,))
            return [replace(item, state="cancelled") for item in dropped] or found

        items = await self._db.write(work)
        for item in items:
            if item.state == "cancelled":
                self._tell(item)
        return items

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
        await self._change(lambda c: c.execute(query, values), item_id)

    async def _change(self, change: Callable[[sqlite3.Connection], object], item_id: int) -> None:
        def work(c: sqlite3.Connection) -> OutboxItem | None:
            change(c)
            row = c.execute(f"SELECT {_COLUMNS} FROM outbox WHERE id = ?", (item_id,)).fetchone()  # noqa: S608  constants
            return _item(row) if row else None

        item = await self._db.write(work)
        if item is not None:
            self._tell(item)


def _is_droppable(item: OutboxItem) -> bool:
    return item.state == "stuck" or (item.state == "queued" and item.attempts == 0)


def _acknowledged(c: sqlite3.Connection, room_id: str, event_id: str) -> None:
    c.execute("REPLACE INTO acknowledged VALUES (?, ?)", (room_id, event_id))


def _accept(c: sqlite3.Connection, item: OutboxItem) -> OutboxItem:
    query = f"SELECT {_COLUMNS} FROM outbox WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
    row = c.execute(query, (item.room_id, item.uid)).fetchone()
    if row is None:
        c.execute(
            "INSERT INTO outbox (room_id, uid, txn_id, type, content, value, time, accepted_at, checksum)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(item.room_id, item.uid, item.txn_id, item.type),
                *(item.content, item.value, item.time, item.accepted_at, checksum(item)),
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
    # Without the old event id, under which the replica still has the row: it would pass for its echo. And without
    # attempts: it surely is not on the server, and must not be looked for in that replica.
    values = (ROLLED_BACK, item.room_id, item.uid)
    c.execute(
        "UPDATE outbox SET state = 'stuck', reason = ?, event_id = NULL, attempts = 0, first_attempt = NULL"
        " WHERE room_id = ? AND uid = ?",
        values,
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
    if item.state == "queued":  # of a sent one the acknowledgement is noted, perhaps with later ones since
        _acknowledged(c, item.room_id, echo.event_id)
    return replace(item, state="synced", event_id=echo.event_id, reason=None)
