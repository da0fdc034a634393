"""Where a subscription begins: what `start=` and a remembered cursor mean in this replica."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from matrixdata.errors import MatrixDataError
from matrixdata.model import Position
from matrixdata.receiving.records import microseconds
from matrixdata.replica.account import Cursor

if TYPE_CHECKING:
    from matrixdata.receiving.feed import Feed
    from matrixdata.receiving.freshness import Freshness
    from matrixdata.receiving.standing import Standings
    from matrixdata.replica.account import Account
    from matrixdata.replica.rooms import Rooms

Start = Literal["new", "all"] | Position | datetime
# Below every position: they fall by one for each event of the past, and no room has so many.
_BEFORE_ALL = -(2**62)


class Sources(msgspec.Struct, frozen=True):
    """What a subscription reads from."""

    rooms: Rooms
    account: Account
    feed: Feed
    freshness: Freshness
    standing: Standings
    replica: str


def checked_start(start: Start) -> Start:
    """The same, if it is one.

    Raises:
        ValueError: it is none, or a datetime without a time zone; here, at the call, not later in a loop.
    """
    if not isinstance(start, (Position, datetime)) and start not in {"new", "all"}:
        raise ValueError(f'start={start!r}; it takes "new", "all", a Position or an aware datetime')
    if isinstance(start, datetime):
        microseconds(start)
    return start


async def resume(sources: Sources, room_id: str, saved: Cursor) -> Cursor | None:
    """The place a cursor remembers, in this replica; None if it is not found, or is where it began.

    Raises:
        NotSent, Unknown, RateLimited: the server was not reached, and what leads there has to be fetched.
    """
    if saved.replica != sources.replica:
        return await _behind(sources, room_id, saved)
    # A power cut may take the replica's newest commits, which come again under new numbers, but not the cursor.
    newest = await sources.rooms.newest_change()
    return (
        saved
        if saved.change <= newest
        else _here(sources, newest, since=saved.since, event_id=saved.event_id)
    )


async def _behind(sources: Sources, room_id: str, saved: Cursor) -> Cursor | None:
    """The replica was rebuilt: behind the event that the cursor remembers, in the timeline's order."""
    if saved.event_id is None:
        return None
    position = await sources.freshness.reach(room_id, saved.event_id)
    if position is None:
        return None
    newest = await sources.rooms.newest_change()
    return replace(saved, replica=sources.replica, change=newest, since=newest, position=position)


async def begin(sources: Sources, room_id: str, start: Start) -> Cursor:
    """Where `start` says to begin; fetches the past where it is asked for."""
    if isinstance(start, Position):
        return await _after(sources, room_id, start)
    if start == "new":
        newest = await sources.rooms.newest_change()
        last = await sources.rooms.newest_at(room_id, newest)
        return _here(sources, newest, since=newest, event_id=last)
    from_time = microseconds(start) if isinstance(start, datetime) else None
    back_to = from_time // 1000 if from_time is not None else None
    await sources.freshness.complete(room_id, back_to=back_to)
    newest = await sources.rooms.newest_change()
    return Cursor(sources.replica, newest, position=_BEFORE_ALL, from_time=from_time)


async def _after(sources: Sources, room_id: str, position: Position) -> Cursor:
    if position.replica not in {"", sources.replica}:
        raise MatrixDataError(
            "this position was taken in a replica that has been rebuilt since; use a datetime, "
            'or start="all" and skip what you know by record.uid'
        )
    newest = await sources.rooms.newest_change()
    if position.change > newest:
        raise MatrixDataError(
            f"this position lies ahead of the replica, whose newest change is {newest}: it was taken in another "
            'copy of it. Use a datetime, or start="all" and skip what you know by record.uid'
        )
    last = await sources.rooms.newest_at(room_id, position.change)
    return _here(sources, position.change, since=position.change, event_id=last)


def _here(sources: Sources, change: int, *, since: int | None, event_id: str | None) -> Cursor:
    return Cursor(sources.replica, change, since=since, event_id=event_id)
