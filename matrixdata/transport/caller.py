"""Retries and rate limits, in the one place that has them."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import MatrixDataError, NotSent, RateLimited, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.protocol.requests import Request
    from matrixdata.transport.port import Transport

log = logging.getLogger("matrixdata.transport")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts, in seconds: doubling from `first`, at most `most`, each jittered by a half.

    Full doubling without jitter makes every client that lost the same server return at the same instant.
    """

    first: float = 0.2
    most: float = 30.0

    def delay(self, attempt: int, chance: Callable[[], float]) -> float:
        """Seconds to wait after the given attempt (1 is the first); `chance` gives numbers in [0, 1)."""
        ceiling = min(self.most, self.first * 2 ** min(attempt - 1, 30))
        return float(ceiling * (0.5 + 0.5 * chance()))


class RateLimit:
    """What the server last said about waiting: one for each server and account."""

    # A server may say "come back next year"; we come back to ask each hour, and say what we are told.
    LONGEST = 3600.0

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def remaining(self) -> float:
        """Seconds still to wait, 0 when there is nothing to wait for."""
        return max(0.0, self._until - anyio.current_time())

    def hit(self, retry_after: float, chance: Callable[[], float]) -> None:
        """The server answered 429: hold everyone back, a little longer than asked, for clocks differ."""
        pause = min(retry_after, self.LONGEST) * (1.0 + 0.1 * chance()) + 0.02
        self._until = max(self._until, anyio.current_time() + pause)

    async def wait(self) -> None:
        """Return when the pause is over."""
        while (left := self.remaining) > 0:  # noqa: ASYNC110  it waits for the clock; no task sets an event
            await anyio.sleep(left)


class Caller:
    """Sends requests until they have an outcome, within a time the caller sets.

    Only idempotent requests are sent again after an unknown outcome; a request that provably did not leave
    is always sent again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        limit: RateLimit | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.transport = transport
        self.limit = limit or RateLimit()
        self._backoff = backoff or Backoff()
        self._chance = chance
        self.failing: MatrixDataError | None = None
        """Why the server was not reached at the last attempt; None when it was."""

    async def call(self, request: Request, *, patience: float = 30.0) -> bytes:
        """Send, retry and wait for at most `patience` seconds altogether; inf for as long as it takes.

        Raises:
            NotSent, Unknown, RateLimited: patience ran out; the last reason.
            Rejected, LoggedOut, Unsupported: at once; trying again would not help.
        """
        deadline = anyio.current_time() + patience
        attempt = limited = 0
        while True:
            if self.limit.remaining > max(0.0, deadline - anyio.current_time()):
                raise RateLimited(self.limit.remaining)
            await self.limit.wait()
            attempt += 1
            try:
                body = await self.transport.send(request)
            except RateLimited as error:
                # Servers that ask for no wait, again and again, get one all the same.
                least = self._backoff.delay(limited, self._chance) if limited else 0.0
                limited += 1
                self.limit.hit(max(error.retry_after, least), self._chance)
                log.info("rate limited for %.1f s", self.limit.remaining)
            except (NotSent, Unknown) as error:
                self.failing = error
                pause = self._backoff.delay(attempt, self._chance)
                out_of_time = anyio.current_time() + pause > deadline
                if out_of_time or (isinstance(error, Unknown) and not request.idempotent):
                    raise
                log.info("attempt %d failed (%s); again in %.1f s", attempt, error, pause)
                await anyio.sleep(pause)
            else:
                self.failing = None
                return body
