"""Publishing many rows: accepted in groups that share a commit, reported row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread

from matrixdata.collection.report import PublishReport, RejectedRow
from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.model import Problem
from matrixdata.protocol.convert import to_record
from matrixdata.publishing import PART_BYTES, parted

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services
    from matrixdata.collection.resuming import Resumption
    from matrixdata.publishing import AsyncReceipt
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rules import Rules

OnError = Literal["collect", "raise"]
Progress = Callable[[int, int], None]
_GROUP = 250
# A slow source of rows (a sensor) is not made to wait for a full group.
_GROUP_SECONDS = 0.05


class Bulk:
    """One run of `publish_many`."""

    def __init__(
        self,
        services: Services,
        room_id: str,
        rules: Rules,
        *,
        on_error: OnError,
        job: Resumption | None = None,
    ) -> None:
        if on_error not in {"collect", "raise"}:
            raise ValueError(f'on_error={on_error!r}; it takes "collect" or "raise"')
        self._services = services
        self._room_id = room_id
        self._rules = rules
        self._on_error = on_error
        self._job = job
        self._rejected: list[RejectedRow] = []
        self._receipts: list[AsyncReceipt] = []
        self._moved = 0  # records of this client that got further, whichever they are

    async def accept(self, data: object, progress: Progress | None) -> None:
        """Check and queue every row; with on_error="raise" all rows are checked before any is queued."""
        from matrixdata.frames import rows_of  # noqa: PLC0415  those who publish one by one are spared the import

        rows = enumerate(rows_of(data))
        if self._on_error == "raise":
            items = await anyio.to_thread.run_sync(lambda: [self._item(number, row) for number, row in rows])
            for group in parted([item for item in items if item], most=_GROUP):
                await self._queue(group, progress)
            return
        for _ in count():
            group, ended = await anyio.to_thread.run_sync(self._group, rows)
            await self._queue(group, progress)
            if ended:
                return

    def _group(self, rows: Iterator[tuple[int, object]]) -> tuple[list[OutboxItem], bool]:
        group: list[OutboxItem] = []
        size = 0
        until = time.monotonic() + _GROUP_SECONDS
        for number, row in rows:
            item = self._item(number, row)
            if item is not None:
                group.append(item)
                size += len(item.content)
            if len(group) >= _GROUP or size >= PART_BYTES or time.monotonic() > until:
                return group, False
        return group, True

    def _item(self, number: int, row: object) -> OutboxItem | None:
        try:
            uid = None
            if self._job is not None:
                row = to_record(row)
                uid = self._job.uid_of(number, row)
                if uid is None:
                    return None
            return self._services.acceptance.prepare(row, room_id=self._room_id, rules=self._rules, uid=uid)
        except RecordInvalid as error:
            if self._on_error == "raise":
                raise RecordInvalid(error.problems, subject=f"record (row {number})") from None
            self._rejected.append(RejectedRow(number, error.problems))
        except TooLarge as error:
            if self._on_error == "raise":
                raise
            self._rejected.append(RejectedRow(number, (Problem("", "size", str(error)),)))
        return None

    async def _queue(self, items: list[OutboxItem], progress: Progress | None) -> None:
        if items:
            rows = self._job.noted(items) if self._job is not None else None
            self._receipts += await self._services.acceptance.accept(items, job=rows)
            self._services.sender.wake()
            if progress is not None:
                progress(self._sent(), len(self._receipts))

    def _sent(self) -> int:
        return sum(receipt.state in {"sent", "synced"} for receipt in self._receipts)

    async def finish(
        self, until: Literal["sent", "synced"], *, timeout: float, progress: Progress | None
    ) -> None:
        """Wait until everything has an outcome, or nothing moved for `timeout` seconds."""
        settled = {"synced", "stuck", "cancelled", "dropped", *(["sent"] if until == "sent" else [])}
        self._services.outbox.on_change.append(self._count)
        try:
            await self._finish(settled, timeout, progress)
        finally:
            self._services.outbox.on_change.remove(self._count)

    def _count(self, item: OutboxItem) -> None:
        self._moved += item.state != "queued"

    async def _finish(self, settled: set[str], timeout: float, progress: Progress | None) -> None:
        deadline = anyio.current_time() + timeout
        for done, receipt in enumerate([*await self._earlier(), *self._receipts], start=1):
            while receipt.state not in settled:
                before = self._sent(), self._moved
                moved = await _moves(receipt, min(1.0, deadline - anyio.current_time()))
                if not moved and (self._sent(), self._moved) == before:
                    if anyio.current_time() >= deadline:
                        return
                    continue
                deadline = anyio.current_time() + timeout
            deadline = anyio.current_time() + timeout
            if progress is not None:
                progress(min(done, len(self._receipts)), len(self._receipts))

    async def _earlier(self) -> list[AsyncReceipt]:
        """The last of the rows that an earlier run had accepted, if it is still under way."""
        if self._job is None or self._job.last_skipped is None:
            return []
        item = await self._services.outbox.find(self._room_id, self._job.last_skipped)
        if item is None:
            return []
        receipt = self._services.receipts.hold(item)
        now = await self._services.outbox.find(self._room_id, item.uid)  # it may have moved before we held it
        self._services.receipts.update(now or replace(item, state="synced"))
        return [receipt]

    def report(self) -> PublishReport:
        """The outcome so far."""
        return PublishReport(
            accepted=len(self._receipts),
            sent=self._sent(),
            stuck=tuple((r.uid, r.reason or "") for r in self._receipts if r.state == "stuck"),
            rejected=tuple(self._rejected),
            dropped=sum(receipt.state == "dropped" for receipt in self._receipts),
            skipped=self._job.skipped if self._job is not None else 0,
        )


async def _moves(receipt: AsyncReceipt, seconds: float) -> bool:
    """Whether a receipt's state changed within some seconds."""
    before = receipt.state
    with anyio.move_on_after(max(0.0, seconds)):
        await receipt.changed()
    return receipt.state != before
