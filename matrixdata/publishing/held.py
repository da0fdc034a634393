"""Records held in memory for a moment, so that a stream of single ones shares commits. Not accepted until then."""

from __future__ import annotations

import logging
import math
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

import anyio
from msgspec.structs import replace

from matrixdata.errors import MatrixDataError
from matrixdata.publishing.parts import parted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from matrixdata.publishing.receipt import AsyncReceipt, Receipts
    from matrixdata.replica.outbox_item import OutboxItem

log = logging.getLogger("matrixdata.publishing")

# Between attempts to store what could not be stored, as on a full disk.
_AGAIN = 1.0


class Accept(Protocol):
    """Stores items durably, all or none."""

    def __call__(self, items: Sequence[OutboxItem], *, together: bool = False) -> Awaitable[object]:
        """`together`: they leave in batches."""
        ...


class Held:
    """What the publishers of one client hold.

    Args:
        accept: stores items durably, all or none.

    Attributes:
        on_stored: called after each commit.
    """

    def __init__(self, accept: Accept, receipts: Receipts) -> None:
        self._accept = accept
        self._receipts = receipts
        self._items: list[tuple[float, OutboxItem, bool]] = []
        self._due = math.inf
        self._sooner = anyio.Event()
        self._turn = anyio.Lock()
        self.on_stored: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._items)

    def hold(self, item: OutboxItem, *, linger: float, together: bool) -> AsyncReceipt:
        """Take an item, to be stored within `linger` seconds; its receipt says "held" until it is.

        `together`: it leaves in a batch with those around it.
        """
        receipt = self._receipts.open(replace(item, state="held"))
        due = anyio.current_time() + linger
        self._items.append((due, item, together))
        self._expect(due)
        return receipt

    async def flush(self) -> None:
        """Store everything now.

        Raises:
            StoreFull: there is no room; everything is still held, and tried again.
        """
        async with self._turn:
            held = list(self._items)
            for together, group in groupby(held, key=itemgetter(2)):
                for part in parted((item for _, item, _ in group), most=len(held)):
                    await self._accept(part, together=together)
                    del self._items[: len(part)]
            if held:
                self._due = min((due for due, _, _ in self._items), default=math.inf)
                self.on_stored()

    async def run(self) -> None:
        """Store what is due for as long as it is not cancelled; then store the rest."""
        try:
            while True:
                self._sooner = anyio.Event()
                with anyio.move_on_after(self._due - anyio.current_time()):
                    await self._sooner.wait()
                if anyio.current_time() >= self._due:
                    await self._try()
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await self.flush()
                except MatrixDataError as error:
                    log.error("%d held records could not be stored and are lost: %s", len(self), error)  # noqa: TRY400  the reason is said, the place in our code helps nobody

    async def _try(self) -> None:
        try:
            await self.flush()
        except MatrixDataError as error:
            log.warning("%d records are held and could not be stored yet: %s", len(self), error)
            self._due = anyio.current_time() + _AGAIN

    def _expect(self, due: float) -> None:
        if due < self._due:
            self._due = due
            self._sooner.set()
