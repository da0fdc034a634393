"""Bringing stored events into the order in which the server pages them, and adding what it has and we lack.

/sync tells events as they reach our server, /messages tells them in the order of the room's graph. The two differ
where servers were apart and met again. Few events move: of those that are here, a longest run that stands in order
stays where it is. Runs inside a transaction.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from matrixdata.model.member import BEHIND
from matrixdata.replica.inserting import insert
from matrixdata.replica.timeline import SLOT, STEP

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from matrixdata.replica.rows import EventRow

_ASIDE = -(1 << 62)
_FAR = 1 << 61


class Arranged(msgspec.Struct, frozen=True):
    """What putting one page in order did.

    Attributes:
        added: events that were not here.
        moved: how many stood elsewhere.
        newest, oldest: positions of the page's ends; None where nothing of it could be placed.
        at_gap: the page goes on into a stretch that is still to be filled, where this ends.
    """

    added: tuple[EventRow, ...]
    moved: int
    newest: int | None
    oldest: int | None
    at_gap: bool

    @property
    def calm(self) -> bool:
        """Everything was here and in order."""
        return not self.added and not self.moved


def arrange(c: sqlite3.Connection, room: int, page: Sequence[EventRow], *, below: int | None) -> Arranged:
    """Put a page of /messages (newest first), which goes on from position `below`, in its place."""
    walk = list({row.event_id: row for row in reversed(page)}.values())
    if below is None:
        walk = _up_to_known(walk, _positions(c, room, walk))
    floor = c.execute("SELECT max(upper) FROM gap WHERE room = ?", (room,)).fetchone()[0]
    walk, at_gap = _above(walk, _positions(c, room, walk), floor)
    plan = _plan(c, room, walk, below)
    while (crowded := _crowded(plan)) is not None:
        _widen(c, room, crowded)
        below = None if below is None else _shifted(below, crowded)
        plan = _plan(c, room, walk, below)
    here = _positions(c, room, walk)
    moved = [row for run in plan for row in run.rows if row.event_id in here]
    for row in moved:
        _each_part(c, "UPDATE event SET position = ?1 - id", _ASIDE, row)
    added: list[tuple[int, EventRow]] = []
    for run in plan:
        for position, row in run.placed():
            if row.event_id in here:
                _each_part(c, "UPDATE event SET position = ?1 + ifnull(item + 1, 0)", position, row)
            else:
                added.append((position, row))
    insert(c, room, added, kind="live")
    c.execute(
        "UPDATE room SET newest = (SELECT max(position) FROM event WHERE room = ?1) / ?2 * ?2 WHERE id = ?1"
        " AND newest < (SELECT max(position) FROM event WHERE room = ?1) / ?2 * ?2",
        (room, SLOT),
    )
    stand = _positions(c, room, walk)
    newest, oldest = (stand[walk[-1].event_id], stand[walk[0].event_id]) if walk else (None, None)
    return Arranged(tuple(row for _, row in added), len(moved), newest, oldest, at_gap)


def _up_to_known(walk: list[EventRow], here: Collection[str]) -> list[EventRow]:
    """Without what is newer than anything we have: that is for /sync to tell, with what may stand before it."""
    known = [number for number, row in enumerate(walk) if row.event_id in here]
    return walk[: known[-1] + 1] if known else []


class Uncompared(msgspec.Struct, frozen=True):
    """What of a room's order was not compared with that of /messages yet.

    Attributes:
        events: how many, all above the newest gap and above `down_to`.
        foreign: some came from other servers, which may have been apart from ours: more may be missing.
        down_to: the position up to which it was compared before; None: never.
    """

    events: int
    foreign: bool
    down_to: int | None


def uncompared(c: sqlite3.Connection, room_id: str, home: str) -> Uncompared:
    """See `Uncompared`; `home` is the name of our own server."""
    found = c.execute(
        "SELECT id, compared, (SELECT max(upper) FROM gap WHERE room = room.id) FROM room WHERE room_id = ?",
        (room_id,),
    ).fetchone()
    if found is None:
        return Uncompared(0, foreign=False, down_to=None)
    room, compared, gap = found
    least = max((bound for bound in (compared, gap) if bound is not None), default=-(1 << 62))
    events, foreign = c.execute(
        "SELECT count(*), ifnull(max(substr(sender, instr(sender, ':') + 1) <> ?), 0) FROM event"
        " WHERE room = ? AND position > ? AND item IS NULL",
        (home, room, least),
    ).fetchone()
    return Uncompared(events, bool(foreign), compared)


class _Run(msgspec.Struct, frozen=True):
    """Rows to be put side by side, oldest first, between two positions that are taken (or None: nothing there)."""

    rows: list[EventRow]
    low: int | None
    high: int | None

    def placed(self) -> list[tuple[int, EventRow]]:
        many = len(self.rows)
        if self.high is None:
            low = self.low or 0
            return [(low + n * STEP, row) for n, row in enumerate(self.rows, start=1)]
        if self.low is None:
            return [(self.high - (many - n) * STEP, row) for n, row in enumerate(self.rows)]
        room = (self.high - self.low) // SLOT
        return [(self.low + n * room // (many + 1) * SLOT, row) for n, row in enumerate(self.rows, start=1)]


def _each_part(c: sqlite3.Connection, change: str, position: int, row: EventRow) -> None:
    """Move a row, and with a batch its records."""
    c.execute(
        f"{change} WHERE event_id >= ?2 AND event_id < ?3", (position, row.event_id, row.event_id + BEHIND)
    )


def _positions(c: sqlite3.Connection, room: int, rows: Sequence[EventRow]) -> dict[str, int]:
    query = "SELECT position FROM event WHERE event_id = ? AND room = ?"
    found = ((row.event_id, c.execute(query, (row.event_id, room)).fetchone()) for row in rows)
    return {event_id: position[0] for event_id, position in found if position is not None}


def _above(walk: list[EventRow], here: dict[str, int], floor: int | None) -> tuple[list[EventRow], bool]:
    """The part of the page above the newest gap, from its oldest known event on; and whether any was below."""
    if floor is None:
        return walk, False
    start = 0
    for n, row in enumerate(walk):
        if here.get(row.event_id, floor) < floor:
            start = n + 1
    known = (n for n, row in enumerate(walk[start:], start) if row.event_id in here)
    kept = walk[next(known, len(walk)) :]
    return kept, len(kept) < len(walk)


def _plan(c: sqlite3.Connection, room: int, walk: list[EventRow], below: int | None) -> list[_Run]:
    """Which rows go where: everything between two rows that stay."""
    here = _positions(c, room, walk)
    usable = [(n, here[row.event_id]) for n, row in enumerate(walk) if row.event_id in here]
    stay = _longest_rising([(n, p) for n, p in usable if below is None or p < below])
    runs: list[_Run] = []
    low: int | None = None
    run: list[EventRow] = []
    for n, row in enumerate(walk):
        if n not in stay:
            run.append(row)
            continue
        high = here[row.event_id]
        if run:
            runs.append(_Run(run, _last_before(c, room, high, run), high))
        low, run = high, []
    if run:
        end = _last_before(c, room, below, run)
        runs.append(_Run(run, end if end is not None else low, below))
    return runs


def _last_before(c: sqlite3.Connection, room: int, high: int | None, run: list[EventRow]) -> int | None:
    """The position of the newest row before `high` that is not itself about to move."""
    moving = {row.event_id for row in run}
    query = (
        "SELECT event_id, position FROM event WHERE room = ? AND position < ? AND item IS NULL"
        " ORDER BY position DESC"
    )
    for event_id, position in c.execute(query, (room, 1 << 62 if high is None else high)):
        if event_id not in moving:
            found: int = position
            return found
    return None


def _longest_rising(items: list[tuple[int, int]]) -> set[int]:
    """Of (index, position) pairs, the indexes of a longest subsequence whose positions rise."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for n, (_, position) in enumerate(items):
        place = bisect_left(tails, position)
        before.append(ends[place - 1] if place else -1)
        tails[place : place + 1] = [position]
        ends[place : place + 1] = [n]
    found: set[int] = set()
    n = ends[-1] if ends else -1
    while n >= 0:
        found.add(items[n][0])
        n = before[n]
    return found


def _crowded(plan: list[_Run]) -> int | None:
    """A position before which there is not enough room."""
    for run in plan:
        if run.low is not None and run.high is not None and run.high - run.low <= len(run.rows) * SLOT:
            return run.high
    return None


def _shifted(position: int, start: int) -> int:
    return position + _BROAD if position >= start else position


_BROAD = STEP * STEP


def _widen(c: sqlite3.Connection, room: int, start: int) -> None:
    """Move everything from a position on upwards; in two steps, for no two rows may meet on the way."""
    c.execute(
        "UPDATE event SET position = position + ? WHERE room = ? AND position >= ?", (_FAR, room, start)
    )
    c.execute(
        "UPDATE event SET position = position - ? + ? WHERE room = ? AND position >= ?",
        (_FAR, _BROAD, room, start + _FAR),
    )
    c.execute("UPDATE gap SET upper = upper + ? WHERE room = ? AND upper >= ?", (_BROAD, room, start))
    c.execute("UPDATE gap SET lower = lower + ? WHERE room = ? AND lower >= ?", (_BROAD, room, start))
    c.execute("UPDATE room SET newest = newest + ? WHERE id = ? AND newest >= ?", (_BROAD, room, start))
    c.execute("UPDATE room SET compared = compared + ? WHERE id = ? AND compared >= ?", (_BROAD, room, start))
