"""replica.db: rooms as the server has them. Data and the token that covers it commit together."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from matrixdata.errors import StoreLocked
from matrixdata.model.steps import reached
from matrixdata.replica import timeline
from matrixdata.replica.rows import Applied, EventRow, FeedEntry, GapRow, RoomChange, StateRow, StoredEvent
from matrixdata.replica.scan import STORED, Scan, stored_event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from matrixdata.replica.database import Database

# Whether another event with this (sender, uid) came earlier, so that its record was delivered with that one.
_REPEAT = (
    "e.uid IS NOT NULL AND EXISTS (SELECT 1 FROM event o WHERE o.room = e.room AND o.uid = e.uid"
    " AND o.sender = e.sender AND o.row_state = e.row_state AND o.change < e.change)"
)


class Rooms:
    """Reads and commits of replica.db. Who is woken by a commit is the caller's; `on_commit` says when."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._epoch: int | None = None
        self.on_commit: list[Callable[[], None]] = []
        """Called in the event loop after each commit that readers may care about."""

    # -- identity and leadership ------------------------------------------------------------------------
    async def identity(self) -> str:
        """A random name for this replica: a change number means nothing in another one."""

        def work(c: sqlite3.Connection) -> str:
            c.execute("INSERT OR IGNORE INTO meta VALUES ('replica', ?)", (secrets.token_hex(4),))
            return _meta(c, "replica")

        return await self._db.write(work)

    async def lead(self) -> None:
        """Start a new epoch: commits of whoever led before fail from now on."""

        def work(c: sqlite3.Connection) -> int:
            c.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', '0')")
            c.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")
            return int(_meta(c, "epoch"))

        self._epoch = await self._db.write(work)

    def _check_epoch(self, c: sqlite3.Connection) -> None:
        if self._epoch is not None and int(_meta(c, "epoch")) != self._epoch:
            raise StoreLocked(
                str(self._db.path.parent), advice="This process was stopped and has been replaced."
            )

    def _committed(self) -> None:
        for listener in self.on_commit:
            listener()

    # -- what the sync loop commits ---------------------------------------------------------------------
    async def token(self, kind: str) -> str | None:
        """The sync token up to which everything is committed, None before the first sync."""
        row = await self._db.read(
            lambda c: c.execute("SELECT value FROM token WHERE kind = ?", (kind,)).fetchone()
        )
        return row[0] if row else None

    async def apply(self, changes: Sequence[RoomChange], *, tokens: Mapping[str, str | None]) -> Applied:
        """Commit one sync response: events, gaps, state, change rows and the token, all or nothing."""

        def work(c: sqlite3.Connection) -> Applied:
            self._check_epoch(c)
            added: list[EventRow] = []
            rooms: list[str] = []
            for change in changes:
                new = _apply_room(c, change)
                added += new
                rooms += [change.room_id] * len(new)
            for kind, value in tokens.items():
                if value is None:
                    c.execute("DELETE FROM token WHERE kind = ?", (kind,))
                else:
                    c.execute("REPLACE INTO token VALUES (?, ?)", (kind, value))
            reached("read.3 writing")
            return Applied(_newest_change(c), tuple(added), tuple(rooms))

        applied = await self._db.write(work)
        self._committed()
        return applied

    async def fill(self, gap: GapRow, rows: Sequence[EventRow], *, token: str | None) -> Applied:
        """Commit one page of older events into a gap; `reached_known` says that the gap is closed."""

        def work(c: sqlite3.Connection) -> Applied:
            self._check_epoch(c)
            new, closed = timeline.fill(c, gap.id, rows, token=token)
            return Applied(_newest_change(c), tuple(new), (gap.room_id,) * len(new), reached_known=closed)

        applied = await self._db.write(work)
        self._committed()
        return applied

    async def rejudge(self, room_id: str, rows: Sequence[EventRow], *, rules: str | None) -> None:
        """Store new verdicts on rows already here; `rules` marks that all of the room's rows now follow them."""

        def work(c: sqlite3.Connection) -> None:
            room = timeline.room_key(c, room_id)
            for row in rows:
                _rejudge(c, room, row)
            if rules is not None:
                c.execute("UPDATE room SET rules = ? WHERE id = ?", (rules, room))

        await self._db.write(work)
        self._committed()

    # -- rooms and their state --------------------------------------------------------------------------
    async def membership(self, room_id: str) -> str:
        """Our own membership as last seen, "" when never seen."""
        row = await self._db.read(
            lambda c: c.execute("SELECT membership FROM room WHERE room_id = ?", (room_id,)).fetchone()
        )
        return row[0] if row else ""

    async def judged_by(self, room_id: str) -> str:
        """Fingerprint of the rules that this room's row states follow, "" before the first."""
        row = await self._db.read(
            lambda c: c.execute("SELECT rules FROM room WHERE room_id = ?", (room_id,)).fetchone()
        )
        return row[0] if row else ""

    async def state(self, room_id: str, types: Sequence[str] = ()) -> list[StateRow]:
        """Current state events, of some types or all, by type and state key."""
        marks = ",".join("?" * len(types))
        query = (
            "SELECT s.type, s.state_key, s.event_id, s.sender, s.origin_time, s.content"  # noqa: S608  only ? marks
            " FROM state s JOIN room r ON r.id = s.room WHERE r.room_id = ?"
            + (f" AND s.type IN ({marks})" if types else "")
            + " ORDER BY s.type, s.state_key"
        )
        rows = await self._db.read(lambda c: c.execute(query, (room_id, *types)).fetchall())
        return [StateRow(*row) for row in rows]

    async def joined(self) -> list[str]:
        """Rooms we are in, as last seen."""
        query = "SELECT room_id FROM room WHERE membership = 'join' ORDER BY room_id"
        return [row[0] for row in await self._db.read(lambda c: c.execute(query).fetchall())]

    async def synced(self) -> list[str]:
        """Rooms whose timeline was ever in a sync response."""
        query = "SELECT room_id FROM room WHERE newest IS NOT NULL ORDER BY room_id"
        return [row[0] for row in await self._db.read(lambda c: c.execute(query).fetchall())]

    async def gaps(self, room_id: str) -> list[GapRow]:
        """Unfilled stretches, the newest first."""
        query = (
            "SELECT g.id, r.room_id, g.token, g.lower IS NULL, g.opened FROM gap g JOIN room r ON r.id = g.room"
            " WHERE r.room_id = ? ORDER BY g.upper DESC"
        )
        rows = await self._db.read(lambda c: c.execute(query, (room_id,)).fetchall())
        return [GapRow(key, room, token, bool(start), opened) for key, room, token, start, opened in rows]

    async def has_events(self, event_ids: Sequence[str]) -> set[str]:
        """Which of these events the replica has."""
        return await self._db.read(lambda c: timeline.known(c, event_ids))

    async def find(self, room_id: str, sender: str, uid: str) -> StoredEvent | None:
        """The record that counts for (sender, uid), if it is here."""
        query = (
            f"SELECT {STORED} FROM event e JOIN room r ON r.id = e.room"  # noqa: S608  constants
            " WHERE r.room_id = ? AND e.uid = ? AND e.sender = ? AND e.shadowed = 0"
        )
        row = await self._db.read(lambda c: c.execute(query, (room_id, uid, sender)).fetchone())
        return stored_event(row) if row else None

    async def oldest_time(self, room_id: str) -> int | None:
        """Server time of the oldest event held, in milliseconds since 1970; None when none is."""
        query = (
            "SELECT e.origin_time FROM event e JOIN room r ON r.id = e.room"
            " WHERE r.room_id = ? ORDER BY e.position LIMIT 1"
        )
        row = await self._db.read(lambda c: c.execute(query, (room_id,)).fetchone())
        return row[0] if row else None

    # -- reading ----------------------------------------------------------------------------------------
    async def newest_change(self) -> int:
        """Number of the newest change committed, 0 before the first."""
        return await self._db.read(_newest_change)

    async def feed(
        self,
        room_id: str,
        *,
        after: int,
        since: int | None,
        most: int = 500,
        states: Sequence[str] = ("valid",),
    ) -> tuple[list[FeedEntry], int]:
        """Changes of one room after a change number, and the number up to which that is all.

        An event that changed more than once comes once, at its last change.

        Args:
            room_id: the room.
            after: the change already read.
            since: leave out what was fetched from before this change ("new" subscriptions); None: nothing.
            most: at most so many changes looked at; call again from the number returned.
            states: row states to return; redactions are always returned.
        """
        marks = ",".join("?" * len(states))
        query = (
            f"SELECT {STORED}, e.record, e.shadowed, {_REPEAT}, c.id, c.kind, o.kind, o.opened"  # noqa: S608  constants and ? marks
            " FROM change c JOIN event e ON e.id = c.event JOIN change o ON o.id = e.change"
            " WHERE c.room = (SELECT id FROM room WHERE room_id = ?) AND c.id > ?"
            f" AND (e.row_state IN ({marks}) OR c.kind = 'redaction')"
            " AND NOT EXISTS (SELECT 1 FROM change n WHERE n.event = c.event AND n.id > c.id"
            " AND n.kind IN ('redaction', 'revalidated')) ORDER BY c.id LIMIT ?"
        )

        def work(c: sqlite3.Connection) -> tuple[list[FeedEntry], int]:
            newest = _newest_change(c)
            rows = c.execute(query, (room_id, after, *states, most)).fetchall()
            entries = [
                FeedEntry(
                    row[-4],
                    row[-3],
                    stored_event(row[:-7]),
                    record=bool(row[-7]),
                    shadowed=bool(row[-6]),
                    repeat=bool(row[-5]),
                )
                for row in rows
                # A gap that opened when `since` was the newest change opened after it: nothing is in between.
                if since is None or row[-2] != "backfilled" or row[-1] >= since > 0
            ]
            return entries, rows[-1][-4] if len(rows) == most else newest

        return await self._db.read(work)

    def scan(self, room_id: str) -> Scan:
        """A consistent read of one room's rows; see `Scan`."""
        return Scan(self._db, room_id)

    async def counts(self, room_id: str | None = None) -> dict[str, int]:
        """Rows by what keeps them from being read: gaps, undecryptable, invalid; of one room or of all."""
        return await self._db.read(lambda c: unusable(c, room_id))


def _meta(c: sqlite3.Connection, key: str) -> str:
    value: str = c.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
    return value


def _newest_change(c: sqlite3.Connection) -> int:
    newest: int = c.execute("SELECT ifnull(max(id), 0) FROM change").fetchone()[0]
    return newest


def _apply_room(c: sqlite3.Connection, change: RoomChange) -> list[EventRow]:
    room = timeline.room_key(c, change.room_id)
    new = timeline.append(c, room, change.events, limited=change.limited, prev_batch=change.prev_batch)
    timeline.set_state(c, room, change.state)
    if change.membership:
        c.execute("UPDATE room SET membership = ? WHERE id = ?", (change.membership, room))
    return new


def _rejudge(c: sqlite3.Connection, room: int, row: EventRow) -> None:
    found = c.execute(
        "SELECT id, row_state, time FROM event WHERE event_id = ? AND row_state <> 'redacted'",
        (row.event_id,),
    ).fetchone()
    if found is None or (found[1] == row.row_state and found[2] == row.time):
        return
    c.execute(
        "UPDATE event SET row_state = ?, problems = ?, uid = ?, schema = ?, value = ?, time = ? WHERE id = ?",
        (row.row_state, row.problems, row.uid, row.schema, row.value, row.time, found[0]),
    )
    if found[1] != row.row_state:
        c.execute("INSERT INTO change (room, event, kind) VALUES (?, ?, 'revalidated')", (room, found[0]))
    if row.uid is not None:
        timeline.choose_winner(c, room, row.sender, row.uid)


def unusable(c: sqlite3.Connection, room_id: str | None) -> dict[str, int]:
    """Counts of gaps, undecryptable and invalid rows."""
    where = "" if room_id is None else " AND room = (SELECT id FROM room WHERE room_id = ?)"
    values = () if room_id is None else (room_id,)
    counts = dict(
        c.execute(
            "SELECT row_state, count(*) FROM event WHERE row_state IN ('invalid', 'undecryptable')"  # noqa: S608  constants
            f"{where} GROUP BY row_state",
            values,
        )
    )
    gaps = c.execute(f"SELECT count(*) FROM gap WHERE 1{where}", values).fetchone()[0]  # noqa: S608  constants
    return {
        "gaps": gaps,
        "undecryptable": counts.get("undecryptable", 0),
        "invalid": counts.get("invalid", 0),
    }
