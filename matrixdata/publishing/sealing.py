"""What a record travels as: itself, or in an encrypted room the ciphertext that is made of it right before it is sent.

Nothing is ever sent in clear into a room that is encrypted, or of which nobody knows whether it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec

from matrixdata.carrier.audience import AUDIENCE_TYPES, ENCRYPTED, ENCRYPTION, Audience, audience_of
from matrixdata.errors import DeviceUntrusted, LoggedOut, Rejected, Unknown
from matrixdata.model.steps import reached
from matrixdata.protocol import requests
from matrixdata.protocol.sync import parse_state
from matrixdata.replica.wire import NotBegun, Wire

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection

    from matrixdata.carrier.courier import Courier
    from matrixdata.carrier.keys import Keys
    from matrixdata.encryption.port import Encrypted
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rooms import Rooms
    from matrixdata.transport.caller import Caller

# Seconds for which what the server said of a room that nobody here follows is believed.
_BELIEVED = 60.0
# Device lists that change all the time must not hold a record up for ever.
_ROUNDS = 10


class _Known(msgspec.Struct, frozen=True):
    """What is known of a room: its audience, None where it is not encrypted; and until when that is believed."""

    audience: Audience | None
    until: float | None


class Sealing:
    """Begins attempts, and encrypts for them.

    Args:
        followed: the rooms of which this process surely has what the server has.
    """

    def __init__(
        self,
        keys: Keys,
        courier: Courier,
        caller: Caller,
        outbox: Outbox,
        rooms: Rooms,
        *,
        followed: Callable[[], Collection[str]],
    ) -> None:
        self._keys = keys
        self._courier = courier
        self._caller = caller
        self._outbox = outbox
        self._rooms = rooms
        self._followed = followed
        self._asked: dict[str, _Known] = {}
        self._here: dict[str, _Known] = {}
        self._held: dict[str, DeviceUntrusted] = {}
        rooms.on_commit.append(self._here.clear)
        caller.on_recovery.append(self._asked.clear)

    async def begin(self, item: OutboxItem, now: int, *, anew: bool) -> Wire | NotBegun:
        """Encrypt it if need be, and note that it may reach the server: see `Outbox.begin`.

        Raises:
            DeviceUntrusted: somebody who would get the key has another identity than before.
            NotSent, Unknown, Rejected, LoggedOut: what has to be known or sent first did not go through.
        """
        self._held.pop(item.room_id, None)
        try:
            return await self._begin(item, now, anew=anew)
        except DeviceUntrusted as error:
            self._held[item.room_id] = error
            raise

    def held(self, room_id: str) -> DeviceUntrusted | None:
        """Whose identity keeps records for that room from being sent; None where none does, as far as is known."""
        return self._held.get(room_id)

    async def _begin(self, item: OutboxItem, now: int, *, anew: bool) -> Wire | NotBegun:
        audience = await self._audience(item.room_id)
        if audience is None:
            return await self._outbox.begin(item, now)
        engine = await self._keys.engine()
        first: list[Encrypted] = []

        def seal(c: sqlite3.Connection) -> Wire | None:
            prepared = engine.prepare(
                c, item.room_id, audience.readers, history_visibility=audience.visibility
            )
            if prepared.requests:
                return None
            encrypted = engine.encrypt(c, item.room_id, item.type, item.content)
            if encrypted.index == 0:
                first.append(encrypted)
            reached("seal.3 encrypted")
            return Wire(ENCRYPTED, encrypted.content)

        for _ in range(_ROUNDS):
            begun = await self._outbox.begin(item, now, seal=seal, anew=anew)
            if begun is not NotBegun.UNSEALED:
                await self._tell_new(item.room_id, first)
                return begun
            reached("seal.1 prepared")
            await self._courier.deliver()
            reached("seal.2 shared")
        raise Unknown("the devices that are to get the key change faster than they can be given it")

    async def _tell_new(self, room_id: str, first: list[Encrypted]) -> None:
        """A session of ours began, whose key is to be backed up."""
        from matrixdata.encryption.port import Received, Session  # noqa: PLC0415  dataclasses; kept with the engine

        if first:
            sessions = frozenset(Session(room_id, each.session_id) for each in first)
            await self._keys.tell(Received(sessions=sessions))

    def changed(self, room_id: str) -> None:
        """Something was changed in that room that says who reads it."""
        self._asked.pop(room_id, None)

    # -- who reads a room -------------------------------------------------------------------------------
    async def _audience(self, room_id: str) -> Audience | None:
        """Who reads it; None where it is not encrypted, which is never believed without having been told."""
        followed = room_id in self._followed()
        known = (self._here if followed else self._asked).get(room_id)
        if known is not None and (known.until is None or anyio.current_time() < known.until):
            return known.audience
        known = await (self._read(room_id) if followed else self._ask(room_id))
        (self._here if followed else self._asked)[room_id] = known
        return known.audience

    async def _read(self, room_id: str) -> _Known:
        """From the replica, which is in step."""
        audience = audience_of(await self._rooms.state(room_id, AUDIENCE_TYPES))
        if audience.encryption is None and not await self._is_encrypted(room_id):
            return _Known(None, None)
        await self._note(room_id, audience)
        return _Known(audience, None)

    async def _ask(self, room_id: str) -> _Known:
        """From the server."""
        if not await self._is_encrypted(room_id):
            try:
                await self._caller.call(requests.state_event(room_id, ENCRYPTION), patience=0)
            except LoggedOut:
                raise
            except Rejected as error:
                if error.errcode != "M_NOT_FOUND":
                    raise
                return _Known(None, None)
        state = parse_state(await self._caller.call(requests.room_state(room_id), patience=0))
        audience = audience_of(event for event in state if not event.fault)
        await self._note(room_id, audience)
        # Nobody here is told when their devices change.
        await self._keys.write(lambda engine, c: engine.mark_stale(c, audience.readers))
        return _Known(audience, anyio.current_time() + _BELIEVED)

    async def _is_encrypted(self, room_id: str) -> bool:
        """Whether it ever was: that is never undone, whatever the server says."""
        return await self._keys.read(lambda engine, c: engine.is_encrypted(c, room_id))

    async def _note(self, room_id: str, audience: Audience) -> None:
        content = audience.encryption
        if content is not None:
            await self._keys.write(lambda engine, c: engine.note_room(c, room_id, content))
