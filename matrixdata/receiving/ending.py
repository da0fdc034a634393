"""Why a subscription can go on no longer: the end always has a reason, and it is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.errors import ClientClosed

if TYPE_CHECKING:
    from matrixdata.receiving.beginning import Sources


async def check_end(sources: Sources, room_id: str) -> None:
    """Raise the reason if nothing more will come.

    Raises:
        ClientClosed: the client was closed.
        LoggedOut, StoreLocked, MatrixDataError: why syncing ended.
        RoomLeft: we left, were kicked or banned.
        RoomReplaced: the room was upgraded.
    """
    if sources.feed.closed:
        raise ClientClosed("the client was closed, and with it this subscription")
    sources.freshness.check()
    await sources.standing.check(room_id)
