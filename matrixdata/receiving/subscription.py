"""AsyncSubscription: the records of one collection as they are committed. Checks and delegates."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from matrixdata.receiving.arrivals import Arrivals, Wanted
from matrixdata.receiving.arrow import record_batch
from matrixdata.receiving.stream import AsyncStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    import pyarrow as pa

    from matrixdata.model import Notice, Record
    from matrixdata.receiving.beginning import Sources


class AsyncSubscription:
    """Records of one collection as they are committed; an async context manager and iterator.

    Entering returns once live: what is published after that is delivered. Within one subscription each record
    comes once; with a named cursor, delivery is at least once over restarts, with a stable `record.uid`. A
    record counts as handled when the next one (or the next batch) is asked for, or the block is left without an
    exception; that is on disk a quarter of a second later at the latest, or when nothing more is ready.
    """

    def __init__(self, sources: Sources, wanted: Wanted) -> None:
        self.arrivals = Arrivals(sources, wanted)

    def __repr__(self) -> str:
        state, wanted = "open" if self.arrivals.open else "closed", self.arrivals.wanted
        return f"<Subscription {state} {wanted.room_id} start={wanted.start!r}>"

    @property
    def dropped(self) -> int:
        """How many items overflow="drop_oldest" has left out so far."""
        return self.arrivals.hand.dropped

    # -- entering and leaving ---------------------------------------------------------------------------
    async def __aenter__(self) -> AsyncSubscription:
        """Return once live.

        Raises:
            CursorLocked: another subscription, here or in another process, goes by this cursor.
        """
        await self.arrivals.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; a named cursor remembers the last record taken, unless its handling raised."""
        await self.arrivals.leave(handled=kind is None)

    # -- reading ----------------------------------------------------------------------------------------
    def __aiter__(self) -> AsyncSubscription:
        """Iterate over records; the end always has a reason, which is raised."""
        return self

    async def __anext__(self) -> Record:
        """The next record, waiting for it as long as it takes."""
        return await self.get()

    async def get(self, *, timeout: float | None = None) -> Record:
        """The next record.

        Raises:
            TimeoutError: none came within `timeout` seconds; the subscription goes on.
        """
        await self.arrivals.ready(records_only=True, timeout=timeout)
        return self.arrivals.hand.give(records_only=True)  # type: ignore[return-value]  # records only

    async def take(self) -> list[Record]:
        """Every record that is ready, waiting until there is at least one; never empty."""
        await self.arrivals.ready(records_only=True)
        hand = self.arrivals.hand
        hand.handed, records = hand.records_to(hand.waiting())
        return records

    def events(self, *, timeout: float | None = None) -> AsyncIterator[Record | Notice]:
        """Records, and between them what is to be known of the stream: an endless iterator.

        `CaughtUp`, `Gap`, `GapFilled`, `Reconnected`, `Rebuilt`, `Invalid`, `Redacted` and `Dropped` come where they
        belong, from the first call of this method on; plain iteration leaves them out.

        Args:
            timeout: seconds to wait for each item; then TimeoutError, after which it can be asked again.
        """
        self.arrivals.tell()

        async def following() -> Record | Notice:
            await self.arrivals.ready(records_only=False, timeout=timeout)
            return self.arrivals.hand.give(records_only=False)

        return AsyncStream(following)

    def batches(
        self, size: int = 1000, *, linger: float = 1.0, meta: bool = False, timeout: float | None = None
    ) -> AsyncIterator[pa.RecordBatch]:
        """Records as Arrow record batches, an endless iterator (extra: data).

        A batch counts as handled when the next is asked for. With a schema its columns and types are those of
        `query().to_arrow()`; without one, each batch has those of its own records.

        Args:
            size: rows of a batch, at most.
            linger: seconds to wait for more rows once there is one.
            meta: add the columns event_id, sender, time (UTC) and row_state.
            timeout: seconds to wait for the first row of each batch; then TimeoutError.

        Raises:
            MissingExtra: pyarrow is not installed; when the first batch is asked for.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size={size!r}; it takes a number of rows, at least 1")

        async def following() -> pa.RecordBatch:
            schema = await self.arrivals.gather(size, linger, timeout)
            hand = self.arrivals.hand
            number, records = hand.records_to(size)
            batch = await anyio.to_thread.run_sync(partial(record_batch, records, schema, meta=meta))
            hand.handed = number
            return batch

        return AsyncStream(following)
