"""Keys that come after what they open: what could not be read is tried again, takes its place, and is told of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matrixdata.errors import MatrixDataError
from matrixdata.protocol.events import Event

if TYPE_CHECKING:
    from collections.abc import Collection

    from matrixdata.encryption.port import Received
    from matrixdata.receiving.intake import Intake
    from matrixdata.replica.keystore import KeyStore
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import StoredEvent
    from matrixdata.replica.unread import Unread

# Sessions looked for at once: SQLite takes so many values and not many times more.
_PART = 500
log = logging.getLogger("matrixdata.receiving")


class Late:
    """Tries undecryptable events again, when there is a reason to."""

    def __init__(self, unread: Unread, intake: Intake, rooms: Rooms, store: KeyStore) -> None:
        self._unread = unread
        self._intake = intake
        self._rooms = rooms
        self._store = store

    async def received(self, received: Received) -> None:
        """Keys came, or it became known whose a device is."""
        by_room: dict[str, set[str]] = {}
        for session in received.sessions:
            by_room.setdefault(session.room_id, set()).add(session.session_id)
        try:
            for room_id, sessions in by_room.items():
                await self._again(room_id, sessions=sessions)
            if received.users:
                for room_id in {room_id for room_id, _ in await self._unread.sessions()}:
                    await self._again(room_id, senders=received.users)
        except MatrixDataError as error:  # the disk; it is tried again when the next client starts
            log.warning("what could not be read could not be tried again: %s", error)

    async def retry(self, room_id: str) -> None:
        """Whatever cannot be read in a room, as after its policy was changed; and the verdicts that go by that."""
        await self._intake.judge_again(room_id)
        await self._again(room_id)

    async def begin(self) -> None:
        """What a key is here for and was not tried, as when a crash came between the two."""
        here = await self._store.sessions()
        by_room: dict[str, set[str]] = {}
        for room_id, session in await self._unread.sessions():
            if (room_id, session) in here:
                by_room.setdefault(room_id, set()).add(session)
        for room_id, sessions in by_room.items():
            await self._again(room_id, sessions=sessions)

    async def _again(
        self,
        room_id: str,
        *,
        sessions: Collection[str] | None = None,
        senders: Collection[str] | None = None,
    ) -> None:
        for part in [None] if sessions is None else _parts(sessions):
            await self._each(room_id, part, senders)

    async def _each(
        self, room_id: str, sessions: Collection[str] | None, senders: Collection[str] | None
    ) -> None:
        after = 0
        while page := await self._unread.page(room_id, after=after, sessions=sessions, senders=senders):
            after = page[-1][0]
            await self._intake.reveal(room_id, [_event(stored) for _, stored in page])


def _parts(sessions: Collection[str]) -> list[list[str]]:
    chosen = sorted(sessions)
    return [chosen[start : start + _PART] for start in range(0, len(chosen), _PART)]


def _event(stored: StoredEvent) -> Event:
    return Event(
        event_id=stored.event_id,
        type=stored.type,
        sender=stored.sender,
        origin_server_ts=stored.origin_time,
        content=stored.content or b"{}",
    )
