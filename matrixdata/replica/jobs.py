"""Which rows of a named job were accepted; noted in the commit that accepts them, so the two never differ."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import Conflict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from matrixdata.replica.database import Database
    from matrixdata.replica.outbox_item import OutboxItem


class JobRows(msgspec.Struct, frozen=True):
    """Rows that one commit accepts for a job.

    Attributes:
        digests: of each row's content, by row number; 64 bits, never 0.
        numbers: the first and the last row of each item, by the item's uid.
    """

    room_id: str
    name: str
    digests: Mapping[int, int]
    numbers: Mapping[str, tuple[int, int]]


class Jobs:
    """The jobs of one account. A row takes some 15 bytes and stays: the same job may be run again at any time."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def accepted(self, room_id: str, name: str) -> array[int]:
        """The digest of each row accepted so far, by row number; 0 for one that was not."""

        def work(c: sqlite3.Connection) -> array[int]:
            found = array("q")
            rows = c.execute(
                "SELECT r.number, r.digest FROM job_row r JOIN job j ON j.id = r.job"
                " WHERE j.room_id = ? AND j.name = ? ORDER BY r.number",
                (room_id, name),
            )
            for number, digest in rows:
                found.extend([0] * (number - len(found)))
                found.append(digest)
            return found

        return await self._db.read(work)


def note_rows(c: sqlite3.Connection, job: JobRows, items: Sequence[OutboxItem]) -> None:
    """Note rows as accepted, inside the transaction that queues them as these items.

    Raises:
        Conflict: one was accepted meanwhile, by another process that runs the same job.
    """
    c.execute("INSERT OR IGNORE INTO job (room_id, name) VALUES (?, ?)", (job.room_id, job.name))
    query = "SELECT id FROM job WHERE room_id = ? AND name = ?"
    (key,) = c.execute(query, (job.room_id, job.name)).fetchone()
    for number, digest in job.digests.items():
        if not c.execute("INSERT OR IGNORE INTO job_row VALUES (?, ?, ?)", (key, number, digest)).rowcount:
            raise Conflict(
                f"row {number} of job {job.name!r} was accepted a moment ago by another run of that job; let one run "
                "end before the next begins"
            )
    c.executemany(
        "UPDATE outbox SET job = ?, job_row = ?, job_last = ? WHERE id = ?",
        [(key, *job.numbers[item.uid], item.id) for item in items],
    )


def forget_rows(c: sqlite3.Connection, items: Iterable[int]) -> None:
    """These items of the outbox are about to be dropped unsent: their rows are to be accepted again.

    So are those between them that another item holds, which have the same uid then and count once.
    """
    c.executemany(
        "DELETE FROM job_row WHERE (job, number) IN (SELECT r.job, r.number FROM outbox o JOIN job_row r"
        " ON r.job = o.job AND r.number BETWEEN o.job_row AND o.job_last WHERE o.id = ?1 OR o.batch = ?1)",
        [(item,) for item in items],
    )
