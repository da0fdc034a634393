"""replica.db: rooms as the server has them. Data and the token that covers it commit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.errors import StoreCorrupt, StoreLocked
from matrixdata.model.steps import reached
from matrixdata.replica import forgotten, redaction, timeline
from matrixdata.replica.changes import changes_after, gaps_of, newest_change, passed_at
from matrixdata.replica.order import Arranged, Uncompared, arrange, uncompared
from matrixdata.replica.rows import (
    Applied,
    EventRow,
    FeedPage,
    GapRow,
    LostRecord,
    RoomChange,
    StateRow,
    StoredEvent,
)
from matrixdata.replica.scan import STORED, Scan, stored_event
from matrixdata.replica.verdicts import rejudge

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from matrixdata.replica.database import Database


class Rooms:
    """Reads and commits of replica.db. Who is woken by a commit is the caller's; `on_commit` says when."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._reign: tuple[str, int] | None = None  # the replica in which we lead, and our epoch there
        self.attending = False
        """Whether another process leads, as far as we know."""
        self.replica = ""
        """A random name for this replica: a change number means nothing in another one, as after a rebuild."""
        self.on_commit: list[Callable[[], None]] = []
        """Called in the event loop after each commit that readers may care about."""
        database.on_open(self._opened)

    def _opened(self, c: sqlite3.Connection) -> None:
        self.replica = _meta(c, "replica")

    # -- leadership -------------------------------------------------------------------------------------
    async def lead(self) -> None:
        """Start a new epoch: commits of whoever led before fail from now on."""

        def work(c: sqlite3.Connection) -> tuple[str, int]:
            c.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', '0')")
            c.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")
            c.execute("DELETE FROM followed")
            return _meta(c, "replica"), int(_meta(c, "epoch"))

        self._reign = await self._db.write(work)
        self.attending = False

    def attend(self) -> None:
        """Another process leads: its verdicts stand, and what this one still commits is nobody's sync."""
        self._reign, self.attending = None, True

    @property
    def epoch(self) -> int | None:
        """The epoch in which this process leads; None while it does not."""
        return self._reign[1] if self._reign is not None else None

    def _check_epoch(self, c: sqlite3.Connection) -> None:
        if self._reign is None:
            return
        replica, epoch = self._reign
        if _meta(c, "replica") != replica:
            # What is to be committed follows on what is no longer here.
            raise StoreCorrupt(
                "the replica was rebuilt meanwhile; syncing starts anew", path=str(self._db.path)
            )
        if int(_meta(c, "epoch")) != epoch:
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
            return Applied(newest_change(c), tuple(added), tuple(rooms), unscrubbed=redaction.unscrubbed(c))

        applied = await self._db.write(work)
        self._committed()
        return applied

    async def fill(self, gap: GapRow, rows: Sequence[EventRow], *, token: str | None) -> Applied:
        """Commit one page of older events into a gap; `reached_known` says that the gap is closed."""

        def work(c: sqlite3.Connection) -> Applied:
            self._check_epoch(c)
            if timeline.gap_token(c, gap.id) not in {gap.token, None}:
                # Another process has filled it further meanwhile: this page is here already.
                return Applied(newest_change(c), (), ())
            new, closed = timeline.fill(c, gap.id, rows, token=token)
            return Applied(
                newest_change(c),
                tuple(new),
                (gap.room_id,) * len(new),
                reached_known=closed,
                unscrubbed=redaction.unscrubbed(c),
            )

        applied = await self._db.write(work)
        self._committed()
        return applied

    async def gap_problem(self, gap: GapRow, problem: str) -> None:
        """Keep why a gap could not be filled, for whoever sees it."""
        await self._db.write(
            lambda c: c.execute("UPDATE gap SET problem = ? WHERE id = ?", (problem, gap.id))
        )

    async def gap_trouble(self, room_id: str | None = None) -> str | None:
        """Why a gap could not be filled at the last attempt, of one room or of any; None where nothing is known."""
        query = (
            "SELECT problem FROM gap WHERE problem IS NOT NULL"
            " AND (?1 IS NULL OR room = (SELECT id FROM room WHERE room_id = ?1)) ORDER BY id DESC LIMIT 1"
        )
        row = await self._db.read(lambda c: c.execute(query, (room_id,)).fetchone())
        return row[0] if row else None

    async def gap_token_lost(self, gap: GapRow) -> None:
        """The server does not know a gap's token (any more): the way to it leads from the newest event again."""
        await self._db.write(lambda c: c.execute("UPDATE gap SET token = '' WHERE id = ?", (gap.id,)))

    async def uncompared(self, room_id: str, home: str) -> Uncompared:
        """What of a room's order is to be compared with that of /messages; `home` is our server's name."""
        return await self._db.read(lambda c: uncompared(c, room_id, home))

    async def arrange(
        self, room_id: str, page: Sequence[EventRow], *, below: int | None
    ) -> tuple[Arranged, Applied]:
        """Commit one page of /messages (newest first), which goes on from position `below`, in its order."""

        def work(c: sqlite3.Connection) -> tuple[Arranged, Applied]:
            self._check_epoch(c)
            done = arrange(c, timeline.room_key(c, room_id), page, below=below)
            rooms = (room_id,) * len(done.added)
            return done, Applied(newest_change(c), done.added, rooms, unscrubbed=redaction.unscrubbed(c))

        done, applied = await self._db.write(work)
        if not done.calm:
            self._committed()
        return done, applied

    async def compared(self, room_id: str, position: int) -> None:
        """Up to this position the order is that of /messages."""
        query = "UPDATE room SET compared = ? WHERE room_id = ?"
        await self._db.write(lambda c: c.execute(query, (position, room_id)))

    async def unscrubbed(self) -> str | None:
        """What to give to `scrub` if redacted content may still stand in the database's log, from before a crash."""
        return await self._db.read(redaction.unscrubbed)

    async def scrub(self, upto: str) -> bool:
        """Empty the database's log of redacted content; False while somebody reads, and then worth another try."""
        done = await self._db.scrub()
        if done:
            await self._db.write(lambda c: redaction.scrubbed(c, upto))
        return done

    async def rejudge(self, room_id: str, rows: Sequence[EventRow], *, rules: str | None) -> None:
        """Store new verdicts on rows already here; `rules` marks that all of the room's rows now follow them."""

        def work(c: sqlite3.Connection) -> None:
            room = timeline.room_key(c, room_id)
            rejudge(c, room, rows)
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

    async def judged(self) -> dict[str, str]:
        """That fingerprint for every room."""
        return dict(await self._db.read(lambda c: c.execute("SELECT room_id, rules FROM room").fetchall()))

    async def state(self, room_id: str, types: Sequence[str] = ()) -> list[StateRow]:
        """Current state events, of some types or all, by type and state key."""
        marks = ",".join("?" * len(types))
        query = (
            "SELECT s.type, s.state_key, s.event_id, s.sender, s.origin_time, s.content, s.redacted"  # noqa: S608  only ? marks
            " FROM state s JOIN room r ON r.id = s.room WHERE r.room_id = ?"
            + (f" AND s.type IN ({marks})" if types else "")
            + " ORDER BY s.type, s.state_key"
        )
        rows = await self._db.read(lambda c: c.execute(query, (room_id, *types)).fetchall())
        return [StateRow(*[*row[:-1], bool(row[-1])]) for row in rows]

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
        return await self._db.read(lambda c: gaps_of(c, room_id))

    async def has_events(self, event_ids: Sequence[str]) -> set[str]:
        """Which of these events the replica has."""
        return await self._db.read(lambda c: timeline.known(c, event_ids))

    async def find(self, room_id: str, sender: str, uid: str, *, batch: bool = False) -> StoredEvent | None:
        """The record that counts for (sender, uid), if it is here; or a batch of that uid."""
        query = (
            f"SELECT {STORED} FROM event e JOIN room r ON r.id = e.room WHERE r.room_id = ? AND e.uid = ?"  # noqa: S608  constants
            f" AND e.sender = ? AND e.record = ? AND e.shadowed = 0 AND {forgotten.KEPT} ORDER BY e.event_id"
        )

        def work(c: sqlite3.Connection) -> StoredEvent | None:
            row = c.execute(query, (room_id, uid, sender, int(not batch))).fetchone()
            return stored_event(row) if row else None

        return await self._db.read(work)

    async def newest_at(self, room_id: str, change: int) -> str | None:
        """The event that stood last in a room's timeline at a change, None before any."""
        return await self._db.read(lambda c: timeline.newest_at(c, room_id, change))

    async def reached(self, room_id: str, event_id: str) -> int | None:
        """The position of an event behind which nothing is missing; None where that is not so (yet)."""
        return await self._db.read(lambda c: timeline.reached(c, room_id, event_id))

    async def times(self, room_id: str) -> tuple[int | None, int | None]:
        """Server times of the oldest and the newest event held, in milliseconds since 1970; None when none is."""
        query = (
            "SELECT e.origin_time FROM event e JOIN room r ON r.id = e.room"
            " WHERE r.room_id = ? ORDER BY e.position {} LIMIT 1"
        )

        def work(c: sqlite3.Connection) -> tuple[int | None, int | None]:
            rows = (c.execute(query.format(order), (room_id,)).fetchone() for order in ("ASC", "DESC"))
            oldest, newest = (row[0] if row else None for row in rows)
            return oldest, newest

        return await self._db.read(work)

    # -- what the server forgot -------------------------------------------------------------------------
    async def newest_event(self, room_id: str) -> str | None:
        """The newest event of a room that the server had when last seen, None before any."""
        return await self._db.read(lambda c: forgotten.newest(c, room_id))

    async def events_after(self, room_id: str, event_id: str) -> list[str]:
        """The events that stand after one in the timeline and were not found forgotten, the newest first."""
        return await self._db.read(lambda c: forgotten.after(c, room_id, event_id))

    async def records_of(self, user_id: str, event_ids: Sequence[str]) -> list[LostRecord]:
        """A user's valid records among these events, in the timeline's order."""
        return await self._db.read(lambda c: forgotten.records_of(c, user_id, event_ids))

    async def forget(self, room_id: str, event_ids: Sequence[str], state: Sequence[StateRow]) -> None:
        """Note which events the server no longer has; `state` is now the room's whole state. Rows stay readable."""

        def work(c: sqlite3.Connection) -> None:
            self._check_epoch(c)
            forgotten.forget(c, room_id, event_ids, state)

        await self._db.write(work)
        self._committed()

    # -- reading ----------------------------------------------------------------------------------------
    async def newest_change(self) -> int:
        """Number of the newest change committed, 0 before the first."""
        return await self._db.read(newest_change)

    async def feed(
        self,
        room_id: str,
        *,
        after: int,
        since: int | None,
        most: int = 500,
        states: Sequence[str] = ("valid",),
    ) -> FeedPage:
        """Changes of one room after a change number, and the number up to which that is all.

        An event comes with each change that made it valid, the first of them marked. Of a redacted one only the
        redaction comes.

        Args:
            room_id: the room.
            after: the change already read.
            since: leave out what was fetched from before this change ("new" subscriptions); None: nothing.
            most: at most so many changes looked at; call again from the number returned.
            states: row states to return; redactions are always returned.
        """
        return await self._db.read(
            lambda c: changes_after(c, room_id, after=after, since=since, most=most, states=states)
        )

    async def passed(self, room_id: str, change: int) -> frozenset[str]:
        """Events that were valid before a change and not at it; see `FeedPage.passed`."""
        return await self._db.read(lambda c: passed_at(c, room_id, change))

    def scan(self, room_id: str) -> Scan:
        """A consistent read of one room's rows; see `Scan`."""
        return Scan(self._db, room_id)

    async def counts(self, room_id: str | None = None) -> dict[str, int]:
        """Rows by what is amiss: gaps, undecryptable, invalid, forgotten by the server; of one room or of all."""
        return await self._db.read(lambda c: unusable(c, room_id))


def _meta(c: sqlite3.Connection, key: str) -> str:
    value: str = c.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
    return value


def _apply_room(c: sqlite3.Connection, change: RoomChange) -> list[EventRow]:
    room = timeline.room_key(c, change.room_id)
    new = timeline.append(c, room, change.events, limited=change.limited, prev_batch=change.prev_batch)
    timeline.set_state(c, room, change.state)
    if change.membership:
        c.execute("UPDATE room SET membership = ? WHERE id = ?", (change.membership, room))
    return new


def unusable(c: sqlite3.Connection, room_id: str | None) -> dict[str, int]:
    """Counts of gaps; of undecryptable and invalid rows; and of records that the server forgot."""
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
    lost = c.execute(
        "SELECT count(*) FROM event WHERE id IN (SELECT event FROM forgotten) AND record = 1"  # noqa: S608  constants
        f" AND row_state = 'valid' AND shadowed = 0{where}",
        values,
    ).fetchone()[0]
    return {
        "gaps": gaps,
        "forgotten": lost,
        "undecryptable": counts.get("undecryptable", 0),
        "invalid": counts.get("invalid", 0),
    }
