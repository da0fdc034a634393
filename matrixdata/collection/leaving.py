"""Leaving a room. What was received of it stays."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from matrixdata.collection.bindings import unbind
from matrixdata.errors import RoomLeft
from matrixdata.protocol import requests
from matrixdata.replica.rows import RoomChange

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services


async def leave_room(services: Services, room_id: str) -> None:
    """Leave, note it, and free the name; harmless where we have left already."""
    services.check()
    with suppress(RoomLeft):
        await services.standing.check_member(room_id)
        await services.caller.call(requests.leave(room_id))
    await services.rooms.apply([RoomChange(room_id, membership="leave")], tokens={})
    services.freshness.forget(room_id)
    await unbind(services, room_id)
