"""The outbox: what was accepted and has not been seen to arrive. Durable before anyone is told."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from matrixdata.model.steps import reached
from matrixdata.replica import wire as wires
from matrixdata.replica.jobs import note_rows
from matrixdata.replica.outbox_rows import (
    COLUMNS,
    accept,
    checksum,
    is_droppable,
    item_of,
    mark_lost,
    members,
    note_acknowledged,
    settle,
)
from matrixdata.replica.packing import pack_all, pack_head, unpack
from matrixdata.replica.sums import DAMAGED
from matrixdata.replica.watch import Watch
from matrixdata.replica.wire import NotBegun, Wire

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from matrixdata.replica.database import Database
    from matrixdata.replica.jobs import JobRows
    from matrixdata.replica.outbox_item import Echo, OutboxItem
    from matrixdata.replica.packing import Packing

    Seal = Callable[[sqlite3.Connection], Wire | None]

log = logging.getLogger("matrixdata.replica")

_PART = 500
# What becomes of an item.
_CHANGING = "state, event_id, reason, attempts, next_attempt, batch"
_changing = attrgetter(*_CHANGING.split(", "))


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

    async def accept(
        self, items: Sequence[OutboxItem], *, job: JobRows | None = None, packing: Packing | None = None
    ) -> list[OutboxItem]:
        """Store items durably, all or none, and return them with their ids.

        `job` notes them as its rows; with `packing` they travel in batches. An item whose (room, uid) is already here
        with the same content is that one again, not another.

        Raises:
            Conflict: the uid already stands for other content, or the job has a row already.
        """

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            stored = [accept(c, item) for item in items]
            if job is not None:
                note_rows(c, job, stored)
            if packing is not None:
                pack_all(c, stored, packing)
            return stored

        return await self._db.write(work)

    async def rooms_waiting(self, *, skip: Iterable[str] = (), most: int = 100) -> list[str]:
        """Rooms in which something is queued, the oldest first."""
        skipped = list(skip)
        marks = ",".join("?" * len(skipped))
        # From room to room along the index: however much is queued, each costs one look.
        waiting = "SELECT min(room_id) FROM outbox WHERE state = 'queued' AND batch IS NULL"
        oldest = "SELECT min(ifnull(turn, id)) FROM outbox WHERE state = 'queued' AND batch IS NULL AND room_id = room"
        query = (
            f"WITH RECURSIVE waiting (room) AS ({waiting} UNION ALL SELECT ({waiting} AND room_id > room)"  # noqa: S608  constants and ? marks
            " FROM waiting WHERE room IS NOT NULL) SELECT room FROM waiting"
            f" WHERE room IS NOT NULL AND room NOT IN ({marks}) ORDER BY ({oldest}) LIMIT ?"
        )
        rows = await self._db.read(lambda c: c.execute(query, (*skipped, most)).fetchall())
        return [room_id for (room_id,) in rows]

    async def head(self, room_id: str) -> OutboxItem | None:
        """The oldest queued item of one room."""
        which = "state = 'queued' AND room_id = ? AND batch IS NULL ORDER BY ifnull(turn, id) LIMIT 1"
        return await self._first(which, (room_id,))

    async def follower(self, item: OutboxItem) -> OutboxItem | None:
        """A queued item behind that one in its room: the one least often attempted, of those the oldest."""
        which = (
            "state = 'queued' AND room_id = ? AND batch IS NULL AND ifnull(turn, id) > ?"
            " ORDER BY attempts, ifnull(turn, id) LIMIT 1"
        )
        return await self._first(which, (item.room_id, item.place))

    async def is_crowded(self, room_id: str, most: int) -> bool:
        """Whether more than so many records that surely never left and may be packed are next in a room's queue.

        It looks at the next few hundred only, since it is asked before each record is sent.
        """
        query = (
            "SELECT count(*) FROM (SELECT attempts, records, alone FROM outbox WHERE state = 'queued' AND room_id = ?"
            " AND batch IS NULL ORDER BY ifnull(turn, id) LIMIT ?) WHERE attempts = 0 AND records = 1 AND alone = 0"
        )
        return await self._db.read(lambda c: c.execute(query, (room_id, 4 * most)).fetchone()[0] > most)

    async def pack(self, room_id: str, packing: Packing) -> int:
        """Make one batch of the records at the head of a room's queue, as far as they surely never left; how many."""

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            found = pack_head(c, room_id, packing)
            reached("publish.3 packing")
            return found

        found = await self._db.write(work)
        reached("publish.3 packed")
        return len(found)

    async def _first(self, which: str, values: tuple[object, ...]) -> OutboxItem | None:
        """The first that is what was accepted. What decayed on the disk is kept and listed, and never sent."""
        query = f"SELECT {COLUMNS}, checksum FROM outbox WHERE {which}"  # noqa: S608  constants
        while row := await self._db.read(lambda c: c.execute(query, values).fetchone()):
            item = item_of(row[:-1])
            if checksum(item) == row[-1]:
                return item
            log.error("record %s in the outbox is damaged: it is kept there, and not sent", item.uid)
            await self.stuck(item, DAMAGED)
        return None

    async def by_txn(self, txn_ids: Sequence[str]) -> list[OutboxItem]:
        """The items with these transaction ids that are still here."""
        return await self._db.read(lambda c: [item_of(row) for row in _by_txn(c, COLUMNS, txn_ids)])

    async def moved(self, items: Sequence[OutboxItem]) -> tuple[list[OutboxItem], list[OutboxItem]]:
        """Of these items those that are not as they were, as they are now; and those that are gone."""
        known = {item.txn_id: item for item in items}

        def work(c: sqlite3.Connection) -> tuple[list[OutboxItem], list[OutboxItem]]:
            now = {row[0]: row for row in _by_txn(c, f"txn_id, {_CHANGING}", [*known])}
            gone = [item for txn_id, item in known.items() if txn_id not in now]
            moved = [txn_id for txn_id, row in now.items() if _changing(known[txn_id]) != tuple(row[1:])]
            return [item_of(row) for row in _by_txn(c, COLUMNS, moved)], gone

        return await self._db.read(work)

    async def find(self, room_id: str, uid: str) -> OutboxItem | None:
        """The item with that uid, if it is still here."""
        query = f"SELECT {COLUMNS} FROM entry WHERE room_id = ? AND uid = ?"  # noqa: S608  constants
        row = await self._db.read(lambda c: c.execute(query, (room_id, uid)).fetchone())
        return item_of(row) if row else None

    async def list(self, room_id: str | None = None, *, states: Sequence[str] = ()) -> Sequence[OutboxItem]:
        """What travels, each with all that travels in it, in the order of acceptance; of one room or of all."""
        return await self._list("outbox WHERE batch IS NULL", room_id, states)

    async def entries(
        self, room_id: str | None = None, *, states: Sequence[str] = ()
    ) -> Sequence[OutboxItem]:
        """What was accepted, each as it was handed in, in that order; of one room or of all."""
        return await self._list("entry WHERE made = 0", room_id, states)

    async def _list(self, which: str, room_id: str | None, states: Sequence[str]) -> Sequence[OutboxItem]:
        marks = ",".join("?" * len(states))
        query = (
            f"SELECT {COLUMNS} FROM {which} AND (? IS NULL OR room_id = ?)"  # noqa: S608  constants and ? marks
            + (f" AND state IN ({marks})" if states else "")
            + " ORDER BY id"
        )
        rows = await self._db.read(lambda c: c.execute(query, (room_id, room_id, *states)).fetchall())
        return [item_of(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        """How many records are in each state."""
        query = "SELECT state, sum(records) FROM entry WHERE made = 0 GROUP BY state"
        return dict(await self._db.read(lambda c: c.execute(query).fetchall()))

    # -- attempts ---------------------------------------------------------------------------------------
    async def begin(
        self, item: OutboxItem, now: int, *, seal: Seal | None = None, anew: bool = False
    ) -> Wire | NotBegun:
        """Note durably, before a byte leaves, that it may reach the server; what is to be sent.

        Args:
            item: what is to be attempted.
            now: microseconds since 1970 UTC.
            seal: encrypts it, inside the transaction that keeps what came of that; None from it: it cannot yet, and
                nothing is noted but what it did itself. Left out in rooms that are not encrypted.
            anew: encrypt it again: it was looked for on the server and is not there, and were it there all the same,
                a second event with the same ciphertext would pass for a replay.
        """
        query = (
            "UPDATE outbox SET attempts = attempts + 1, first_attempt = coalesce(first_attempt, ?),"
            " last_attempt = ?, next_attempt = NULL, after_event = CASE attempts WHEN 0 THEN"
            " (SELECT event_id FROM acknowledged WHERE room_id = outbox.room_id) ELSE after_event END"
            " WHERE id = ? AND state = 'queued'"
        )

        def work(c: sqlite3.Connection) -> Wire | NotBegun:
            row = c.execute(
                "SELECT attempts FROM outbox WHERE id = ? AND state = 'queued'", (item.id,)
            ).fetchone()
            if row is None:
                return NotBegun.GONE
            wire = Wire(item.type, item.content)
            if seal is not None:
                # What surely never left is encrypted for those who are to read it now.
                kept = wires.kept(c, item.id) if row[0] and not anew else None
                sealed = kept or seal(c)
                if sealed is None:
                    return NotBegun.UNSEALED
                wires.keep(c, item.id, sealed)
                wire = sealed
            c.execute(query, (now, now, item.id))
            return wire

        return await self._db.write(work)

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
                note_acknowledged(c, item.room_id, event_id)

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
            lost = [mark_lost(c, item) for item in items]
            return [each for item in lost for each in (item, *members(c, item))]

        for item in await self._db.write(work):
            self._tell(item)

    # -- mending ----------------------------------------------------------------------------------------
    async def retry(self, uid: str | None = None) -> int:
        """Queue stuck items again, those with that uid or all; how many records there were.

        A record that travels in a batch takes the others of that along.
        """
        query = (
            "UPDATE outbox SET state = 'queued', reason = NULL WHERE state = 'stuck' AND reason IS NOT ?"  # noqa: S608  constants
            " AND (? IS NULL OR uid = ? OR id IN (SELECT batch FROM outbox WHERE uid = ?))"
            f" RETURNING {COLUMNS}"
        )

        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            items = [item_of(row) for row in c.execute(query, (DAMAGED, uid, uid, uid)).fetchall()]
            return [each for item in items for each in (item, *members(c, item))]

        found = await self._db.write(work)
        for item in found:
            self._tell(item)
        return sum(item.records for item in found if not item.made)

    async def cancel(self, uid: str) -> Sequence[OutboxItem]:
        """Drop the items with that uid that are stuck, or queued and surely not on the server.

        Returns:
            Those dropped, with the state "cancelled". If there are none, those that were not: they may be on
            the server, or are.
        """

        def work(c: sqlite3.Connection) -> Sequence[OutboxItem]:
            query = f"SELECT {COLUMNS} FROM entry WHERE made = 0 AND uid = ? ORDER BY id"  # noqa: S608  constants
            found = [item_of(row) for row in c.execute(query, (uid,)).fetchall()]
            dropped = [item for item in found if is_droppable(item)]
            for item in dropped:
                if item.batch is not None:
                    unpack(c, item.batch)
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
        gone = await self._db.write(lambda c: [item for echo in echoes for item in settle(c, echo)])
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
        def work(c: sqlite3.Connection) -> list[OutboxItem]:
            change(c)
            rows = c.execute(f"SELECT {COLUMNS} FROM outbox WHERE id = ?", (item_id,)).fetchall()  # noqa: S608  constants
            return [each for row in rows for each in (item_of(row), *members(c, item_of(row)))]

        for item in await self._db.write(work):
            self._tell(item)


def _by_txn(c: sqlite3.Connection, columns: str, txn_ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(txn_ids), _PART):
        part = txn_ids[start : start + _PART]
        marks = ",".join("?" * len(part))
        yield from c.execute(f"SELECT {columns} FROM entry WHERE txn_id IN ({marks})", part)  # noqa: S608  constants and ? marks
