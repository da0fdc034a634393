"""Retries and rate limits, in the one place that has them."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import anyio
import msgspec

from matrixdata.errors import MatrixDataError, NotSent, RateLimited, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.protocol.requests import Kind, Request
    from matrixdata.transport.port import Transport

log = logging.getLogger("matrixdata.transport")


class Backoff(msgspec.Struct, frozen=True):
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
    """What the server last said about waiting, with one kind of request."""

    # A server may say "come back next year"; we come back to ask each hour, and say what we are told.
    LONGEST = 3600.0

    def __init__(self) -> None:
        self._until = 0.0
        self._hits = 0

    @property
    def remaining(self) -> float:
        """Seconds still to wait, 0 when there is nothing to wait for."""
        return max(0.0, self._until - anyio.current_time())

    def hit(self, retry_after: float, chance: Callable[[], float], backoff: Backoff) -> None:
        """The server answered 429: hold everyone back, a little longer than asked, for clocks differ.

        Servers that ask for no wait, again and again, get one all the same.
        """
        least = backoff.delay(self._hits, chance) if self._hits else 0.0
        self._hits += 1
        pause = min(max(retry_after, least), self.LONGEST) * (1.0 + 0.1 * chance()) + 0.02
        self._until = max(self._until, anyio.current_time() + pause)

    def passed(self) -> None:
        """The server let a request through."""
        self._hits = 0

    async def wait(self) -> None:
        """Return when the pause is over."""
        while (left := self.remaining) > 0:  # noqa: ASYNC110  it waits for the clock; no task sets an event
            await anyio.sleep(left)


class Caller:
    """Sends requests until they have an outcome, within a time the caller sets.

    Only idempotent requests are sent again after an unknown outcome; a request that provably did not leave
    is always sent again.

    Attributes:
        limits: what the server said about waiting, for each kind of request: an account that may not send for
            now can still read (Synapse keeps separate counts).
        failing: why the server was not reached at the last attempt; None when it was.
        on_recovery: called when the server answers again after it could not be reached.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.transport = transport
        self.limits: dict[Kind, RateLimit] = {"send": RateLimit(), "other": RateLimit()}
        self._backoff = backoff or Backoff()
        self._chance = chance
        self.failing: MatrixDataError | None = None
        self.on_recovery: list[Callable[[], None]] = []

    @property
    def held_back(self) -> float:
        """Seconds that the server still asks us to wait, with one kind of request at least."""
        return max(limit.remaining for limit in self.limits.values())

    async def call(self, request: Request, *, patience: float = 30.0) -> bytes:
        """Send, retry and wait for at most `patience` seconds altogether; inf for as long as it takes.

        Raises:
            NotSent, Unknown, RateLimited: patience ran out; the last reason.
            Rejected, LoggedOut, Unsupported: at once; trying again would not help.
        """
        deadline = anyio.current_time() + patience
        limit = self.limits[request.kind]
        attempt = 0
        while True:
            if limit.remaining > max(0.0, deadline - anyio.current_time()):
                raise RateLimited(limit.remaining)
            await limit.wait()
            attempt += 1
            try:
                body = await self.transport.send(request)
            except RateLimited as error:
                limit.hit(error.retry_after, self._chance, self._backoff)
                log.info("rate limited for %.1f s", limit.remaining)
                self._answered()
            except (NotSent, Unknown) as error:
                self.failing = error
                pause = self._backoff.delay(attempt, self._chance)
                out_of_time = anyio.current_time() + pause > deadline
                if out_of_time or (isinstance(error, Unknown) and not request.idempotent):
                    raise
                log.info("attempt %d failed (%s); again in %.1f s", attempt, error, pause)
                await anyio.sleep(pause)
            else:
                limit.passed()
                self._answered()
                return body

    def _answered(self) -> None:
        failed, self.failing = self.failing, None
        if isinstance(failed, NotSent):
            for listener in self.on_recovery:
                listener()
