"""Whether a record that may have arrived is on the server, once its transaction id can no longer tell.

Servers forget transaction ids (Synapse after a day, others within an hour), and know them for one device only.
What was attempted longer ago, as another device or by an earlier process is looked for before it is sent again.
No clock decides that alone: the search goes back to our last event that the server acknowledged before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import msgspec

from matrixdata.carrier.audience import ENCRYPTED
from matrixdata.errors import LoggedOut, Rejected, Unknown, Unsupported
from matrixdata.model.member import event_of
from matrixdata.protocol.batch import BATCH
from matrixdata.protocol.content import RECORD
from matrixdata.protocol.requests import events_of
from matrixdata.protocol.sync import parse_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matrixdata.carrier.keys import Keys
    from matrixdata.model.session import Session
    from matrixdata.protocol.events import Event
    from matrixdata.protocol.sync import MessagesPage
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rooms import Rooms
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.publishing")

# Seconds for which a transaction id is relied on; the shortest memory known among servers is 30 minutes.
_RELIED_ON = 20 * 60.0
# What it looks for is among the newest as a rule; then as many as servers give at most.
_FIRST_PAGE, _PAGE = 50, 1000
# The bound. Beyond it a record is sent again though it may be there: readers count it once.
_MOST_PAGES = 100
CARRIERS = (RECORD, BATCH)
"""The types of events in which records travel."""

_MOST_FAILURES = 5


class Found(msgspec.Struct, frozen=True):
    """A record of ours on the server. `same`: it is that record, and not another under its uid."""

    event_id: str
    same: bool


class _Since(msgspec.Struct, frozen=True):
    """From when, by both clocks, and as which device a transaction id has been in use."""

    monotonic: float
    wall: int
    device_id: str


@dataclass(slots=True)
class _Search:
    """How far a search is; it goes on there after the network failed."""

    token: str | None = None
    pages: int = 0
    failures: int = 0
    seen: set[str] = field(default_factory=set)


class Readback:
    """Looks for records of ours on the server.

    Args:
        who: the session now.
        clock: microseconds since 1970 UTC.
        types: the event types in which records travel.
    """

    def __init__(
        self,
        caller: Caller,
        rooms: Rooms,
        *,
        who: Callable[[], Session],
        clock: Callable[[], int],
        keys: Keys,
        types: tuple[str, ...] = CARRIERS,
    ) -> None:
        self._caller = caller
        self._rooms = rooms
        self._who = who
        self._clock = clock
        self._keys = keys
        self._types = types
        self._relied_on: dict[int, _Since] = {}
        self._searches: dict[int, _Search] = {}

    # -- when -------------------------------------------------------------------------------------------
    def is_needed(self, item: OutboxItem) -> bool:
        """Whether it may be on the server, and the server may not know its transaction id any more."""
        if item.attempts == 0:
            return False
        since = self._relied_on.get(item.id)
        if since is None or since.device_id != self._who().device_id:
            return True
        # Both clocks: the monotonic one stands still while a machine sleeps, the other may be set back.
        slept = (self._clock() - since.wall) / 1e6
        return not (0 <= slept < _RELIED_ON and anyio.current_time() - since.monotonic < _RELIED_ON)

    def attempted(self, item: OutboxItem) -> None:
        """Its transaction id is in use from now on, if it was not."""
        self._relied_on.setdefault(item.id, self._now())

    def forget(self, item: OutboxItem) -> None:
        """Its fate is known."""
        self._relied_on.pop(item.id, None)
        self._searches.pop(item.id, None)

    def _now(self) -> _Since:
        return _Since(anyio.current_time(), self._clock(), self._who().device_id)

    async def arrived(self, item: OutboxItem) -> str | None:
        """The event id under which the replica holds that record or batch of ours, None if it does not."""
        user_id = self._who().user_id
        event = await self._rooms.find(item.room_id, user_id, item.uid, batch=item.type == BATCH)
        return event_of(event.event_id) if event else None

    # -- the search -------------------------------------------------------------------------------------
    async def find(self, item: OutboxItem) -> Found | None:
        """The record on the server; None if it is not there, or could not be found within the bound.

        Raises:
            NotSent, Unknown, LoggedOut: not known yet; the next call goes on where this one was.
        """
        event_id = await self.arrived(item)
        if event_id is not None:
            return Found(event_id, same=True)
        search = self._searches.setdefault(item.id, _Search())
        found, ended = None, False
        while found is None and not ended:
            if search.pages >= _MOST_PAGES or search.failures >= _MOST_FAILURES:
                log.warning(
                    "whether record %s is on the server was not found out; sending it again", item.uid
                )
                break
            found, ended = await self._look(item, search)
        self._searches.pop(item.id, None)
        self._relied_on[item.id] = self._now()
        return found

    async def _look(self, item: OutboxItem, search: _Search) -> tuple[Found | None, bool]:
        """One page further back: the record if it is there, and whether nothing is left to search."""
        try:
            page = await self._page(item.room_id, search)
        except LoggedOut:
            raise
        except Rejected as error:
            log.info("the server does not show us our events in %s: %s", item.room_id, error)
            return None, True
        for event, content in await self._contents(item.room_id, page.events):
            found = self._match(item, event, content)
            if found is not None:
                return found, True
            if event.event_id == item.after_event:
                return None, True
        if page.end is None or page.end in search.seen:
            return None, True
        search.seen.add(page.end)
        search.token, search.pages = page.end, search.pages + 1
        return None, False

    async def _page(self, room_id: str, search: _Search) -> MessagesPage:
        limit = _PAGE if search.pages else _FIRST_PAGE
        request = events_of(
            room_id, self._who().user_id, (*self._types, ENCRYPTED), start=search.token, limit=limit
        )
        try:
            return parse_messages(await self._caller.call(request, patience=0))
        except Unsupported as error:
            search.failures += 1
            raise Unknown(str(error)) from error
        except Unknown:
            search.failures += 1
            raise

    async def _contents(self, room_id: str, events: Sequence[Event]) -> list[tuple[Event, bytes | None]]:
        """Each event with the JSON text of the record's content in it, None where it is none or cannot be read."""
        sealed = [
            event for event in events if event.type == ENCRYPTED and not (event.fault or event.redacted)
        ]
        opened = {}
        if sealed:
            results = await self._keys.write(lambda engine, c: engine.decrypt(c, room_id, sealed))
            opened = {event.event_id: result for event, result in zip(sealed, results, strict=True)}
        found = []
        for event in events:
            clear = opened.get(event.event_id, event)
            content = getattr(clear, "content", None) if getattr(clear, "type", "") in self._types else None
            found.append((event, content))
        return found

    def _match(self, item: OutboxItem, event: Event, content: bytes | None) -> Found | None:
        if event.sender != self._who().user_id:
            return None
        if event.txn_id == item.txn_id:
            return Found(event.event_id, same=True)
        if content is None or event.fault:
            return None
        try:
            there = msgspec.json.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(there, dict) or there.get("uid") != item.uid:
            return None
        return Found(event.event_id, same=there == msgspec.json.decode(item.content))
