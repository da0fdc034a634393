"""Has the server still what it gave us? Looked into after each connection, before syncing goes on from a token.

A server restored from a backup says nothing: it answers as if nothing had happened, and leaves out what was sent
between the restore and our first request (measured). So the newest event we know is looked for, and the newest it
has. Nothing is sent again by itself: what was lost is listed, and somebody decides.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import MatrixDataError, Rejected, ServerRolledBack
from matrixdata.model.steps import reached
from matrixdata.protocol import requests
from matrixdata.protocol.sync import RoomUpdate, parse_joined_rooms, parse_messages, parse_state
from matrixdata.receiving.pipeline import state_rows
from matrixdata.receiving.standing import GONE
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.rows import RoomChange
from matrixdata.replica.sharing import Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from matrixdata.protocol.sync import MessagesPage
    from matrixdata.receiving.intake import Intake
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import LostRecord
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.receiving")

# Questions asked at the same time.
_AT_ONCE = 8
_PAGE = 100
_WALK = 1000


class Rollback:
    """Compares what we know of rooms with what the server has, and mends the difference.

    Args:
        new_id: fresh ids of at least 128 random bits, for transaction ids.
        tell: lets other processes on the store know.

    Attributes:
        found: the last rollback that was found since this client was opened; None before.
        found_in: the last one of each room.
    """

    def __init__(
        self,
        caller: Caller,
        rooms: Rooms,
        intake: Intake,
        outbox: Outbox,
        *,
        user_id: str,
        new_id: Callable[[], str],
        tell: Callable[[Told], Awaitable[None]],
    ) -> None:
        self._caller = caller
        self._rooms = rooms
        self._intake = intake
        self._outbox = outbox
        self._user_id = user_id
        self._new_id = new_id
        self._tell = tell
        self.found: ServerRolledBack | None = None
        self.found_in: dict[str, ServerRolledBack] = {}

    async def before(self, room_ids: Collection[str]) -> dict[str, str]:
        """Look before syncing goes on; by room, the newest event that the server has and we do not know yet.

        Raises:
            NotSent, Unknown, RateLimited, LoggedOut: it could not be found out.
        """
        tips: dict[str, str] = {}

        async def look(room_id: str) -> None:
            tip = await self._look(room_id)
            if tip is not None:
                tips[room_id] = tip

        await _at_once(look, room_ids)
        return tips

    async def after(self, tips: dict[str, str]) -> None:
        """After the first response: what it should have brought and did not is fetched."""
        known = await self._rooms.has_events(list(tips.values()))
        for room_id, tip in tips.items():
            if tip not in known:
                log.info("sync left out the newest event of %s; fetching it", room_id)
                await self._mend(room_id, await self._page(room_id, None, _PAGE))

    async def _look(self, room_id: str) -> str | None:
        if await self._rooms.membership(room_id) in GONE:
            return None  # nothing more comes from it
        newest = await self._rooms.newest_event(room_id)
        sent = [item for item in await self._outbox.list(room_id, states=("sent",)) if item.event_id]
        if newest is None and not sent:
            return None  # nothing is known that could be missing
        try:
            page = await self._page(room_id, None, 1)
        except Rejected:
            await self._look_for_ourselves(room_id)
            return None
        tip = page.events[0].event_id if page.events else None
        if tip == newest and not sent:
            return None
        lost_sent = [item for item in sent[-1:] if not await self._has(room_id, item.event_id or "")]
        if lost_sent or (newest is not None and not await self._has(room_id, newest)):
            await self._set_back(room_id, sent)
            return None
        return tip

    async def _look_for_ourselves(self, room_id: str) -> None:
        """The server refuses to talk of a room: are we in it?"""
        joined = parse_joined_rooms(await self._caller.call(requests.joined_rooms(), patience=0))
        if room_id not in joined:
            log.warning("the server no longer has us in %s", room_id)
            await self._rooms.apply([RoomChange(room_id, membership="leave")], tokens={})

    async def _set_back(self, room_id: str, sent: Sequence[OutboxItem]) -> None:
        first = await self._page(room_id, None, _PAGE)
        common = await self._common(room_id, first)
        gone: list[str] = []
        if common is not None:
            gone = await self._missing(room_id, await self._rooms.events_after(room_id, common))
        missing = set(await self._missing(room_id, [item.event_id or "" for item in sent]))
        lost = [item for item in sent if item.event_id in missing]
        lost += [self._item(record) for record in await self._rooms.records_of(self._user_id, gone)]
        if not gone and not lost:
            # Old events were removed on purpose, as a retention policy does: nothing was set back.
            await self._mend(room_id, first)
            return
        await self._outbox.lost(lost)
        reached("rollback.1 listed")
        found = ServerRolledBack(room_id, len(missing | set(gone)))
        log.warning("%s", found)
        try:
            state = parse_state(await self._caller.call(requests.room_state(room_id), patience=0))
            await self._intake.forget(room_id, gone, state_rows(state))
            reached("rollback.2 marked")
            await self._mend(room_id, first)
        finally:
            # Only now: a subscription that meets it ends, and what was fetched is to be handed out before.
            self.note(found)
            with suppress(MatrixDataError):  # the disk: what it was to be told of has its own reason to fail
                await self._tell(Told(room_id, found.lost))

    def note(self, found: ServerRolledBack) -> None:
        """It was found, by this process or by another."""
        self.found = self.found_in[found.room_id] = found

    async def _common(self, room_id: str, page: MessagesPage) -> str | None:
        """The newest event of the server's that we know; None if its whole history is unknown to us."""
        seen: set[str] = set()
        while True:
            ids = [event.event_id for event in page.events]
            known = await self._rooms.has_events(ids)
            for event_id in ids:
                if event_id in known:
                    return event_id
            token = page.end
            if token is None or token in seen or not ids:
                return None
            seen.add(token)
            page = await self._page(room_id, token, _WALK)

    async def _missing(self, room_id: str, event_ids: Sequence[str]) -> list[str]:
        gone: set[str] = set()

        async def look(event_id: str) -> None:
            if not await self._has(room_id, event_id):
                gone.add(event_id)

        await _at_once(look, event_ids)
        return [event_id for event_id in event_ids if event_id in gone]

    async def _has(self, room_id: str, event_id: str) -> bool:
        try:
            await self._caller.call(requests.event(room_id, event_id), patience=0)
        except Rejected as error:
            return error.errcode != "M_NOT_FOUND"
        return True

    async def _page(self, room_id: str, token: str | None, limit: int) -> MessagesPage:
        return parse_messages(
            await self._caller.call(requests.messages(room_id, start=token, limit=limit), patience=0)
        )

    async def _mend(self, room_id: str, page: MessagesPage) -> None:
        """Take the newest page of a room's history for a sync response; what lies before it becomes a gap."""
        known = await self._rooms.has_events([event.event_id for event in page.events])
        update = RoomUpdate(
            room_id,
            timeline=page.events[::-1],
            prev_batch=page.end,
            limited=not known and page.end is not None,
        )
        await self._intake.update(update)

    def _item(self, record: LostRecord) -> OutboxItem:
        return OutboxItem(
            room_id=record.room_id,
            uid=record.uid,
            txn_id=self._new_id(),  # the old one stands for the event that is gone
            type=record.type,
            content=record.content,
            value=record.value,
            time=record.time,
            accepted_at=record.origin_time * 1000,
        )


async def _at_once(work: Callable[[str], Awaitable[None]], of: Collection[str]) -> None:
    """Do `work` for each, some at the same time; the first error ends it and comes out as itself."""
    left, failures = iter(of), list[MatrixDataError]()

    async def worker() -> None:
        for each in left:
            if failures:
                return
            try:
                await work(each)
            except MatrixDataError as error:  # carried out by hand: the task group would wrap it
                failures.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(min(_AT_ONCE, len(of))):
            tasks.start_soon(worker)
    if failures:
        raise failures[0]
