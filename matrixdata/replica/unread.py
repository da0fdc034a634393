"""What came encrypted and could not be read: finding it, and putting what can be read now in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.replica import decryptions, redaction
from matrixdata.replica.changes import newest_change
from matrixdata.replica.inserting import insert
from matrixdata.replica.rows import Applied
from matrixdata.replica.timeline import room_key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Sequence

    from matrixdata.replica.database import Database
    from matrixdata.replica.rows import Decryption, EventRow, StoredEvent


class Unread:
    """The undecryptable rows of replica.db.

    Args:
        on_commit: called after each commit that readers may care about.
    """

    def __init__(self, database: Database, on_commit: Sequence[Callable[[], None]]) -> None:
        self._db = database
        self._on_commit = on_commit

    async def sessions(self) -> list[tuple[str, str]]:
        """Room id and session of everything that cannot be read."""
        return await self._db.read(decryptions.sessions)

    async def page(
        self,
        room_id: str,
        *,
        after: int,
        sessions: Collection[str] | None = None,
        senders: Collection[str] | None = None,
    ) -> list[tuple[int, StoredEvent]]:
        """Some events that cannot be read, with their row numbers, behind a row number; () ends.

        Args:
            room_id: the room.
            after: the last row number of the page before, 0 at first.
            sessions: only those of these sessions; None: of any.
            senders: only those of these users; None: of any.
        """
        return await self._db.read(
            lambda c: decryptions.undecryptable(c, room_id, after=after, chosen=sessions, senders=senders)
        )

    async def causes(self, room_id: str | None = None) -> dict[str, int]:
        """How many events cannot be read, by why; of one room or of all."""
        return await self._db.read(lambda c: decryptions.causes(c, room_id))

    async def decryptions(self, room_id: str) -> dict[str, Decryption]:
        """How what came encrypted to a room was read, or why not, by event id."""
        return await self._db.read(lambda c: decryptions.decryptions(c, room_id))

    async def reveal(self, room_id: str, rows: Sequence[EventRow]) -> Applied:
        """Put these rows in the place of those that could not be read; what still cannot may have another cause now."""

        def work(c: sqlite3.Connection) -> Applied:
            room = room_key(c, room_id)
            decryptions.change_causes(c, [row for row in rows if row.row_state == "undecryptable"])
            shown = [row for row in rows if row.row_state != "undecryptable" and _reveal(c, room, row)]
            rooms = (room_id,) * len(shown)
            return Applied(newest_change(c), tuple(shown), rooms, unscrubbed=redaction.unscrubbed(c))

        applied = await self._db.write(work)
        if applied.added:
            for listener in self._on_commit:
                listener()
        return applied


def _reveal(c: sqlite3.Connection, room: int, row: EventRow) -> bool:
    """Store a row anew where it stands: what it is, is known only now. False where it was redacted meanwhile.

    The feed tells of it as of something new; whether it is news to who reads from some moment on still depends on
    how it first came.
    """
    found = c.execute(
        "SELECT id, position, change FROM event WHERE room = ? AND event_id = ? AND row_state = 'undecryptable'",
        (room, row.event_id),
    ).fetchone()
    if found is None:
        return False
    key, position, came = found
    c.execute("DELETE FROM decryption WHERE event = ?", (key,))
    c.execute("DELETE FROM event WHERE id = ?", (key,))
    c.execute("UPDATE change SET event = 0 WHERE event = ?", (key,))  # kept, as it says how the event came
    first = c.execute("SELECT ifnull(max(id), 0) + 1 FROM event").fetchone()[0]
    insert(c, room, [(position, row)], kind="late_key")
    c.execute("UPDATE event SET change = ? WHERE id >= ?", (came, first))
    c.execute("UPDATE forgotten SET event = ? WHERE event = ?", (first, key))
    return True
