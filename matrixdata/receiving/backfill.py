"""Fetching what was left out: gaps are filled through /messages, newest first, a page a commit.

A page that is committed stays committed, so a backfill can be killed and goes on where it was. Where no gap is left,
the order of what came live is compared with that of /messages.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import LoggedOut, MatrixDataError, PaginationLoop, Rejected
from matrixdata.model.steps import reached
from matrixdata.receiving.paging import Page, Paging
from matrixdata.receiving.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from matrixdata.receiving.intake import Intake
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import GapRow
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.receiving")

# What Synapse gives at most; asking for more gives no more.
_PAGE = 1000
# Seconds until a history that could not be fetched is tried again, doubled with each attempt up to the second.
_LATER, _LATEST = 2.0, 300.0
# Events looked at beyond those not compared yet.
_BEYOND = 50
# Seconds between two comparisons that nobody asked for.
_CALM = 5.0


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How far a backfill is.

    Attributes:
        events: fetched so far.
        oldest: server time of the oldest event held, milliseconds since 1970 UTC; None before any.
        gaps: stretches still missing.
        newest: that of the newest event held.
        rate: events fetched in a second, since this began; 0 before the first.
    """

    events: int
    oldest: int | None
    gaps: int
    newest: int | None = None
    rate: float = 0.0

    @property
    def span(self) -> timedelta | None:
        """The time from the oldest event held to the newest, as their servers state it; None before any."""
        if self.oldest is None or self.newest is None:
            return None
        return timedelta(milliseconds=max(0, self.newest - self.oldest))


class Backfill:
    """Fills gaps, one at a time in each room, and sets right what servers that were apart have told late."""

    def __init__(self, caller: Caller, rooms: Rooms, intake: Intake) -> None:
        self._caller = caller
        self._rooms = rooms
        self._intake = intake
        self._turns: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._told: dict[str, SyncProgress] = {}
        self._moved: dict[str, anyio.Event] = {}
        self._waiting = Waiting()
        self._failures: defaultdict[str, int] = defaultdict(int)
        self._calm_from: dict[str, float] = {}
        intake.on_foreign.append(self._ask_to_compare)

    def ask(self, room_id: str) -> None:
        """Complete this room in the background."""
        self._waiting.add(room_id)

    def _ask_to_compare(self, room_id: str) -> None:
        """Events of other servers came: soon see whether they stand where the server has them."""
        self._waiting.add(room_id, due=self._calm_from.get(room_id, 0.0))

    async def run(self) -> None:
        """Complete the rooms asked for, one after the other, for as long as it is not cancelled."""
        while True:
            room_id = await self._waiting.next()
            try:
                await self.complete(room_id)
            except LoggedOut:
                self._waiting.add(room_id, due=anyio.current_time() + _LATER)
            except Rejected as error:
                log.warning("the history of %s cannot be fetched: %s", room_id, error)
            except MatrixDataError as error:
                log.info("fetching the history of %s goes on later: %s", room_id, error)
                pause = min(_LATEST, _LATER * 2 ** self._failures[room_id])
                self._failures[room_id] += 1
                self._waiting.add(room_id, due=anyio.current_time() + pause)
            else:
                self._failures.pop(room_id, None)

    async def complete(
        self,
        room_id: str,
        *,
        back_to: int | None = None,
        progress: Callable[[SyncProgress], None] | None = None,
        down_to: str | None = None,
        patience: float = 60.0,
    ) -> None:
        """Fill every gap of a room, or those that reach no further back than `back_to` (ms since 1970).

        With `down_to`, an event id, only those behind that event, if it is found.

        While another call is at it, `progress` is told how far that one is.

        Raises:
            NotSent, Unknown, RateLimited: the server was not reached within `patience` seconds; the rest
                stays listed as a gap.
            PaginationLoop: the server's pages lead nowhere; the gap stays listed, with this reason.
            Rejected: the server refuses the history.
        """
        fetched, at, paging = 0, None, Paging(self._caller, room_id, patience=patience)
        began = anyio.current_time()
        if progress is not None:
            await self._watch(room_id, progress)
        async with self._turns[room_id], self._watched(room_id):
            while gaps := await self._rooms.gaps(room_id):
                state = await self._state(room_id, fetched, len(gaps), began)
                self._tell(room_id, state)
                if progress is not None:
                    progress(state)
                oldest = state.oldest
                if back_to is not None and gaps[0].from_start and oldest is not None and oldest < back_to:
                    break
                if down_to is not None and await self._rooms.reached(room_id, down_to) is not None:
                    return
                if gaps[0].id != at:
                    at, paging = gaps[0].id, Paging(self._caller, room_id, patience=patience)
                fetched += await self._page(gaps[0], paging)
            self._tell(room_id, state := await self._state(room_id, fetched, len(gaps), began))
            if progress is not None:
                progress(state)
            await self._compare(room_id, patience)

    async def _state(self, room_id: str, events: int, gaps: int, began: float) -> SyncProgress:
        oldest, newest = await self._rooms.times(room_id)
        took = anyio.current_time() - began
        rate = events / took if events and took > 0 else 0.0
        return SyncProgress(events, oldest, gaps, newest=newest, rate=rate)

    async def reach(self, room_id: str, event_id: str) -> int | None:
        """Fetch history until an event is here with all that stands behind it; its position, None if it is nowhere.

        Raises:
            As `complete`.
        """
        while (at := await self._rooms.reached(room_id, event_id)) is None and self._turns[room_id].locked():
            await self._moved.setdefault(room_id, anyio.Event()).wait()
        if at is None:
            await self.complete(room_id, down_to=event_id)
            at = await self._rooms.reached(room_id, event_id)
        return at

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

    async def _page(self, gap: GapRow, paging: Paging) -> int:
        """Commit one page, while the next one is already being fetched: the server and we work at once."""
        try:
            page = await paging.page(gap.token, limit=_PAGE)
        except PaginationLoop as error:
            await self._rooms.gap_problem(gap, str(error))
            raise
        except Rejected as error:
            if error.status != 400 or not gap.token:
                await self._rooms.gap_problem(gap, str(error))
                raise
            await self._rooms.gap_token_lost(gap)
            return 0
        reached("backfill.1 received")
        failure: MatrixDataError | None = None
        async with anyio.create_task_group() as tasks:
            if page.after is not None:
                tasks.start_soon(_look_ahead, paging, page.after)
            try:
                closed = await self._intake.page(gap, page.found, token=page.after)
                reached("backfill.2 committed")
            except MatrixDataError as error:  # carried out by hand: the task group would wrap it
                closed, failure = True, error
            if closed:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return len(page.found.events)

    async def _compare(self, room_id: str, patience: float) -> None:
        """Bring what came live into the order of /messages, and add what /sync has never told.

        Servers that were apart tell each other what they missed; that stands between what is here already, and the
        older part of it may never come through /sync (measured). So it goes on for as long as a page brings anything.
        """
        todo = await self._rooms.uncompared(room_id, self._intake.home)
        if not todo.events:
            return
        paging, newest, below = Paging(self._caller, room_id, patience=patience), None, None
        page, limit = Page.none(), min(_PAGE, todo.events + _BEYOND)
        while page.after is not None:
            page = await paging.page(page.after, limit=limit)
            done = await self._intake.arrange(room_id, page.found, below=below)
            newest, below = newest if newest is not None else done.newest, done.oldest
            past = todo.down_to is not None and below is not None and below <= todo.down_to
            if done.at_gap or below is None or (done.calm and (past or not todo.foreign)):
                break
            limit = _PAGE
        if newest is not None:
            await self._rooms.compared(room_id, newest)
        self._calm_from[room_id] = anyio.current_time() + _CALM


async def _look_ahead(paging: Paging, token: str) -> None:
    await paging.look_ahead(token, limit=_PAGE)
