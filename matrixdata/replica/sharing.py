"""What the processes on one replica tell each other through it: who leads, which rooms are wanted, which are live.

Everything here is of one epoch: a new leader starts with nothing, and the others ask anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.replica.watch import Watch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from matrixdata.replica.database import Database


# So much of what was told is kept: enough for whoever looks now and then.
_KEPT = 100


class Shared(msgspec.Struct, frozen=True):
    """How the leader is doing.

    Attributes:
        epoch: counts leaders.
        wanted: rooms that some process asked the leader for.
        live: rooms that have been in step since this leader began.
        problem: why the leader did not reach the server at its last attempt, "" when it did.
    """

    epoch: int = 0
    wanted: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    problem: str = ""


class Told(msgspec.Struct, frozen=True):
    """What the leader found out: that an outage is over, or that the server forgot events of a room.

    Attributes:
        room_id: where it forgot events; None for an outage.
        lost: how many.
        since: when the server had last answered before the outage, microseconds since 1970 UTC; None when never.
        reason: why it could not be reached.
    """

    room_id: str | None = None
    lost: int = 0
    since: int | None = None
    reason: str = ""


class Sharing:
    """Reads and writes those facts, and notices commits of other processes."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._watch = Watch(database.path)
        self._own: set[int] = set()  # what this process told itself
        self._heard: tuple[str, int] | None = None  # up to here, in which replica

    async def read(self) -> Shared:
        """The facts as they stand."""

        def work(c: sqlite3.Connection) -> Shared:
            meta = dict(c.execute("SELECT key, value FROM meta WHERE key IN ('epoch', 'problem')"))
            rooms = c.execute("SELECT room_id, live FROM followed").fetchall()
            return Shared(
                epoch=int(meta.get("epoch", 0)),
                wanted=frozenset(room for room, _ in rooms),
                live=frozenset(room for room, live in rooms if live),
                problem=meta.get("problem", ""),
            )

        return await self._db.read(work)

    async def want(self, rooms: Iterable[str]) -> None:
        """Ask the leader to keep these rooms in step."""
        rows = [(room,) for room in rooms]
        await self._db.write(
            lambda c: c.executemany("INSERT OR IGNORE INTO followed (room_id, live) VALUES (?, 0)", rows)
        )

    async def announce(self, live: Iterable[str], *, problem: str) -> None:
        """As the leader: these rooms are in step; and what is wrong, "" for nothing."""
        rows = [(room,) for room in live]

        def work(c: sqlite3.Connection) -> None:
            c.executemany("REPLACE INTO followed (room_id, live) VALUES (?, 1)", rows)
            c.execute("REPLACE INTO meta VALUES ('problem', ?)", (problem,))

        await self._db.write(work)

    async def tell(self, told: Told) -> None:
        """As the leader: let the others know."""

        def work(c: sqlite3.Connection) -> int | None:
            query = "INSERT INTO told (room_id, lost, since, reason) VALUES (?, ?, ?, ?)"
            number = c.execute(query, (told.room_id, told.lost, told.since, told.reason)).lastrowid
            c.execute("DELETE FROM told WHERE number <= ? - ?", (number, _KEPT))
            return number

        number = await self._db.write(work)
        if number is not None:
            self._own.add(number)

    async def hear(self) -> list[Told]:
        """What other processes told since the last call; the first call only takes note of where that begins."""

        def work(c: sqlite3.Connection) -> tuple[str, int, list[tuple[int, Told]]]:
            replica = c.execute("SELECT value FROM meta WHERE key = 'replica'").fetchone()[0]
            rows = c.execute(
                "SELECT number, room_id, lost, since, reason FROM told ORDER BY number"
            ).fetchall()
            return (
                replica,
                max((row[0] for row in rows), default=0),
                [(row[0], Told(*row[1:])) for row in rows],
            )

        replica, newest, rows = await self._db.read(work)
        heard, self._heard = self._heard, (replica, newest)
        if heard is None or heard[0] != replica:
            return []
        return [told for number, told in rows if number > heard[1] and number not in self._own]

    def news(self) -> bool:
        """Whether anything was committed since the last call, by any process. Cheap; never waits."""
        return self._watch.changed()

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()
