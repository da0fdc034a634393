"""The transport of a logged-in device: it renews the access token, and knows when the session is over.

The newest session in the store is the truth, whichever process put it there. Tokens are renewed by one task of
one process at a time and stored before they are used; nothing is ever deleted here.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

from matrixdata.errors import LoggedOut, MatrixDataError, NotSent, RateLimited, Rejected, Unknown, Unsupported
from matrixdata.model.steps import reached
from matrixdata.protocol import requests
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.transport.http import is_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from matrixdata.model.session import Session
    from matrixdata.protocol.requests import Request
    from matrixdata.transport.http import HttpTransport

log = logging.getLogger("matrixdata.transport")

# A token is renewed so many seconds before it expires, or a fifth of its life before, whichever is less.
_AHEAD = 30.0
# When renewing ahead of time failed: seconds until it is tried again. Meanwhile the token still serves.
_AGAIN = 5.0
# Seconds to wait for another process that renews the session.
_PATIENCE = 30.0
_LOOK = 0.02
# A request is sent at most so often with ever newer tokens.
_REPLAYS = 4
# A refusal is doubted after so many seconds: a server may have erred, or come back from a backup.
_DOUBT = 60.0


class Keeper(Protocol):
    """Where the session is stored, for all processes."""

    async def session(self) -> Session | None:
        """The session stored last."""
        ...

    async def renew_session(self, old: Session, new: Session) -> bool:
        """Store `new` durably if `old` is the one stored; False if it is not."""
        ...


class Lock(Protocol):
    """A lock between processes that never waits."""

    def acquire(self) -> bool:
        """Take it if it is free."""
        ...

    def release(self) -> None:
        """Give it up."""
        ...


class Refreshed(msgspec.Struct):
    """The answer of POST /refresh."""

    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None

    def __repr__(self) -> str:
        return "<tokens>"


@asynccontextmanager
async def alone(lock: Lock, *, patience: float = _PATIENCE) -> AsyncIterator[None]:
    """Hold a lock between processes inside the block.

    Raises:
        NotSent: it could not be had within `patience` seconds.
    """
    held = False
    with anyio.move_on_after(patience):
        while not (held := lock.acquire()):  # noqa: ASYNC110  another process frees it; no task could tell
            await anyio.sleep(_LOOK)
    if not held:
        raise NotSent(f"another process has been renewing this session for {patience:g} s")
    try:
        yield
    finally:
        lock.release()


class SessionTransport:
    """An authenticated `Transport`. A request that met an expired token is sent again: nobody acted on it.

    Args:
        keeper: the store of the session.
        lock: held by the one process that renews it.
        clock: microseconds since 1970 UTC; it may be wrong and may jump.

    Attributes:
        session: the session in use.
        logged_out: why it does not serve any more; None when all is well.
    """

    def __init__(
        self,
        http: HttpTransport,
        session: Session,
        *,
        keeper: Keeper,
        lock: Lock,
        clock: Callable[[], int],
    ) -> None:
        self._http = http
        self._keeper = keeper
        self._lock = lock
        self._clock = clock
        self._single = anyio.Lock()
        self._use(session)

    def __repr__(self) -> str:
        return f"<SessionTransport of {self.session.user_id} over {self._http!r}>"

    def _use(self, session: Session) -> None:
        self.session = session
        self.logged_out: LoggedOut | None = None
        self._doubt_at = 0.0
        self._refreshable = session.refresh_token is not None
        left = session.remaining(self._clock())
        # From here on the monotonic clock counts: the other one may jump.
        self._renew_at = anyio.current_time() + left - min(_AHEAD, (session.lifetime or 0.0) / 5)
        self._http.use_token(session.access_token)

    async def send(self, request: Request) -> bytes:
        """See `Transport.send`.

        Raises:
            LoggedOut: the newest session in the store is refused and cannot be renewed.
            NotSent: it could not be renewed now.
        """
        if not request.authenticated:
            return await self._http.send(request)
        for _ in range(_REPLAYS):
            await self._renew_early()
            used = self.session
            try:
                body = await self._http.send(request)
            except LoggedOut as error:
                await self._replace(used, error)
            else:
                if self.session is used:
                    self.logged_out = None
                return body
        raise NotSent("the session expires faster than a request can be made with it")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def usable(self) -> bool:
        """Whether asking the server is worth while: always, except just after it refused this very session.

        For those who pause after LoggedOut. A session that another process or a new login has stored since is in
        use when this returns.
        """
        if self.logged_out is None or await self._adopt(self.session):
            return True
        if anyio.current_time() < self._doubt_at:
            return False
        self._doubt_at = anyio.current_time() + _DOUBT
        return True

    async def _renew_early(self) -> None:
        if not self._refreshable or anyio.current_time() < self._renew_at:
            return
        self._renew_at = anyio.current_time() + _AGAIN
        try:
            await self._replace(self.session, None)
        except MatrixDataError as error:
            log.info("the session is not renewed yet: %s", error)

    async def _replace(self, used: Session, refusal: LoggedOut | None) -> None:
        """Take another session than `used` into use: a stored one, or a renewed one.

        Raises:
            LoggedOut: there is none; that is `refusal`.
        """
        async with self._single:
            if self.session is not used or await self._adopt(used):
                return
            if self._refreshable:
                # Even where the server speaks of a hard logout: one whose answer to a refresh was lost may have
                # ended the old access token at once, and the refresh token still serves.
                async with alone(self._lock):
                    # Whoever waits for this may give up, but a request that the server carries out later would
                    # revoke what the next one got. It takes a moment, and 10 s at most.
                    with anyio.CancelScope(shield=True):
                        if await self._adopt(used) or await self._refresh(used):
                            return
            if refusal is not None:
                if self.logged_out is None:
                    log.warning("%s", refusal)
                self.logged_out = refusal
                self._doubt_at = max(self._doubt_at, anyio.current_time() + _DOUBT)
                raise refusal

    async def _adopt(self, used: Session) -> bool:
        """Use the stored session if it is another than `used`: a 401 for an older token means nothing."""
        stored = await self._keeper.session()
        if stored is None or stored.access_token in {None, used.access_token}:
            return False
        self._use(stored)
        return True

    async def _refresh(self, used: Session) -> bool:
        """Ask for new tokens, store them, use them; False if the server refuses. Only under the lock.

        Using the new access token revokes the old refresh token. So the new ones are on disk before: until then
        a crash, or an answer that is lost, leaves the old refresh token, which still serves (measured).
        """
        renewed = replace(used, obtained_at=self._clock())
        try:
            answer = decode(await self._http.send(requests.refresh(used.refresh_token or "")), Refreshed)
        except RateLimited:
            raise
        except (NotSent, Unknown, Unsupported) as error:
            # NotSent, for the request that waits for this has not left.
            said = "its answer is malformed" if isinstance(error, MalformedResponse) else str(error)
            raise NotSent(f"the session could not be renewed: {said}") from None
        except Rejected as error:
            log.info("the server refuses to renew the session: %s", error.errcode)
            self._refreshable = False
            return False
        if not is_token(answer.access_token):
            raise NotSent("the session could not be renewed: the server gave no usable token")
        milliseconds = answer.expires_in_ms
        renewed = replace(
            renewed,
            access_token=answer.access_token,
            refresh_token=answer.refresh_token or used.refresh_token,
            lifetime=None if milliseconds is None else max(milliseconds, 0) / 1000,
        )
        reached("session.1 refreshed")
        if not await self._keeper.renew_session(used, renewed):
            return await self._adopt(used)
        reached("session.2 stored")
        self._use(renewed)
        return True
