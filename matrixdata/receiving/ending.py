"""Why a subscription can go on no longer: the end always has a reason, and it is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.errors import ClientClosed, ServerRolledBack, StoreCorrupt

if TYPE_CHECKING:
    from matrixdata.receiving.beginning import Sources


async def check_end(sources: Sources, room_id: str, *, known: ServerRolledBack | None) -> None:
    """Raise the reason if nothing more will come, or not what one would expect.

    Args:
        sources: what the subscription reads from.
        room_id: its room.
        known: the last time the server was found to have been set back, when the subscription was entered.

    Raises:
        ClientClosed: the client was closed.
        LoggedOut, StoreLocked, MatrixDataError: why syncing ended.
        ServerRolledBack: the server forgot events of this room since.
        RoomLeft: we left, were kicked or banned.
        RoomReplaced: the room was upgraded.
    """
    if sources.feed.closed:
        raise ClientClosed("the client was closed, and with it this subscription")
    sources.freshness.check()
    check_replica(sources)
    found = sources.freshness.set_back(room_id)
    if found is not None and found is not known:
        raise ServerRolledBack(found.room_id, found.lost)
    await sources.standing.check(room_id)


def check_replica(sources: Sources) -> None:
    """After each read: what was read must be of the replica that the subscription's numbers count in.

    Raises:
        StoreCorrupt: it was damaged and is being rebuilt.
    """
    if sources.replica != sources.rooms.replica:
        raise StoreCorrupt(
            "the replica was damaged and is rebuilt from the server, so that this subscription cannot go on "
            'where it was; subscribe again: with the same cursor=, or start= a datetime or "all", and skip what you '
            "know by record.uid"
        )
