"""Where we stand with a room: in it, no longer in it, or sent on to the room that replaced it.

Read from the replica. The server is asked only before somebody is turned away, for another device of ours may have
joined again, and once a minute before a process that does not follow the room writes to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import MatrixDataError, NotSent, Rejected, RoomLeft, RoomReplaced
from matrixdata.model.problem import safe_text
from matrixdata.protocol import requests
from matrixdata.protocol.sync import MalformedResponse, decode, parse_state
from matrixdata.receiving.pipeline import state_rows
from matrixdata.replica.rows import RoomChange

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from matrixdata.receiving.intake import Intake
    from matrixdata.replica.rooms import Rooms
    from matrixdata.transport.caller import Caller

ROOM_REPLACED = "room_replaced"
"""Why an outbox item is stuck whose room was upgraded."""

GONE = frozenset({"leave", "ban"})
TOMBSTONE = "m.room.tombstone"
_MEMBER = "m.room.member"
_LONGEST = 500  # of a reason, which somebody else wrote
_MAX_ID_BYTES = 255
# Another process may be the one that commits, so what was read is believed for so long, in microseconds.
_BELIEVED = 1_000_000
# Whoever only writes asks whether the room was replaced before a write, if that is so long ago, in microseconds.
_ASKED_LATELY = 60_000_000


class Standing(msgspec.Struct, frozen=True):
    """What the replica says of us and a room.

    Attributes:
        left: we are not in it any more.
        reason, by: why, and who saw to it; "" where nobody said, or it was ourselves.
        since: when we left, milliseconds since 1970 UTC as our server states it; None where that is not known.
        new_room_id: the room that replaced it; None if none did.
    """

    left: bool = False
    reason: str = ""
    by: str = ""
    since: int | None = None
    new_room_id: str | None = None


class Standings:
    """Answers for one client.

    Args:
        followed: the rooms of which this process surely has what the server has.
        clock: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        caller: Caller,
        rooms: Rooms,
        intake: Intake,
        *,
        user_id: str,
        followed: Callable[[], Collection[str]],
        clock: Callable[[], int],
    ) -> None:
        self._caller = caller
        self._rooms = rooms
        self._intake = intake
        self._user_id = user_id
        self._followed = followed
        self._clock = clock
        self._known: dict[str, tuple[int, Standing]] = {}
        self._asked: dict[str, int] = {}
        rooms.on_commit.append(self.forget)
        caller.on_recovery.append(self._asked.clear)

    async def of(self, room_id: str) -> Standing:
        """What the replica says now."""
        known = self._known  # what is read while something is committed is noted where nobody looks any more
        read_at, standing = known.get(room_id, (0, None))
        now = self._clock()
        if standing is None or abs(now - read_at) > _BELIEVED:
            standing = await self._read(room_id)
            known[room_id] = (now, standing)
        return standing

    def forget(self) -> None:
        """Something was committed: what was read before is not believed any more."""
        self._known = {}

    async def check(self, room_id: str) -> None:
        """Raise why nothing more will come from a room.

        Raises:
            RoomLeft: we left, were kicked or banned.
            RoomReplaced: it was upgraded.
        """
        _raise_left(room_id, await self.of(room_id))
        await self._raise_replaced(room_id)

    async def check_member(self, room_id: str) -> None:
        """Raise RoomLeft if we are not in the room, and another device of ours has not joined again either."""
        if (await self.of(room_id)).left:
            await self._ask(room_id)
            _raise_left(room_id, await self.of(room_id))

    async def check_writable(self, room_id: str) -> None:
        """Raise RoomLeft or RoomReplaced if nothing may be written to the room."""
        await self.check_member(room_id)
        await self._raise_replaced(room_id)

    async def explain(self, room_id: str) -> None:
        """The server refused a write: raise RoomLeft or RoomReplaced if that is why."""
        await self._ask(room_id)
        await self.check(room_id)

    async def is_out(self, room_id: str) -> bool:
        """The server will not let us join: note that we are no longer in the room; False if we never were."""
        membership = await self._rooms.membership(room_id)
        if membership == "join":
            await self._rooms.apply([RoomChange(room_id, membership="leave")], tokens={})
        return bool(membership)

    async def barred(self, room_id: str, *, refused: bool = False) -> str | None:
        """Why the outbox must not send to a room, None if it may; `refused`: the server has just declined it.

        Raises:
            NotSent: the server cannot be asked; never of what was refused.
        """
        if self._caller.failing is not None:
            self._asked.clear()  # during an outage much may happen
        if refused or (not self._asked_lately(room_id) and room_id not in self._followed()):
            # Whoever only writes would never hear that the room was replaced: owners may go on writing to it.
            try:
                await self._caller.call(requests.state_event(room_id, TOMBSTONE), patience=0)
            except Rejected:
                self._asked[room_id] = self._clock()
            except MatrixDataError as error:
                if isinstance(error, NotSent) and not refused:
                    raise  # the next request may get through
                return None  # sending meets the same trouble, and deals with it
            else:
                await self._ask(room_id)
                self._asked[room_id] = self._clock()
        return ROOM_REPLACED if (await self.of(room_id)).new_room_id is not None else None

    def _asked_lately(self, room_id: str) -> bool:
        asked = self._asked.get(room_id)
        return asked is not None and abs(self._clock() - asked) < _ASKED_LATELY

    async def _ask(self, room_id: str) -> None:
        try:
            body = await self._caller.call(requests.room_state(room_id), patience=0)
            await self._intake.state(room_id, state_rows(parse_state(body)))
        except MatrixDataError:
            return  # not to be known now, as after forgetting the room; the replica's word stands

    async def _raise_replaced(self, room_id: str) -> None:
        new_room_id = (await self.of(room_id)).new_room_id
        if new_room_id is not None:
            raise RoomReplaced(room_id, new_room_id)

    async def _read(self, room_id: str) -> Standing:
        new_room_id = replacement(
            room_id,
            [row.content for row in await self._rooms.state(room_id, (TOMBSTONE,)) if not row.state_key],
        )
        if await self._rooms.membership(room_id) not in GONE:
            return Standing(new_room_id=new_room_id)
        for row in await self._rooms.state(room_id, (_MEMBER,)):
            if row.state_key == self._user_id:
                said = _read_membership(row.content)
                if said.membership in GONE:
                    by = "" if row.sender == self._user_id else safe_text(row.sender)
                    return Standing(True, safe_text(said.reason[:_LONGEST]), by, row.origin_time, new_room_id)
        return Standing(left=True, new_room_id=new_room_id)


def replacement(room_id: str, tombstones: list[bytes]) -> str | None:
    """The room that a tombstone's content names, None if it names none that could be one."""
    for content in tombstones:
        try:
            tombstone: _Tombstone = decode(content, _Tombstone)
        except MalformedResponse:
            continue
        found = tombstone.replacement_room
        if found.startswith("!") and found != room_id and len(found.encode()) <= _MAX_ID_BYTES:
            return found
    return None


def _raise_left(room_id: str, standing: Standing) -> None:
    if standing.left:
        raise RoomLeft(room_id, reason=standing.reason, by=standing.by)


def _read_membership(content: bytes) -> _Membership:
    try:
        found: _Membership = decode(content, _Membership)
    except MalformedResponse:
        return _Membership()
    return found


class _Membership(msgspec.Struct):
    membership: str = ""
    reason: str = ""


class _Tombstone(msgspec.Struct):
    replacement_room: str = ""
