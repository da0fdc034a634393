"""Fetching what was left out: gaps are filled through /messages, newest first, a page a commit.

A page that is committed stays committed, so a backfill can be killed and goes on where it was.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import LoggedOut, MatrixDataError, Rejected, Unknown
from matrixdata.model.steps import reached
from matrixdata.protocol.requests import messages
from matrixdata.protocol.sync import MalformedResponse, MessagesPage, parse_messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from matrixdata.receiving.intake import Intake
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import GapRow
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.receiving")

# What Synapse gives at most; asking for more gives no more.
_PAGE = 1000
# Servers hand out empty pages that go on (rejected events are left out of them), but not without end.
_EMPTY_PAGES = 50
# Seconds until a history that could not be fetched is tried again.
_LATER = 2.0


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How far a backfill is.

    Attributes:
        events: fetched so far.
        oldest: server time of the oldest event held, milliseconds since 1970 UTC; None before any.
        gaps: stretches still missing.
    """

    events: int
    oldest: int | None
    gaps: int


class Backfill:
    """Fills gaps, one at a time in each room."""

    def __init__(self, caller: Caller, rooms: Rooms, intake: Intake) -> None:
        self._caller = caller
        self._rooms = rooms
        self._intake = intake
        self._turns: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._told: dict[str, SyncProgress] = {}
        self._moved: dict[str, anyio.Event] = {}
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._wake = anyio.Event()

    def ask(self, room_id: str) -> None:
        """Complete this room in the background."""
        self._asked.setdefault(room_id)
        self._wake.set()

    async def run(self) -> None:
        """Complete the rooms asked for, one after the other, for as long as it is not cancelled."""
        while True:
            while not self._asked:
                self._wake = anyio.Event()
                await self._wake.wait()
            room_id, _ = self._asked.popitem(last=False)  # before: it may be asked for again meanwhile
            try:
                await self.complete(room_id)
            except LoggedOut:
                self._asked[room_id] = None
                await anyio.sleep(_LATER)
            except Rejected as error:
                log.warning("the history of %s cannot be fetched: %s", room_id, error)
            except MatrixDataError as error:
                log.info("fetching the history of %s goes on later: %s", room_id, error)
                self._asked[room_id] = None  # behind the others, which may do better
                await anyio.sleep(_LATER)

    async def complete(
        self,
        room_id: str,
        *,
        back_to: int | None = None,
        progress: Callable[[SyncProgress], None] | None = None,
        patience: float = 60.0,
    ) -> None:
        """Fill every gap of a room, or those that reach no further back than `back_to` (ms since 1970).

        While another call is at it, `progress` is told how far that one is.

        Raises:
            NotSent, Unknown, RateLimited: the server was not reached within `patience` seconds; the rest
                stays listed as a gap.
            Rejected: the server refuses the history.
        """
        fetched, ahead = 0, _Ahead()
        if progress is not None:
            await self._watch(room_id, progress)
        async with self._turns[room_id], self._watched(room_id):
            while gaps := await self._rooms.gaps(room_id):
                oldest = await self._rooms.oldest_time(room_id)
                self._tell(room_id, SyncProgress(fetched, oldest, len(gaps)))
                if progress is not None:
                    progress(self._told[room_id])
                if back_to is not None and gaps[0].from_start and oldest is not None and oldest < back_to:
                    break
                ahead = await self._page(gaps[0], ahead, patience)
                fetched += ahead.before
            if progress is not None:
                progress(SyncProgress(fetched, await self._rooms.oldest_time(room_id), len(gaps)))

    async def _watch(self, room_id: str, progress: Callable[[SyncProgress], None]) -> None:
        """Pass on how far another call is, until it ends."""
        while self._turns[room_id].locked():
            if room_id in self._told:
                progress(self._told[room_id])
            await self._moved.setdefault(room_id, anyio.Event()).wait()

    @asynccontextmanager
    async def _watched(self, room_id: str) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._told.pop(room_id, None)
            self._wake_watchers(room_id)

    def _tell(self, room_id: str, state: SyncProgress) -> None:
        self._told[room_id] = state
        self._wake_watchers(room_id)

    def _wake_watchers(self, room_id: str) -> None:
        if moved := self._moved.pop(room_id, None):
            moved.set()

    async def _page(self, gap: GapRow, ahead: _Ahead, patience: float) -> _Ahead:
        """Commit one page, while the next one is already being fetched: the server and we work at once."""
        page, after = ahead.taken(gap.token) or await self._fetch(gap, gap.token, patience)
        following = _Ahead(after, before=len(page.events))
        reached("backfill.1 received")
        failure: MatrixDataError | None = None
        async with anyio.create_task_group() as tasks:
            if after is not None:
                tasks.start_soon(self._look_ahead, gap, following, patience)
            try:
                closed = await self._intake.page(gap, page, token=after)
                reached("backfill.2 committed")
            except MatrixDataError as error:  # carried out by hand: the task group would wrap it
                closed, failure = True, error
            if closed:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return following

    async def _look_ahead(self, gap: GapRow, ahead: _Ahead, patience: float) -> None:
        assert ahead.token is not None  # noqa: S101  only called with one
        try:
            ahead.found = await self._fetch(gap, ahead.token, patience)
        except MatrixDataError as error:
            ahead.error = error

    async def _fetch(self, gap: GapRow, token: str, patience: float) -> tuple[MessagesPage, str | None]:
        """The next page that has events, or the end; and the token that goes on from it, None at the end."""
        seen: set[str] = set()
        while True:
            seen.add(token)
            request = messages(gap.room_id, start=token or None, limit=_PAGE)
            try:
                page = parse_messages(await self._caller.call(request, patience=patience))
            except MalformedResponse as error:
                raise Unknown(f"the server's history of {gap.room_id} is malformed: {error}") from error
            if page.unreadable:
                log.warning(
                    "%d events of %s have no usable id; they cannot be kept", page.unreadable, gap.room_id
                )
            after = None if _is_start(page) else page.end
            if page.events or after is None:
                return page, None if after == token else after
            if after in seen or len(seen) > _EMPTY_PAGES:
                raise Unknown(
                    f"the server pages the history of {gap.room_id} in a loop; a gap is left and listed"
                )
            token = after


@dataclass(slots=True)
class _Ahead:
    """A page fetched before it was asked for. `before` counts the events of the page before it."""

    token: str | None = None
    before: int = 0
    found: tuple[MessagesPage, str | None] | None = None
    error: MatrixDataError | None = None

    def taken(self, token: str) -> tuple[MessagesPage, str | None] | None:
        """What was fetched, if it is what `token` leads to."""
        if token != self.token:
            return None
        if self.error is not None:
            raise self.error
        return self.found


def _is_start(page: MessagesPage) -> bool:
    """Nothing comes before a room's creation, though servers go on handing out tokens (measured)."""
    return any(event.type == "m.room.create" and event.state_key == "" for event in page.events)
