"""What a sync response brings for the encryption engine: stored first, with its token, before anything of the rooms.

Were the rooms stored first, a crash between the two would lose keys: the server deletes what was acknowledged.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from matrixdata.carrier.audience import AUDIENCE_TYPES, ENCRYPTION, audience_of
from matrixdata.errors import LoggedOut, NotSent, Unknown
from matrixdata.model.steps import reached

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from matrixdata.carrier import Courier, Keys
    from matrixdata.carrier.audience import State
    from matrixdata.encryption.engine import Engine
    from matrixdata.encryption.port import Received, SyncChanges
    from matrixdata.protocol.key_news import KeyNews
    from matrixdata.protocol.sync import RoomUpdate, SyncBatch
    from matrixdata.receiving.late import Late
    from matrixdata.replica.rooms import Rooms

log = logging.getLogger("matrixdata.receiving")

# Seconds for which a response waits for the devices of whoever wrote what is in it. What is not known by then is mended
# once it is.
_PATIENCE = 5.0


class KeyIntake:
    """The engine's part of each sync response."""

    def __init__(self, keys: Keys, courier: Courier, rooms: Rooms, late: Late) -> None:
        self._keys = keys
        self._courier = courier
        self._rooms = rooms
        self._late = late
        self._last: KeyNews | None = None

    async def begin(self) -> None:
        """Syncing begins in this replica: try what a key came for before a crash."""
        await self._late.begin()

    async def since(self) -> str:
        """Where the to-device stream goes on, "" at its start."""
        return await self._keys.read(lambda engine, c: engine.token(c)) or ""

    async def tell(self, received: Received | None) -> None:
        """Let whoever waits for keys know what `store` said; once the rooms are stored too."""
        if received is not None:
            await self._keys.tell(received)

    async def store(self, batch: SyncBatch) -> Received | None:
        """Hand it to the engine, durably; what that changed, None where there was nothing to store."""
        encrypted = [room for room in batch.rooms if _is_about_keys(room)]
        if not encrypted and (batch.keys is None or not self._is_news(batch.keys)):
            return None
        before = {room.room_id: await self._state(room) for room in encrypted}
        changes = _changes(batch.keys)

        def work(engine: Engine, c: sqlite3.Connection) -> Received:
            if batch.keys is not None and batch.keys.anew:
                engine.mark_stale(c, None)
            for room in encrypted:
                _note(engine, c, room, before[room.room_id])
            return engine.receive(c, changes)

        received = await self._keys.write(work)
        self._last = batch.keys or self._last
        reached("read.2 keys")
        self._courier.wake()
        with anyio.move_on_after(_PATIENCE), suppress(NotSent, Unknown, LoggedOut):
            await self._courier.deliver()
        return received

    def _is_news(self, news: KeyNews) -> bool:
        """Whether it says anything that the one before did not; servers repeat the counts each time."""
        last = self._last
        return (
            last is None
            or bool(news.to_device or news.changed or news.left or news.anew)
            or (news.one_time_keys, news.fallback_unused) != (last.one_time_keys, last.fallback_unused)
        )

    async def _state(self, room: RoomUpdate) -> Sequence[State]:
        """What the replica says of who reads the room, which the response changes."""
        return await self._rooms.state(room.room_id, AUDIENCE_TYPES)


def _is_about_keys(room: RoomUpdate) -> bool:
    return any(
        event.type in AUDIENCE_TYPES for event in (*room.state, *room.timeline) if event.state_key is not None
    )


def _note(engine: Engine, c: sqlite3.Connection, room: RoomUpdate, before: Sequence[State]) -> None:
    """Let the engine know an encrypted room, and follow the devices of those who read it."""
    said = [
        event for event in (*room.state, *room.timeline) if event.state_key is not None and not event.fault
    ]
    audience = audience_of([*before, *said])
    for event in said:
        if event.type == ENCRYPTION and event.state_key == "" and not event.redacted:
            engine.note_room(c, room.room_id, event.content)
    if engine.is_encrypted(c, room.room_id):
        engine.track(c, audience.joined | audience.invited)


def _changes(news: KeyNews | None) -> SyncChanges:
    from matrixdata.encryption.port import SyncChanges, ToDevice  # noqa: PLC0415  a dataclass; kept with the engine

    if news is None:
        return SyncChanges()
    return SyncChanges(
        to_device=tuple(ToDevice(event.type, event.sender, event.content) for event in news.to_device),
        changed=news.changed,
        left=news.left,
        one_time_keys=news.one_time_keys,
        fallback_unused=news.fallback_unused,
        token=news.token,
    )
