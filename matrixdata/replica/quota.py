"""Keeps a store within a number of bytes: refuses records, or drops the oldest ones that are surely not sent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matrixdata.errors import StoreFull
from matrixdata.replica.jobs import forget_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matrixdata.replica.database import Database
    from matrixdata.replica.footprint import Footprint
    from matrixdata.replica.outbox_item import OutboxItem

log = logging.getLogger("matrixdata.replica")

# What a row takes beside content and value: ids, its places in four indexes, what its attempts add.
_ROW = 700
_UNSENT = "state = 'queued' AND attempts = 0 AND batch IS NULL"
# Of a row, and of those that travel in it.
_SIZE = f"(SELECT sum(length(m.content) + length(m.value) + {_ROW}) FROM outbox m WHERE m.id = o.id OR m.batch = o.id)"  # noqa: S608  constants
_LOGS = ("account.db-wal", "replica.db-wal")
_OTHERS = ("account.db-shm", "replica.db", "replica.db-shm")


class Quota:
    """The limit of one store, if it has one."""

    def __init__(self, database: Database, directory: Path, footprint: Footprint) -> None:
        self._db = database
        self._directory = directory
        self.footprint = footprint
        self.on_drop: Callable[[Sequence[str]], None] = lambda _: None
        """Called in the event loop with the transaction ids of records that were dropped."""
        database.on_open(self._bound_log)

    def _bound_log(self, c: sqlite3.Connection) -> None:
        if self.footprint.limit is not None:
            c.execute(f"PRAGMA wal_autocheckpoint = {self.footprint.log_pages}")
            c.execute(f"PRAGMA journal_size_limit = {self.footprint.log_pages * 4096}")
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def used(self) -> int:
        """Bytes that the databases and their logs take; places freed in account.db do not count.

        A log counts as long as it may get before it is emptied: the next commits fill it.
        """

        def work(c: sqlite3.Connection) -> int:
            pages, free, size = (
                c.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            return int(pages - free) * int(size)

        log = 0 if self.footprint.limit is None else self.footprint.log_pages * 4096
        logs = sum(max(log, _size(self._directory / name)) for name in _LOGS)
        return await self._db.read(work) + logs + sum(_size(self._directory / name) for name in _OTHERS)

    async def make_room(self, items: Sequence[OutboxItem]) -> None:
        """Make sure that these may be stored.

        Raises:
            StoreFull: the limit is reached, and nothing may or can be dropped.
        """
        limit = self.footprint.limit
        if limit is None:
            return
        need = sum(len(item.content) + len(item.value) + _ROW for item in items)
        over = await self.used() + need - limit
        if over <= 0:
            return
        # What the server has may go first: a sync brings it back, and who does not sync does not read.
        over -= await self._db.write(lambda c: _forget_sent(c, over))
        if over <= 0:
            return
        # Not more than the new ones take: places freed in the file are not all of use at once.
        drop = min(over, need)
        found = (
            await self._db.write(lambda c: _drop(c, drop)) if self.footprint.on_full == "drop_oldest" else []
        )
        if not found:
            raise StoreFull(
                f"the store in {self._directory} has reached its limit of {limit:,} bytes; nothing of this was queued. "
                "There is room again when what is queued has been sent"
            )
        log.warning(
            "the store is full: the oldest queued records were dropped, unsent (%d events)", len(found)
        )
        self.on_drop(found)

    async def dropped(self) -> int:
        """How many records were dropped since this store was made."""
        query = "SELECT ifnull(sum(records), 0) FROM dropped"
        return int(await self._db.read(lambda c: c.execute(query).fetchone()[0]))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _forget_sent(c: sqlite3.Connection, over: int) -> int:
    """Delete the oldest acknowledged rows; the bytes that frees."""
    found, freed = _oldest(c, "state = 'sent'", over)
    _delete(c, found)
    return freed


def _drop(c: sqlite3.Connection, bytes_: int) -> list[str]:
    """Delete the oldest queued rows surely not on the server, enough or none; the transaction ids of their records."""
    query = f"SELECT ifnull(sum({_SIZE}), 0) FROM outbox o WHERE {_UNSENT}"  # noqa: S608  constants
    if c.execute(query).fetchone()[0] < bytes_:
        return []  # the new ones would be refused all the same, and these be lost for nothing
    found, _ = _oldest(c, _UNSENT, bytes_)
    query = "SELECT txn_id, room_id, records FROM outbox WHERE made = 0 AND (id = ?1 OR batch = ?1)"
    dropped = [row for key in found for row in c.execute(query, (key,)).fetchall()]
    forget_rows(c, found)
    _delete(c, found)
    for _, room_id, records in dropped:
        c.execute(
            "INSERT INTO dropped VALUES (?1, ?2) ON CONFLICT (room_id) DO UPDATE SET records = records + ?2",
            (room_id, records),
        )
    return [txn_id for txn_id, _, _ in dropped]


def _oldest(c: sqlite3.Connection, which: str, bytes_: int) -> tuple[list[int], int]:
    """The oldest rows of a kind that take so many bytes, with what travels in them; and the bytes."""
    rows = c.execute(f"SELECT id, {_SIZE} FROM outbox o WHERE {which} ORDER BY ifnull(turn, id)")  # noqa: S608  constants
    chosen, freed = [], 0
    for key, size in rows:
        if freed >= bytes_:
            break
        chosen.append(key)
        freed += size
    return chosen, freed


def _delete(c: sqlite3.Connection, chosen: Sequence[int]) -> None:
    c.executemany("DELETE FROM outbox WHERE id = ?", [(key,) for key in chosen])
