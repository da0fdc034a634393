"""Why a subscription can go on no longer: the end always has a reason, and it is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import ClientClosed, RoomLeft
from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from matrixdata.receiving.beginning import Sources

_MEMBER = "m.room.member"
_LONGEST = 500  # of a reason, which somebody else wrote


async def check_end(sources: Sources, room_id: str) -> None:
    """Raise the reason if nothing more will come.

    Raises:
        ClientClosed: the client was closed.
        LoggedOut, StoreLocked, MatrixDataError: why syncing ended.
        RoomLeft: we left, were kicked or banned.
    """
    if sources.feed.closed:
        raise ClientClosed("the client was closed, and with it this subscription")
    sources.freshness.check()
    if await sources.rooms.membership(room_id) in {"leave", "ban"}:
        reason, by = await _departure(sources, room_id)
        raise RoomLeft(room_id, reason=reason, by=by)


async def _departure(sources: Sources, room_id: str) -> tuple[str, str]:
    """Why we are not in the room, and who saw to it; "" where nobody said, or it was ourselves."""
    for row in await sources.rooms.state(room_id, [_MEMBER]):
        if row.state_key == sources.user_id:
            try:
                content = msgspec.json.decode(row.content, type=_Membership)
            except msgspec.MsgspecError:
                return "", ""
            if content.membership in {"leave", "ban"}:
                by = row.sender if row.sender != sources.user_id else ""
                return safe_text(content.reason[:_LONGEST]), safe_text(by)
    return "", ""


class _Membership(msgspec.Struct):
    membership: str = ""
    reason: str = ""
