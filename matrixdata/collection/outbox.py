"""The outbox as users see it: what was accepted and has not been seen to arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import NotFound
from matrixdata.model.listing import Listing
from matrixdata.receiving.records import moment

if TYPE_CHECKING:
    from datetime import datetime

    from matrixdata.collection.ports import Services
    from matrixdata.model import JSON

_COLUMNS = ("accepted", "state", "reason", "value", "room_id", "uid")


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One accepted record that has not been seen to arrive.

    Attributes:
        state: "queued", "sent" (acknowledged, not yet back) or "stuck".
        reason: why it is stuck: the server's errcode, or "server_error" for one that the server kept failing on.
        accepted: when publish accepted it; aware, UTC.
    """

    room_id: str
    uid: str
    state: str
    reason: str | None
    value: JSON
    accepted: datetime


class AsyncOutbox:
    """Looks at the outbox and mends it. Nothing in it is ever dropped unless `cancel` says so."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __repr__(self) -> str:
        return "<Outbox; list() shows what is in it>"

    async def list(self) -> list[OutboxEntry]:
        """Everything in the outbox, in the order of acceptance."""
        self._services.check()
        entries = (
            OutboxEntry(
                room_id=item.room_id,
                uid=item.uid,
                state=item.state,
                reason=item.reason,
                value=msgspec.json.decode(item.value),
                accepted=moment(item.accepted_at),
            )
            for item in await self._services.outbox.list()
        )
        return Listing(entries, title="undelivered record", columns=_COLUMNS)

    async def retry(self, uid: str) -> None:
        """Send a stuck record again, once what was wrong has been mended.

        Raises:
            NotFound: no stuck record has that uid.
        """
        self._services.check()
        if not await self._services.outbox.retry(uid):
            raise NotFound(f"no stuck record has the uid {uid!r}; outbox.list() shows what there is")
        self._services.sender.wake()

    async def cancel(self, uid: str) -> None:
        """Drop a stuck record for good. A queued one may already be on its way and cannot be called back.

        Raises:
            NotFound: no stuck record has that uid.
        """
        self._services.check()
        if not await self._services.outbox.cancel(uid):
            raise NotFound(f"no stuck record has the uid {uid!r}; outbox.list() shows what there is")
