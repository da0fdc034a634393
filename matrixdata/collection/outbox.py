"""The outbox as users see it: what was accepted and has not been seen to arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from matrixdata.errors import Conflict, NotFound, Unknown
from matrixdata.model.listing import Listing
from matrixdata.protocol.batch import BATCH, unpack_batch
from matrixdata.receiving.records import moment

if TYPE_CHECKING:
    from datetime import datetime

    from matrixdata.collection.ports import Services
    from matrixdata.model import JSON
    from matrixdata.replica.outbox_item import OutboxItem

_COLUMNS = ("accepted", "state", "reason", "attempts", "next_attempt", "value", "room_id", "uid")


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One accepted record, or batch of records, that has not been seen to arrive.

    Attributes:
        value: the record; of a batch, as `publish_many` makes them, the list of its records.
        state: "queued", "sent" (acknowledged, not yet back) or "stuck".
        reason: what keeps it from being sent: the server's errcode, or a word of the guide's table; None when
            nothing does.
        accepted: when publish accepted it; aware, UTC, as the times below.
        attempts: how many may have reached the server without our learning so; while it is 0 and the state
            "queued" the record is surely not there.
        first_attempt: the first of those; None before.
        last_attempt: the last attempt of any kind; None before.
        next_attempt: when it is sent again at the earliest; None: at once, or (stuck) when you ask for it.
    """

    room_id: str
    uid: str
    state: str
    reason: str | None
    value: JSON
    accepted: datetime
    attempts: int = 0
    first_attempt: datetime | None = None
    last_attempt: datetime | None = None
    next_attempt: datetime | None = None


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
                value=_value(item),
                accepted=moment(item.accepted_at),
                attempts=item.attempts if item.state != "sent" else 0,
                first_attempt=_moment(item.first_attempt),
                last_attempt=_moment(item.last_attempt),
                next_attempt=_moment(item.next_attempt),
            )
            for item in await self._services.outbox.entries()
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
        self._services.sender.wake(hurry=True)

    async def retry_all(self) -> int:
        """Send every stuck record again; how many there were."""
        self._services.check()
        found = await self._services.outbox.retry()
        self._services.sender.wake(hurry=True)
        return found

    async def cancel(self, uid: str) -> None:
        """Drop a record for good: a stuck one, or a queued one that is surely not on the server.

        Raises:
            Unknown: it was sent without an answer, so it may be on the server; wait for its receipt.
            Conflict: the server has it already.
            NotFound: no record in the outbox has that uid.
        """
        self._services.check()
        found = await self._services.outbox.cancel(uid)
        if not found:
            raise NotFound(f"no record in the outbox has the uid {uid!r}; outbox.list() shows what there is")
        if any(item.state == "cancelled" for item in found):
            return
        if all(item.state == "sent" for item in found):
            raise Conflict(
                f"record {uid!r} is on the server as {found[0].event_id}; it cannot be called back"
            )
        raise Unknown(
            f"record {uid!r} was sent and no answer came: it may be on the server. It stays in the outbox until "
            "that is known; nothing was dropped",
            uid=uid,
        )


def _value(item: OutboxItem) -> JSON:
    if item.type != BATCH:
        return cast("JSON", msgspec.json.decode(item.value))
    return [member.value for member in unpack_batch(msgspec.json.decode(item.content)).members()]


def _moment(microseconds: int | None) -> datetime | None:
    return moment(microseconds) if microseconds is not None else None
