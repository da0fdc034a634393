"""Outages of the server as the sync loop met them, for subscriptions to tell of. Remembers the last few."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEPT = 100


class Outage(msgspec.Struct, frozen=True):
    """A time without answers that is over.

    Attributes:
        number: counts up from 1.
        since: when the server had last answered, microseconds since 1970 UTC; None when it never had.
        reason: what was wrong.
    """

    number: int
    since: int | None
    reason: str


class Outages:
    """Those that are over, whichever process met them. One client's sync loop writes, its subscriptions read."""

    def __init__(self) -> None:
        self.count = 0
        """How many there were."""
        self._over: deque[Outage] = deque(maxlen=_KEPT)

    def ended(self, since: int | None, reason: str) -> None:
        """The server answers again."""
        self.count += 1
        self._over.append(Outage(self.count, since, reason))

    def after(self, number: int) -> Iterator[Outage]:
        """Those after the outage of that number, the oldest first."""
        return (outage for outage in self._over if outage.number > number)
