"""What the replica holds of a room beyond its records' values, and completing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.collection.quarantine import InvalidRecords
from matrixdata.collection.tables import HistoryEvent, history_event
from matrixdata.receiving.records import invalid_record, microseconds
from matrixdata.replica.rows import Decryption

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from matrixdata.collection.ports import Services
    from matrixdata.receiving import SyncProgress


_CLEAR = Decryption(None)


async def complete(
    services: Services,
    room_id: str,
    *,
    since: datetime | None,
    progress: Callable[[SyncProgress], None] | None,
) -> None:
    """Fetch what is missing, back to an aware datetime or to the start."""
    services.check_reading()
    back_to = microseconds(since) // 1000 if since is not None else None
    await services.standing.check_member(room_id)
    await services.freshness.follow(room_id)
    await services.freshness.catch_up(room_id, timeout=30)
    await services.freshness.complete(room_id, back_to=back_to, progress=progress)


async def history_events(services: Services, room_id: str, *, timeout: float) -> list[HistoryEvent]:
    """Every event of the room, in the timeline's order."""
    services.check_reading()
    await services.freshness.ready(room_id, timeout=timeout)
    pages = services.rooms.scan(room_id).events()
    events = [event async for page in pages for event in page]
    found = await services.unread.decryptions(room_id) if any(event.sealed for event in events) else {}
    return [history_event(event, found.get(event.event_id, _CLEAR)) for event in events]


async def quarantined(services: Services, room_id: str, *, timeout: float) -> InvalidRecords:
    """The records that are not valid."""
    services.check_reading()
    await services.freshness.ready(room_id, timeout=timeout)
    pages = services.rooms.scan(room_id).events(states=("invalid",))
    return InvalidRecords([invalid_record(event) async for page in pages for event in page])
