"""The sender: takes the oldest item of each room and sends it until it has an outcome.

One item a room at a time, so that a room's records arrive in the order they were accepted. The same item
is always sent with the same transaction id and the same bytes.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import anyio
import anyio.abc
import msgspec

from matrixdata.errors import LoggedOut, MatrixDataError, NotSent, RateLimited, Rejected, Unknown, Unsupported
from matrixdata.model.steps import reached
from matrixdata.protocol.requests import send_event, whoami
from matrixdata.protocol.sync import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.publishing.receipt import Receipts
    from matrixdata.replica.lease import Lease
    from matrixdata.replica.outbox import Outbox, OutboxItem
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.publishing")

# One call keeps trying an item for so many seconds; then the sender looks again whether it should.
_PATIENCE = 10.0
# After so many such calls without an outcome, on a server that is well otherwise, the item is what is wrong.
_POISON = 3
# How often to look for what another process queued, or whether the process that sends for us is gone.
_LOOK = 0.5


class _Acknowledged(msgspec.Struct):
    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Sender:
    """Drains the outbox while it holds the lease; one for each client, one at work for each store.

    Args:
        arrived: from room id and uid to the event id under which the replica holds that record of ours, if so.
        barred: from a room id to the reason by which nothing may be sent there, None if it may.
        usable: whether the session may serve again; asked while it is known not to.
    """

    def __init__(
        self,
        caller: Caller,
        outbox: Outbox,
        receipts: Receipts,
        lease: Lease,
        *,
        arrived: Callable[[str, str], Awaitable[str | None]],
        barred: Callable[[str], Awaitable[str | None]],
        usable: Callable[[], Awaitable[bool]],
    ) -> None:
        self._caller = caller
        self._outbox = outbox
        self._receipts = receipts
        self._lease = lease
        self._arrived = arrived
        self._barred = barred
        self._usable = usable
        self._wake = anyio.Event()
        self._busy: set[str] = set()
        self._logged_out = False

    def wake(self) -> None:
        """Something was queued, or may be sent again."""
        self._logged_out = False
        self._wake.set()

    async def run(self) -> None:
        """Send for as long as it is not cancelled. Nothing but cancellation ends it."""
        async with anyio.create_task_group() as rooms:
            while True:
                self._wake = anyio.Event()
                try:
                    await self._look(rooms)
                except (MatrixDataError, OSError):
                    log.exception("the outbox could not be read; trying again")
                with anyio.move_on_after(_LOOK):
                    await self._wake.wait()

    async def _look(self, rooms: anyio.abc.TaskGroup) -> None:
        if self._logged_out and not await self._usable():
            self._lease.release()  # another process may have a session that serves
            return
        self._logged_out = False
        led = self._lease.held
        leads = self._lease.look() and self._lease.beat()
        if not (led and leads):
            await self._follow()  # also what another process sent before it let go
        if leads:
            await self._start(rooms)

    async def _follow(self) -> None:
        """Another process sends, or sent, for us: look at what became of what our callers wait for."""
        waiting = self._receipts.waiting()
        if not waiting:
            return
        here = {item.txn_id: item for item in await self._outbox.by_txn([item.txn_id for item in waiting])}
        for item in waiting:
            found = here.get(item.txn_id)
            if found is None:
                # It left the outbox: that process syncs too, and has met the echo.
                event_id = await self._arrived(item.room_id, item.uid)
                found = replace(item, state="synced", event_id=event_id) if event_id else item
            self._receipts.update(found)

    async def _start(self, rooms: anyio.abc.TaskGroup) -> None:
        for item in await self._outbox.next(skip_rooms=self._busy):
            self._busy.add(item.room_id)
            rooms.start_soon(self._drain, item)

    async def _drain(self, first: OutboxItem) -> None:
        room_id = first.room_id
        item: OutboxItem | None = first
        try:
            while item is not None and not self._logged_out:
                await self._send(item)
                item = await self._outbox.next_in(room_id)
        except MatrixDataError:
            # The store failed; what is queued stays queued. The pause keeps this from becoming a busy loop.
            log.exception("sending to %s stopped", room_id)
            await anyio.sleep(_LOOK)
        finally:
            self._busy.discard(room_id)
            self._wake.set()  # something may have been queued between the last look and here

    async def _send(self, item: OutboxItem) -> None:
        reason = await self._barred(item.room_id)
        if reason is not None:
            await self._outbox.stuck(item.id, reason)
            return
        request = send_event(item.room_id, item.type, item.txn_id, item.content)
        reached("publish.3 sending")
        try:
            body = await self._caller.call(request, patience=_PATIENCE)
            event_id = decode(body, _Acknowledged).event_id
            reached("publish.3 answered")
        except RateLimited:
            await self._caller.limit.wait()
        except NotSent:
            return  # still queued; the next round tries again
        except LoggedOut:
            self._logged_out = True  # it stays queued, and goes on once somebody has logged in again
        except Rejected as error:
            log.warning("record %s was refused: %s", item.uid, error)
            await self._outbox.stuck(item.id, error.errcode)
        except (Unknown, Unsupported):
            # Every homeserver can send: "no such endpoint" is a proxy speaking while the server is away.
            await self._without_outcome(item)
        else:
            await self._outbox.sent(item.id, event_id)
            reached("publish.4 recorded")

    async def _without_outcome(self, item: OutboxItem) -> None:
        """Nobody knows whether it arrived. The transaction id makes trying again safe; trying for ever is not."""
        await self._outbox.attempted(item.id)
        if item.attempts + 1 < _POISON:
            await anyio.sleep(_LOOK)
            return
        try:
            # Not /versions: that is answered without the database, whose failure would make every item look bad.
            await self._caller.call(whoami(), patience=0)
        except (NotSent, Unknown, Unsupported, Rejected):
            await anyio.sleep(_LOOK)  # the server is unwell, not the item
            return
        await self._outbox.stuck(item.id, "server_error")
