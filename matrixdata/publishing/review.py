"""What another process on the store learned of our records, for whoever waits for them here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.publishing.receipt import Receipts
    from matrixdata.replica.outbox_item import OutboxItem


async def review(receipts: Receipts, arrived: Callable[[OutboxItem], Awaitable[str | None]]) -> None:
    """Tell the receipts of sent records that the replica holds them, where it does.

    Args:
        receipts: those that somebody still holds.
        arrived: from an item to the event id under which the replica holds it, if so.
    """
    for item in receipts.waiting():
        if item.state == "sent":
            event_id = await arrived(item)
            if event_id is not None:
                receipts.update(replace(item, state="synced", event_id=event_id))
