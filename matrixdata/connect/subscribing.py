"""The blocking face of a subscription. Items that are ready are handed out here, without a visit to the loop.

What an interrupt keeps from the caller is handed out by the next call.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from matrixdata.connect.portal import Call, Portal
from matrixdata.errors import ClientClosed
from matrixdata.receiving import AsyncSubscription
from matrixdata.receiving.arrow import record_batch

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from matrixdata.model import Notice, Record
    from matrixdata.receiving.handout import Handout

T = TypeVar("T")


class Stream(Generic[T]):
    """An endless iterator over what a function gives; see AsyncStream."""

    def __init__(self, following: Callable[[], T]) -> None:
        self._following = following

    def __repr__(self) -> str:
        return "<items of a subscription; iterate over them>"

    def __iter__(self) -> Stream[T]:
        """Iterate."""
        return self

    def __next__(self) -> T:
        """The next one."""
        return self._following()


class Subscription:
    """Records as they are committed; see AsyncSubscription."""

    def __init__(self, portal: Portal, subscription: AsyncSubscription) -> None:
        self._portal = portal
        self._subscription = subscription
        self._own = threading.local()  # the last visit to the loop of each thread that reads here

    def __repr__(self) -> str:
        return repr(self._subscription)

    @property
    def dropped(self) -> int:
        """How many items overflow="drop_oldest" has left out so far."""
        return self._subscription.dropped

    def __enter__(self) -> Subscription:
        """Return once live."""
        try:
            self._portal.call(self._subscription.__aenter__)
        except Exception:
            raise
        except BaseException:
            # Interrupted, perhaps when it had just been entered: a with block will not leave it.
            with suppress(ClientClosed):
                self._portal.call(self._subscription.arrivals.leave, handled=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; a named cursor remembers the last record taken, unless its handling raised."""
        self._portal.call(self._subscription.__aexit__, kind, error, trace)

    def __iter__(self) -> Subscription:
        """Iterate over records; the end always has a reason, which is raised."""
        return self

    def __next__(self) -> Record:
        """The next record, waiting for it as long as it takes."""
        return self.get()

    def get(self, *, timeout: float | None = None) -> Record:
        """The next record; TimeoutError when none came within `timeout` seconds."""
        return self._next(records_only=True, timeout=timeout).give(records_only=True)  # type: ignore[return-value]  # records only

    def take(self) -> list[Record]:
        """Every record that is ready, waiting until there is at least one; never empty."""
        hand = self._next(records_only=True)
        number, records = hand.records_to(hand.waiting())
        hand.handed = number
        return records

    def events(self, *, timeout: float | None = None) -> Iterator[Record | Notice]:
        """Records, and between them what is to be known of the stream; see AsyncSubscription.events."""
        self._subscription.arrivals.tell()

        def following() -> Record | Notice:
            return self._next(records_only=False, timeout=timeout).give(records_only=False)

        return Stream(following)

    def batches(
        self, size: int = 1000, *, linger: float = 1.0, meta: bool = False, timeout: float | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Records as Arrow record batches; see AsyncSubscription.batches."""
        self._subscription.batches(size, linger=linger)  # checks both

        arrivals = self._subscription.arrivals

        def following() -> pa.RecordBatch:
            self._handled()
            schema = self._visited(arrivals.gather, size, linger, timeout)
            number, records = arrivals.hand.records_to(size)
            batch = record_batch(records, schema, meta=meta)
            arrivals.hand.handed = number
            return batch

        return Stream(following)

    def _next(self, *, records_only: bool, timeout: float | None = None) -> Handout:
        """Wait until an item can be given."""
        arrivals = self._subscription.arrivals
        self._handled()
        if not arrivals.at_hand(records_only=records_only):
            self._visited(arrivals.ready, records_only=records_only, timeout=timeout)
        return arrivals.hand

    def _handled(self) -> None:
        """What was handed out is dealt with, since more is asked for.

        A visit to the loop that was interrupted has to end first: it has its hands on the same items.
        """
        self._portal.check()
        visit: Call[Any] | None = getattr(self._own, "visit", None)
        if visit is not None:
            self._portal.drop(visit)
        self._subscription.arrivals.hand.acknowledge()

    def _visited(self, work: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:  # noqa: ANN401  passed on
        self._own.visit = call = Call(work, *arguments, **options)
        return self._portal.run(call)
