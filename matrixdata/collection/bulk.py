"""Publishing many rows: accepted in groups that share a commit, reported row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread

from matrixdata.collection.report import PublishReport, RejectedRow
from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.model import Problem

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services
    from matrixdata.publishing import AsyncReceipt
    from matrixdata.replica.outbox import OutboxItem
    from matrixdata.replica.rules import Rules

OnError = Literal["collect", "raise"]
Progress = Callable[[int, int], None]
_GROUP = 250
# A slow source of rows (a sensor) is not made to wait for a full group.
_GROUP_SECONDS = 0.05


class Bulk:
    """One run of `publish_many`."""

    def __init__(self, services: Services, room_id: str, rules: Rules, *, on_error: OnError) -> None:
        if on_error not in {"collect", "raise"}:
            raise ValueError(f'on_error={on_error!r}; it takes "collect" or "raise"')
        self._services = services
        self._room_id = room_id
        self._rules = rules
        self._on_error = on_error
        self._rejected: list[RejectedRow] = []
        self._receipts: list[AsyncReceipt] = []

    async def accept(self, data: object, progress: Progress | None) -> None:
        """Check and queue every row; with on_error="raise" all rows are checked before any is queued."""
        from matrixdata.frames import rows_of  # noqa: PLC0415  those who publish one by one are spared the import

        rows = enumerate(rows_of(data))
        if self._on_error == "raise":
            items = await anyio.to_thread.run_sync(lambda: [self._item(number, row) for number, row in rows])
            groups: Iterator[list[OutboxItem]] = (
                [item for item in items[start : start + _GROUP] if item]
                for start in range(0, len(items), _GROUP)
            )
            for group in groups:
                await self._queue(group, progress)
            return
        for _ in count():
            group, ended = await anyio.to_thread.run_sync(self._group, rows)
            await self._queue(group, progress)
            if ended:
                return

    def _group(self, rows: Iterator[tuple[int, object]]) -> tuple[list[OutboxItem], bool]:
        group: list[OutboxItem] = []
        until = time.monotonic() + _GROUP_SECONDS
        for number, row in rows:
            item = self._item(number, row)
            if item is not None:
                group.append(item)
            if len(group) >= _GROUP or time.monotonic() > until:
                return group, False
        return group, True

    def _item(self, number: int, row: object) -> OutboxItem | None:
        try:
            return self._services.acceptance.prepare(row, room_id=self._room_id, rules=self._rules)
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
            self._receipts += await self._services.acceptance.accept(items)
            self._services.sender.wake()
            if progress is not None:
                progress(self._sent(), len(self._receipts))

    def _sent(self) -> int:
        return sum(receipt.state in {"sent", "synced"} for receipt in self._receipts)

    async def finish(
        self, until: Literal["sent", "synced"], *, timeout: float, progress: Progress | None
    ) -> None:
        """Wait until everything has an outcome, or nothing moved for `timeout` seconds."""
        reached = {"sent", "synced"} if until == "sent" else {"synced"}
        deadline = anyio.current_time() + timeout
        for done, receipt in enumerate(self._receipts, start=1):
            while receipt.state not in reached and receipt.state != "stuck":
                before = self._sent()
                if (
                    not await _moves(receipt, min(1.0, deadline - anyio.current_time()))
                    and self._sent() == before
                ):
                    if anyio.current_time() >= deadline:
                        return
                    continue
                deadline = anyio.current_time() + timeout
            deadline = anyio.current_time() + timeout
            if progress is not None:
                progress(done, len(self._receipts))

    def report(self) -> PublishReport:
        """The outcome so far."""
        return PublishReport(
            accepted=len(self._receipts),
            sent=self._sent(),
            stuck=tuple((r.uid, r.reason or "") for r in self._receipts if r.state == "stuck"),
            rejected=tuple(self._rejected),
        )


async def _moves(receipt: AsyncReceipt, seconds: float) -> bool:
    """Whether a receipt's state changed within some seconds."""
    before = receipt.state
    with anyio.move_on_after(max(0.0, seconds)):
        await receipt.changed()
    return receipt.state != before
