"""Subscriptions: read the change feed from a cursor of their own, so a slow one is late, never lossy."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
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
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from matrixdata.receiving.feed import Feed
    from matrixdata.receiving.freshness import Freshness
    from matrixdata.replica.account import Account
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import FeedEntry

Start = Literal["new", "all"] | Position | datetime
_PAGE = 500


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
        # Each with the number of the change that brought it; None for what was there before.
        self._ready: deque[tuple[int | None, Record]] = deque()
        self._history: AsyncGenerator[list[Record]] | None = None
        self._after = 0
        self._since: int | None = None
        self._started = 0
        self._delivered: int | None = None
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
        if saved is not None and saved.replica == self._sources.replica:
            self._after, self._since, self._started = saved.change, saved.started, saved.started
        else:
            await self._begin()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; a named cursor remembers the last record taken, unless its handling raised."""
        self._open = False
        try:
            if kind is None:
                await self._save()
        finally:
            if self._history is not None:
                await self._history.aclose()

    async def _begin(self) -> None:
        """Set the first position as `start` says."""
        self._after = self._started = self._since = await self._sources.rooms.newest_change()
        if isinstance(self._start, Position):
            if self._start.replica not in {"", self._sources.replica}:
                raise MatrixDataError(
                    "this position was taken in a replica that has been rebuilt since; use a datetime, "
                    'or start="all" and skip what you know by record.uid'
                )
            self._after = self._started = self._since = self._start.change
        elif self._start != "new":
            self._since = None
            since = microseconds(self._start) if isinstance(self._start, datetime) else None
            back_to = since // 1000 if since is not None else None
            await self._sources.freshness.complete(self._room_id, back_to=back_to)
            self._after = await self._sources.rooms.newest_change()
            self._history = self._past(Span(since=since, as_of=self._after))
        await self._save()

    async def _past(self, span: Span) -> AsyncGenerator[list[Record]]:
        """What was there before, in the timeline's order."""
        async with aclosing(self._sources.rooms.scan(self._room_id).records(span)) as pages:
            async for page in pages:
                yield [
                    Record(
                        value=msgspec.json.decode(value),
                        event_id=event_id,
                        sender=sender,
                        time=moment(time),
                        position=Position(change, self._sources.replica),
                        uid=uid,
                    )
                    for event_id, sender, uid, value, time, change in page
                ]

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
        self._delivered, record = self._ready.popleft()
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
        taken = [await self.__anext__(), *(record for _, record in self._ready)]
        self._ready.clear()
        return taken

    async def _fetch(self) -> None:
        """Put at least one record into `_ready`, or wait and return."""
        if self._history is not None:
            # A cancelled generator is a finished one, and the rest of the past would be taken for read.
            with anyio.CancelScope(shield=True):
                page = await anext(self._history, None)
            if page is None:
                self._history = None
            else:
                self._ready.extend((None, record) for record in page)
            return
        await self._save()
        changed = self._sources.feed.watch()
        entries, reached = await self._sources.rooms.feed(
            self._room_id, after=self._after, since=self._since, most=_PAGE
        )
        found = [(entry.change, record) for entry in entries if (record := await self._record(entry))]
        # In one step, for a cancellation in between would hand them out twice or not at all.
        self._ready.extend(found)
        moved, self._after = reached > self._after, reached
        if not found and not moved:
            await self._check_end()
            await changed.wait()

    async def _record(self, entry: FeedEntry) -> Record | None:
        if not entry.record or entry.repeat or entry.kind == "redaction":
            return None
        event = entry.event
        if entry.shadowed:
            winner = await self._sources.rooms.find(self._room_id, event.sender, event.uid or "")
            if winner is None or winner.row_state != "valid":
                return None
            event = winner
        record = stored_record(event, self._sources.replica)
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
        done = self._handed_out()
        if self._cursor_name is not None and done is not None:
            cursor = Cursor(self._sources.replica, self._started, done)
            await self._sources.account.save_cursor(self._room_id, self._cursor_name, cursor)

    def _handed_out(self) -> int | None:
        """The change up to which everything was; None while the past, which has an order of its own, is read."""
        if self._history is not None:
            return None
        if not self._ready:
            return self._after
        return None if self._ready[0][0] is None else self._delivered
