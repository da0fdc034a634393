"""account.db: the session, the names this user bound, and where subscriptions got to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from matrixdata.replica.database import Database


@dataclass(frozen=True, slots=True)
class Session:
    """A logged-in device. `access_token` is None once logged out; it is kept out of every repr."""

    homeserver: str
    user_id: str
    device_id: str
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a named subscription has read: `change` of the feed of `replica`; `started` is its "new"."""

    replica: str
    started: int
    change: int


class Account:
    """Session, bindings, intents and cursors of one account."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- session ----------------------------------------------------------------------------------------
    async def session(self) -> Session | None:
        """The stored session, None before the first login."""
        row = await self._db.read(
            lambda c: c.execute("SELECT homeserver, user_id, device_id, access_token FROM session").fetchone()
        )
        return Session(*row) if row else None

    async def save_session(self, session: Session) -> None:
        """Replace the stored session."""
        values = (session.homeserver, session.user_id, session.device_id, session.access_token)
        await self._db.write(lambda c: c.execute("REPLACE INTO session VALUES (1, ?, ?, ?, ?)", values))

    async def forget_token(self) -> None:
        """The session is over: drop the token, keep everything else."""
        await self._db.write(lambda c: c.execute("UPDATE session SET access_token = NULL"))

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
                "SELECT replica, started, change FROM cursor WHERE room_id = ? AND name = ?", (room_id, name)
            ).fetchone()
        )
        return Cursor(*row) if row else None

    async def save_cursor(self, room_id: str, name: str, cursor: Cursor) -> None:
        """Remember where a named subscription got to."""
        values = (room_id, name, cursor.replica, cursor.started, cursor.change)
        await self._db.write(lambda c: c.execute("REPLACE INTO cursor VALUES (?, ?, ?, ?, ?)", values))
