"""The blocking face of a subscription. Items that are ready are handed out here, without a visit to the loop.

An interrupt takes back what was on its way to the caller, so that it is handed out by the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from matrixdata.errors import ClientClosed
from matrixdata.receiving import AsyncSubscription
from matrixdata.receiving.arrow import record_batch

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from matrixdata.connect.portal import Portal
    from matrixdata.model import Notice, Record

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
        hand = self._subscription.arrivals.hand
        give: Callable[[], Record] = partial(hand.give, records_only=True)  # type: ignore[assignment]  # records only
        return self._given(give, records_only=True, timeout=timeout)

    def take(self) -> list[Record]:
        """Every record that is ready, waiting until there is at least one; never empty."""
        hand = self._subscription.arrivals.hand
        return self._given(lambda: hand.give_records(hand.waiting()), records_only=True)

    def events(self, *, timeout: float | None = None) -> Iterator[Record | Notice]:
        """Records, and between them what is to be known of the stream; see AsyncSubscription.events."""
        self._subscription.arrivals.tell()

        def following() -> Record | Notice:
            give = partial(self._subscription.arrivals.hand.give, records_only=False)
            return self._given(give, records_only=False, timeout=timeout)

        return Stream(following)

    def batches(
        self, size: int = 1000, *, linger: float = 1.0, meta: bool = False, timeout: float | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Records as Arrow record batches; see AsyncSubscription.batches."""
        self._subscription.batches(size, linger=linger)  # checks both

        def following() -> pa.RecordBatch:
            try:
                schema = self._portal.call(self._subscription.arrivals.gather, size, linger, timeout)
                return record_batch(self._subscription.arrivals.hand.give_records(size), schema, meta=meta)
            except BaseException:
                self._subscription.arrivals.hand.take_back()
                raise

        return Stream(following)

    def _given(self, give: Callable[[], T], *, records_only: bool, timeout: float | None = None) -> T:
        arrivals = self._subscription.arrivals
        try:
            self._portal.check()
            if not arrivals.at_hand(records_only=records_only):
                self._portal.call(arrivals.ready, records_only=records_only, timeout=timeout)
            return give()
        except BaseException:
            arrivals.hand.take_back()
            raise
