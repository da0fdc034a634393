"""Publishing many rows: accepted in groups that share a commit, reported row by row."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread
from msgspec.structs import replace

from matrixdata.collection.report import PublishReport, RejectedRow
from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.model import Problem
from matrixdata.publishing import Filled, Filling, checked, parted

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services
    from matrixdata.collection.resuming import Resumption
    from matrixdata.publishing import AsyncReceipt
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rules import Rules

OnError = Literal["collect", "raise"]
Progress = Callable[[int, int], None]
_SENT = frozenset({"sent", "synced"})
_GROUP = 250
# A slow source of rows (a sensor) is not made to wait for a full group. What counts is the time spent waiting for it.
_GROUP_SECONDS = 0.05
_FEW = 100
"""So many rows at once go one by one unless something else is asked for: an event of its own can be edited."""


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
        batch: bool | None = None,
    ) -> None:
        if on_error not in {"collect", "raise"}:
            raise ValueError(f'on_error={on_error!r}; it takes "collect" or "raise"')
        self._services = services
        self._room_id = room_id
        self._rules = rules
        self._on_error = on_error
        self._job = job
        self._rejected: list[RejectedRow] = []
        self._receipts: list[tuple[AsyncReceipt, int]] = []  # with the number of records
        few = _FEW if batch is None else 0 if batch else sys.maxsize
        self._filling = Filling(services.acceptance, room_id, rules, few=few, refuse=self._refuse)
        self._moved = 0  # records of this client that got further, whichever they are
        self._accepted = self._sent = self._past = 0  # records; of the first receipts, which have an outcome

    async def accept(self, data: object, progress: Progress | None) -> None:
        """Check and queue every row; with on_error="raise" all rows are checked before any is queued."""
        from matrixdata.frames import rows_of  # noqa: PLC0415  those who publish one by one are spared the import

        rows = enumerate(rows_of(data))
        if self._on_error == "raise":
            await self._queue(await anyio.to_thread.run_sync(self._all, rows), progress)
            return
        ended = False
        while not ended:
            group, ended = await anyio.to_thread.run_sync(self._group, rows)
            await self._queue(group, progress)

    def _all(self, rows: Iterator[tuple[int, object]]) -> list[Filled]:
        for number, row in rows:
            self._take(number, row)
        return list(self._filling.take(rest=True))

    def _group(self, rows: Iterator[tuple[int, object]]) -> tuple[list[Filled], bool]:
        waited, asked = 0.0, time.monotonic()
        for number, row in rows:
            waited += time.monotonic() - asked
            self._take(number, row)
            if self._filling.full or waited > _GROUP_SECONDS:
                return list(self._filling.take(rest=not self._filling.full)), False
            asked = time.monotonic()
        return list(self._filling.take(rest=True)), True

    def _take(self, number: int, row: object) -> None:
        try:
            record, uid = checked(row, self._rules), None
            if self._job is not None:
                uid = self._job.uid_of(number, record)
                if uid is None:
                    return
            self._filling.add(number, record, uid)
        except RecordInvalid as error:
            if self._on_error == "raise":
                raise RecordInvalid(error.problems, subject=f"record (row {number})") from None
            self._rejected.append(RejectedRow(number, error.problems))

    def _refuse(self, number: int, error: TooLarge) -> None:
        if self._on_error == "raise":
            raise error
        self._rejected.append(RejectedRow(number, (Problem("", "size", str(error)),)))

    async def _queue(self, filled: list[Filled], progress: Progress | None) -> None:
        for part in parted(filled, most=_GROUP):
            named = ((each.item.uid, each.uids) for each in part)
            rows = self._job.noted(named) if self._job is not None else None
            items = [each.item for each in part]
            accepted = await self._services.acceptance.accept(items, job=rows)
            self._receipts += zip(accepted, (item.records for item in items), strict=True)
            self._accepted += sum(item.records for item in items)
            self._services.sender.wake()
            if progress is not None:
                self._look()
                progress(self._sent, self._accepted)

    def _look(self) -> None:
        """Go on to the first that has no outcome yet: they are sent in order, and there may be a million."""
        while self._past < len(self._receipts):
            receipt, records = self._receipts[self._past]
            if receipt.state in {"held", "queued"}:
                break
            self._past += 1
            self._sent += records if receipt.state in _SENT else 0

    def _in(self, states: Collection[str]) -> int:
        """How many records are in some states."""
        return sum(records for receipt, records in self._receipts if receipt.state in states)

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
        deadline, done = anyio.current_time() + timeout, 0
        for receipt, records in [*await self._earlier(), *self._receipts]:
            while receipt.state not in settled:
                self._look()
                before = self._past, self._moved
                moved = await _moves(receipt, min(1.0, deadline - anyio.current_time()))
                self._look()
                if not moved and (self._past, self._moved) == before:
                    if anyio.current_time() >= deadline:
                        return
                    continue
                deadline = anyio.current_time() + timeout
            deadline = anyio.current_time() + timeout
            done += records
            if progress is not None:
                progress(min(done, self._accepted), self._accepted)

    async def _earlier(self) -> list[tuple[AsyncReceipt, int]]:
        """The last of the rows that an earlier run had accepted, if it is still under way."""
        if self._job is None or self._job.last_skipped is None:
            return []
        item = await self._services.outbox.find(self._room_id, self._job.last_skipped)
        if item is None:
            # It may be in a batch, which is in the queue then, and not after the last there.
            item = next(reversed(await self._services.outbox.list(self._room_id, states=("queued",))), None)
        if item is None:
            return []
        receipt = self._services.receipts.hold(item)
        now = await self._services.outbox.find(self._room_id, item.uid)  # it may have moved before we held it
        self._services.receipts.update(now or replace(item, state="synced"))
        return [(receipt, 0)]

    def report(self) -> PublishReport:
        """The outcome so far."""
        return PublishReport(
            accepted=self._accepted,
            sent=self._in(_SENT),
            stuck=tuple((r.uid, r.reason or "") for r, _ in self._receipts if r.state == "stuck"),
            stuck_records=self._in({"stuck"}),
            rejected=tuple(self._rejected),
            dropped=self._in({"dropped"}),
            skipped=self._job.skipped if self._job is not None else 0,
        )


async def _moves(receipt: AsyncReceipt, seconds: float) -> bool:
    """Whether a receipt's state changed within some seconds."""
    before = receipt.state
    with anyio.move_on_after(max(0.0, seconds)):
        await receipt.changed()
    return receipt.state != before
