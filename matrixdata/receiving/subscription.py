"""Subscriptions: read the change feed from a cursor of their own, so a slow one is late, never lossy."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import anyio
import msgspec

from matrixdata.errors import ClientClosed, MatrixDataError, RoomLeft
from matrixdata.model import Position, Record
from matrixdata.receiving.records import microseconds, moment, stored_record
from matrixdata.replica.account import Cursor
from matrixdata.replica.scan import Span

if TYPE_CHECKING:
    from types import TracebackType

    from matrixdata.receiving.feed import Feed
    from matrixdata.receiving.freshness import Freshness
    from matrixdata.replica.account import Account
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import FeedEntry

Start = Literal["new", "all"] | Position | datetime
_PAGE = 500
# Below every position: they fall by one for each event of the past, and no room has so many.
_BEFORE_ALL = -(2**62)


@dataclass(frozen=True, slots=True)
class Sources:
    """What a subscription reads from."""

    rooms: Rooms
    account: Account
    feed: Feed
    freshness: Freshness
    replica: str


class AsyncSubscription:
    """Records of one collection as they are committed; an async context manager and iterator.

    Entering returns once live: what is published after that is delivered. Delivery is at least once, with
    a stable `record.uid`; within one subscription each record comes once.
    """

    def __init__(self, sources: Sources, room_id: str, *, start: Start, cursor: str | None) -> None:
        if not isinstance(start, (Position, datetime)) and start not in {"new", "all"}:
            raise ValueError(f'start={start!r}; it takes "new", "all", a Position or an aware datetime')
        if isinstance(start, datetime):
            microseconds(start)  # a naive datetime raises here, at the call, not later in a loop
        self._sources = sources
        self._room_id = room_id
        self._start = start
        self._cursor_name = cursor
        # Each with how far one has read once it is handed out.
        self._ready: deque[tuple[Cursor, Record]] = deque()
        self._at = Cursor(sources.replica, 0)
        self._saved: Cursor | None = None
        self._after = 0
        self._past: tuple[Span, int] | None = None
        self._passed: set[str] = set()
        self._open = False

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<Subscription {state} {self._room_id} start={self._start!r}>"

    @property
    def remembers(self) -> bool:
        """Whether a named cursor keeps how far it got."""
        return self._cursor_name is not None

    # -- entering and leaving ---------------------------------------------------------------------------
    async def __aenter__(self) -> AsyncSubscription:
        """Return once live."""
        await self._sources.freshness.follow(self._room_id)
        await self._sources.freshness.catch_up(self._room_id, timeout=10)
        saved = None
        if self._cursor_name is not None:
            saved = await self._sources.account.cursor(self._room_id, self._cursor_name)
        resumed = saved if saved is not None and saved.replica == self._sources.replica else None
        saved = resumed or await self._begin()
        self._at, self._after = saved, saved.change
        # What was not valid where it begins is news when it is again, except to those who want what is new.
        begins = resumed is None and self._start == "new"
        passed = frozenset() if begins else await self._sources.rooms.passed(self._room_id, saved.change)
        self._passed = set(passed)
        if saved.position is not None:
            self._past = Span(since=saved.from_time, as_of=saved.change), saved.position
        await self._save()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; a named cursor remembers the last record taken, unless its handling raised."""
        self._open = False
        if kind is None:
            await self._save()

    async def _begin(self) -> Cursor:
        """Where `start` says to begin."""
        here = self._sources.replica
        if isinstance(self._start, Position):
            if self._start.replica not in {"", here}:
                raise MatrixDataError(
                    "this position was taken in a replica that has been rebuilt since; use a datetime, "
                    'or start="all" and skip what you know by record.uid'
                )
            return Cursor(here, self._start.change, since=self._start.change)
        if self._start == "new":
            newest = await self._sources.rooms.newest_change()
            return Cursor(here, newest, since=newest)
        from_time = microseconds(self._start) if isinstance(self._start, datetime) else None
        back_to = from_time // 1000 if from_time is not None else None
        await self._sources.freshness.complete(self._room_id, back_to=back_to)
        newest = await self._sources.rooms.newest_change()
        return Cursor(here, newest, position=_BEFORE_ALL, from_time=from_time)

    # -- reading ----------------------------------------------------------------------------------------
    def __aiter__(self) -> AsyncSubscription:
        """Iterate over records; the end always has a reason, which is raised."""
        return self

    async def __anext__(self) -> Record:
        """The next record, waiting for it as long as it takes."""
        if not self._open:
            raise StopAsyncIteration
        while not self._ready:
            await self._fetch()
        self._at, record = self._ready.popleft()
        return record

    async def get(self, *, timeout: float | None = None) -> Record:
        """The next record.

        Raises:
            TimeoutError: none came within `timeout` seconds; the subscription goes on.
        """
        if not self._open:
            raise ClientClosed("this subscription is not open; use it in a with block")
        with anyio.fail_after(timeout):
            return await self.__anext__()

    async def take(self) -> list[Record]:
        """Every record that is ready, waiting until there is at least one; never empty."""
        taken = [await self.__anext__()]
        while self._ready:
            self._at, record = self._ready.popleft()
            taken.append(record)
        return taken

    async def _fetch(self) -> None:
        """Put at least one record into `_ready`, or wait and return.

        What was read is put there in one step: a cancellation in between would hand it out twice or not at all.
        """
        await self._save()
        if self._past is not None:
            await self._fetch_past(*self._past)
            return
        changed = self._sources.feed.watch()
        page = await self._sources.rooms.feed(
            self._room_id, after=self._after, since=self._at.since, most=_PAGE
        )
        found = [
            (replace(self._at, change=entry.change), record)
            for entry in page.entries
            if (record := await self._record(entry))
        ]
        self._passed.update(page.passed)
        self._ready.extend(found)
        moved, self._after = page.reached > self._after, page.reached
        if not found:
            self._at = replace(self._at, change=page.reached)
            if not moved:
                await self._check_end()
                await changed.wait()

    async def _fetch_past(self, span: Span, past: int) -> None:
        """What was there before, in the timeline's order."""
        page = await self._sources.rooms.scan(self._room_id).page(span, past=past, most=_PAGE)
        self._ready.extend(
            (
                replace(self._at, position=position),
                Record(
                    value=msgspec.json.decode(value),
                    event_id=event_id,
                    sender=sender,
                    time=moment(time),
                    position=Position(change, self._sources.replica),
                    uid=uid,
                ),
            )
            for event_id, sender, uid, value, time, change, position in page
        )
        if page:
            self._past = span, page[-1][-1]
        else:
            self._past, self._at = None, replace(self._at, position=None, from_time=None)

    async def _record(self, entry: FeedEntry) -> Record | None:
        if not entry.record or entry.repeat or entry.kind == "redaction":
            return None
        event = entry.event
        if not entry.first and event.event_id not in self._passed:
            return None  # valid again, and delivered when it first was
        if entry.shadowed:
            winner = await self._sources.rooms.find(self._room_id, event.sender, event.uid or "")
            if winner is None or winner.row_state != "valid":
                return None
            event = winner
        record = stored_record(event, self._sources.replica, change=entry.change)
        late = isinstance(self._start, datetime) and entry.kind == "backfilled" and record.time < self._start
        return None if late else record

    async def _check_end(self) -> None:
        if self._sources.feed.closed:
            raise ClientClosed("the client was closed, and with it this subscription")
        self._sources.freshness.check()
        if await self._sources.rooms.membership(self._room_id) in {"leave", "ban"}:
            raise RoomLeft(self._room_id)

    async def _save(self) -> None:
        """Remember how far a named subscription got: everything handed out before the next is asked for."""
        if self._cursor_name is not None and self._at != self._saved:
            await self._sources.account.save_cursor(self._room_id, self._cursor_name, self._at)
            self._saved = self._at
