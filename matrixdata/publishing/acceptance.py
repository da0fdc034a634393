"""From a value somebody hands in to a durable outbox row. What fails here raises, and nothing was queued."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import RecordInvalid
from matrixdata.model.steps import reached
from matrixdata.protocol.canonical import check_size
from matrixdata.protocol.content import RECORD, pack_record
from matrixdata.protocol.convert import to_record
from matrixdata.publishing.held import Held
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.outbox_rows import uid_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matrixdata.publishing.receipt import AsyncReceipt, Receipts
    from matrixdata.replica.jobs import JobRows
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.quota import Quota
    from matrixdata.replica.rows import StoredEvent
    from matrixdata.replica.rules import Rules


class Acceptance:
    """Checks, encodes and stores records.

    Args:
        clock: microseconds since 1970 UTC.
        new_id: a fresh id of at least 128 random bits, safe in URLs.

    Attributes:
        held: what waits in memory for a commit to share.
    """

    def __init__(
        self,
        outbox: Outbox,
        receipts: Receipts,
        quota: Quota,
        *,
        user_id: str,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._outbox = outbox
        self._receipts = receipts
        self._quota = quota
        quota.on_drop = receipts.dropped
        self._user_id = user_id
        self._clock = clock
        self._new_id = new_id
        self.held = Held(self.accept, receipts)

    def prepare(self, value: object, *, room_id: str, rules: Rules, uid: str | None = None) -> OutboxItem:
        """The outbox row of one record, not stored yet.

        Raises:
            RecordInvalid: the value is no JSON record, or breaks the collection's schema; every reason at once.
            TooLarge: its event would be refused for its size.
        """
        record = to_record(value)
        schema = rules.schema
        problems = rules.problems(record, schema.hash if schema else None)
        if problems:
            raise RecordInvalid(problems)
        uid = self._new_id() if uid is None else uid
        content = pack_record(record, uid=uid, schema_hash=schema.hash if schema else None)
        check_size(
            content, event_type=RECORD, room_id=room_id, sender=self._user_id, encrypted=rules.encrypted
        )
        now = self._clock()
        time = rules.time_of(record)
        return OutboxItem(
            room_id=room_id,
            uid=uid,
            txn_id=self._new_id(),
            type=RECORD,
            # Sorted, so that the same record is the same bytes however its keys were ordered.
            content=msgspec.json.encode(content, order="sorted"),
            value=msgspec.json.encode(record),
            time=now if time is None else time,
            accepted_at=now,
        )

    def arrived(self, item: OutboxItem, event: StoredEvent) -> AsyncReceipt:
        """The receipt of a record with a uid that the replica holds already.

        Raises:
            Conflict: that uid stands for another record.
        """
        here = msgspec.json.encode(msgspec.json.decode(event.value or b"null"), order="sorted")
        if here != msgspec.json.encode(msgspec.json.decode(item.value), order="sorted"):
            raise uid_taken(item)
        return self._receipts.open(replace(item, state="synced", event_id=event.event_id))

    async def accept(self, items: Sequence[OutboxItem], *, job: JobRows | None = None) -> list[AsyncReceipt]:
        """Store items durably, all or none; only now do they count as accepted.

        Raises:
            StoreFull: there is no room; nothing was stored.
        """
        await self._quota.make_room(items)
        opened = [self._receipts.hold(item) for item in items]  # a held one has its receipt already
        reached("publish.1 checked")
        stored = await self._outbox.accept(items, job=job)
        reached("publish.2 stored")
        receipts = []
        for receipt, item in zip(opened, stored, strict=True):
            held = self._receipts.hold(item)
            if held is receipt and receipt.state in {"held", "queued"}:
                self._receipts.update(item)
            receipts.append(held)
        return receipts
