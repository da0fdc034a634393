"""Receipts: what a writer holds of an accepted record, kept up to date as its fate unfolds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from weakref import WeakValueDictionary

import anyio
from msgspec.structs import replace

from matrixdata.errors import NotSent, Rejected, StoreFull
from matrixdata.model import html
from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.replica.outbox_item import OutboxItem

Milestone = Literal["queued", "sent", "synced"]
_REACHED = {
    "queued": {"queued", "sent", "synced"},
    "sent": {"sent", "synced"},
    "synced": {"synced"},
}
_ENDED = {"stuck", "cancelled", "dropped"}
_END_OF_TIME = 253_402_300_800_000_000
"""9999-12-31T24:00:00Z in microseconds; a local clock may be anywhere."""
_MEANING = {
    "held": "in memory only; it is made durable within the linger of its publisher",
    "queued": "durable on this machine; it is sent as soon as the server answers",
    "sent": "the server has it",
    "synced": "the server has it, and so has the local replica",
}


_COURSE = {"held": 1, "queued": 2, "sent": 3, "synced": 4}
"""A record never goes back from one of these to an earlier one."""


class AsyncReceipt:
    """Proof that a record was accepted: it is durable here and will be sent, by this process or a later one.

    Attributes:
        uid: the record's id; readers count one row per (sender, uid).
        state: "queued" (durable here), "sent" (the server acknowledged it), "synced" (it came back and is in
            the replica), "held" (in the memory of a `publisher`, not accepted yet),
            "stuck" (refused; `reason` says why, and it is never dropped), "cancelled" (by
            `client.outbox.cancel`) or "dropped" (unsent, as `on_full="drop_oldest"` asked).
        event_id: Matrix's id of the event once the server acknowledged it.
        reason: what keeps it from being sent: the server's errcode, or a word of the guide's table such as
            "unreachable" or "rate_limited"; None when nothing does.
        uncertain: it was sent and no answer came, so it may be on the server; this is being found out.
    """

    def __init__(self, item: OutboxItem) -> None:
        self._item = item
        self._changed = anyio.Event()

    @property
    def uid(self) -> str:
        """The record's id within this sender's records."""
        return self._item.uid

    @property
    def state(self) -> str:
        """Where the record is: "queued", "sent", "synced", "stuck" or "cancelled"."""
        return self._item.state

    @property
    def event_id(self) -> str | None:
        """Matrix's event id, once acknowledged."""
        return self._item.event_id

    @property
    def reason(self) -> str | None:
        """What keeps the record from being sent: an errcode or one of our words; None when nothing does."""
        return self._item.reason

    @property
    def uncertain(self) -> bool:
        """Whether it was sent without an answer, so that it may be on the server."""
        return self._item.attempts > 0 and self._item.state in {"queued", "stuck"}

    def __repr__(self) -> str:
        detail = f" {self.event_id}" if self.event_id else f" ({self._obstacle()})" if self.reason else ""
        return f"<Receipt {self.state}{safe_text(detail)} uid={self.uid!r}>"

    def _repr_html_(self) -> str:
        """What became of the record so far, for notebooks; everything is escaped."""
        return html.panel(
            f"Receipt: {self.state}",
            html.facts(
                [("uid", self.uid), ("event id", self.event_id), ("not sent yet", self._obstacle() or None)]
            ),
            note=_MEANING.get(self.state, ""),
            warning=f"refused: {self.reason}; it stays in client.outbox" if self.state == "stuck" else "",
        )

    def _obstacle(self) -> str:
        again = self._item.next_attempt
        if self.reason is None or again is None or not 0 <= again < _END_OF_TIME:
            return self.reason or ""
        return f"{self.reason}; again at {datetime.fromtimestamp(again // 1_000_000, UTC):%Y-%m-%d %H:%M:%SZ}"

    async def wait(self, until: Milestone = "sent", *, timeout: float | None = None) -> str:
        """Wait until the record got that far, or was refused, or `timeout` seconds passed.

        Returns:
            The state then: still "queued" after a timeout, which loses nothing, and at once where it waits for a
            decision of yours; `reason` says what it waits for, such as "rate_limited" or "identity_changed".

        Raises:
            Rejected: the server refused the record; `errcode` says how.
            NotSent: `client.outbox.cancel` dropped it.
            StoreFull: it was dropped to make room for later ones, as `on_full="drop_oldest"` asked.
        """
        with anyio.move_on_after(timeout):
            while self.state not in _REACHED[until] | _ENDED and self.reason != "identity_changed":
                await self._changed.wait()
        if self.state == "cancelled":
            raise NotSent(f"record {self.uid!r} was cancelled")
        if self.state == "dropped":
            raise StoreFull(f"record {self.uid!r} was dropped unsent, to make room for later ones")
        if self.state == "stuck":
            raise Rejected(self.reason or "M_UNKNOWN", "the record stays in the outbox as stuck")
        return self.state

    async def changed(self) -> None:
        """Return at the next change of state."""
        await self._changed.wait()

    def _update(self, item: OutboxItem) -> None:
        if self.state in {"cancelled", "dropped"} or _COURSE.get(item.state, 9) < _COURSE.get(self.state, 0):
            return  # what says otherwise was read before that
        self._item = item
        self._changed.set()
        self._changed = anyio.Event()


class Receipts:
    """The receipts somebody still holds, by transaction id; told of every change of the outbox."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[str, AsyncReceipt] = WeakValueDictionary()

    def open(self, item: OutboxItem) -> AsyncReceipt:
        """A receipt for an item about to be stored; opened first, so that no change can be missed."""
        receipt = AsyncReceipt(item)
        self._held[item.txn_id] = receipt
        return receipt

    def hold(self, item: OutboxItem) -> AsyncReceipt:
        """The receipt of a stored item: the one already held for it, or a new one."""
        held = self._held.get(item.txn_id)
        return held if held is not None else self.open(item)

    def waiting(self) -> list[OutboxItem]:
        """The items of held receipts that are still under way."""
        held = (receipt._item for receipt in self._held.values())
        return [item for item in held if item.state in {"queued", "sent"}]

    def dropped(self, txn_ids: Sequence[str]) -> None:
        """These items were dropped unsent."""
        for txn_id in txn_ids:
            if (receipt := self._held.get(txn_id)) is not None:
                receipt._update(replace(receipt._item, state="dropped", reason="store_full"))

    def update(self, item: OutboxItem) -> None:
        """An item changed: tell whoever holds its receipt."""
        receipt = self._held.get(item.txn_id)
        if receipt is not None:
            receipt._update(item)
