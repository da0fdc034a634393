"""From a value somebody hands in to a durable outbox row. What fails here raises, and nothing was queued."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from matrixdata.errors import RecordInvalid
from matrixdata.model.member import event_of
from matrixdata.model.steps import reached
from matrixdata.protocol.batch import BATCH
from matrixdata.protocol.canonical import check_size
from matrixdata.protocol.content import RECORD, pack_record
from matrixdata.protocol.convert import to_record
from matrixdata.protocol.rules import is_plain
from matrixdata.publishing.held import Held
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.outbox_rows import uid_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matrixdata.model import JSONObject
    from matrixdata.publishing.receipt import AsyncReceipt, Receipts
    from matrixdata.replica.jobs import JobRows
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.packing import Packing
    from matrixdata.replica.quota import Quota
    from matrixdata.replica.rows import StoredEvent
    from matrixdata.replica.rules import Rules


def checked(value: object, rules: Rules) -> JSONObject:
    """What is handed in, as a record that is valid by a room's rules.

    Raises:
        RecordInvalid: it is no JSON record, or breaks the collection's schema; every reason at once.
    """
    schema = rules.schema
    if type(value) is dict and is_plain(value) and rules.accepts(value, schema):
        return value  # as nearly always
    record = to_record(value)
    problems = rules.problems(record, schema.hash if schema else None)
    if problems:
        raise RecordInvalid(problems)
    return record


class Acceptance:
    """Checks, encodes and stores records.

    Args:
        clock: microseconds since 1970 UTC.
        packing: what batches are made with.

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
        packing: Packing,
    ) -> None:
        self._outbox = outbox
        self._receipts = receipts
        self._quota = quota
        quota.on_drop = receipts.dropped
        self._user_id = user_id
        self._clock = clock
        self.packing = packing
        self._new_id = packing.new_id
        # Numbers behind one random name: in a batch, where many uids stand, they take next to no room.
        self._name, self._numbers = packing.new_id(), count()
        self.held = Held(self.accept, receipts)

    def prepare(
        self, value: object, *, room_id: str, rules: Rules, uid: str | None = None, alone: bool = False
    ) -> OutboxItem:
        """The outbox row of one record, not stored yet; `alone`: it is never packed with others.

        Raises:
            RecordInvalid: the value is no JSON record, or breaks the collection's schema; every reason at once.
            TooLarge: its event would be refused for its size.
        """
        record, schema = checked(value, rules), rules.schema
        uid = f"{self._name}.{next(self._numbers)}" if uid is None else uid
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
            alone=alone,
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
        return self._receipts.open(replace(item, state="synced", event_id=event_of(event.event_id)))

    def batch(self, content: bytes, count: int, *, room_id: str, uid: str) -> OutboxItem:
        """The outbox row of a batch, not stored yet."""
        now = self._clock()
        return OutboxItem(
            room_id=room_id,
            uid=uid,
            txn_id=self._new_id(),
            type=BATCH,
            content=content,
            value=b"",
            time=now,
            accepted_at=now,
            records=count,
        )

    async def accept(
        self, items: Sequence[OutboxItem], *, job: JobRows | None = None, together: bool = False
    ) -> list[AsyncReceipt]:
        """Store items durably, all or none; only now do they count as accepted. `together`: they leave in batches.

        Raises:
            StoreFull: there is no room; nothing was stored.
        """
        await self._quota.make_room(items)
        opened = [self._receipts.hold(item) for item in items]  # a held one has its receipt already
        reached("publish.1 checked")
        packing = self.packing if together else None
        stored = await self._outbox.accept(items, job=job, packing=packing)
        reached("publish.2 stored")
        receipts = []
        for receipt, item in zip(opened, stored, strict=True):
            held = self._receipts.hold(item)
            if held is receipt and receipt.state in {"held", "queued"}:
                self._receipts.update(item)
            receipts.append(held)
        return receipts
