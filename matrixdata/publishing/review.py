"""What another process on the store learned of our records, for whoever waits for them here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.publishing.receipt import Receipts


async def review(receipts: Receipts, arrived: Callable[[str, str], Awaitable[str | None]]) -> None:
    """Tell the receipts of sent records that the replica holds them, where it does.

    Args:
        receipts: those that somebody still holds.
        arrived: from room id and uid to the event id under which the replica holds that record of ours, if so.
    """
    for item in receipts.waiting():
        if item.state == "sent":
            event_id = await arrived(item.room_id, item.uid)
            if event_id is not None:
                receipts.update(replace(item, state="synced", event_id=event_id))
