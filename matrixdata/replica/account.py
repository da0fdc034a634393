"""account.db: the session, the names this user bound, and where subscriptions got to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.model.session import Session
from matrixdata.replica.moving import move

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from matrixdata.replica.cursor_leases import CursorLeases
    from matrixdata.replica.database import Database


class Cursor(msgspec.Struct, frozen=True):
    """How far a subscription has read.

    Attributes:
        replica: the replica whose changes are counted.
        change: the change read up to; while the past is being read, the moment it is read as of.
        since: the change from which on it calls things new; None: everything.
        position: the position in the timeline up to which the past is read; None: all of it.
        from_time: where the past began, microseconds since 1970 UTC; None: at the start.
        event_id: the event behind which it goes on in another replica, or the key of a record in one; None where
            that is where it began.
    """

    replica: str
    change: int
    since: int | None = None
    position: int | None = None
    from_time: int | None = None
    event_id: str | None = None


class Account:
    """Session, bindings, intents and cursors of one account."""

    def __init__(self, database: Database, cursor_leases: CursorLeases) -> None:
        self._db = database
        self.cursor_leases = cursor_leases

    # -- session ----------------------------------------------------------------------------------------
    async def session(self) -> Session | None:
        """The stored session, None before the first login."""
        return await self._db.read(read_session)

    async def save_session(self, session: Session) -> None:
        """Replace the stored session, durably."""
        await self._db.write(lambda c: _write_session(c, session))

    async def renew_session(self, old: Session, new: Session) -> bool:
        """Replace the stored session if it is still `old`; False, and nothing done, if it is another by now."""

        def work(c: sqlite3.Connection) -> bool:
            stored = read_session(c)
            if stored is None or stored.access_token != old.access_token:
                return False
            _write_session(c, new)
            return True

        return await self._db.write(work)

    async def move(self, homeserver: str) -> None:
        """The homeserver has another address now."""
        await self._db.write(lambda c: c.execute("UPDATE session SET homeserver = ?", (homeserver,)))

    async def forget_token(self) -> None:
        """The session is over: drop its tokens, keep everything else."""
        await self._db.write(
            lambda c: c.execute("UPDATE session SET access_token = NULL, refresh_token = NULL")
        )

    # -- names ------------------------------------------------------------------------------------------
    async def bindings(self) -> dict[str, str]:
        """Every name this user bound, with its room id."""
        return dict(
            await self._db.read(
                lambda c: c.execute("SELECT name, room_id FROM binding ORDER BY name").fetchall()
            )
        )

    async def bind(self, name: str, room_id: str) -> None:
        """Let `name` mean that room; the intent to create it, if there was one, is fulfilled."""

        def work(c: sqlite3.Connection) -> None:
            c.execute("REPLACE INTO binding VALUES (?, ?)", (name, room_id))
            c.execute("DELETE FROM intent WHERE name = ?", (name,))

        await self._db.write(work)

    async def unbind(self, room_id: str) -> None:
        """Forget every name of that room."""
        await self._db.write(lambda c: c.execute("DELETE FROM binding WHERE room_id = ?", (room_id,)))

    async def follow(
        self, old: Sequence[str], new: str, *, names: Sequence[str], items: Sequence[int]
    ) -> list[str]:
        """Rooms were replaced by another: these names mean it from now on, and these stuck items are queued there.

        Returns:
            The transaction ids of the items that were moved; see `replica.moving`.
        """
        return await self._db.write(lambda c: move(c, old, new, names=names, items=items))

    async def intend(self, name: str, uid: str) -> tuple[str, bool]:
        """Note that a room is about to be made; (its creation uid, whether an earlier attempt noted it)."""

        def work(c: sqlite3.Connection) -> tuple[str, bool]:
            c.execute("INSERT OR IGNORE INTO intent VALUES (?, ?)", (name, uid))
            noted: str = c.execute("SELECT uid FROM intent WHERE name = ?", (name,)).fetchone()[0]
            return noted, noted != uid

        return await self._db.write(work)

    async def give_up(self, name: str) -> None:
        """The server refused to make the room: there is nothing to find again."""
        await self._db.write(lambda c: c.execute("DELETE FROM intent WHERE name = ?", (name,)))

    # -- cursors ----------------------------------------------------------------------------------------
    async def cursor(self, room_id: str, name: str) -> Cursor | None:
        """Where a named subscription got to, None if it never was."""
        row = await self._db.read(
            lambda c: c.execute(
                "SELECT replica, change, since, position, from_time, event_id FROM cursor"
                " WHERE room_id = ? AND name = ?",
                (room_id, name),
            ).fetchone()
        )
        return Cursor(*row) if row else None

    async def save_cursor(self, room_id: str, name: str, cursor: Cursor) -> None:
        """Remember where a named subscription got to."""
        place = (cursor.replica, cursor.change, cursor.since, cursor.position, cursor.from_time)
        query = "REPLACE INTO cursor VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        await self._db.write(lambda c: c.execute(query, (room_id, name, *place, cursor.event_id)))


_SESSION = "homeserver, user_id, device_id, access_token, refresh_token, lifetime, obtained_at"


def read_session(connection: sqlite3.Connection) -> Session | None:
    """The session stored in an account's database."""
    row = connection.execute(f"SELECT {_SESSION} FROM session").fetchone()  # noqa: S608  constants
    return Session(*row) if row else None


def _write_session(connection: sqlite3.Connection, session: Session) -> None:
    values = tuple(getattr(session, name) for name in _SESSION.split(", "))
    query = f"REPLACE INTO session (id, {_SESSION}) VALUES (1, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants
    connection.execute(query, values)
